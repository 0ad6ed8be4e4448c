use super::*;

#[test]
fn endpoints_that_only_control_can_find_are_none_and_the_reason_says_so() {
    let text = "namespace: a\nservices:\n\
                - { discoveryName: found, endpoints: { cloudMap: {} } }\n\
                - { discoveryName: own, endpoints: { registered: {} } }\n\
                - { discoveryName: none, endpoints: { static: [] } }\n";
    let mesh = bowline_api::parse("mesh.yaml", text).expect("a valid mesh");
    let snapshot = Snapshot::new(mesh, &BTreeMap::new(), &BTreeMap::new(), None, Tick::ZERO);
    let why: Vec<_> = snapshot.services.iter().map(|s| (s.endpoints.len(), s.why_no_endpoint())).collect();
    for (endpoints, why) in &why[..2] {
        assert!(*endpoints == 0 && why.contains("they come from the control plane"), "{why}");
    }
    assert_eq!(why[2].1, "it has no endpoint to send the request to");
}
