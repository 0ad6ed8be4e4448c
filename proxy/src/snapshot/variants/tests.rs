use std::sync::Arc;

use bowline_core::Tick;

use super::*;
use crate::snapshot::{Service, Snapshot};

const MESH: &str = "namespace: a\nservices:\n\
    - discoveryName: server\n  \
      endpoints: { static: [\n    \
        { address: '10.0.0.1:1', metadata: { version: v1 } },\n    \
        { address: '10.0.0.2:1', metadata: { version: v2 } },\n    \
        { address: '10.0.0.3:1', metadata: { version: v2, deployment: test } } ] }\n  \
      clientAliases: [{ port: 80, testTrafficRules: { header: { name: x-test } } }]\n  \
      loadBalancing: { subset: { version: v2 } }\n  \
      routes: [\n    \
        { to: [{ service: server, subset: { version: v1 } }, { service: server, subset: { version: v9 } }] },\n    \
        { to: [{ service: server, subset: { version: v1, deployment: test } }] } ]\n";

fn snapshot(text: &str, previous: Option<&Snapshot>) -> Snapshot {
    let mesh = bowline_api::parse("mesh.yaml", text).expect("a valid mesh");
    Snapshot::new(mesh, &BTreeMap::new(), &BTreeMap::new(), previous, Tick::ZERO)
}

fn hosts(service: &Service) -> Vec<u8> {
    let last = |e: &Endpoint| match e.shared.addr.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    service.endpoints.iter().map(last).collect()
}

fn variant<'a>(snapshot: &'a Snapshot, key: &str) -> &'a Arc<Service> {
    let keys: Vec<_> = snapshot.variants.iter().map(|v| &v.key).collect();
    snapshot.variants.iter().find(|v| v.key == key).unwrap_or_else(|| panic!("{key} is not in {keys:?}"))
}

#[test]
fn routes_and_rules_make_variants_that_share_with_their_service() {
    let snapshot = snapshot(MESH, None);
    let server = &snapshot.services[0];
    assert_eq!(hosts(server), [2], "narrowed, and without those for test traffic");
    assert_eq!(server.all_endpoints().count(), 3);
    let v1 = variant(&snapshot, "server{version=v1}");
    assert_eq!((hosts(v1), v1.name.as_str()), (vec![1], "server"));
    assert!(Arc::ptr_eq(&v1.shared, &server.shared) && Arc::ptr_eq(&v1.budget, &server.budget));
    let shared = server.all_endpoints().find(|e| e.shared.addr == v1.endpoints[0].shared.addr);
    assert!(shared.is_some_and(|e| Arc::ptr_eq(&e.shared, &v1.endpoints[0].shared)));
    assert_eq!(hosts(variant(&snapshot, "server{deployment=test,version=v2}")), [3]);
    let none = variant(&snapshot, "server{version=v9}").why_no_endpoint();
    assert!(none.contains("version: v9: version is v1 (1), v2 (2)"), "{none}");
    let apart = variant(&snapshot, "server{deployment=test,version=v1}").why_no_endpoint();
    assert!(apart.contains("each is there, but not together"), "{apart}");
    assert_eq!(snapshot.variants.len(), 4);
}

#[test]
fn endpoints_keep_their_state_when_the_subset_changes() {
    let before = snapshot(MESH, None);
    let after =
        snapshot(&MESH.replace("subset: { version: v2 } }", "subset: { version: v1 } }"), Some(&before));
    let of = |snapshot: &Snapshot| {
        let mut all: Vec<_> = snapshot.services[0].all_endpoints().map(|e| e.shared.clone()).collect();
        all.sort_by_key(|shared| shared.addr);
        all
    };
    assert_eq!(hosts(&after.services[0]), [1]);
    assert!(of(&before).iter().zip(of(&after)).all(|(one, other)| Arc::ptr_eq(one, &other)));
}

#[test]
fn an_ejection_in_a_variant_is_seen_in_the_service() {
    let text = "namespace: a\nservices:\n\
        - discoveryName: server\n  \
          endpoints: { static: [{ address: '10.0.0.1:1', metadata: { v: a } }, \
            { address: '10.0.0.2:1', metadata: { v: a } }, { address: '10.0.0.3:1' }] }\n  \
          routes: [{ to: [{ service: server, subset: { v: a } }] }]\n";
    let snapshot = snapshot(text, None);
    let (server, variant) = (&snapshot.services[0], variant(&snapshot, "server{v=a}"));
    let (epoch, now) = (server.outlier.epoch(), Tick::ZERO);
    let ejected = (0..5).filter_map(|_| variant.outlier.report(1, now, false)).count();
    assert_eq!((ejected, server.outlier.is_ejected(1, now)), (1, true));
    assert_ne!(server.outlier.epoch(), epoch, "workers are told");
}

#[test]
fn keys_differ_where_labels_do() {
    let labels = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(variant_key("s", &labels(&[])), "s");
    assert_eq!(variant_key("s", &labels(&[("version", "v2")])), "s{version=v2}");
    assert_ne!(
        variant_key("s", &labels(&[("a", "1,b=2")])),
        variant_key("s", &labels(&[("a", "1"), ("b", "2")]))
    );
}
