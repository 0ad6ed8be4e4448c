//! What all callers of AWS have in common: the HTTP client, time limits, and an error in one line.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::result::SdkError;

/// How long a call may take, credentials included.
const CALL: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// What the SDK of Cloud Map puts before the host of some calls.
const PREFIX: &str = "data-";

/// As the environment says: region, profile, endpoint, the credentials of the task or the host, and whatever else an AWS
/// SDK knows.
pub(crate) async fn from_env() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest()).http_client(http_client()).load().await
}

/// How long things may take.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_timeout(CALL)
        .operation_attempt_timeout(CALL)
        .build()
}

/// Over rustls, with the system's certificates.
pub(crate) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_with_resolver(Resolver)
}

/// The system's resolver, but for addresses with the SDK's prefix, which no name server knows: with the endpoint
/// `http://127.0.0.1:5000` (a stand-in for AWS, on the same host) the SDK calls `data-127.0.0.1`.
#[derive(Clone, Debug)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let plain = name.strip_prefix(PREFIX).unwrap_or(name);
            if let Ok(address) = plain.parse::<IpAddr>() {
                return Ok(vec![address]);
            }
            let name = if plain == "localhost" { plain } else { name };
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What a service has refused, or why it could not be asked, in one line. `refusal` gives code and message of an error
/// that the service itself has sent.
pub(crate) fn words<'a, E, R>(
    error: &'a SdkError<E, R>,
    refusal: impl FnOnce(&'a E) -> (Option<&'a str>, Option<&'a str>),
) -> String
where
    E: Error + 'static,
    R: fmt::Debug + 'static,
{
    let words = match error {
        SdkError::ServiceError(answer) => {
            let (code, message) = refusal(answer.err());
            let code = code.unwrap_or("an error");
            message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
        }
        other => {
            let mut words = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                words = format!("{words}: {cause}");
                source = cause.source();
            }
            if words.contains("Missing Region") {
                words = "no AWS region is known: set AWS_REGION".to_owned();
            }
            words
        }
    };
    // The SDK tells of the credentials it has looked for line by line.
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
