//! State-of-the-world streams: all resources of a type at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::typed::{Answer, SOME_VERSION, Typed};
use super::{Heard, SessionError};
use crate::resource::{ContentHash, Resource};
use crate::resources::Resources;

const ALL: &str = "*";

/// What a request means for its type.
pub(super) fn hear(typed: &mut Typed, request: DiscoveryRequest) -> Result<Heard, SessionError> {
    let mut heard = Heard::default();
    let first = !typed.begun;
    if request.response_nonce.is_empty() {
        // A client that has got a response and names none speaks of the time before it. So does a nonce on a new
        // stream, which is of the old one.
        if typed.outstanding() {
            heard.stale_nonce = true;
            return Ok(heard);
        }
    } else {
        let error = request.error_detail.map(|status| status.message);
        match typed.answered(&request.response_nonce, error, false) {
            Some(Ok(revision)) => heard.acked = Some((typed.resource_type(), revision)),
            Some(Err(nack)) => heard.nacked = Some(nack),
            // Nothing is outstanding: it changes what it asks for, after it has answered.
            None if !first && !typed.outstanding() => {}
            None => {
                heard.stale_nonce = true;
                if !first {
                    return Ok(heard);
                }
            }
        }
    }
    typed.begun = true;
    let has_some = first && !request.version_info.is_empty();
    heard.subscription_changed = subscribe(typed, request.resource_names, first, has_some)?;
    Ok(heard)
}

/// Takes the list of names for what is asked for from now on.
fn subscribe(
    typed: &mut Typed,
    names: Vec<String>,
    first: bool,
    has_some: bool,
) -> Result<bool, SessionError> {
    if names.is_empty() && !typed.by_name {
        // By the old rule nothing means everything, as long as nothing was ever named.
        if first && typed.silence_is_all() {
            typed.want_all();
        }
        return Ok(first);
    }
    typed.by_name = true;
    let all = names.iter().any(|name| name == ALL);
    let names: BTreeSet<String> = names.into_iter().filter(|name| name != ALL).collect();
    let mut changed = first;
    if all && !typed.wildcard {
        typed.want_all();
        changed = true;
    }
    if !all && typed.wildcard {
        typed.leave_all();
        changed = true;
    }
    let left: Vec<Arc<str>> = typed.names().filter(|name| !names.contains(&***name)).cloned().collect();
    for name in left {
        typed.leave(&name);
        changed = true;
    }
    for name in names {
        if typed.slots.get(name.as_str()).is_some_and(|slot| slot.named()) {
            continue;
        }
        changed = true;
        typed.owed |= typed.silence_is_all();
        typed.want(name)?;
    }
    typed.check()?;
    if has_some {
        // It has had answers on another stream, and keeps what it has for as long as ours are partial.
        for slot in typed.slots.values_mut() {
            slot.set_hash(SOME_VERSION);
        }
    }
    Ok(changed)
}

/// What is to be sent of a type now. `changed_names` gets those of which the client had another version.
pub(super) fn next(
    typed: &mut Typed,
    resources: &Resources,
    answer: Answer,
    nonce: u64,
    changed_names: &mut Vec<Arc<str>>,
) -> Option<DiscoveryResponse> {
    if typed.outstanding() || (typed.dirty.is_empty() && !typed.owed) {
        return None;
    }
    let resource_type = typed.resource_type();
    let whole = typed.silence_is_all();
    let gone: Vec<Arc<str>> =
        typed.dirty.iter().filter(|name| resources.get(resource_type, name).is_none()).cloned().collect();
    let news = typed.dirty.len() > gone.len() || typed.owed;
    // A list takes away what isn't in it: so what is still named by others stays in it for a while.
    let keep = whole && answer == Answer::KeepRemoved;
    let changed = std::mem::take(&mut typed.dirty);
    for name in &gone {
        if keep && typed.listed.contains_key(name) {
            typed.dirty.insert(name.clone());
        } else {
            typed.gone(name);
        }
    }
    let removed = whole && typed.dirty.len() < gone.len();
    if !news && !removed {
        return None;
    }
    let send: BTreeMap<Arc<str>, Arc<Resource>> = if whole {
        let all = resources.all(resource_type).filter(|resource| typed.wants(&resource.name));
        let kept = typed.dirty.iter().filter_map(|name| typed.listed.get(name));
        all.chain(kept).map(|resource| (resource.name.clone(), resource.clone())).collect()
    } else {
        let changed = changed.iter().filter_map(|name| resources.get(resource_type, name));
        changed.map(|resource| (resource.name.clone(), resource.clone())).collect()
    };
    let version = send.values().fold(ContentHash::new(), |hash, resource| {
        hash.with(resource.name.as_bytes()).with(&[0]).with(resource.version.as_bytes())
    });
    for resource in send.values() {
        if typed.sent(resource) {
            changed_names.push(resource.name.clone());
        }
    }
    typed.push(nonce, resources.revision(), send.keys().cloned().collect());
    let response = DiscoveryResponse {
        version_info: format!("{:016x}", version.finish()),
        resources: send.values().map(|resource| resource.any.clone()).collect(),
        type_url: resource_type.type_url().to_owned(),
        nonce: nonce.to_string(),
        ..DiscoveryResponse::default()
    };
    if whole {
        typed.listed = send;
    }
    Some(response)
}
