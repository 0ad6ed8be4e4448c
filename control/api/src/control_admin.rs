//! What the admin pages of a control plane answer, as JSON with stable keys: keys may be added, none changes its meaning.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// `GET /snapshot`: what is pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The namespace.
    pub namespace: String,
    /// The number of what was published last; one more with each push.
    pub revision: u64,
    /// All services.
    pub services: Vec<ServiceSnapshot>,
    /// Sources that can't look at the moment; what they found last stays.
    pub troubles: Vec<SourceTrouble>,
    /// A mesh that only some of the proxies have as yet (`--hold-back`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
}

/// One service in [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSnapshot {
    /// Its `discoveryName`.
    pub service: String,
    /// Where its endpoints come from: `static`, `dns`, `cloudMap` or `registered`.
    pub source: String,
    /// Each `dnsName` with the loopback address that stands for it.
    pub vips: BTreeMap<String, Ipv4Addr>,
    /// Its endpoints.
    pub endpoints: Vec<crate::model::Endpoint>,
    /// False shortly after a start, while not all tasks have registered again.
    pub settled: bool,
    /// It has lost all its endpoints, and keeps the last ones until somebody confirms: POST /allow-empty?service=NAME.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// A source that can't look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTrouble {
    /// `mesh`, `dns`, `cloudMap` or `registered`; or `zone`, in which names can't be published as they should be.
    pub source: String,
    /// The service; absent: all of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What is wrong.
    pub why: String,
    /// For how long.
    pub seconds: f64,
}

/// A mesh that only some of the proxies have as yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBack {
    /// The share of proxies that has it, in percent.
    pub percent: u8,
    /// For how long they have had it.
    pub seconds: f64,
    /// `trying`, or `stopped` with the reason in `why`.
    pub state: String,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `GET /clients`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clients {
    /// The number of what was published last.
    pub revision: u64,
    /// Everybody who is connected.
    pub clients: Vec<Client>,
}

/// One client in [`Clients`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// What it calls itself.
    pub id: String,
    /// `bowline`, `envoy` or `grpc`.
    pub kind: String,
    /// Its version, as it says.
    pub version: String,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What runs beside it, or is it: `OTEL_SERVICE_NAME`, else the first `--register` name, else the family of the ECS
    /// task; of an Envoy its `cluster`. Empty: it doesn't say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// `delta` or `sotw` (state of the world).
    pub protocol: String,
    /// For how long it has been connected.
    pub connected_seconds: f64,
    /// The highest revision whose changes it has acknowledged or never needed.
    pub acknowledged: u64,
    /// How long the last acknowledgement took, from the moment of publication, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_after_milliseconds: Option<f64>,
    /// How many pushes it has got.
    pub pushes: u64,
    /// How many it has refused.
    pub nacks: u64,
    /// Why it refused the last one it refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_nack: Option<String>,
    /// What of the mesh this kind of client can't do, or does in another way, by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, Vec<String>>,
}

/// `POST /diff` with a mesh file: what would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Services that the running mesh doesn't have.
    pub added: Vec<String>,
    /// Services that only the running mesh has; with the number of endpoints that they have now.
    pub removed: Vec<RemovedService>,
    /// Services that are in both, and not the same.
    pub changed: Vec<ChangedService>,
}

/// One service that would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedService {
    /// Its `discoveryName`.
    pub service: String,
    /// How many endpoints it has.
    pub endpoints: usize,
}

/// One service that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedService {
    /// Its `discoveryName`.
    pub service: String,
    /// Each key that differs.
    pub keys: Vec<ChangedKey>,
    /// It would lose all its endpoints.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empties: bool,
}

/// One key of a service that would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedKey {
    /// Its path, e.g. `timeout.perRequestTimeoutSeconds`.
    pub key: String,
    /// As it is now; null: not there.
    pub from: serde_json::Value,
    /// As it would be; null: not there.
    pub to: serde_json::Value,
}
