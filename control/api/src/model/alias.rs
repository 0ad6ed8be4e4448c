//! What clients dial.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An alias: the `dnsName` and `port` that clients dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientAlias {
    /// The name that clients dial. Names are compared without regard to case; all ports of a name share one VIP.
    /// Default, as in Service Connect: `<discoveryName>.<namespace>`, and so never empty in a loaded mesh.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*$"),
        extend("x-expected" = "a DNS name such as server.hello-world.com: no scheme, no port, no trailing dot")
    )]
    pub dns_name: String,

    /// The port that clients dial, 1 to 65535. `dnsName` and `port` together are unique in the mesh. Required.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// Service Connect's rule for sending test traffic to the new side of a blue-green deployment. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_traffic_rules: Option<TestTrafficRules>,
}

/// Which requests are test traffic: they go to endpoints with `deployment: test` in their `metadata`, which get no others.
/// While there are none of these, they go where all requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestTrafficRules {
    /// The header that marks a request as test traffic. Required.
    pub header: TestTrafficHeader,
}

/// A header that marks test traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TestTrafficHeader {
    /// The header's name. Default, as in Service Connect: `x-amzn-ecs-blue-green-test`.
    #[serde(default = "test_traffic_header")]
    #[schemars(length(min = 1))]
    pub name: String,

    /// The value it must have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<HeaderValueMatch>,
}

fn test_traffic_header() -> String {
    "x-amzn-ecs-blue-green-test".to_owned()
}

/// How a test traffic header's value is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderValueMatch {
    /// The value, byte for byte. Required.
    pub exact: String,
}
