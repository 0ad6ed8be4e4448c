use bowline_api::model::{AppProtocol, Route};

use super::*;
use crate::kind::ClientKind;
use crate::resources::Resources;
use crate::server_session::ServerSession;
use crate::testing::{NAMESPACE, state, world};

fn client(subscription: Subscription) -> ClientSession {
    let node = NodeInfo {
        id: "task".into(),
        namespace: NAMESPACE.into(),
        zone: None,
        version: "1".into(),
        caller: String::new(),
    };
    ClientSession::new(node, subscription)
}

/// Lets both talk until nobody has anything to say; returns what the steps told.
fn talk(client: &mut ClientSession, server: &mut ServerSession, resources: &Resources) -> Vec<Step> {
    let mut up = client.connected();
    let mut steps = Vec::new();
    loop {
        for request in up.drain(..) {
            server.on_delta(request).unwrap();
        }
        let Some(response) = server.next_delta(resources) else { return steps };
        assert!(steps.len() < 100, "they don't come to rest");
        let mut step = client.on_response(response);
        up = std::mem::take(&mut step.requests);
        steps.push(step);
    }
}

fn serve(kind: ClientKind, states: Vec<ServiceState>) -> (ClientSession, Vec<Step>) {
    let mut client = client(Subscription::Namespace);
    let resources = Resources::build(kind, 1, &world(states), None);
    let steps = talk(&mut client, &mut ServerSession::delta(kind), &resources);
    (client, steps)
}

#[test]
fn nothing_is_complete_before_it_has_come() {
    let mut session = client(Subscription::Namespace);
    assert!(!session.is_complete());
    assert!(client(Subscription::Services(BTreeSet::new())).is_complete(), "nobody asked for is nobody");
    assert_eq!(client(Subscription::Services(BTreeSet::new())).connected(), []);
    let resources = Resources::build(ClientKind::Bowline, 1, &world([state("a", &[1])]), None);
    let mut server = ServerSession::delta(ClientKind::Bowline);
    for request in session.connected() {
        server.on_delta(request).unwrap();
    }
    let clusters = server.next_delta(&resources).unwrap();
    let step = session.on_response(clusters);
    assert!(step.changed.is_empty() && session.world().services.is_empty(), "its endpoints have not come");
    assert!(!session.is_complete());
    assert_eq!(step.requests[0].resource_names_subscribe, ["a"], "asked for before the answer");
    for request in step.requests {
        server.on_delta(request).unwrap();
    }
    while let Some(response) = server.next_delta(&resources) {
        session.on_response(response);
    }
    assert!(session.is_complete());
    assert_eq!(session.world(), world([state("a", &[1])]));
    assert_eq!(session.control_version(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_bad_resource_harms_no_other_and_keeps_its_last_good_version() {
    let mut session = client(Subscription::Namespace);
    let good = world([state("a", &[1]), state("b", &[1])]);
    let first = Resources::build(ClientKind::Bowline, 1, &good, None);
    let mut server = ServerSession::delta(ClientKind::Bowline);
    talk(&mut session, &mut server, &first);
    let bad = world([state("a", &[2, 2]), state("b", &[2])]);
    let second = Resources::build(ClientKind::Bowline, 2, &bad, Some(&first));
    let step = session.on_response(server.next_delta(&second).unwrap());
    assert_eq!(step.changed, ["b".to_owned()].into());
    assert_eq!(step.rejected.len(), 1);
    assert_eq!(session.rejected(), step.rejected);
    let nack = step.requests.into_iter().last().unwrap();
    let why = nack.error_detail.clone().unwrap().message;
    assert_eq!(why, "endpoint \"a\": 10.0.0.1:2 is in it twice");
    assert_eq!(server.on_delta(nack).unwrap().nacked.unwrap().names, ["a".into()]);
    assert_eq!(session.service("a").unwrap().endpoints, good.services["a"].endpoints);
    assert_eq!(session.service("b").unwrap().endpoints, bad.services["b"].endpoints);
    let third = Resources::build(ClientKind::Bowline, 3, &good, Some(&second));
    session.on_response(server.next_delta(&third).unwrap());
    assert_eq!((session.rejected(), session.world()), (Vec::new(), good));
}

/// Back at what is held already, or gone altogether, while the stream was broken: then nothing is refused any more.
#[test]
fn what_was_refused_is_asked_for_on_a_new_stream() {
    let good = world([state("a", &[1]), state("b", &[1])]);
    let bad = world([state("a", &[2, 2]), state("b", &[2, 2])]);
    let mut session = client(Subscription::Namespace);
    for (world, refused) in [(&good, 0), (&bad, 2), (&good, 0), (&bad, 2)] {
        let resources = Resources::build(ClientKind::Bowline, 1, world, None);
        talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &resources);
        assert_eq!((session.rejected().len(), session.world()), (refused, good.clone()));
    }
    let empty = Resources::build(ClientKind::Bowline, 1, &world([]), None);
    talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &empty);
    assert_eq!((session.rejected(), session.world()), (Vec::new(), world([])));
}

#[test]
fn a_list_that_is_not_whole_adds_to_what_is_known() {
    let mut session = client(Subscription::Namespace);
    let before = world([state("a", &[1, 2])]);
    let resources = Resources::build(ClientKind::Bowline, 1, &before, None);
    talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &resources);
    // The control plane starts again, and has heard of one.
    let mut partial = ServiceState { settled: false, ..state("a", &[2, 3]) };
    partial.endpoints[0].weight = 7;
    let resources = Resources::build(ClientKind::Bowline, 1, &world([partial]), None);
    talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &resources);
    let merged = session.service("a").unwrap();
    let seen: Vec<(u16, u32)> = merged.endpoints.iter().map(|e| (e.address.port(), e.weight)).collect();
    assert_eq!((seen, merged.settled), (vec![(1, 1), (2, 7), (3, 1)], false));
    let mut restored = client(Subscription::Namespace);
    assert_eq!(restored.restore(session.held()), []);
    assert_eq!(restored.world(), session.world());
    let whole = world([state("a", &[2, 3])]);
    let resources = Resources::build(ClientKind::Bowline, 1, &whole, None);
    talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &resources);
    assert_eq!(session.world(), whole);
}

#[test]
fn what_was_written_down_is_taken_back_piece_by_piece() {
    let (session, _) = serve(ClientKind::Bowline, vec![state("a", &[1]), state("b", &[1])]);
    let mut held = session.held();
    let text = serde_json::to_string(&held).unwrap();
    let mut back = client(Subscription::Namespace);
    assert_eq!(back.restore(serde_json::from_str(&text).unwrap()), []);
    assert_eq!(back.world(), session.world());
    assert!(back.is_complete(), "a control plane that finds it unchanged says nothing");
    // And with it a stream begins where the last one ended.
    let versions = &back.connected()[0].initial_resource_versions;
    assert_eq!(versions.len(), 2);

    let index = held.resources.iter().position(|one| one.name == "b").unwrap();
    held.resources[index].value.replace_range(..4, "AAAA");
    let mut back = client(Subscription::Namespace);
    let rejected = back.restore(held.clone());
    assert_eq!((rejected.len(), rejected[0].name.as_str()), (1, "b"));
    assert_eq!(back.world().services.keys().collect::<Vec<_>>(), ["a"]);

    held.namespace = "other.com".into();
    assert_eq!(client(Subscription::Namespace).restore(held).len(), 4);
}

/// What we serve to Envoy and gRPC, a proxy of ours can read as anybody's.
#[test]
fn standard_resources_make_services_too() {
    let mut states = vec![state("a", &[1, 2]), state("b", &[3]), state("t", &[4])];
    states[0].service.retry.retries = 3;
    states[0].service.app_protocol = Some(AppProtocol::Http2);
    states[1].service.limits = Some(bowline_api::model::Limits::default());
    states[2].service.app_protocol = Some(AppProtocol::Tcp);
    let expected = world(states.clone());
    let (session, steps) = serve(ClientKind::Envoy, states);
    assert!(steps.iter().all(|step| step.rejected.is_empty()), "{steps:?}");
    assert!(session.is_complete());
    assert_eq!(session.control_version(), None);
    let world = session.world();
    assert_eq!(world.services.keys().collect::<Vec<_>>(), expected.services.keys().collect::<Vec<_>>());
    for (name, state) in &expected.services {
        let read = &world.services[name];
        assert_eq!(read.endpoints, state.endpoints, "{name}");
        assert_eq!(read.service.client_aliases, state.service.client_aliases, "{name}");
        assert_eq!(read.vips, state.vips, "{name}");
        assert_eq!(read.service.timeout.connect_seconds, state.service.timeout.connect_seconds);
        assert_eq!(read.service.outlier_detection, state.service.outlier_detection);
        if let Some(protocol) = state.service.app_protocol {
            assert_eq!(read.service.app_protocol, Some(protocol), "{name}");
        }
    }
    assert_eq!(world.services["a"].service.retry.retries, 3);
    assert_eq!(world.services["b"].service.limits, expected.services["b"].service.limits);

    let (session, steps) = serve(ClientKind::Grpc, vec![state("a", &[1])]);
    assert!(steps.iter().all(|step| step.rejected.is_empty()), "{steps:?}");
    let read = session.service("a").expect("by its api_listener");
    assert_eq!(read.service.client_aliases, state("a", &[1]).service.client_aliases);
    assert_eq!(read.endpoints.len(), 1);
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let mut session = client(Subscription::Namespace);
    let response =
        DeltaDiscoveryResponse { type_url: "x.Secret".into(), nonce: "7".into(), ..Default::default() };
    let step = session.on_response(response);
    assert_eq!(step.requests.len(), 1);
    assert!(step.requests[0].error_detail.is_some() && step.requests[0].response_nonce == "7");
}

#[test]
fn what_routes_lead_to_is_asked_for_too() {
    let target = |name: &str| bowline_api::model::RouteTarget {
        service: name.to_owned(),
        subset: BTreeMap::new(),
        weight: 1,
    };
    let routed = |name: &str, to: &[&str]| {
        let mut state = state(name, &[1]);
        state.service.routes =
            vec![Route { to: to.iter().map(|name| target(name)).collect(), ..Route::default() }];
        state
    };
    let others = || [state("b", &[2]), state("c", &[3]), state("d", &[4])];
    let build = |revision, first| {
        Resources::build(ClientKind::Bowline, revision, &world(std::iter::once(first).chain(others())), None)
    };
    let mut session = client(Subscription::Services(BTreeSet::from(["a".to_owned()])));
    let mut server = ServerSession::delta(ClientKind::Bowline);
    let held = |session: &ClientSession| session.world().services.keys().cloned().collect::<Vec<_>>();
    talk(&mut session, &mut server, &build(1, routed("a", &["b", "c"])));
    assert_eq!(held(&session), ["a", "b", "c"]);
    assert!(session.is_complete());
    // One is led to no more, and another one is.
    let second = build(2, routed("a", &["c", "d"]));
    let mut changed = BTreeSet::new();
    while let Some(response) = server.next_delta(&second) {
        let step = session.on_response(response);
        changed.extend(step.changed);
        for request in step.requests {
            server.on_delta(request).unwrap();
        }
    }
    assert_eq!(held(&session), ["a", "c", "d"]);
    assert_eq!(changed, BTreeSet::from(["a", "b", "d"].map(str::to_owned)));
    // A new stream asks for the same at once.
    let first = &session.connected()[0];
    let mut asked = first.resource_names_subscribe.clone();
    asked.sort();
    assert_eq!(asked, ["a", "c", "d"]);
}

/// Every key of the model: all that a proxy of ours does comes over the stream.
#[test]
fn our_own_get_the_sample_of_everything_whole() {
    let sample = include_str!("../../../api/src/schema/everything.json");
    let mesh: bowline_api::Mesh = serde_json::from_str(sample).unwrap();
    let mut states = Vec::new();
    for (service, number) in mesh.services.into_iter().zip(1u8..) {
        let mut state = ServiceState { service, ..state("a", &[1, 2]) };
        // Proxies of this version pass over what it can't do yet.
        state.service.ingress_port_override = None;
        state.service.tls = None;
        state.vips = [("s.a".to_owned(), [127, 255, 0, number].into())].into();
        if let bowline_api::model::Endpoints::Static(endpoints) = &state.service.endpoints {
            state.endpoints.clone_from(endpoints);
            // What counts of priorities is their order.
            state.endpoints.iter_mut().for_each(|endpoint| endpoint.priority = 0);
        }
        states.push(state);
    }
    assert!(states.iter().any(|state| !state.service.routes.is_empty()));
    let expected = world(states.clone());
    let (session, steps) = serve(ClientKind::Bowline, states);
    assert!(steps.iter().all(|step| step.rejected.is_empty()), "{steps:?}");
    assert_eq!(session.world(), expected);
}

#[test]
fn copies_fallbacks_and_what_an_ingress_exposes_are_asked_for_too() {
    let mut first = state("a", &[1]);
    let mirror = bowline_api::model::Mirror { service: "b".into(), percent: 1 };
    first.service.routes = vec![Route { mirror: Some(mirror), ..Route::default() }];
    let mut second = state("b", &[1]);
    let fallback =
        bowline_api::model::Fallback { service: Some("c".into()), ..bowline_api::model::Fallback::default() };
    second.service.circuit_breaker = Some(bowline_api::model::CircuitBreaker {
        fallback: Some(fallback),
        ..bowline_api::model::CircuitBreaker::default()
    });
    let mut third = state("c", &[1]);
    third.service.ingress = Some(bowline_api::model::Ingress { expose: vec!["d".into(), "a".into()] });
    let all = world([first, second, third, state("d", &[1]), state("e", &[1])]);
    let resources = Resources::build(ClientKind::Bowline, 1, &all, None);
    let mut session = client(Subscription::Services(BTreeSet::from(["a".to_owned()])));
    talk(&mut session, &mut ServerSession::delta(ClientKind::Bowline), &resources);
    assert_eq!(session.world().services.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert!(session.is_complete());
}
