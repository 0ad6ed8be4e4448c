//! An entry into the mesh from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What callers from outside can reach beside the service's routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ingress {
    /// Services that can be called by the `dnsName` of one of their aliases, whatever the port: a request with that `Host`
    /// goes there, if no route fits it. This is how another namespace calls this one. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
}
