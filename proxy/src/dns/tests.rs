use std::collections::BTreeMap;

use bowline_api::model::Mesh;
use bowline_core::Tick;
use hickory_server::proto::rr::RecordType;

use super::verdict::{Verdict, decide};
use crate::snapshot::Snapshot;

fn snapshot() -> Snapshot {
    let mesh: Mesh = serde_json::from_value(serde_json::json!({
        "namespace": "Hello-World.com",
        "services": [{
            "discoveryName": "server",
            "clientAliases": [{ "dnsName": "server.hello-world.com", "port": 5000 }],
            "endpoints": { "static": [] }
        }]
    }))
    .expect("a mesh");
    let vips = BTreeMap::from([("server.hello-world.com".to_owned(), [127, 255, 0, 7].into())]);
    Snapshot::new(mesh, &vips, &BTreeMap::new(), None, Tick::ZERO)
}

#[test]
fn names_of_the_mesh_have_an_address_and_no_other_record() {
    let snapshot = snapshot();
    let says = |name, record_type| decide(Some(&snapshot), None, name, record_type);
    assert_eq!(says("server.hello-world.com", RecordType::A), Verdict::Vip([127, 255, 0, 7].into()));
    for other in [RecordType::AAAA, RecordType::HTTPS, RecordType::SRV] {
        assert_eq!(says("server.hello-world.com", other), Verdict::NoSuchRecord, "{other}");
    }
}

#[test]
fn names_that_may_come_are_told_from_those_that_can_not() {
    let snapshot = snapshot();
    let says = |name| decide(Some(&snapshot), None, name, RecordType::A);
    assert_eq!(says("new.hello-world.com"), Verdict::Elsewhere { may_come: true });
    assert_eq!(says("xhello-world.com"), Verdict::Elsewhere { may_come: false });
    assert_eq!(says("example.com"), Verdict::Elsewhere { may_come: false });
}

#[test]
fn without_a_mesh_its_names_are_not_yet_known_and_all_others_are() {
    let before = |name| decide(None, Some("hello-world.com"), name, RecordType::A);
    assert_eq!(before("server.hello-world.com"), Verdict::NotYet);
    assert_eq!(before("example.com"), Verdict::Elsewhere { may_come: false });
    let absent = Snapshot::absent("hello-world.com", "no control plane".to_owned(), Tick::ZERO);
    let after = |name| decide(Some(&absent), None, name, RecordType::A);
    assert_eq!(after("server.hello-world.com"), Verdict::NotYet);
    assert_eq!(after("example.com"), Verdict::Elsewhere { may_come: false });
}
