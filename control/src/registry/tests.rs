use bowline_api::model::{ClientAlias, DnsSource, RegisteredSource};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn endpoint(n: u8) -> Endpoint {
    Endpoint::new(([10, 0, 0, n], 80).into())
}

fn mesh(services: Vec<Service>) -> Arc<Mesh> {
    Arc::new(Mesh { namespace: "hello-world.com".into(), services })
}

fn registered(name: &str) -> Service {
    Service::new(name, Endpoints::Registered(RegisteredSource::default()))
}

fn from_dns(name: &str) -> Service {
    let source = DnsSource { name: "x.internal".into(), port: Some(80), record_type: Default::default() };
    Service::new(name, Endpoints::Dns(source))
}

fn found(service: &str, numbers: &[u8]) -> Change {
    Change::Endpoints {
        service: service.into(),
        endpoints: numbers.iter().map(|n| endpoint(*n)).collect(),
        settled: true,
    }
}

/// What is published when everything due has been.
fn published(registry: &mut Registry, now: &mut Moment) -> Arc<World> {
    while let Some(due) = registry.due() {
        *now = (*now).max(due);
        registry.publish(*now);
    }
    registry.world().clone()
}

fn addresses(world: &World, service: &str) -> Vec<u8> {
    world.services[service]
        .endpoints
        .iter()
        .map(|e| match e.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        })
        .collect()
}

#[test]
fn the_first_world_has_what_the_file_says() {
    let listed = Service::new("listed", Endpoints::Static(vec![endpoint(2), endpoint(1)]));
    let mut registry = Registry::new(mesh(vec![listed, registered("r")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    let world = published(&mut registry, &mut now);
    assert_eq!(addresses(&world, "listed"), [1, 2]);
    assert!(world.services["listed"].settled);
    // Nobody has said yet who is registered.
    assert!(world.services["r"].endpoints.is_empty() && !world.services["r"].settled);
    assert_eq!(registry.due(), None);
}

#[test]
fn additions_are_gathered_and_removals_go_at_once() {
    let mut registry = Registry::new(mesh(vec![registered("r")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    published(&mut registry, &mut now);
    now += Duration::from_secs(1);
    registry.apply(found("r", &[1]), now);
    registry.apply(found("r", &[1, 2]), now + 10 * MS);
    assert_eq!(registry.due(), Some(now + COALESCE));
    assert!(registry.publish(now + COALESCE - MS).is_none());
    let publication = registry.publish(now + COALESCE).unwrap();
    assert_eq!(addresses(&publication.world, "r"), [1, 2]);
    assert_eq!(publication.changed, BTreeSet::from(["r".to_owned()]));
    now += Duration::from_secs(1);
    registry.apply(found("r", &[2]), now);
    assert_eq!(registry.due(), Some(now));
    registry.publish(now).unwrap();
    // But never in quicker succession than the least gap.
    registry.apply(found("r", &[]), now + MS);
    assert_eq!(registry.due(), Some(now + LEAST_GAP));
}

#[test]
fn what_flaps_and_is_back_again_is_no_change() {
    let mut registry = Registry::new(mesh(vec![registered("r")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    registry.apply(found("r", &[1]), now);
    published(&mut registry, &mut now);
    registry.apply(found("r", &[]), now);
    registry.apply(found("r", &[1]), now);
    assert!(registry.publish(now + Duration::from_secs(1)).is_none());
}

#[test]
fn an_unchanged_service_is_shared_between_worlds() {
    let mut registry = Registry::new(mesh(vec![registered("a"), registered("b")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    let before = published(&mut registry, &mut now);
    registry.apply(found("a", &[1]), now);
    let after = published(&mut registry, &mut now);
    assert!(Arc::ptr_eq(&before.services["b"], &after.services["b"]));
    assert!(!Arc::ptr_eq(&before.services["a"], &after.services["a"]));
}

#[test]
fn a_list_that_would_empty_a_service_waits_for_somebody() {
    let mut registry = Registry::new(mesh(vec![from_dns("d")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    registry.apply(found("d", &[1, 2]), now);
    published(&mut registry, &mut now);
    registry.apply(found("d", &[]), now);
    assert_eq!(addresses(&published(&mut registry, &mut now), "d"), [1, 2]);
    assert_eq!(registry.held()["d"].endpoints, 2);
    assert!(!registry.confirm("other", now));
    assert!(registry.confirm("d", now));
    assert!(addresses(&published(&mut registry, &mut now), "d").is_empty());
    assert!(registry.held().is_empty());
    // Once: the next time is another matter.
    registry.apply(found("d", &[1]), now);
    published(&mut registry, &mut now);
    registry.apply(found("d", &[]), now);
    assert_eq!(addresses(&published(&mut registry, &mut now), "d"), [1]);
    // And an endpoint that comes back ends it.
    registry.apply(found("d", &[3]), now);
    assert_eq!(addresses(&published(&mut registry, &mut now), "d"), [3]);
    assert!(registry.held().is_empty());
}

#[test]
fn what_registers_itself_may_all_go() {
    let mut registry = Registry::new(mesh(vec![registered("r")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    registry.apply(found("r", &[1]), now);
    published(&mut registry, &mut now);
    registry.apply(found("r", &[]), now);
    assert!(addresses(&published(&mut registry, &mut now), "r").is_empty());
}

#[test]
fn a_new_mesh_keeps_what_was_found_unless_it_is_found_elsewhere() {
    let mut registry = Registry::new(mesh(vec![from_dns("d"), registered("gone")]), BTreeMap::new(), false);
    let mut now = Duration::ZERO;
    registry.apply(found("d", &[1]), now);
    published(&mut registry, &mut now);
    let mut with_alias = from_dns("d");
    with_alias.client_aliases =
        vec![ClientAlias { dns_name: "d.hello-world.com".into(), port: 80, test_traffic_rules: None }];
    registry.apply(Change::Mesh(mesh(vec![with_alias])), now);
    registry.set_vips(BTreeMap::from([("d.hello-world.com".into(), Ipv4Addr::new(127, 255, 0, 7))]), now);
    let world = published(&mut registry, &mut now);
    assert_eq!(addresses(&world, "d"), [1]);
    assert_eq!(world.services["d"].vips.len(), 1);
    assert!(!world.services.contains_key("gone"));
    // Another source: what is known stays until the new one has spoken.
    registry.apply(Change::Mesh(mesh(vec![registered("d")])), now);
    let world = published(&mut registry, &mut now);
    assert_eq!((addresses(&world, "d"), world.services["d"].settled), (vec![1], false));
    registry.apply(found("d", &[9]), now);
    assert_eq!(addresses(&published(&mut registry, &mut now), "d"), [9]);
}

/// However wildly it goes, the last word is what is published, and there are no more pushes than the gap allows.
#[test]
fn a_thousand_flaps_a_second_are_some_fifty_pushes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut registry = Registry::new(mesh(vec![registered("r")]), BTreeMap::new(), false);
    let (mut now, mut pushes, mut last) = (Duration::from_secs(1), 0, Vec::new());
    for _ in 0..1000 {
        now += MS;
        last = (0..10).filter(|_| rng.bool()).collect();
        registry.apply(found("r", &last), now);
        pushes += usize::from(registry.publish(now).is_some());
    }
    let world = published(&mut registry, &mut now);
    assert_eq!(addresses(&world, "r"), last);
    assert!((10..=51).contains(&pushes), "{pushes} pushes");
}
