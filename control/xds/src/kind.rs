//! Who asks: what a client understands depends on what it is.

use std::fmt;

use envoy_types::pb::envoy::config::core::v3::Node;

/// What our own proxies call themselves in `Node.user_agent_name`.
pub const BOWLINE_AGENT: &str = "bowline-proxy";

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// Our own proxy: it gets the model whole.
    Bowline,
    /// Envoy, and whoever doesn't say what it is: the nearest standard resources.
    Envoy,
    /// A gRPC client without a proxy.
    Grpc,
}

impl ClientKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Bowline, Self::Envoy, Self::Grpc];

    /// By the name that the client gives its program.
    #[must_use]
    pub fn of_agent(user_agent_name: &str) -> Self {
        if user_agent_name == BOWLINE_AGENT {
            Self::Bowline
        } else if user_agent_name.starts_with("gRPC") {
            Self::Grpc
        } else {
            Self::Envoy
        }
    }

    /// By the node that the client says it is.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        Self::of_agent(&node.user_agent_name)
    }

    /// `bowline`, `envoy` or `grpc`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bowline => "bowline",
            Self::Envoy => "envoy",
            Self::Grpc => "grpc",
        }
    }
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_what_its_agent_says() {
        let kinds =
            ["bowline-proxy", "envoy", "gRPC C-core", "gRPC Go", "", "bowline"].map(ClientKind::of_agent);
        use ClientKind::{Bowline, Envoy, Grpc};
        assert_eq!(kinds, [Bowline, Envoy, Grpc, Grpc, Envoy, Envoy]);
    }
}
