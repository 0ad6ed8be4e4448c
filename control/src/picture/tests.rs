use std::net::SocketAddr;

use bowline_api::control_admin::{Client, Clients, ServiceSnapshot, Snapshot};
use bowline_api::picture as api;
use bowline_xds::load_report::{self, Latency};
use bowline_xds::world::ServiceState;

use super::page::Look;
use super::*;

/// What `now` is in seconds since 1970.
const ORIGIN: f64 = 1_000_000.0;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn addr(service: usize, endpoint: usize) -> SocketAddr {
    ([10, 0, service as u8, endpoint as u8], 80).into()
}

/// A mesh of so many services, each with so many endpoints; the first of them drains.
fn world(services: usize, endpoints: usize) -> Arc<World> {
    let mut text = "namespace: mesh.test\nservices:\n".to_owned();
    if services == 0 {
        text = text.trim_end().to_owned() + " []\n";
    }
    for service in 0..services {
        text += &format!("  - discoveryName: s{service}\n    clientAliases: [{{ port: 80 }}]\n");
        text += "    endpoints:\n      static:\n";
        for endpoint in 0..endpoints {
            let weight = u32::from(endpoint > 0);
            text += &format!("        - {{ address: \"{}\", weight: {weight} }}\n", addr(service, endpoint));
        }
    }
    let mesh = bowline_api::parse("mesh.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let state = |service: &bowline_api::Service| ServiceState {
        service: service.clone(),
        endpoints: service.endpoints.static_endpoints().to_vec(),
        settled: true,
        vips: BTreeMap::new(),
    };
    let services = mesh.services.iter().map(|s| (s.discovery_name.clone(), Arc::new(state(s)))).collect();
    Arc::new(World { namespace: mesh.namespace, services })
}

/// So many good and failed requests to a service, which took 1 to 2.5 ms.
fn load(service: usize, good: u64, failed: u64) -> ServiceLoad {
    let mut load = ServiceLoad { service: format!("s{service}"), ..ServiceLoad::default() };
    load.requests[1] = good;
    load.requests[4] = failed;
    load.latency = latency(good + failed);
    load
}

fn latency(count: u64) -> Latency {
    let mut latency = Latency::default();
    latency.add(Some(2_500), count);
    latency
}

fn report(period: Duration, services: Vec<ServiceLoad>) -> Report {
    Report { period, services, failures: Vec::new() }
}

/// A picture with a mesh.
struct Stage {
    picture: Picture,
    worlds: Vec<Arc<World>>,
}

impl Stage {
    fn new(services: usize, endpoints: usize) -> Self {
        Stage { picture: Picture::default(), worlds: vec![world(services, endpoints)] }
    }

    fn take(&mut self, client: ClientKey, report: &Report, now: Duration) {
        self.picture.take(client, report, now, ORIGIN + now.as_secs_f64(), &self.worlds);
    }

    fn look<T>(&mut self, now: Duration, see: impl FnOnce(&Picture, Look<'_>) -> T) -> T {
        self.picture.advance(now, &self.worlds);
        let world = &self.worlds[0];
        let service = |(name, state): (&String, &Arc<ServiceState>)| ServiceSnapshot {
            service: name.clone(),
            source: "static".to_owned(),
            vips: BTreeMap::new(),
            endpoints: state.endpoints.clone(),
            settled: true,
            held: false,
        };
        let snapshot = Snapshot {
            namespace: world.namespace.clone(),
            revision: 7,
            services: world.services.iter().map(service).collect(),
            troubles: Vec::new(),
            held_back: None,
        };
        let client = Client {
            id: "a-1".to_owned(),
            kind: "bowline".to_owned(),
            version: "1".to_owned(),
            zone: None,
            caller: "a".to_owned(),
            peer: addr(0, 0),
            protocol: "delta".to_owned(),
            connected_seconds: 1.0,
            acknowledged: 5,
            acknowledged_after_milliseconds: None,
            pushes: 1,
            nacks: 0,
            last_nack: None,
            lost: BTreeMap::new(),
        };
        let clients = Clients { revision: 7, clients: vec![client] };
        let look =
            Look { snapshot: &snapshot, world, clients: &clients, now, unix: ORIGIN + now.as_secs_f64() };
        see(&self.picture, look)
    }

    fn page(&mut self, now: Duration) -> api::Picture {
        self.look(now, Picture::page)
    }
}

#[test]
fn rates_are_those_of_the_last_ten_seconds() {
    let mut stage = Stage::new(2, 2);
    let (a, b) = (stage.picture.join("a-1", "a"), stage.picture.join("b-1", "b"));
    stage.picture.set_live(true, at(0));
    for second in 1..=30 {
        let mut call = load(0, 90, 10);
        call.retries = 5;
        stage.take(a, &report(at(1000), vec![call]), at(second * 1000));
        stage.take(b, &report(at(1000), vec![load(0, 50, 0), load(1, 20, 0)]), at(second * 1000));
    }
    let page = stage.page(at(31_000));
    let service = &page.services[0];
    assert_eq!((service.requests_per_second, service.retries_per_second), (150.0, 5.0));
    assert_eq!(service.success_ratio, Some(1400.0 / 1500.0));
    // In the middle of the bucket, and near its end.
    assert_eq!(service.p50_milliseconds, Some(1.75));
    assert!((service.p99_milliseconds.unwrap() - 2.485).abs() < 1e-9);
    assert_eq!(service.aliases, ["s0.mesh.test:80"]);
    let calls: Vec<_> =
        page.calls.iter().map(|c| (c.from.as_str(), c.to.as_str(), c.requests_per_second)).collect();
    assert_eq!(calls, [("a", "s0", 100.0), ("b", "s0", 50.0), ("b", "s1", 20.0)]);
    assert_eq!((page.now, page.window_seconds, page.revision), (ORIGIN + 31.0, 10, 7));
    // Nothing more is called: of the window that ends a second ago, four seconds had calls; then none.
    for second in 31..=50 {
        stage.take(a, &report(at(1000), vec![]), at(second * 1000));
    }
    assert_eq!(stage.page(at(37_000)).services[0].requests_per_second, 60.0);
    let page = stage.page(at(50_000));
    assert_eq!((page.services[0].requests_per_second, page.services[0].success_ratio), (0.0, None));
    assert_eq!((page.services[0].p50_milliseconds, page.calls.len()), (None, 0));
}

#[test]
fn right_after_a_start_rates_are_those_of_the_time_since() {
    let mut stage = Stage::new(1, 1);
    let a = stage.picture.join("a-1", "a");
    stage.picture.set_live(true, at(0));
    assert_eq!(stage.page(at(100_000)).services[0].requests_per_second, 0.0);
    // It begins with a slot, so that no part of one is missing.
    for second in 101..=107 {
        stage.take(a, &report(at(1000), vec![load(0, 100, 0)]), at(second * 1000));
        if second >= 104 {
            assert_eq!(stage.page(at(second * 1000)).services[0].requests_per_second, 100.0);
        }
    }
}

/// Who reports every ten seconds gives the same rate whenever somebody looks.
#[test]
fn rare_reports_make_steady_rates() {
    let mut stage = Stage::new(1, 1);
    let a = stage.picture.join("a-1", "a");
    for second in 1..=100 {
        if second % 10 == 3 {
            stage.take(a, &report(at(10_000), vec![load(0, 1000, 0)]), at(second * 1000));
        }
        if second > 40 {
            let rate = stage.page(at(second * 1000 + 999)).services[0].requests_per_second;
            assert!((99.0..=101.0).contains(&rate), "{rate} in second {second}");
        }
    }
}

fn endpoint(endpoint: usize, in_flight: u64, ejected: Option<Duration>) -> EndpointLoad {
    let failures_in_a_row = if ejected.is_some() { 1 } else { 0 };
    EndpointLoad { failed: 10, failures_in_a_row, in_flight, ejected, ..EndpointLoad::new(addr(0, endpoint)) }
}

#[test]
fn what_stands_goes_with_the_proxy() {
    let mut stage = Stage::new(1, 3);
    let (a, b) = (stage.picture.join("a-1", "a"), stage.picture.join("b-1", "b"));
    stage.picture.set_live(true, at(0));
    let with =
        |endpoints, in_flight| report(at(1000), vec![ServiceLoad { endpoints, in_flight, ..load(0, 1, 0) }]);
    let thirty = Some(at(30_000));
    stage.take(a, &with(vec![endpoint(1, 3, thirty), endpoint(2, 1, None)], 4), at(10_000));
    stage.take(b, &with(vec![endpoint(1, 0, thirty), endpoint(0, 0, thirty)], 2), at(10_000));
    let page = stage.page(at(13_000));
    let of = |page: &api::Picture, n: usize| {
        let one = &page.services[0].endpoints[n];
        (one.state.clone(), one.ejected_by, one.seen_by, one.in_flight)
    };
    assert_eq!(of(&page, 0), ("draining".to_owned(), 1, 1, 0));
    assert_eq!(of(&page, 1), ("ejected".to_owned(), 2, 2, 3));
    assert_eq!(of(&page, 2), ("active".to_owned(), 0, 1, 1));
    assert_eq!(page.services[0].in_flight, 6);
    // Twenty in the four seconds of which anything is known.
    assert_eq!(page.services[0].endpoints[1].failures_per_second, 5.0);
    assert_eq!((page.services[0].endpoints[1].failing_at, page.services[0].endpoints[2].failing_at), (2, 0));
    // One has come back at one proxy; the other proxy goes.
    stage.take(b, &with(vec![endpoint(1, 0, None)], 2), at(13_000));
    assert_eq!(of(&stage.page(at(13_000)), 1), ("ejected".to_owned(), 1, 2, 3));
    stage.picture.leave(a);
    let page = stage.page(at(13_000));
    assert_eq!(of(&page, 1), ("active".to_owned(), 0, 1, 0));
    assert_eq!((of(&page, 2).2, page.services[0].in_flight), (0, 2));
    // Whoever can't say that it is over any more is not believed for ever.
    assert_eq!(of(&stage.page(at(40_001)), 0).1, 0);
}

#[test]
fn what_the_mesh_does_not_have_is_passed_by() {
    let mut stage = Stage::new(1, 1);
    let a = stage.picture.join("a-1", "a");
    let stranger = EndpointLoad { good: 1, ..EndpointLoad::new(addr(9, 9)) };
    let loads = vec![ServiceLoad { endpoints: vec![stranger], ..load(0, 1, 0) }, load(5, 1, 0)];
    stage.take(a, &report(at(0), loads), at(1000));
    assert_eq!(stage.picture.services.len(), 1);
    assert!(stage.picture.services["s0"].endpoints.is_empty());
    assert!(!stage.picture.clients[&a].in_flight.contains_key("s5"));
    // A service that leaves the mesh is forgotten with its history.
    stage.take(a, &report(at(0), vec![load(0, 1, 0)]), at(30_000));
    stage.worlds = vec![world(0, 0)];
    stage.picture.advance(at(60_000), &stage.worlds);
    assert!(stage.picture.services.is_empty() && stage.picture.clients[&a].in_flight.is_empty());
}

#[test]
fn the_history_goes_on_whether_or_not_somebody_looks() {
    let mut stage = Stage::new(2, 1);
    let a = stage.picture.join("a-1", "a");
    for second in 1..=60 {
        // Somebody looks in the second half.
        stage.picture.set_live(second > 30, at(second * 1000));
        if second > 30 || second % 10 == 0 {
            let period = if second > 30 { 1 } else { 10 };
            let loads = vec![load(0, 100 * period, 0), load(1, 10 * period, 10 * period)];
            stage.take(a, &report(at(period * 1000), loads), at(second * 1000));
        }
    }
    let now = at(62_000);
    let history = stage.look(now, |picture, look| picture.history(Some("s1"), now, look.unix));
    let points: Vec<_> = history.points.iter().map(|p| (p.at - ORIGIN, p.requests_per_second)).collect();
    assert_eq!(points, [10.0, 20.0, 30.0, 40.0, 50.0, 60.0].map(|end| (end, 20.0)));
    assert!(history.points.iter().all(|p| p.success_ratio == Some(0.5) && p.p50_milliseconds == Some(1.75)));
    assert_eq!((history.service.as_deref(), history.step_seconds), (Some("s1"), 10));
    let all = stage.look(now, |picture, look| picture.history(None, now, look.unix));
    assert!(all.points.iter().all(|p| p.requests_per_second == 120.0), "{all:?}");
}

#[test]
fn failures_are_those_of_their_proxy() {
    let mut stage = Stage::new(1, 1);
    let a = stage.picture.join("a-1", "a");
    let failure = load_report::Failure {
        at_micros: 2_000_000 * 1_000_000,
        service: "s0".to_owned(),
        endpoint: Some(addr(0, 0)),
        reason: "connect_failure".to_owned(),
        detail: "refused".to_owned(),
        told: true,
        times: 3,
    };
    let report = Report { failures: vec![failure], ..Report::default() };
    stage.take(a, &report, at(1000));
    let page = stage.page(at(3000));
    let [failure] = &page.failures[..] else { panic!("one failure: {:?}", page.failures) };
    assert_eq!((failure.proxy.as_str(), failure.caller.as_str(), failure.times), ("a-1", "a", 3));
    assert_eq!(failure.at, ORIGIN + 1.0, "its clock runs ahead");
    assert_eq!(page.callers, [api::Caller { caller: "a".to_owned(), proxies: vec!["a-1".to_owned()] }]);
    let [proxy] = &page.proxies[..] else { panic!("one proxy") };
    assert_eq!((proxy.behind, proxy.reported_seconds_ago), (2, Some(2.0)));
    stage.picture.leave(a);
    assert_eq!(stage.page(at(3000)).proxies[0].reported_seconds_ago, None);
    assert_eq!(stage.page(at(3000)).failures.len(), 1, "what has happened has happened");
}

#[test]
fn a_decision_is_explained() {
    let mut stage = Stage::new(2, 4);
    let (a, b) = (stage.picture.join("a-1", "a"), stage.picture.join("b-1", "b"));
    let out = |n| endpoint(n, 0, Some(at(30_000)));
    let with = |endpoints| report(at(1000), vec![ServiceLoad { endpoints, ..load(0, 1, 0) }]);
    stage.take(a, &with(vec![out(1), out(2)]), at(1000));
    stage.take(b, &with(vec![out(1), endpoint(2, 0, None)]), at(1000));
    let behind = |service: &str| match service {
        "s0" => (6, (0..7).map(|n| format!("p{n}")).collect()),
        _ => (6, Vec::new()),
    };
    let mut explain = |url: &str| stage.look(at(2000), |picture, look| picture.explain(url, look, behind));
    let found = explain("http://S0.mesh.test./x?y").unwrap();
    assert_eq!(found.service.as_deref(), Some("s0"));
    assert_eq!(found.candidates, [addr(0, 2), addr(0, 3)]);
    let why: Vec<_> = found.not_candidates.iter().map(|one| (one.address, one.why.as_str())).collect();
    assert_eq!(why, [(addr(0, 0), "weight 0"), (addr(0, 1), "ejected by 2 of 2 proxies that call it")]);
    let steps = found.steps.join("\n");
    for wanted in [
        "s0.mesh.test:80 is an alias of service s0",
        "2 of its 4 endpoints may be picked",
        "10.0.0.2:80 is ejected by 1 of 2 proxies",
        "10.0.0.2:80 has failed last at 1 of 2 proxies",
        "at most 2 retries",
        "revision 6 changed it",
        "p0, p1, p2, p3, p4 and 2 more",
    ] {
        assert!(steps.contains(wanted), "{wanted:?} is missing:\n{steps}");
    }
    assert!(!explain("http://s1.mesh.test/").unwrap().steps.join("").contains("revision 6"));
    for (url, wanted) in [
        ("http://s0.mesh.test:81/", "s0.mesh.test is there with port 80"),
        ("http://s00.mesh.test/", "did you mean s0.mesh.test:80?"),
        ("http://far.example/", "far.example:80 is no alias of namespace mesh.test"),
    ] {
        let found = explain(url).unwrap();
        assert!(found.service.is_none() && found.steps.join("").contains(wanted), "{:?}", found.steps);
    }
    for url in ["", "s0.mesh.test", "/path", "http://"] {
        assert!(explain(url).unwrap_err().to_string().contains("no absolute URL"), "{url}");
    }
}

/// Bytes on the heap, as far as they grow with anything; nodes of maps are taken to be two thirds full.
fn bytes(picture: &Picture) -> usize {
    let node = |bytes: usize| bytes * 3 / 2 + 8;
    let of_client = |client: &super::Client| {
        let service = node(size_of::<(Arc<str>, u64)>());
        node(size_of::<super::Client>()) + client.id.capacity() + client.in_flight.len() * service
    };
    let of_service = |service: &Service| {
        let calls =
            service.calls.values().map(|window| node(size_of::<(Arc<str>, Window)>()) + window.bytes());
        let endpoint = |endpoint: &Endpoint| {
            node(size_of::<(SocketAddr, Endpoint)>())
                + endpoint.window.bytes()
                + endpoint.seen.capacity() * size_of::<Seen>()
        };
        calls.sum::<usize>() + service.endpoints.values().map(endpoint).sum::<usize>()
    };
    picture.clients.values().map(of_client).sum::<usize>()
        + picture.services.values().map(of_service).sum::<usize>()
        + picture.history.bytes()
}

/// A thousand proxies of fifty callers, each of which calls twenty services of ten endpoints, for as long as anything of it is kept.
#[test]
fn a_large_mesh_takes_little_memory() {
    let mut stage = Stage::new(20, 10);
    let clients: Vec<_> =
        (0..1000).map(|n| stage.picture.join(&format!("task-{n}"), &format!("caller-{}", n % 50))).collect();
    let loads = (0..20).map(|service| {
        let one = |n: usize| EndpointLoad {
            good: 9,
            latency: latency(9),
            in_flight: 1,
            ..EndpointLoad::new(addr(service, n))
        };
        ServiceLoad { endpoints: (0..10).map(one).collect(), in_flight: 10, ..load(service, 90, 0) }
    });
    let report = report(QUIET, loads.collect());
    let began = std::time::Instant::now();
    let rounds = 4;
    for round in 1..=rounds {
        for (n, client) in clients.iter().enumerate() {
            stage.take(*client, &report, at(round * 10_000 + n as u64 * 10));
        }
    }
    let each = began.elapsed() / (rounds as u32 * 1000);
    let now = at((rounds + 1) * 10_000);
    let page = stage.page(now);
    let rate = page.services[0].requests_per_second;
    assert!((8_900.0..9_100.0).contains(&rate), "{rate}");
    assert_eq!((page.calls.len(), page.services[0].endpoints[9].seen_by), (1000, 1000));
    assert_eq!(page.services[0].in_flight, 10_000);
    let bytes = bytes(&stage.picture);
    println!("{bytes} bytes for 1,000 proxies, 20 services, 200 endpoints; {each:?} a report");
    assert!(bytes < 16 << 20, "{bytes} bytes");
    // And they are given back.
    clients.into_iter().for_each(|client| stage.picture.leave(client));
    stage.picture.advance(now + at(60_000), &stage.worlds);
    assert!(stage.picture.services.is_empty() && stage.picture.callers.is_empty());
}
