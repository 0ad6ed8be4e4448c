//! Delta streams: what has changed, resource by resource.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Wrapped,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};

use super::typed::{Answer, SOME_VERSION, Typed};
use super::{Heard, MAX_HELD, MORE, RESPONSE_BYTES, SessionError};
use crate::kind::ClientKind;
use crate::message::{METADATA, PARTIAL};
use crate::resource::{Resource, version_number};
use crate::resources::Resources;

const ALL: &str = "*";

/// What a request means for its type.
pub(super) fn hear(
    typed: &mut Typed,
    kind: ClientKind,
    request: DeltaDiscoveryRequest,
) -> Result<Heard, SessionError> {
    let mut heard = Heard::default();
    let first = !typed.begun;
    typed.begun = true;
    if !request.response_nonce.is_empty() {
        let error = request.error_detail.map(|status| status.message);
        // Envoy refuses a response as a whole if one resource in it is malformed; our own proxies never do.
        let apart = kind != ClientKind::Bowline;
        match typed.answered(&request.response_nonce, error, apart) {
            Some(Ok(revision)) => heard.acked = Some((typed.resource_type(), revision)),
            Some(Err(nack)) => heard.nacked = Some(nack),
            None => heard.stale_nonce = true,
        }
    }
    let (subscribe, unsubscribe) = (request.resource_names_subscribe, request.resource_names_unsubscribe);
    let silent = first && subscribe.is_empty() && unsubscribe.is_empty();
    heard.subscription_changed = first || !subscribe.is_empty() || !unsubscribe.is_empty();
    // Who comes back with everything must hear that it is everything.
    typed.owed |= first && typed.silence_is_all();
    if silent && typed.silence_is_all() {
        typed.want_all();
    }
    for name in subscribe {
        if name == ALL {
            typed.want_all();
        } else {
            typed.want(name)?;
        }
    }
    if first {
        if request.initial_resource_versions.len() > MAX_HELD {
            return Err(SessionError::TooMany { resource_type: typed.resource_type(), most: MAX_HELD });
        }
        for (name, version) in request.initial_resource_versions {
            if typed.wants(&name) {
                let hash = match version_number(&version) {
                    0 => SOME_VERSION,
                    hash => hash,
                };
                typed.slots.entry(name.into()).or_default().set_hash(hash);
            }
        }
    }
    for name in unsubscribe {
        if name == ALL {
            typed.leave_all();
        } else {
            typed.leave(&name);
        }
    }
    typed.check()?;
    Ok(heard)
}

/// What is to be sent of a type now. `changed` gets the names of which the client had another version.
pub(super) fn next(
    typed: &mut Typed,
    kind: ClientKind,
    resources: &Resources,
    answer: Answer,
    nonce: u64,
    changed: &mut Vec<Arc<str>>,
) -> Option<DeltaDiscoveryResponse> {
    if typed.outstanding() || (typed.dirty.is_empty() && !typed.owed) {
        return None;
    }
    let resource_type = typed.resource_type();
    let mut response = DeltaDiscoveryResponse {
        type_url: resource_type.type_url().to_owned(),
        nonce: nonce.to_string(),
        ..DeltaDiscoveryResponse::default()
    };
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut bytes = 0;
    let mut rest = std::mem::take(&mut typed.dirty);
    // Names are looked at in order, and what doesn't fit stays for the next response.
    let mut kept = std::collections::BTreeSet::new();
    while let Some(name) = rest.pop_first() {
        let alone = typed.alone.contains(&name);
        if alone && !names.is_empty() {
            rest.insert(name);
            break;
        }
        match resources.get(resource_type, &name) {
            Some(resource) => {
                let size = resource.any.value.len() + 2 * resource.name.len() + 128;
                if bytes > 0 && bytes + size > RESPONSE_BYTES {
                    rest.insert(name);
                    break;
                }
                bytes += size;
                response.resources.push(wrapped(resource, kind));
                if typed.sent(resource) {
                    changed.push(name.clone());
                }
                names.push(name);
            }
            None if answer == Answer::Everything
                || typed.slots.get(&name).is_none_or(|slot| slot.hash() == 0) =>
            {
                bytes += name.len() + 8;
                response.removed_resources.push(name.to_string());
                typed.gone(&name);
                names.push(name);
            }
            None => drop(kept.insert(name)),
        }
        if alone && !names.is_empty() {
            break;
        }
    }
    let more = if rest.is_empty() { "" } else { &*MORE.to_string() };
    response.system_version_info = format!("{}{more}", resources.revision());
    rest.append(&mut kept);
    typed.dirty = rest;
    if names.is_empty() && !typed.owed {
        return None;
    }
    typed.push(nonce, resources.revision(), names);
    Some(response)
}

fn wrapped(resource: &Resource, kind: ClientKind) -> Wrapped {
    Wrapped {
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: Some(resource.any.clone()),
        metadata: (resource.partial && kind == ClientKind::Bowline).then(partial),
        ..Wrapped::default()
    }
}

/// The mark of a list in which some may be missing.
fn partial() -> Metadata {
    let fields = [(PARTIAL.to_owned(), Value { kind: Some(Kind::BoolValue(true)) })].into_iter().collect();
    let filter_metadata = [(METADATA.to_owned(), Struct { fields })].into_iter().collect();
    Metadata { filter_metadata, ..Metadata::default() }
}
