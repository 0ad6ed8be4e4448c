//! Who may call.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Seconds;

/// Who may call: all that is set must be satisfied. Who has no key or token, or a wrong one, gets 401; for gRPC status 16
/// (UNAUTHENTICATED).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Callers have a key. Default: none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,

    /// Callers have a token that somebody has signed. Default: none is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
}

/// Keys that callers show in a header. The mesh has only their hashes, so that nobody who reads it can call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKey {
    /// The header that a key comes in; it is not passed on. Default `x-api-key` (API Gateway).
    #[serde(default = "x_api_key")]
    #[schemars(length(min = 1))]
    pub header: String,

    /// Each caller's name and the SHA-256 of its key in hexadecimal (`printf %s KEY | sha256sum`). Required.
    pub sha256: BTreeMap<String, String>,
}

fn x_api_key() -> String {
    "x-api-key".to_owned()
}

/// JSON Web Tokens (RFC 7519) that callers show. `exp` and `nbf` are looked at, and a token without `exp` is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Jwt {
    /// Where the keys are that tokens are signed with. Required.
    pub jwks: Jwks,

    /// What `iss` must be. Default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub issuer: Option<String>,

    /// Of these one must be in `aud`. Default: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,

    /// What must be in `scope` (words with blanks between them) or `scp`, all of it. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,

    /// The algorithms that are accepted. Default: RS256 and ES256.
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    #[schemars(length(min = 1))]
    pub algorithms: Vec<JwtAlgorithm>,

    /// The header that it comes in, after `Bearer` where it is `authorization`. Default `authorization`.
    #[serde(default = "authorization")]
    #[schemars(length(min = 1))]
    pub header: String,

    /// Claims that are passed on, each in the header of this name, which callers can't set themselves. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims_to_headers: BTreeMap<String, String>,

    /// How far clocks may differ, in seconds, 0 to 3600. Default 60 (Envoy).
    #[serde(default = "minute")]
    #[schemars(range(max = 3600))]
    pub leeway_seconds: Seconds,
}

fn authorization() -> String {
    "authorization".to_owned()
}

fn usual() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256]
}

fn is_usual(algorithms: &[JwtAlgorithm]) -> bool {
    algorithms == usual()
}

fn minute() -> Seconds {
    Seconds::new(60)
}

/// Where a JSON Web Key Set is: exactly one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Jwks {
    /// A file beside the proxy, looked at again when it changes.
    File(String),
    /// An `http` or `https` URL. What it said is kept for ten minutes, and for as long as it can't be asked; a key that isn't
    /// known is asked for at once, at most every ten seconds.
    Url(String),
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// RSA PKCS #1 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA PKCS #1 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384,
    /// RSA PKCS #1 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// RSA PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}
