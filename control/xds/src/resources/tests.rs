use super::*;
use crate::testing::{state, world};
use crate::world::ServiceState;
use ResourceType::{Cluster, Endpoint, Listener, Route};

fn changed(now: &Resources, since: &Resources) -> Option<Vec<(ResourceType, String)>> {
    let changes = now.changes_since(since.stamp())?;
    Some(changes.map(|(of, name)| (*of, name.to_string())).collect())
}

#[test]
fn what_has_not_changed_is_shared() {
    for kind in ClientKind::ALL {
        let mut world = world([state("a", &[1]), state("b", &[1])]);
        let first = Resources::build(kind, 1, &world, None);
        world.services.insert("b".into(), Arc::new(state("b", &[1, 2])));
        let second = Resources::build(kind, 2, &world, Some(&first));
        let same = |of, name| Arc::ptr_eq(first.get(of, name).unwrap(), second.get(of, name).unwrap());
        assert!(same(Cluster, "a") && same(Endpoint, "a") && same(Cluster, "b"), "{kind}");
        assert!(!same(Endpoint, "b"), "{kind}");
        assert_eq!(
            changed(&second, &first),
            Some(vec![(Endpoint, "b".to_owned())]),
            "{kind}: and nothing else"
        );
        assert_eq!(changed(&second, &second), Some(Vec::new()));
        assert_eq!(second.services_changed_since(&first), Some(["b".into()].into()));
        assert_eq!((second.kind(), second.revision(), second.namespace()), (kind, 2, "hello-world.com"));
    }
}

#[test]
fn versions_are_those_of_the_content_alone() {
    let mut labelled = state("a", &[1, 2]);
    for label in ["a", "b", "c", "d", "e"] {
        labelled.endpoints[0].metadata.insert(label.into(), "x".into());
    }
    for kind in ClientKind::ALL {
        let build = || Resources::build(kind, 1, &world([labelled.clone()]), None);
        let (one, other) = (build(), build());
        for of in ResourceType::ALL {
            let versions =
                |resources: &Resources| resources.all(of).map(|r| r.version.clone()).collect::<Vec<_>>();
            assert_eq!(versions(&one), versions(&other), "{kind} {of}");
        }
    }
    let version = |state: ServiceState| {
        Resources::build(ClientKind::Bowline, 1, &world([state]), None).get(Endpoint, "a").unwrap().hash
    };
    let mut moved = labelled.clone();
    let label = moved.endpoints[0].metadata.remove("a").unwrap();
    moved.endpoints[1].metadata.insert("a".into(), label);
    assert_ne!(version(moved), version(labelled.clone()), "a label of another endpoint");
    let unsettled = ServiceState { settled: false, ..labelled.clone() };
    assert_ne!(version(unsettled), version(labelled), "our own proxies must hear that it is whole");
}

#[test]
fn who_is_too_far_behind_or_from_elsewhere_looks_at_all() {
    let mut world = world([state("a", &[1])]);
    let first = Resources::build(ClientKind::Bowline, 1, &world, None);
    let mut last = first.clone();
    for revision in 2..2 + CHANGES_KEPT as u64 {
        world.services.insert("a".into(), Arc::new(state("a", &[revision as u16])));
        last = Resources::build(ClientKind::Bowline, revision, &world, Some(&last));
    }
    assert_eq!(changed(&last, &first).unwrap().len(), CHANGES_KEPT);
    let next = Resources::build(ClientKind::Bowline, 9999, &world, Some(&last));
    assert_eq!(changed(&next, &first), None);
    // Two that grew from one have the same revision, and not the same changes.
    let fork = Resources::build(ClientKind::Bowline, 9999, &world, Some(&last));
    let after = Resources::build(ClientKind::Bowline, 10_000, &world, Some(&next));
    assert!(changed(&after, &next).is_some());
    assert_eq!(changed(&after, &fork), None);
    let elsewhere = World { namespace: "other.com".into(), ..world };
    assert_eq!(changed(&Resources::build(ClientKind::Bowline, 10_001, &elsewhere, Some(&next)), &next), None);
}

#[test]
fn a_name_may_move_from_one_service_to_another() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let mut world = world([state(from, &[1])]);
        let first = Resources::build(ClientKind::Grpc, 1, &world, None);
        let name = format!("{from}.hello-world.com:5000");
        let mut giving = state(from, &[1]);
        let aliases = std::mem::take(&mut giving.service.client_aliases);
        let mut taking = state(to, &[1]);
        taking.service.client_aliases = aliases;
        world.services.insert(from.into(), Arc::new(giving));
        world.services.insert(to.into(), Arc::new(taking));
        let second = Resources::build(ClientKind::Grpc, 2, &world, Some(&first));
        assert_eq!(second.service_of(Listener, &name).map(|name| &**name), Some(to));
        assert!(changed(&second, &first).unwrap().contains(&(Listener, name)));
    }
}

#[test]
fn the_forward_proxy_changes_only_with_names() {
    let mut world = world([state("a", &[1])]);
    let first = Resources::build(ClientKind::Envoy, 1, &world, None);
    assert_eq!(first.service_of(Route, "outbound"), None);
    world.services.insert("b".into(), Arc::new(state("b", &[1])));
    let second = Resources::build(ClientKind::Envoy, 2, &world, Some(&first));
    assert!(changed(&second, &first).unwrap().contains(&(Route, "outbound".to_owned())));
    world.services.remove("a");
    let third = Resources::build(ClientKind::Envoy, 3, &world, Some(&second));
    let gone = changed(&third, &second).unwrap();
    for one in [(Cluster, "a"), (Endpoint, "a"), (Listener, "a.hello-world.com:5000"), (Route, "outbound")] {
        assert!(gone.contains(&(one.0, one.1.to_owned())), "{one:?}");
    }
}
