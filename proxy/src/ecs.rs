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
    /// The service of ECS that the task is one of.
    pub service: Option<String>,
    /// What the task and its container are, in the attributes of OpenTelemetry's resources.
    pub resource: Vec<(&'static str, String)>,
}

impl Place {
    /// The task definition's family, which names what the task does; `None`: not known.
    pub fn family(&self) -> Option<&str> {
        let (_, family) = self.resource.iter().find(|(key, _)| *key == FAMILY)?;
        Some(family)
    }

    /// The short name of its cluster.
    pub fn cluster(&self) -> Option<&str> {
        let (_, arn) = self.resource.iter().find(|(key, _)| *key == CLUSTER)?;
        arn.rsplit('/').next()
    }
}

const FAMILY: &str = "aws.ecs.task.family";
const CLUSTER: &str = "aws.ecs.cluster.arn";

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
    let service = text(&task["ServiceName"]);
    let resource = resource(&container, &task);
    Ok(Place { address: address(&container), zone: text(&task["AvailabilityZone"]), service, resource })
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

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The attributes of OpenTelemetry's conventions for ECS, as far as the metadata tells.
fn resource(container: &Value, task: &Value) -> Vec<(&'static str, String)> {
    let arn = text(&task["TaskARN"]);
    // arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID
    let part = |index: usize| {
        let part = arn.as_deref()?.splitn(6, ':').nth(index)?;
        Some(part.to_owned()).filter(|part| !part.is_empty())
    };
    let cluster = text(&task["Cluster"]).map(|cluster| match (cluster.starts_with("arn:"), &arn) {
        (false, Some(arn)) => match arn.split_once(":task/") {
            Some((begin, _)) => format!("{begin}:cluster/{cluster}"),
            None => cluster,
        },
        _ => cluster,
    });
    [
        ("cloud.provider", Some("aws".to_owned())),
        ("cloud.platform", Some("aws_ecs".to_owned())),
        ("cloud.region", part(3)),
        ("cloud.account.id", part(4)),
        ("cloud.availability_zone", text(&task["AvailabilityZone"])),
        (CLUSTER, cluster),
        ("aws.ecs.task.arn", arn.clone()),
        ("aws.ecs.task.id", arn.as_deref().and_then(|arn| arn.rsplit('/').next()).map(str::to_owned)),
        (FAMILY, text(&task["Family"])),
        ("aws.ecs.task.revision", text(&task["Revision"])),
        ("aws.ecs.launchtype", text(&task["LaunchType"]).map(|kind| kind.to_ascii_lowercase())),
        ("aws.ecs.container.arn", text(&container["ContainerARN"])),
        ("container.id", text(&container["DockerId"])),
        ("container.name", text(&container["DockerName"]).or_else(|| text(&container["Name"]))),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
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
        assert_eq!(text(&json!({"Family": ""})["Family"]), None);
        assert_eq!(text(&json!({})["Family"]), None);
    }

    #[test]
    fn a_task_is_described_as_the_conventions_want() {
        let task = json!({
            "Cluster": "default", "TaskARN": "arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd",
            "Family": "curltest", "Revision": "26", "AvailabilityZone": "us-west-2d", "LaunchType": "FARGATE"
        });
        let container =
            json!({"DockerId": "ea32192c8553", "Name": "curl", "DockerName": "ecs-curltest-26-curl"});
        let place = Place { resource: resource(&container, &task), ..Place::default() };
        let of =
            |key| place.resource.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str());
        assert_eq!(of("aws.ecs.cluster.arn"), Some("arn:aws:ecs:us-west-2:111122223333:cluster/default"));
        assert_eq!((of("cloud.region"), of("cloud.account.id")), (Some("us-west-2"), Some("111122223333")));
        assert_eq!(
            (of("aws.ecs.task.id"), of("aws.ecs.launchtype")),
            (Some("158d1c8083dd"), Some("fargate"))
        );
        assert_eq!(
            (of("container.id"), of("container.name")),
            (Some("ea32192c8553"), Some("ecs-curltest-26-curl"))
        );
        assert_eq!(place.cluster(), Some("default"));
        assert_eq!((place.family(), of("aws.ecs.container.arn")), (Some("curltest"), None));
    }
}
