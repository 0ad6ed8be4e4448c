//! What a client says about itself in its first request.

use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::google::protobuf::Value;
use envoy_types::pb::google::protobuf::value::Kind;

use crate::kind::{BOWLINE_AGENT, ClientKind};
use crate::load_report::{cut, struct_of, text_in, text_value};
use crate::message::METADATA;

/// Where our own proxies say who calls.
const CALLER: &str = "caller";
/// The longest name of a caller, in bytes.
const MAX_CALLER: usize = 128;

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
    /// What runs beside it, or is it: who calls. Of our own proxies the task's service, of others the `cluster` that the
    /// node names. Empty where it doesn't say; at most 128 bytes.
    pub caller: String,
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
            metadata: (!self.caller.is_empty()).then(|| {
                let ours = struct_of([(CALLER, text_value(&self.caller))]);
                struct_of([(METADATA, Value { kind: Some(Kind::StructValue(ours)) })])
            }),
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
            caller: cut(caller(node), MAX_CALLER).to_owned(),
        }
    }
}

fn caller(node: &Node) -> &str {
    if ClientKind::of_node(node) != ClientKind::Bowline {
        return &node.cluster;
    }
    let ours = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(METADATA));
    match ours.and_then(|ours| ours.kind.as_ref()) {
        Some(Kind::StructValue(ours)) => text_in(ours.fields.get(CALLER)).unwrap_or_default(),
        _ => "",
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
            caller: "orders".into(),
        };
        assert_eq!(NodeInfo::of_node(&node.to_node()), node);
        assert_eq!(ClientKind::of_node(&node.to_node()), ClientKind::Bowline);
        assert_eq!(NodeInfo::of_node(&Node::default()), NodeInfo::default());
        let silent = NodeInfo { caller: String::new(), ..node };
        assert_eq!(NodeInfo::of_node(&silent.to_node()), silent);
    }

    #[test]
    fn an_envoy_is_called_by_its_cluster() {
        let node = Node { cluster: "web".repeat(100), user_agent_name: "envoy".into(), ..Node::default() };
        let caller = NodeInfo::of_node(&node).caller;
        assert!(caller.starts_with("webweb") && caller.len() == 128, "{caller}");
    }
}
