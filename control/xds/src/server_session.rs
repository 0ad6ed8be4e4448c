//! The control plane's side of one stream: what it has been asked for, what it has sent, and what is still to send.
//!
//! Delta and state-of-the-world streams share the book-keeping per type of resource ([`typed`]). A change is pushed make
//! before break: clusters, endpoints, listeners, routes; a cluster is taken away when no listener and no route names it
//! any more. Of each type at most one response is not yet acknowledged, so a slow client costs no memory: what changes
//! meanwhile is sent in one, once it has answered.

mod delta;
mod sotw;
mod typed;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

use crate::kind::ClientKind;
use crate::resource::ResourceType;
use crate::resources::{Resources, Stamp};
use typed::{Answer, Typed};

/// How many names a client may ask for, of each type.
pub const MAX_NAMES: usize = 10_000;
/// How many resources it may say it has, of each type.
pub const MAX_HELD: usize = 100_000;
/// How long a name may be, in bytes: far longer than any of ours.
pub const MAX_NAME_BYTES: usize = 1024;
/// A delta response ends when it has so many bytes; the rest comes in the next. One resource is never divided. Small, as
/// the buffer that a stream's responses are written into stays as large as the largest of them, a power of two, and there
/// are a thousand streams and more. It costs a client some more round trips at its start.
pub const RESPONSE_BYTES: usize = 15 << 10;
/// At the end of `system_version_info`: more is to come before this client has everything.
pub const MORE: char = '+';
/// How much of a client's complaint is kept, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// One stream of a client.
#[derive(Debug)]
pub struct ServerSession {
    kind: ClientKind,
    delta: bool,
    types: [Typed; 4],
    interest: Interest,
    /// Up to where the changes of the world have been looked at.
    seen: Option<Arc<Stamp>>,
    revision: u64,
    nonces: u64,
}

/// Which changes a session has to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// All.
    All,
    /// Those of these services, by `discoveryName`.
    Services(BTreeSet<Arc<str>>),
}

impl Interest {
    /// Whether a change of this service matters.
    #[must_use]
    pub fn includes(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Services(services) => services.contains(service),
        }
    }
}

/// What a request meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// It takes a response: the type, and the highest revision of which the client now has everything of that type.
    pub acked: Option<(ResourceType, u64)>,
    /// It refuses one.
    pub nacked: Option<Nack>,
    /// It asks for something else than before: there may be something to say.
    pub subscription_changed: bool,
    /// It is about a response that is not the last one.
    pub stale_nonce: bool,
}

/// What a client refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The type.
    pub resource_type: ResourceType,
    /// The names: those of the response which the client mentions, or its only one. Empty: nobody knows.
    pub names: Vec<Arc<str>>,
    /// The client's reason, shortened in the middle where it is long.
    pub message: String,
}

/// Why a stream must be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// A delta request on a state-of-the-world stream, or the reverse.
    WrongProtocol,
    /// It doesn't say which type it is about.
    NoType,
    /// More names than [`MAX_NAMES`] or resources than [`MAX_HELD`].
    TooMany {
        /// Of which type.
        resource_type: ResourceType,
        /// How many are allowed.
        most: usize,
    },
    /// A name longer than [`MAX_NAME_BYTES`].
    LongName {
        /// Of which type.
        resource_type: ResourceType,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongProtocol => {
                f.write_str("a delta request and a state-of-the-world request on one stream")
            }
            Self::NoType => f.write_str("a request without type_url"),
            Self::TooMany { resource_type, most } => {
                write!(f, "more than {most} names of type {resource_type}")
            }
            Self::LongName { resource_type } => {
                write!(f, "a name of type {resource_type} is longer than {MAX_NAME_BYTES} bytes")
            }
        }
    }
}

impl std::error::Error for SessionError {}

/// How a client stands with one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeState {
    /// The type.
    pub resource_type: ResourceType,
    /// It wants all there are.
    pub wildcard: bool,
    /// How many it asks for by name.
    pub names: usize,
    /// The highest revision of which it has acknowledged everything, or needed nothing.
    pub acknowledged: u64,
    /// A response has not been answered yet.
    pub outstanding: bool,
    /// How many responses it has got.
    pub pushes: u64,
    /// How many it has refused.
    pub nacks: u64,
    /// Why it refused the last one that it refused.
    pub last_nack: Option<String>,
}

impl ServerSession {
    /// For a stream of delta requests.
    #[must_use]
    pub fn delta(kind: ClientKind) -> Self {
        Self::new(kind, true)
    }

    /// For a stream of state-of-the-world requests.
    #[must_use]
    pub fn sotw(kind: ClientKind) -> Self {
        Self::new(kind, false)
    }

    fn new(kind: ClientKind, delta: bool) -> Self {
        ServerSession {
            kind,
            delta,
            types: ResourceType::ALL.map(Typed::new),
            interest: Interest::Services(BTreeSet::new()),
            seen: None,
            revision: 0,
            nonces: 0,
        }
    }

    /// Which kind of client it is.
    #[must_use]
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// A request has come. A type that isn't served is taken note of by nobody.
    ///
    /// # Errors
    /// When the client asks for more than it may: the stream is to be closed.
    pub fn on_delta(&mut self, request: DeltaDiscoveryRequest) -> Result<Heard, SessionError> {
        if !self.delta {
            return Err(SessionError::WrongProtocol);
        }
        let kind = self.kind;
        let Some(typed) = self.typed(&request.type_url)? else { return Ok(Heard::default()) };
        let heard = delta::hear(typed, kind, request)?;
        self.after(&heard);
        Ok(heard)
    }

    /// A request has come. A type that isn't served is taken note of by nobody.
    ///
    /// # Errors
    /// When the client asks for more than it may: the stream is to be closed.
    pub fn on_sotw(&mut self, request: DiscoveryRequest) -> Result<Heard, SessionError> {
        if self.delta {
            return Err(SessionError::WrongProtocol);
        }
        let Some(typed) = self.typed(&request.type_url)? else { return Ok(Heard::default()) };
        let heard = sotw::hear(typed, request)?;
        self.after(&heard);
        Ok(heard)
    }

    /// What is to be sent now; to be called until it is `None`, after each request and each change.
    pub fn next_delta(&mut self, resources: &Resources) -> Option<DeltaDiscoveryResponse> {
        if !self.delta {
            return None;
        }
        self.look(resources);
        for resource_type in ResourceType::ALL {
            let Some(holds) = self.holds(resource_type, resources) else { continue };
            let nonce = self.nonces + 1;
            let typed = &mut self.types[resource_type.index()];
            let mut changed = Vec::new();
            if let Some(response) = delta::next(typed, self.kind, resources, holds, nonce, &mut changed) {
                self.nonces = nonce;
                self.repeat_endpoints(resource_type, &changed);
                return Some(response);
            }
        }
        None
    }

    /// As [`Self::next_delta`], for a state-of-the-world stream.
    pub fn next_sotw(&mut self, resources: &Resources) -> Option<DiscoveryResponse> {
        if self.delta {
            return None;
        }
        self.look(resources);
        for resource_type in ResourceType::ALL {
            let Some(holds) = self.holds(resource_type, resources) else { continue };
            let nonce = self.nonces + 1;
            let typed = &mut self.types[resource_type.index()];
            let mut changed = Vec::new();
            if let Some(response) = sotw::next(typed, resources, holds, nonce, &mut changed) {
                self.nonces = nonce;
                self.repeat_endpoints(resource_type, &changed);
                return Some(response);
            }
        }
        None
    }

    /// Which changes matter to it.
    #[must_use]
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// How it stands, type by type: only those that the client has asked for.
    #[must_use]
    pub fn state(&self) -> Vec<TypeState> {
        self.types.iter().filter(|typed| typed.is_asked_for()).map(Typed::state).collect()
    }

    /// The highest revision of which the client has acknowledged everything that it has asked for, or needed nothing.
    /// It stays behind while the client is not woken for what doesn't matter to it.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let asked_for = self.types.iter().filter(|typed| typed.is_asked_for());
        asked_for.map(|typed| typed.acknowledged(self.revision)).min().unwrap_or(0)
    }

    fn typed(&mut self, type_url: &str) -> Result<Option<&mut Typed>, SessionError> {
        if type_url.is_empty() {
            return Err(SessionError::NoType);
        }
        Ok(ResourceType::of_url(type_url).map(|resource_type| &mut self.types[resource_type.index()]))
    }

    fn after(&mut self, heard: &Heard) {
        if heard.subscription_changed {
            // Until the next look tells which services the names belong to.
            self.interest = Interest::All;
        }
    }

    /// Takes note of what has changed since the last look.
    fn look(&mut self, resources: &Resources) {
        let same = self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, resources.stamp()));
        if !same {
            match self.seen.as_ref().and_then(|seen| resources.changes_since(seen)) {
                Some(changes) => {
                    for (resource_type, name) in changes {
                        self.types[resource_type.index()].changed(name);
                    }
                }
                None => self.types.iter_mut().for_each(Typed::look_at_all),
            }
            self.types.iter_mut().for_each(Typed::check_again);
            self.seen = Some(resources.stamp().clone());
            self.revision = resources.revision();
        }
        for typed in &mut self.types {
            typed.expand(resources);
            typed.forget_what_is_unchanged(self.kind, resources);
            typed.note_acknowledged(self.revision);
        }
        // Which service a listener belongs to can change.
        if self.interest == Interest::All || (!same && self.kind != ClientKind::Bowline) {
            self.interest = self.what_matters(resources);
        }
    }

    /// Envoy takes a changed cluster up when its endpoints have come, and doesn't ask for them again.
    fn repeat_endpoints(&mut self, of: ResourceType, changed: &[Arc<str>]) {
        if of == ResourceType::Cluster && self.kind == ClientKind::Envoy {
            let endpoints = &mut self.types[ResourceType::Endpoint.index()];
            changed.iter().for_each(|name| endpoints.repeat(name));
        }
    }

    /// What a type has to hold back now; `None`: everything.
    fn holds(&self, resource_type: ResourceType, resources: &Resources) -> Option<Answer> {
        let of = |resource_type: ResourceType| &self.types[resource_type.index()];
        let busy = |resource_type| of(resource_type).is_busy();
        match resource_type {
            // What is named by others goes last.
            ResourceType::Cluster | ResourceType::Endpoint => {
                let named = busy(ResourceType::Listener) || busy(ResourceType::Route);
                Some(if named { Answer::KeepRemoved } else { Answer::Everything })
            }
            // What names others comes after them.
            ResourceType::Listener | ResourceType::Route => {
                let clusters = of(ResourceType::Cluster);
                let coming = clusters.outstanding() || clusters.has_something_to_add(resources);
                (!coming).then_some(Answer::Everything)
            }
        }
    }

    fn what_matters(&self, resources: &Resources) -> Interest {
        let mut services = BTreeSet::new();
        for typed in &self.types {
            // Our own proxies have neither listeners nor routes.
            let none = self.kind == ClientKind::Bowline
                && matches!(typed.resource_type(), ResourceType::Listener | ResourceType::Route);
            if none {
                continue;
            }
            if typed.wildcard() {
                return Interest::All;
            }
            for name in typed.names() {
                match typed.resource_type() {
                    ResourceType::Cluster | ResourceType::Endpoint => services.insert(name.clone()),
                    other => match resources.service_of(other, name) {
                        Some(service) => services.insert(service.clone()),
                        None => return Interest::All,
                    },
                };
            }
        }
        Interest::Services(services)
    }
}

#[cfg(test)]
mod tests;
