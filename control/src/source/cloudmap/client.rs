//! The two calls of Cloud Map, through the AWS SDK.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_servicediscovery::Client;
use aws_sdk_servicediscovery::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_servicediscovery::types::{HealthStatus, HealthStatusFilter};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::MOST;
use super::instance::Instance;

/// How long a call may take, credentials included.
const CALL: Duration = Duration::from_secs(10);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// What the SDK puts before the host of these calls.
const PREFIX: &str = "data-";

/// Cloud Map.
#[derive(Clone, Debug)]
pub struct CloudMap {
    client: Client,
}

impl CloudMap {
    /// As the environment says: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_SERVICEDISCOVERY`, the credentials of the
    /// task or the host, and whatever else an AWS SDK knows.
    pub async fn from_env() -> Self {
        let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client());
        Self::from_config(&loader.load().await)
    }

    /// As a configuration says.
    pub fn from_config(config: &SdkConfig) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(CALL)
            .operation_attempt_timeout(CALL)
            .build();
        // Retries are ours: they know of the next look, and how to wait when throttled.
        let config = aws_sdk_servicediscovery::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        CloudMap { client: Client::from_conf(config) }
    }

    /// The revision of a service's instances, where there is one.
    pub(super) async fn revision(&self, namespace: &str, service: &str) -> Result<Option<i64>, Failure> {
        let call = self.client.discover_instances_revision().namespace_name(namespace).service_name(service);
        let answer = call.send().await.map_err(|error| Failure::new(&error))?;
        Ok(answer.instances_revision())
    }

    /// A service's instances, as many as Cloud Map tells of, and their revision.
    pub(super) async fn instances(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<(Vec<Instance>, Option<i64>), Failure> {
        let call = self
            .client
            .discover_instances()
            .namespace_name(namespace)
            .service_name(service)
            .max_results(i32::try_from(MOST).unwrap_or(i32::MAX))
            .health_status(HealthStatusFilter::All);
        let answer = call.send().await.map_err(|error| Failure::new(&error))?;
        let revision = answer.instances_revision();
        let instances = answer.instances.unwrap_or_default().into_iter().map(|summary| Instance {
            id: summary.instance_id.unwrap_or_default(),
            // Unknown is not unhealthy: most services have no health checks.
            healthy: summary.health_status != Some(HealthStatus::Unhealthy),
            attributes: summary.attributes.unwrap_or_default(),
        });
        Ok((instances.collect(), revision))
    }
}

/// Over rustls, with the system's certificates.
pub(super) fn http_client() -> SharedHttpClient {
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

/// Why Cloud Map has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

impl Failure {
    fn new<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        let words = match error {
            SdkError::ServiceError(answer) => {
                let error = answer.err();
                let code = error.code().unwrap_or("an error");
                match error.message() {
                    Some(message) => format!("{code}: {message}"),
                    None => code.to_owned(),
                }
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
        Failure(words.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cloud Map does not answer: {}", self.0)
    }
}
