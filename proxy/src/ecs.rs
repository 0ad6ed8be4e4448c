//! What Amazon ECS tells a task of itself, by its metadata endpoint (version 4).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{StatusCode, Uri};
use serde_json::Value;

use crate::ask;

/// The variable with the endpoint's address; ECS sets it in each container.
const VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// The endpoint is on the same host.
const WITHIN: Duration = Duration::from_secs(2);

/// How often it is seen whether the task is to stop. ECS bears 40 questions a second of a task, and apps may drain for as little as two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a task runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its address, where it has one of its own (awsvpc).
    pub address: Option<IpAddr>,
    /// Its availability zone.
    pub zone: Option<String>,
}

/// Asks; nothing is known outside of ECS, or when there is no answer, which is said.
pub async fn place() -> Place {
    let Some(uri) = std::env::var(VARIABLE).ok().filter(|uri| !uri.is_empty()) else {
        return Place::default();
    };
    match asked(&uri).await {
        Ok(place) => place,
        Err(why) => {
            tracing::warn!(why, "the task metadata can't be read: address and zone are not known from it");
            Place::default()
        }
    }
}

/// Waits until ECS wants the task to stop. It tells the app first, and us when the app has gone; what it is about to do
/// stands in the metadata before either. Outside of ECS it waits for ever.
pub async fn until_stopped() {
    let uri = std::env::var(VARIABLE).ok().filter(|uri| !uri.is_empty());
    let Some(endpoint) = uri.and_then(|uri| Endpoint::new(&uri).ok()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match endpoint.page("/task").await {
            Ok(task) if task["DesiredStatus"] == "STOPPED" => return,
            Ok(_) => {}
            Err(why) => tracing::debug!(why, "the task metadata can't be read"),
        }
    }
}

async fn asked(uri: &str) -> Result<Place, String> {
    let endpoint = Endpoint::new(uri)?;
    let container = endpoint.page("").await?;
    let task = endpoint.page("/task").await?;
    Ok(Place { address: address(&container), zone: zone(&task) })
}

/// The endpoint.
struct Endpoint {
    addr: SocketAddr,
    host: String,
    base: String,
}

impl Endpoint {
    fn new(uri: &str) -> Result<Self, String> {
        let parsed: Uri = uri.parse().map_err(|_| format!("{VARIABLE}={uri} is no URL"))?;
        let host = parsed.host().unwrap_or_default().to_owned();
        let ip: IpAddr = host.parse().map_err(|_| format!("{VARIABLE}={uri} has no address in it"))?;
        let addr = SocketAddr::from((ip, parsed.port_u16().unwrap_or(80)));
        let base = parsed.path().trim_end_matches('/').to_owned();
        Ok(Endpoint { addr, host, base })
    }

    async fn page(&self, path: &str) -> Result<Value, String> {
        let path = format!("{}{path}", self.base);
        match ask::get(self.addr, &self.host, &path, WITHIN).await? {
            (StatusCode::OK, body) => {
                serde_json::from_slice::<Value>(&body).map_err(|error| format!("{path}: {error}"))
            }
            (status, _) => Err(format!("{path} answers {status}")),
        }
    }
}

fn address(container: &Value) -> Option<IpAddr> {
    let network = container["Networks"].as_array()?.iter().find(|n| n["NetworkMode"] == "awsvpc")?;
    let first = |key: &str| network[key].as_array()?.first()?.as_str()?.parse().ok();
    first("IPv4Addresses").or_else(|| first("IPv6Addresses"))
}

fn zone(task: &Value) -> Option<String> {
    task["AvailabilityZone"].as_str().filter(|zone| !zone.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_address_of_its_own_counts() {
        let awsvpc = json!({"Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.2.106"]}]});
        assert_eq!(address(&awsvpc), Some([10, 0, 2, 106].into()));
        let bridge = json!({"Networks": [{"NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"]}]});
        assert_eq!(address(&bridge), None);
        assert_eq!(address(&json!({})), None);
        assert_eq!(zone(&json!({"AvailabilityZone": "us-west-2d"})).as_deref(), Some("us-west-2d"));
        assert_eq!(zone(&json!({})), None);
    }
}
