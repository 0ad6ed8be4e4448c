//! The two calls of Cloud Map, through the AWS SDK.

use std::error::Error;
use std::fmt;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_servicediscovery::Client;
use aws_sdk_servicediscovery::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_servicediscovery::types::{HealthStatus, HealthStatusFilter};

use super::instance::{Instance, MOST};
use crate::aws;

/// Cloud Map.
#[derive(Clone, Debug)]
pub struct CloudMap {
    client: Client,
}

impl CloudMap {
    /// As the environment says: `AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL_SERVICEDISCOVERY`, the credentials of the
    /// task or the host, and whatever else an AWS SDK knows.
    pub async fn from_env() -> Self {
        Self::from_config(&aws::from_env().await)
    }

    /// As a configuration says.
    pub fn from_config(config: &SdkConfig) -> Self {
        // Retries are ours: they know of the next look, and how to wait when throttled.
        let config = aws_sdk_servicediscovery::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(aws::timeouts())
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

/// Why Cloud Map has not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure(String);

impl Failure {
    fn new<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        Failure(aws::words(error, |error| (error.code(), error.message())))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cloud Map does not answer: {}", self.0)
    }
}
