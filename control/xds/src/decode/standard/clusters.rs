//! Clusters.

use std::collections::BTreeMap;

use bowline_api::Service;
use bowline_api::model::{AppProtocol, BalancingPolicy, Endpoints, Limits, OutlierDetection, Seconds};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{DiscoveryType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::google::protobuf::UInt32Value;

use super::policies::seconds;
use crate::decode::bowline::endpoints_name;
use crate::decode::{ClusterSpec, EndpointsFrom, load, unpack};
use crate::partial::cluster::{
    Cluster, DiscoveryKind, HttpProtocolOptions, ProtocolConfig, UpstreamProtocolOptions,
};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const RAW: &str = "envoy.transport_sockets.raw_buffer";
/// The most that our limits can be.
const MOST: u32 = 1_000_000;

/// Reads a cluster.
pub(in crate::decode) fn cluster(cluster: &Cluster) -> Result<ClusterSpec, String> {
    if cluster.name.is_empty() || cluster.name.len() > 256 {
        return Err("its name must have 1 to 256 bytes".to_owned());
    }
    let tls = cluster.transport_socket.as_ref().filter(|socket| socket.name != RAW);
    if tls.is_some() || !cluster.transport_socket_matches.is_empty() {
        // Never in the clear where the other side wants otherwise.
        return Err("its connections are to be secured, which this version can't do".to_owned());
    }
    let mut ignored = Vec::new();
    let mut service = Service::new(cluster.name.clone(), Endpoints::Static(Vec::new()));
    service.load_balancing.policy = policy(cluster, &mut ignored);
    service.app_protocol = protocol(cluster)?;
    if let Some(timeout) = cluster.connect_timeout.as_ref().and_then(seconds).filter(|s| s.limit().is_some())
    {
        service.timeout.connect_seconds = timeout;
    }
    service.outlier_detection = outlier_detection(cluster);
    service.limits = limits(cluster);
    Ok(ClusterSpec {
        service,
        vips: BTreeMap::new(),
        endpoints: source(cluster)?,
        control_version: None,
        ignored,
    })
}

fn source(cluster: &Cluster) -> Result<EndpointsFrom, String> {
    let kind = match cluster.cluster_discovery_type {
        Some(DiscoveryKind::Type(kind)) => DiscoveryType::try_from(kind).ok(),
        Some(DiscoveryKind::ClusterType(_)) => None,
        None => Some(DiscoveryType::Static),
    };
    match kind {
        Some(DiscoveryType::Eds) => Ok(EndpointsFrom::Resource(endpoints_name(cluster))),
        Some(DiscoveryType::Static) => {
            let list = cluster.load_assignment.as_ref().map(load::endpoints).transpose()?;
            Ok(EndpointsFrom::Inline(list.unwrap_or_default()))
        }
        Some(other) => Err(format!("clusters of type {} can't be taken", other.as_str_name())),
        None => Err("clusters of this type can't be taken".to_owned()),
    }
}

fn policy(cluster: &Cluster, ignored: &mut Vec<String>) -> BalancingPolicy {
    // The newer field wins; of its list the first one that is known.
    let newer = cluster.load_balancing_policy.iter().flat_map(|policy| &policy.policies);
    for one in newer {
        let config = one.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref());
        let name = config.and_then(|any| any.type_url.rsplit('.').next()).unwrap_or_default();
        match name {
            "LeastRequest" => return BalancingPolicy::LeastRequest,
            "RoundRobin" => return BalancingPolicy::RoundRobin,
            "Random" => return BalancingPolicy::Random,
            _ => ignored.push(format!("balancing policy {name}")),
        }
    }
    match LbPolicy::try_from(cluster.lb_policy) {
        Ok(LbPolicy::RoundRobin) => BalancingPolicy::RoundRobin,
        Ok(LbPolicy::LeastRequest) => BalancingPolicy::LeastRequest,
        Ok(LbPolicy::Random) => BalancingPolicy::Random,
        Ok(LbPolicy::LoadBalancingPolicyConfig) => BalancingPolicy::default(),
        Ok(other) => {
            ignored.push(format!("balancing policy {}", other.as_str_name()));
            BalancingPolicy::default()
        }
        Err(_) => BalancingPolicy::default(),
    }
}

fn protocol(cluster: &Cluster) -> Result<Option<AppProtocol>, String> {
    if let Some(options) = cluster.typed_extension_protocol_options.get(HTTP_OPTIONS) {
        let options: HttpProtocolOptions = unpack(options)?;
        if let Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) = options.upstream_protocol_options
        {
            return match explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(_)) => Ok(Some(AppProtocol::Http)),
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(Some(AppProtocol::Http2)),
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => Err("it speaks HTTP/3".to_owned()),
                None => Ok(None),
            };
        }
        return Ok(None);
    }
    // Deprecated, but others still write it.
    let old = cluster.http2_protocol_options.is_some();
    Ok(old.then_some(AppProtocol::Http2))
}

fn outlier_detection(cluster: &Cluster) -> OutlierDetection {
    let mut ours = OutlierDetection::default();
    let Some(theirs) = &cluster.outlier_detection else {
        // Without it nothing is ejected.
        ours.consecutive_failures = 0;
        return ours;
    };
    let number = |value: &Option<UInt32Value>, default: u32| value.map_or(default, |value| value.value);
    let enforced = number(&theirs.enforcing_consecutive_5xx, 100) > 0;
    ours.consecutive_failures = if enforced { number(&theirs.consecutive_5xx, 5).min(1000) } else { 0 };
    let least = Seconds::from_f64(0.1).unwrap_or_default();
    let time = |value: Option<Seconds>, default: Seconds| value.unwrap_or(default).max(least);
    let base = theirs.base_ejection_time.as_ref().and_then(seconds);
    let most = theirs.max_ejection_time.as_ref().and_then(seconds);
    ours.base_ejection_seconds = time(base, ours.base_ejection_seconds);
    ours.max_ejection_seconds = time(most, ours.max_ejection_seconds).max(ours.base_ejection_seconds);
    ours.max_ejection_percent = number(&theirs.max_ejection_percent, 10).min(100);
    ours
}

fn limits(cluster: &Cluster) -> Option<Limits> {
    let thresholds = &cluster.circuit_breakers.as_ref()?.thresholds;
    let ours = thresholds.iter().find(|t| t.priority == i32::from(RoutingPriority::Default))?;
    let number = |value: &Option<UInt32Value>, least: u32| value.map_or(1024, |v| v.value.clamp(least, MOST));
    Some(Limits {
        max_connections: number(&ours.max_connections, 1),
        max_pending_requests: number(&ours.max_pending_requests, 0),
        max_requests: number(&ours.max_requests, 1),
        adaptive_concurrency: None,
    })
}
