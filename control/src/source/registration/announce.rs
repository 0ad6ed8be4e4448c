//! What of an announcement is a registration, and why not.

use std::net::{IpAddr, SocketAddr};

use bowline_api::model::{Endpoint, Endpoints, MAX_WEIGHT};
use bowline_api::vip::VipRange;
use bowline_api::{Mesh, nearest};
use bowline_xds::registration::Announce;
use tonic::Status;

use crate::lease::Registration;

/// Longest zone, node id and version, in bytes.
const LONGEST: usize = 256;
/// Most labels, and how many bytes they may have together.
const LABELS: (usize, usize) = (64, 8 * 1024);

/// The registration, if there can be one. `peer` is where the announcement comes from.
///
/// # Errors
/// INVALID_ARGUMENT, NOT_FOUND or FAILED_PRECONDITION, with words that tell what to do.
pub(super) fn registration(
    announce: Announce,
    mesh: &Mesh,
    peer: Option<IpAddr>,
    vips: VipRange,
) -> Result<Registration, Status> {
    let service = announce.service;
    if !announce.namespace.is_empty() && announce.namespace != mesh.namespace {
        return Err(Status::not_found(format!(
            "there is no namespace {:?} here, but {:?}",
            cut(&announce.namespace),
            mesh.namespace
        )));
    }
    match mesh.service(&service).map(|service| &service.endpoints) {
        Some(Endpoints::Registered(_)) => {}
        Some(_) => {
            return Err(Status::failed_precondition(format!(
                "the endpoints of {service:?} come from elsewhere: write \"endpoints: {{ registered: {{}} }}\" in the mesh file"
            )));
        }
        None => {
            let names = mesh.services.iter().map(|service| service.discovery_name.as_str());
            let hint = nearest(&service, names).map(|name| format!("; did you mean {name:?}?"));
            return Err(Status::not_found(format!(
                "there is no service {:?} in namespace {:?}{}",
                cut(&service),
                mesh.namespace,
                hint.unwrap_or_default()
            )));
        }
    }
    let address = address(&announce.address, peer, vips).map_err(Status::invalid_argument)?;
    if announce.weight > MAX_WEIGHT {
        return Err(Status::invalid_argument(format!(
            "weight {} is more than {MAX_WEIGHT}",
            announce.weight
        )));
    }
    for (what, text) in
        [("zone", &announce.zone), ("node_id", &announce.node_id), ("version", &announce.version)]
    {
        if text.len() > LONGEST {
            return Err(Status::invalid_argument(format!("{what} is longer than {LONGEST} bytes")));
        }
    }
    let bytes: usize = announce.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if announce.metadata.len() > LABELS.0 || bytes > LABELS.1 {
        return Err(Status::invalid_argument(format!(
            "metadata has more than {} labels, or more than {} bytes",
            LABELS.0, LABELS.1
        )));
    }
    let endpoint = Endpoint {
        weight: announce.weight,
        zone: Some(announce.zone).filter(|zone| !zone.is_empty()),
        metadata: announce.metadata,
        ..Endpoint::new(address)
    };
    Ok(Registration { service, endpoint, node: announce.node_id, version: announce.version })
}

fn address(text: &str, peer: Option<IpAddr>, vips: VipRange) -> Result<SocketAddr, String> {
    let shown = cut(text);
    let mut address: SocketAddr = text
        .parse()
        .map_err(|_| format!("{shown:?} is no address: expected ip:port, e.g. \"10.0.0.7:9001\""))?;
    let peer = peer.map(|ip| ip.to_canonical());
    if address.ip().is_unspecified() {
        // "Every address of mine": the one that it has come from will do.
        address.set_ip(peer.ok_or_else(|| {
            format!(
                "{shown:?} means where the call comes from, which is not known here: write the IP address"
            )
        })?);
    }
    if let Some(why) = Endpoint::why_not(address, vips) {
        return Err(format!("{shown:?} can't be an endpoint: {why}"));
    }
    if address.ip().is_loopback() && !peer.is_some_and(|ip| ip.is_loopback()) {
        return Err(format!(
            "{shown:?} can be reached on its own host alone: register an address that other hosts can call"
        ));
    }
    Ok(address)
}

/// Not more of what others send than fits into a line.
fn cut(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tonic::Code;

    use super::*;

    const MESH: &str = "
namespace: hello-world.com
services:
  - { discoveryName: server, endpoints: { registered: {} } }
  - { discoveryName: fixed, endpoints: { static: [] } }
";

    fn announce() -> Announce {
        Announce {
            namespace: "hello-world.com".to_owned(),
            service: "server".to_owned(),
            address: "10.0.0.7:9001".to_owned(),
            weight: 3,
            zone: "a".to_owned(),
            metadata: [("version".to_owned(), "v1".to_owned())].into(),
            node_id: "task-1".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    fn from(peer: Option<&str>, announce: Announce) -> Result<Registration, Status> {
        let mesh = bowline_api::parse("mesh.yaml", MESH).unwrap();
        registration(announce, &mesh, peer.map(|ip| ip.parse().unwrap()), VipRange::DEFAULT)
    }

    fn refused(announce: Announce) -> (Code, String) {
        let status = from(Some("10.0.0.7"), announce).unwrap_err();
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn what_is_said_is_registered() {
        let registration = from(Some("10.0.0.7"), announce()).unwrap();
        assert_eq!(registration.service, "server");
        assert_eq!((registration.node.as_str(), registration.version.as_str()), ("task-1", "0.1.0"));
        let endpoint = registration.endpoint;
        assert_eq!((endpoint.address.to_string().as_str(), endpoint.weight), ("10.0.0.7:9001", 3));
        assert_eq!((endpoint.zone.as_deref(), endpoint.metadata["version"].as_str()), (Some("a"), "v1"));
        // Without namespace and zone, which are not needed.
        let bare = Announce { namespace: String::new(), zone: String::new(), weight: 0, ..announce() };
        let endpoint = from(Some("10.0.0.7"), bare).unwrap().endpoint;
        assert_eq!((endpoint.zone, endpoint.weight), (None, 0));
    }

    #[test]
    fn an_unspecified_address_is_where_the_call_comes_from() {
        for (peer, address, registered) in [
            ("10.0.0.9", "0.0.0.0:80", "10.0.0.9:80"),
            ("10.0.0.9", "[::]:80", "10.0.0.9:80"),
            ("::ffff:10.0.0.9", "0.0.0.0:80", "10.0.0.9:80"),
            ("fd00::9", "0.0.0.0:80", "[fd00::9]:80"),
            ("127.0.0.1", "0.0.0.0:80", "127.0.0.1:80"),
        ] {
            let announce = Announce { address: address.to_owned(), ..announce() };
            assert_eq!(from(Some(peer), announce).unwrap().endpoint.address.to_string(), registered);
        }
        let announce = Announce { address: "0.0.0.0:80".to_owned(), ..announce() };
        assert!(from(None, announce).unwrap_err().message().contains("write the IP address"));
    }

    #[test]
    fn services_that_can_not_be_registered() {
        let (code, why) = refused(Announce { service: "servre".to_owned(), ..announce() });
        assert_eq!(code, Code::NotFound);
        assert!(why.contains("no service \"servre\"") && why.contains("did you mean \"server\"?"), "{why}");
        let (code, why) = refused(Announce { namespace: "other.com".to_owned(), ..announce() });
        assert!(code == Code::NotFound && why.contains("hello-world.com"), "{why}");
        let (code, why) = refused(Announce { service: "fixed".to_owned(), ..announce() });
        assert!(code == Code::FailedPrecondition && why.contains("endpoints: { registered: {} }"), "{why}");
        let (_, why) = refused(Announce { service: "x".repeat(100_000), ..announce() });
        assert!(why.len() < 300, "{}", why.len());
    }

    #[test]
    fn addresses_and_values_that_are_none() {
        for (address, words) in [
            ("server:80", "expected ip:port"),
            ("10.0.0.7", "expected ip:port"),
            ("", "expected ip:port"),
            ("10.0.0.7:0", "port 0"),
            ("224.0.0.1:80", "multicast"),
            ("127.255.0.7:80", "VIP range"),
            ("127.0.0.1:80", "on its own host alone"),
        ] {
            let (code, why) = refused(Announce { address: address.to_owned(), ..announce() });
            assert!(code == Code::InvalidArgument && why.contains(words), "{address}: {why}");
        }
        let labels = |n: usize, length: usize| -> BTreeMap<_, _> {
            (0..n).map(|n| (n.to_string(), "x".repeat(length))).collect()
        };
        for (wrong, words) in [
            (Announce { weight: 1001, ..announce() }, "more than 1000"),
            (Announce { zone: "z".repeat(257), ..announce() }, "zone is longer"),
            (Announce { metadata: labels(65, 1), ..announce() }, "64 labels"),
            (Announce { metadata: labels(2, 8192), ..announce() }, "8192 bytes"),
        ] {
            let (code, why) = refused(wrong);
            assert!(code == Code::InvalidArgument && why.contains(words), "{why}");
        }
    }
}
