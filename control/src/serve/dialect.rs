//! The two dialects of xDS, behind one face: delta, and state of the world for clients that speak only that.

use bowline_xds::kind::ClientKind;
use bowline_xds::resource::ResourceType;
use bowline_xds::resources::Resources;
use bowline_xds::server_session::{Heard, ServerSession, SessionError};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

/// What differs between the dialects.
pub(super) trait Dialect: Send + 'static {
    /// What a client sends.
    type Request: Send + 'static;
    /// What it is sent.
    type Response: Send + 'static;
    /// As `/clients` shows it.
    const NAME: &'static str;

    /// A session with a client of this kind.
    fn session(kind: ClientKind) -> ServerSession;
    /// Who it says it is.
    fn node(request: &Self::Request) -> Option<&Node>;
    /// Takes in what it sent.
    fn hear(session: &mut ServerSession, request: Self::Request) -> Result<Heard, SessionError>;
    /// What it is to be sent now.
    fn say(session: &mut ServerSession, resources: &Resources) -> Option<Self::Response>;
    /// Which type of resource a response carries.
    fn carries(response: &Self::Response) -> Option<ResourceType>;
}

/// Only what has changed.
pub(super) enum Delta {}

impl Dialect for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const NAME: &'static str = "delta";

    fn session(kind: ClientKind) -> ServerSession {
        ServerSession::delta(kind)
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn hear(session: &mut ServerSession, request: Self::Request) -> Result<Heard, SessionError> {
        session.on_delta(request)
    }

    fn say(session: &mut ServerSession, resources: &Resources) -> Option<Self::Response> {
        session.next_delta(resources)
    }

    fn carries(response: &Self::Response) -> Option<ResourceType> {
        ResourceType::of_url(&response.type_url)
    }
}

/// All of a type each time.
pub(super) enum Sotw {}

impl Dialect for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const NAME: &'static str = "sotw";

    fn session(kind: ClientKind) -> ServerSession {
        ServerSession::sotw(kind)
    }

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn hear(session: &mut ServerSession, request: Self::Request) -> Result<Heard, SessionError> {
        session.on_sotw(request)
    }

    fn say(session: &mut ServerSession, resources: &Resources) -> Option<Self::Response> {
        session.next_sotw(resources)
    }

    fn carries(response: &Self::Response) -> Option<ResourceType> {
        ResourceType::of_url(&response.type_url)
    }
}
