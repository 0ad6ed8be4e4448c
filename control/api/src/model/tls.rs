//! Service Connect's TLS settings, as it writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS between proxies, in Service Connect's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Who signs the certificates. Required.
    pub issuer_certificate_authority: CertificateAuthority,

    /// The AWS Key Management Service key that encrypts the private key. Default: AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,

    /// The ARN of the role that may issue certificates. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}

/// A private certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthority {
    /// The ARN of an AWS Private Certificate Authority. Required.
    pub aws_pca_authority_arn: String,
}
