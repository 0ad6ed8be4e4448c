//! What a client says about itself in its first request.

use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};

use crate::kind::BOWLINE_AGENT;

/// A client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInfo {
    /// Who it is: unique among all clients.
    pub id: String,
    /// The namespace that it belongs to; empty where it doesn't say.
    pub namespace: String,
    /// The availability zone that it runs in; `None`: unknown.
    pub zone: Option<String>,
    /// The version of its program; empty where it doesn't say.
    pub version: String,
}

impl NodeInfo {
    /// As one of our own proxies says it. The namespace is the node's `cluster`.
    #[must_use]
    pub fn to_node(&self) -> Node {
        Node {
            id: self.id.clone(),
            cluster: self.namespace.clone(),
            locality: self.zone.clone().map(|zone| Locality { zone, ..Locality::default() }),
            user_agent_name: BOWLINE_AGENT.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(self.version.clone())),
            ..Node::default()
        }
    }

    /// As any client says it.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        let version = match &node.user_agent_version_type {
            Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
            Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
                let number = build.version.as_ref();
                number
                    .map(|v| format!("{}.{}.{}", v.major_number, v.minor_number, v.patch))
                    .unwrap_or_default()
            }
            None => String::new(),
        };
        NodeInfo {
            id: node.id.clone(),
            namespace: node.cluster.clone(),
            zone: node.locality.as_ref().map(|l| l.zone.clone()).filter(|zone| !zone.is_empty()),
            version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::ClientKind;

    #[test]
    fn what_is_said_is_understood() {
        let node = NodeInfo {
            id: "task-1".into(),
            namespace: "hello-world.com".into(),
            zone: Some("a".into()),
            version: "0.1.0".into(),
        };
        assert_eq!(NodeInfo::of_node(&node.to_node()), node);
        assert_eq!(ClientKind::of_node(&node.to_node()), ClientKind::Bowline);
        assert_eq!(NodeInfo::of_node(&Node::default()), NodeInfo::default());
    }
}
