//! What of a Cloud Map instance is an endpoint, and why not. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bowline_api::model::{Endpoint, MAX_WEIGHT};
use bowline_api::vip::VipRange;

/// Most instances that an answer can have.
pub(super) const MOST: usize = 1000;
/// How many instances that are none are told of by name.
const NAMED: usize = 3;

const IPV4: &str = "AWS_INSTANCE_IPV4";
const IPV6: &str = "AWS_INSTANCE_IPV6";
const PORT: &str = "AWS_INSTANCE_PORT";
/// Where ECS writes the zone of a task.
const ZONE: &str = "AVAILABILITY_ZONE";
const WEIGHT: &str = "weight";
/// Attributes that are no labels, because they are somewhere else in the endpoint or are past.
const NO_LABELS: [&str; 6] = [IPV4, IPV6, PORT, ZONE, WEIGHT, "AWS_INIT_HEALTH_STATUS"];

/// An instance as Cloud Map tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: String,
    /// False: Cloud Map knows it to be unhealthy.
    pub(super) healthy: bool,
    pub(super) attributes: HashMap<String, String>,
}

/// The endpoints by address, and what is to be said about them. Unhealthy instances are left out, unless all are.
pub(super) fn endpoints(mut instances: Vec<Instance>, vips: VipRange) -> (Vec<Endpoint>, Vec<String>) {
    let mut notes = Vec::new();
    if instances.len() >= MOST {
        notes.push(format!(
            "Cloud Map has told of {MOST} instances, and there may be more: it tells of no others"
        ));
    }
    // The same of two with one address each time.
    instances.sort_by(|a, b| a.id.cmp(&b.id));
    let (mut healthy, mut unhealthy, mut skipped) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for instance in &instances {
        match endpoint(&instance.attributes, vips) {
            Ok(endpoint) => {
                let list = if instance.healthy { &mut healthy } else { &mut unhealthy };
                list.entry(endpoint.address).or_insert(endpoint);
            }
            Err(why) => skipped.push(format!("instance {:?} is no endpoint: {why}", instance.id)),
        }
    }
    if skipped.len() > NAMED {
        let others = skipped.len() - NAMED;
        skipped.truncate(NAMED);
        skipped.push(format!("{others} others are none either"));
    }
    notes.extend(skipped);
    if healthy.is_empty() && !unhealthy.is_empty() {
        notes.push("all instances are unhealthy, and used all the same".to_owned());
        healthy = unhealthy;
    }
    (healthy.into_values().collect(), notes)
}

/// The endpoint that these attributes describe.
fn endpoint(attributes: &HashMap<String, String>, vips: VipRange) -> Result<Endpoint, String> {
    let get = |name: &str| attributes.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let ip: IpAddr = match (get(IPV4), get(IPV6)) {
        (Some(text), _) => {
            text.parse::<Ipv4Addr>().map_err(|_| format!("{IPV4} {text:?} is no IPv4 address"))?.into()
        }
        (None, Some(text)) => {
            text.parse::<Ipv6Addr>().map_err(|_| format!("{IPV6} {text:?} is no IPv6 address"))?.into()
        }
        (None, None) => return Err(format!("it has neither {IPV4} nor {IPV6}")),
    };
    let port = get(PORT).ok_or_else(|| format!("it has no {PORT}"))?;
    let port: u16 = port.parse().map_err(|_| format!("{PORT} {port:?} is no port"))?;
    let address = SocketAddr::new(ip, port);
    if let Some(why) = Endpoint::why_not(address, vips) {
        return Err(format!("{address}: {why}"));
    }
    let weight = match get(WEIGHT) {
        None => 1,
        Some(text) => text
            .parse()
            .ok()
            .filter(|weight| *weight <= MAX_WEIGHT)
            .ok_or_else(|| format!("{WEIGHT} {text:?} is no whole number from 0 to {MAX_WEIGHT}"))?,
    };
    let labels = attributes.iter().filter(|(name, _)| !NO_LABELS.contains(&name.as_str()));
    let metadata = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    Ok(Endpoint { weight, zone: get(ZONE).map(str::to_owned), metadata, ..Endpoint::new(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, attributes: &[(&str, &str)]) -> Instance {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Instance { id: id.to_owned(), healthy: true, attributes }
    }

    fn at(id: &str, ip: &str) -> Instance {
        instance(id, &[(IPV4, ip), (PORT, "80")])
    }

    fn sick(instance: Instance) -> Instance {
        Instance { healthy: false, ..instance }
    }

    fn shown(instances: &[Instance]) -> (Vec<String>, String) {
        let (endpoints, notes) = endpoints(instances.to_vec(), VipRange::DEFAULT);
        (endpoints.iter().map(|e| e.address.to_string()).collect(), notes.join("\n"))
    }

    #[test]
    fn attributes_become_an_endpoint() {
        let ecs = instance(
            "task",
            &[
                (IPV4, "10.0.0.7"),
                (PORT, "9001"),
                (ZONE, "eu-west-1a"),
                (WEIGHT, "7"),
                ("AWS_INIT_HEALTH_STATUS", "HEALTHY"),
                ("ECS_SERVICE_NAME", "server"),
                ("version", "v1"),
            ],
        );
        let (endpoints, notes) = endpoints(vec![ecs], VipRange::DEFAULT);
        assert!(notes.is_empty());
        let [endpoint] = &endpoints[..] else { panic!("{endpoints:?}") };
        assert_eq!((endpoint.address.to_string().as_str(), endpoint.weight), ("10.0.0.7:9001", 7));
        assert_eq!(endpoint.zone.as_deref(), Some("eu-west-1a"));
        let labels: Vec<_> = endpoint.metadata.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["ECS_SERVICE_NAME=server", "version=v1"]);
    }

    #[test]
    fn either_kind_of_address_will_do_and_ipv4_comes_first() {
        let six = instance("6", &[(IPV6, "fd00::7"), (PORT, "80")]);
        let both = instance("46", &[(IPV6, "fd00::7"), (IPV4, "10.0.0.7"), (PORT, "80")]);
        assert_eq!(shown(&[six, both]).0, ["10.0.0.7:80", "[fd00::7]:80"]);
    }

    #[test]
    fn what_is_no_endpoint_is_left_out_with_a_reason() {
        for (attributes, words) in [
            (&[(PORT, "80")][..], "neither AWS_INSTANCE_IPV4 nor AWS_INSTANCE_IPV6"),
            (&[(IPV4, " "), (PORT, "80")], "neither AWS_INSTANCE_IPV4"),
            (&[(IPV4, "10.0.0.1")], "no AWS_INSTANCE_PORT"),
            (&[(IPV4, "fd00::7"), (PORT, "80")], "no IPv4 address"),
            (&[(IPV6, "10.0.0.1"), (PORT, "80")], "no IPv6 address"),
            (&[(IPV4, "10.0.0.1"), (PORT, "http")], "no port"),
            (&[(IPV4, "10.0.0.1"), (PORT, "65536")], "no port"),
            (&[(IPV4, "10.0.0.1"), (PORT, "0")], "port 0"),
            (&[(IPV4, "127.255.0.7"), (PORT, "80")], "VIP range"),
            (&[(IPV4, "10.0.0.1"), (PORT, "80"), (WEIGHT, "1001")], "0 to 1000"),
            (&[(IPV4, "10.0.0.1"), (PORT, "80"), (WEIGHT, "-1")], "0 to 1000"),
            (&[("AWS_ALIAS_DNS_NAME", "lb.test")], "neither"),
        ] {
            let (found, notes) = shown(&[instance("bad", attributes), at("good", "10.0.0.2")]);
            assert_eq!(found, ["10.0.0.2:80"]);
            assert!(notes.contains("instance \"bad\"") && notes.contains(words), "{notes}");
        }
        let many: Vec<_> = (0..10).map(|n| instance(&n.to_string(), &[])).collect();
        assert!(shown(&many).1.ends_with("7 others are none either"));
    }

    #[test]
    fn unhealthy_ones_are_left_out_unless_all_are() {
        let (one, two) = (at("1", "10.0.0.1"), at("2", "10.0.0.2"));
        assert_eq!(shown(&[one.clone(), sick(two.clone())]), (vec!["10.0.0.1:80".to_owned()], String::new()));
        let (found, notes) = shown(&[sick(one.clone()), sick(two)]);
        assert_eq!((found.len(), notes.contains("all instances are unhealthy")), (2, true));
        // A healthy one that can't be called is no help.
        let (found, _) = shown(&[sick(one), instance("3", &[])]);
        assert_eq!(found, ["10.0.0.1:80"]);
        assert_eq!(shown(&[]), (vec![], String::new()));
    }

    #[test]
    fn the_order_means_nothing_and_an_address_counts_once() {
        let (b, mut a) = (at("b", "10.0.0.1"), at("a", "10.0.0.1"));
        a.attributes.insert(WEIGHT.to_owned(), "5".to_owned());
        for list in [[a.clone(), b.clone()], [b, a]] {
            let (endpoints, _) = endpoints(list.to_vec(), VipRange::DEFAULT);
            assert_eq!((endpoints.len(), endpoints[0].weight), (1, 5));
        }
    }

    #[test]
    fn a_full_answer_may_not_be_all() {
        let many: Vec<_> =
            (0..MOST).map(|n| at(&n.to_string(), &format!("10.0.{}.{}", n / 250, n % 250))).collect();
        assert!(shown(&many).1.contains("there may be more"));
        assert_eq!(shown(&many[1..]).1, "");
    }
}
