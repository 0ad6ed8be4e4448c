use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::snapshot::Snapshot;

/// A service with endpoints `(zone, priority)` and these keys of `loadBalancing`.
fn service(endpoints: &[(&str, u32)], balancing: &str) -> Arc<Service> {
    snapshot(endpoints, balancing, None).services[0].clone()
}

fn snapshot(endpoints: &[(&str, u32)], balancing: &str, previous: Option<&Snapshot>) -> Snapshot {
    let list: Vec<_> = (1..)
        .zip(endpoints)
        .map(|(n, (zone, priority))| {
            let zone = if zone.is_empty() { String::new() } else { format!(", zone: {zone}") };
            format!("{{ address: '10.0.0.{n}:1', priority: {priority}{zone} }}")
        })
        .collect();
    let text = format!(
        "namespace: a\nservices:\n- discoveryName: server\n  endpoints: {{ static: [{}] }}\n  \
         healthCheck: {{ tcp: {{}} }}\n  loadBalancing: {{ {balancing} }}\n",
        list.join(", ")
    );
    let mesh = bowline_api::parse("mesh.yaml", &text).expect("a valid mesh");
    Snapshot::new(mesh, &BTreeMap::new(), &BTreeMap::new(), previous, Tick::ZERO)
}

fn unhealthy(service: &Service, indices: &[usize]) {
    for index in indices {
        service.endpoints[*index].shared.checked.become_now(Health::Unhealthy, Tick::ZERO);
    }
}

fn shares(service: &Service, zone: Option<&str>, now: Tick) -> Shares {
    let mut shares = Shares::default();
    service.shares(zone, now, &mut shares);
    shares
}

/// What each endpoint gets, in percent.
fn percents(service: &Service, zone: Option<&str>) -> Vec<u32> {
    let shares = shares(service, zone, Tick::ZERO);
    let weight = |index: usize| match shares.active.contains(&(index as u32)) {
        true => f64::from(shares.weights[index]),
        false => 0.0,
    };
    let sum: f64 = (0..service.endpoints.len()).map(weight).sum();
    (0..service.endpoints.len()).map(|index| (weight(index) * 100.0 / sum.max(1.0)).round() as u32).collect()
}

const EVEN: [(&str, u32); 6] = [("a", 0), ("a", 0), ("b", 0), ("b", 0), ("c", 0), ("c", 0)];

#[test]
fn a_callers_own_zone_serves_it_while_it_can() {
    let even = service(&EVEN, "");
    assert_eq!(percents(&even, Some("b")), [0, 0, 50, 50, 0, 0]);
    let untouched = shares(&even, None, Tick::ZERO);
    assert_eq!((untouched.weights, untouched.levels[0].unzoned), (vec![1; 6], Some(Unzoned::NotLocal)));
    assert_eq!(percents(&even, Some("nowhere")), percents(&service(&EVEN, "zoneAware: false"), Some("b")));
    // One of the zone is away: it has a fifth of what is left for a third of the callers.
    unhealthy(&even, &[2]);
    let spilled = percents(&even, Some("b"));
    assert_eq!(
        shares(&even, Some("b"), Tick::ZERO).levels[0].unzoned,
        Some(Unzoned::TooFew),
        "5 for 3 zones"
    );
    assert_eq!(spilled, [20, 20, 0, 20, 20, 20]);
    let eight = service(&[EVEN.as_slice(), &[("a", 0), ("c", 0)]].concat(), "");
    unhealthy(&eight, &[2]);
    let spilled = percents(&eight, Some("b"));
    assert_eq!((spilled[3], spilled[2]), (43, 0), "1/7 of capacity for 1/3 of callers: 3/7 stay");
    assert_eq!(percents(&eight, Some("a")), [33, 33, 0, 0, 0, 0, 33, 0]);
}

#[test]
fn zones_have_the_weights_that_were_set() {
    let service = service(&EVEN, "zoneWeights: { a: 3, b: 1 }");
    assert_eq!(percents(&service, Some("c")), [38, 38, 13, 13, 0, 0]);
    // A half of 1.4 x 50 % = 70 % of its weight.
    unhealthy(&service, &[0]);
    assert_eq!(percents(&service, None), [0, 68, 16, 16, 0, 0]);
    unhealthy(&service, &[1, 2]);
    assert_eq!(percents(&service, None), [38, 38, 13, 13, 0, 0], "panic is counted without zone c");
}

const LEVELS: [(&str, u32); 8] = [("", 0), ("", 0), ("", 0), ("", 0), ("", 5), ("", 5), ("", 9), ("", 9)];

#[test]
fn a_level_takes_over_what_the_better_one_lacks() {
    let service = service(&LEVELS, "");
    assert_eq!(percents(&service, None), [25, 25, 25, 25, 0, 0, 0, 0]);
    unhealthy(&service, &[0]);
    assert_eq!(percents(&service, None)[4..], [0; 4], "three of four carry all, by 1.4");
    unhealthy(&service, &[1]);
    assert_eq!(percents(&service, None), [0, 0, 35, 35, 15, 15, 0, 0]);
    unhealthy(&service, &[2, 3]);
    assert_eq!(percents(&service, None), [0, 0, 0, 0, 50, 50, 0, 0]);
    unhealthy(&service, &[4, 5, 6, 7]);
    assert_eq!(percents(&service, None), [25, 25, 25, 25, 0, 0, 0, 0], "panic");
    assert!(shares(&service, None, Tick::ZERO).panic());
}

#[test]
fn without_panic_nobody_is_left() {
    for endpoints in [&EVEN[..2], &LEVELS] {
        let service = service(endpoints, "panicPercent: 0");
        unhealthy(&service, &(0..endpoints.len()).collect::<Vec<_>>());
        let shares = shares(&service, None, Tick::ZERO);
        assert!(shares.active.is_empty() && !shares.panic(), "{shares:?}");
    }
}

#[test]
fn a_new_endpoint_grows_into_its_share() {
    let keys = "slowStartSeconds: 10, policy: random";
    let before = snapshot(&EVEN[..2], keys, None);
    assert_eq!(shares(&before.services[0], None, Tick::ZERO).next, None, "nobody is new at the start");
    let after = snapshot(&EVEN[..3], keys, Some(&before)).services[0].clone();
    let at = |seconds| shares(&after, None, Tick::ZERO.after(Duration::from_secs(seconds)));
    let (begun, half, grown) = (at(0), at(5), at(11));
    assert_eq!(
        (begun.weights, half.weights, grown.weights),
        (vec![100, 100, 10], vec![100, 100, 50], vec![1; 3])
    );
    assert_eq!((half.next, grown.next), (Some(Tick::ZERO.after(Duration::from_millis(5500))), None));
    // One that is found to be well again begins anew.
    let (away, back) = (Tick::ZERO.after(Duration::from_secs(60)), Tick::ZERO.after(Duration::from_secs(70)));
    after.endpoints[0].shared.checked.become_now(Health::Healthy, away);
    assert_eq!(shares(&after, None, away).next, None, "it had never been away");
    after.endpoints[0].shared.checked.become_now(Health::Unhealthy, away);
    after.endpoints[0].shared.checked.become_now(Health::Healthy, back);
    assert_eq!(shares(&after, None, back).weights, [10, 100, 100]);
}

#[test]
fn a_key_goes_by_neither_zone_nor_age() {
    let keys = "policy: maglev, hash: { path: null }, slowStartSeconds: 10";
    let keys = keys.replace("{ path: null }", "path");
    let service = service(&EVEN, &keys);
    let shares = shares(&service, Some("a"), Tick::ZERO);
    assert_eq!((shares.weights, shares.active.len()), (vec![1; 6], 6));
    assert!(shares.levels[0].zones.is_empty() && shares.levels[0].unzoned.is_none());
}
