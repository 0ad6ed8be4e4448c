//! Endpoints, from whatever control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bowline_api::model::{Endpoint, MAX_WEIGHT};
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::core::v3::socket_address::Protocol;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::protobuf::value::Kind;

use super::unpack;
use crate::encode::load::LABELS;
use crate::partial::endpoint::{ClusterLoadAssignment, HostIdentifier, LbEndpoint};
use crate::partial::{Address, AddressKind, Metadata, PortSpecifier};

/// The last level of priority that there can be.
const LOWEST: u32 = 127;

/// Reads the endpoints of that name, in the order of their addresses. None at all are legal; the same address twice,
/// port 0, and addresses that nobody can be called at are not. Weights above 1000 are scaled down together.
pub(crate) fn load(any: &Any, name: &str) -> Result<Vec<Endpoint>, String> {
    let message: ClusterLoadAssignment = unpack(any)?;
    if message.cluster_name != name {
        return Err(format!("it calls itself {:?}", message.cluster_name));
    }
    endpoints(&message)
}

/// The same for a message that stands in another.
pub(super) fn endpoints(message: &ClusterLoadAssignment) -> Result<Vec<Endpoint>, String> {
    let mut found = Vec::new();
    for locality in &message.endpoints {
        let zone = locality.locality.as_ref().map(|locality| &locality.zone).filter(|zone| !zone.is_empty());
        for endpoint in &locality.lb_endpoints {
            found.push(Endpoint { priority: locality.priority.min(LOWEST), ..one(endpoint, zone)? });
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = found.iter().find(|endpoint| !seen.insert(endpoint.address)) {
        return Err(format!("{} is in it twice", twice.address));
    }
    scale(&mut found);
    found.sort_by_key(|endpoint| endpoint.address);
    Ok(found)
}

fn one(endpoint: &LbEndpoint, zone: Option<&String>) -> Result<Endpoint, String> {
    let address = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(host)) => socket_address(host.address.as_ref())?,
        Some(HostIdentifier::EndpointName(_)) => return Err("an endpoint is only named".to_owned()),
        None => return Err("an endpoint has no address".to_owned()),
    };
    let why_not = match address.ip() {
        _ if address.port() == 0 => Some("port 0 can't be called"),
        ip if ip.is_unspecified() => Some("it means every address, and none that can be called"),
        ip if ip.is_multicast() => Some("it is a multicast address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("it is the broadcast address"),
        _ => None,
    };
    if let Some(why) = why_not {
        return Err(format!("{address} is no endpoint: {why}"));
    }
    use HealthStatus::{Draining, Timeout, Unhealthy};
    let away = [Draining, Unhealthy, Timeout].map(i32::from).contains(&endpoint.health_status);
    let weight = if away { 0 } else { endpoint.load_balancing_weight.map_or(1, |weight| weight.value) };
    let metadata = endpoint.metadata.as_ref().map(labels).unwrap_or_default();
    Ok(Endpoint { address, weight, zone: zone.cloned(), priority: 0, metadata })
}

/// An IP address with its port.
pub(super) fn socket_address(address: Option<&Address>) -> Result<SocketAddr, String> {
    let socket = match address.and_then(|address| address.address.as_ref()) {
        Some(AddressKind::SocketAddress(socket)) => socket,
        Some(AddressKind::Pipe(pipe)) => {
            return Err(format!("{:?} is a socket of the file system", pipe.path));
        }
        Some(AddressKind::EnvoyInternalAddress(_)) => {
            return Err("an address is internal to Envoy".to_owned());
        }
        None => return Err("an address is missing".to_owned()),
    };
    if socket.protocol != i32::from(Protocol::Tcp) {
        return Err(format!("{} is spoken to by UDP", socket.address));
    }
    let ip: IpAddr = socket.address.parse().map_err(|_| format!("{:?} is no IP address", socket.address))?;
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            let port = u16::try_from(*port).map_err(|_| format!("{port} is no port"))?;
            Ok(SocketAddr::new(ip, port))
        }
        Some(PortSpecifier::NamedPort(port)) => Err(format!("port {port:?} is a name")),
        None => Err(format!("{ip} has no port")),
    }
}

fn labels(metadata: &Metadata) -> BTreeMap<String, String> {
    let fields = metadata.filter_metadata.get(LABELS).into_iter().flat_map(|labels| &labels.fields);
    fields
        .filter_map(|(label, value)| {
            let text = match value.kind.as_ref()? {
                Kind::StringValue(text) => text.clone(),
                Kind::BoolValue(value) => value.to_string(),
                Kind::NumberValue(value) => value.to_string(),
                Kind::NullValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => return None,
            };
            Some((label.clone(), text))
        })
        .collect()
}

/// Others have weights up to 2³².
fn scale(endpoints: &mut [Endpoint]) {
    let most = endpoints.iter().map(|endpoint| endpoint.weight).max().unwrap_or(0);
    if most <= MAX_WEIGHT {
        return;
    }
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.weight > 0) {
        let scaled = u64::from(endpoint.weight) * u64::from(MAX_WEIGHT) / u64::from(most);
        // Not more than the most.
        endpoint.weight = u32::try_from(scaled).unwrap_or(MAX_WEIGHT).max(1);
    }
}
