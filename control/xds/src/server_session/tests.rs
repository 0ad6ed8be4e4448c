use std::collections::HashMap;

use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::testing::{state, world};
use crate::world::{ServiceState, World};
use ResourceType::{Cluster, Endpoint, Listener, Route};

/// A stream and the world at its end.
struct Bench {
    session: ServerSession,
    world: World,
    resources: Resources,
}

impl Bench {
    fn new(session: ServerSession, states: Vec<ServiceState>) -> Self {
        let world = world(states);
        let resources = Resources::build(session.kind(), 1, &world, None);
        Bench { session, world, resources }
    }

    fn put(&mut self, state: ServiceState) {
        self.world.services.insert(state.service.discovery_name.clone(), Arc::new(state));
        self.publish();
    }

    fn remove(&mut self, name: &str) {
        self.world.services.remove(name);
        self.publish();
    }

    fn publish(&mut self) {
        let revision = self.resources.revision() + 1;
        self.resources = Resources::build(self.session.kind(), revision, &self.world, Some(&self.resources));
    }

    fn ask(&mut self, of: ResourceType, names: &[&str]) -> Heard {
        self.session.on_delta(delta(of, names)).unwrap()
    }

    fn next(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.session.next_delta(&self.resources)
    }

    /// The next response must be of that type, with these resources and removals.
    fn expect(&mut self, of: ResourceType, names: &[&str], removed: &[&str]) -> DeltaDiscoveryResponse {
        let response = self.next().expect("something to say");
        assert_eq!(told(&response), (of, owned(names), owned(removed)));
        response
    }

    fn ack(&mut self, response: &DeltaDiscoveryResponse) -> Heard {
        self.session.on_delta(answer(response, None)).unwrap()
    }

    fn nack(&mut self, response: &DeltaDiscoveryResponse, why: &str) -> Heard {
        self.session.on_delta(answer(response, Some(why))).unwrap()
    }

    fn quiet(&mut self) {
        assert_eq!(self.next().map(|response| told(&response)), None);
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn told(response: &DeltaDiscoveryResponse) -> (ResourceType, Vec<String>, Vec<String>) {
    let names = response.resources.iter().map(|resource| resource.name.clone()).collect();
    (ResourceType::of_url(&response.type_url).unwrap(), names, response.removed_resources.clone())
}

fn delta(of: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: of.type_url().into(),
        resource_names_subscribe: owned(names),
        ..DeltaDiscoveryRequest::default()
    }
}

fn answer(response: &DeltaDiscoveryResponse, why: Option<&str>) -> DeltaDiscoveryRequest {
    let error = |why: &str| Status { code: 3, message: why.into(), details: Vec::new() };
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: why.map(error),
        ..DeltaDiscoveryRequest::default()
    }
}

fn envoy(states: Vec<ServiceState>) -> Bench {
    let mut bench = Bench::new(ServerSession::delta(ClientKind::Envoy), states);
    let names: Vec<String> = bench.world.services.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.ask(Cluster, &[]);
    bench.ask(Endpoint, &names);
    bench.ask(Listener, &[]);
    bench.ask(Route, &["outbound"]);
    while let Some(response) = bench.next() {
        bench.ack(&response);
    }
    bench
}

#[test]
fn what_is_named_comes_first_and_goes_last() {
    let mut bench = envoy(vec![state("a", &[1])]);
    bench.remove("a");
    bench.put(state("b", &[1]));
    let cluster = bench.expect(Cluster, &["b"], &[]);
    bench.quiet();
    bench.ack(&cluster);
    let listeners = bench.expect(Listener, &["b.hello-world.com:5000"], &["a.hello-world.com:5000"]);
    let route = bench.expect(Route, &["outbound"], &[]);
    bench.quiet();
    bench.ack(&listeners);
    bench.quiet();
    bench.ack(&route);
    let gone = bench.expect(Cluster, &[], &["a"]);
    let endpoints = bench.expect(Endpoint, &[], &["a"]);
    bench.ack(&gone);
    bench.ack(&endpoints);
    bench.quiet();
    assert_eq!(bench.session.acknowledged(), bench.resources.revision());
}

#[test]
fn one_response_at_a_time_has_all_that_changed_meanwhile() {
    let mut bench =
        Bench::new(ServerSession::delta(ClientKind::Bowline), vec![state("a", &[1]), state("b", &[1])]);
    bench.ask(Endpoint, &["a", "b"]);
    let first = bench.expect(Endpoint, &["a", "b"], &[]);
    for port in 2..9 {
        bench.put(state("a", &[port]));
        bench.quiet();
    }
    assert_eq!(bench.ack(&first).acked, Some((Endpoint, 1)));
    let second = bench.expect(Endpoint, &["a"], &[]);
    assert_eq!(bench.session.state()[0].acknowledged, 1);
    assert_eq!(bench.ack(&second).acked, Some((Endpoint, 8)));
    bench.quiet();
    let again = bench.ack(&second);
    assert!(again.stale_nonce && again.acked.is_none());
}

#[test]
fn who_comes_back_gets_only_what_differs() {
    let mut bench = Bench::new(
        ServerSession::delta(ClientKind::Bowline),
        vec![state("same", &[1]), state("other", &[1]), state("new", &[1])],
    );
    let version = bench.resources.get(Cluster, "same").unwrap().version.to_string();
    let held: HashMap<String, String> =
        [("same", version.as_str()), ("other", "1"), ("gone", "1")].map(|(n, v)| (n.into(), v.into())).into();
    let request = DeltaDiscoveryRequest { initial_resource_versions: held, ..delta(Cluster, &[]) };
    bench.session.on_delta(request.clone()).unwrap();
    bench.expect(Cluster, &["new", "other"], &["gone"]);
    // By name, names that there aren't are told too.
    bench.session = ServerSession::delta(ClientKind::Bowline);
    let names = owned(&["same", "gone", "never"]);
    bench.session.on_delta(DeltaDiscoveryRequest { resource_names_subscribe: names, ..request }).unwrap();
    let response = bench.expect(Cluster, &[], &["gone", "never"]);
    bench.ack(&response);
    bench.put(state("never", &[1]));
    bench.expect(Cluster, &["never"], &[]);
}

#[test]
fn who_has_everything_hears_so() {
    let mut bench = Bench::new(ServerSession::delta(ClientKind::Bowline), vec![]);
    bench.ask(Cluster, &[]);
    bench.expect(Cluster, &[], &[]);
    bench.ask(Endpoint, &[]);
    bench.quiet();
}

#[test]
fn what_was_refused_is_not_sent_again_until_it_changes() {
    let mut bench =
        Bench::new(ServerSession::delta(ClientKind::Bowline), vec![state("a", &[1]), state("b", &[1])]);
    bench.ask(Endpoint, &["a", "b"]);
    let response = bench.expect(Endpoint, &["a", "b"], &[]);
    let nack = bench.nack(&response, "endpoint \"b\": no").nacked.unwrap();
    assert_eq!((nack.resource_type, nack.names.len(), &*nack.names[0]), (Endpoint, 1, "b"));
    bench.quiet();
    assert_eq!(bench.session.state()[0].last_nack.as_deref(), Some("endpoint \"b\": no"));
    bench.put(state("b", &[2]));
    bench.expect(Endpoint, &["b"], &[]);
}

/// Envoy takes nothing of a response in which one resource is malformed.
#[test]
fn what_envoy_refused_together_is_sent_one_by_one() {
    let mut bench =
        Bench::new(ServerSession::delta(ClientKind::Envoy), vec![state("a", &[1]), state("b", &[1])]);
    bench.ask(Endpoint, &["a", "b"]);
    let response = bench.expect(Endpoint, &["a", "b"], &[]);
    bench.nack(&response, "malformed");
    let first = bench.expect(Endpoint, &["a"], &[]);
    bench.quiet();
    bench.ack(&first);
    let second = bench.expect(Endpoint, &["b"], &[]);
    assert_eq!(bench.nack(&second, "malformed").nacked.unwrap().names, ["b".into()]);
    bench.quiet();
}

/// Envoy waits for them, and doesn't ask.
#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut bench = envoy(vec![state("a", &[1]), state("b", &[1])]);
    let mut changed = state("a", &[1]);
    changed.service.load_balancing.policy = bowline_api::model::BalancingPolicy::Random;
    bench.put(changed.clone());
    let cluster = bench.expect(Cluster, &["a"], &[]);
    let endpoints = bench.expect(Endpoint, &["a"], &[]);
    bench.ack(&endpoints);
    bench.ack(&cluster);
    bench.quiet();
    // Not while the list is not whole: the old cluster serves on with the list it has.
    changed.settled = false;
    changed.service.load_balancing.policy = bowline_api::model::BalancingPolicy::RoundRobin;
    bench.put(changed.clone());
    bench.expect(Cluster, &["a"], &[]);
    bench.quiet();
    changed.settled = true;
    bench.put(changed);
    bench.expect(Endpoint, &["a"], &[]);
}

#[test]
fn lists_that_are_not_whole_are_marked_or_kept_back() {
    let partial = ServiceState { settled: false, ..state("a", &[2]) };
    for kind in ClientKind::ALL {
        let mut bench = Bench::new(ServerSession::delta(kind), vec![state("a", &[1])]);
        bench.ask(Endpoint, &["a"]);
        let response = bench.expect(Endpoint, &["a"], &[]);
        assert!(response.resources[0].metadata.is_none());
        bench.ack(&response);
        bench.put(partial.clone());
        match kind {
            ClientKind::Bowline => {
                let response = bench.expect(Endpoint, &["a"], &[]);
                assert!(response.resources[0].metadata.is_some());
                bench.ack(&response);
            }
            ClientKind::Envoy | ClientKind::Grpc => bench.quiet(),
        }
        bench.put(state("a", &[2]));
        bench.expect(Endpoint, &["a"], &[]);
        // Who has nothing is better off with some than with none.
        bench.session = ServerSession::delta(kind);
        bench.put(partial.clone());
        bench.ask(Endpoint, &["a"]);
        bench.expect(Endpoint, &["a"], &[]);
    }
}

#[test]
fn names_can_be_left_and_taken_up_again() {
    let mut bench =
        Bench::new(ServerSession::delta(ClientKind::Bowline), vec![state("a", &[1]), state("b", &[1])]);
    bench.ask(Endpoint, &["a", "b"]);
    let response = bench.expect(Endpoint, &["a", "b"], &[]);
    bench.ack(&response);
    let leave = DeltaDiscoveryRequest {
        resource_names_unsubscribe: owned(&["b", "never"]),
        ..delta(Endpoint, &["a"])
    };
    assert!(bench.session.on_delta(leave).unwrap().subscription_changed);
    // Who asks may have dropped what it had.
    let response = bench.expect(Endpoint, &["a"], &[]);
    bench.ack(&response);
    assert_eq!(*bench.session.interest(), Interest::Services(["a".into()].into()));
    bench.put(state("b", &[2]));
    bench.quiet();
    bench.ask(Endpoint, &["b"]);
    bench.expect(Endpoint, &["b"], &[]);
}

#[test]
fn large_answers_come_in_parts() {
    let many: Vec<ServiceState> = (0..40)
        .map(|index| {
            let mut state = state(&format!("s{index:02}"), &(1..=40).collect::<Vec<u16>>());
            for endpoint in &mut state.endpoints {
                endpoint.metadata.insert("label".into(), "x".repeat(100));
            }
            state
        })
        .collect();
    let names: Vec<String> = many.iter().map(|state| state.service.discovery_name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(ServerSession::delta(ClientKind::Bowline), many);
    bench.ask(Endpoint, &names);
    let mut got = Vec::new();
    for part in 1.. {
        let response = bench.next().unwrap();
        bench.quiet();
        let bytes: usize = response.resources.iter().map(|r| r.resource.as_ref().unwrap().value.len()).sum();
        assert!(bytes <= RESPONSE_BYTES && !response.resources.is_empty(), "part {part} has {bytes} bytes");
        got.extend(response.resources.iter().map(|resource| resource.name.clone()));
        let acked = bench.ack(&response).acked;
        if !response.system_version_info.ends_with(MORE) {
            assert_eq!((acked, &*response.system_version_info), (Some((Endpoint, 1)), "1"));
            assert!(part > 2, "{part} parts");
            break;
        }
        assert_eq!(acked, Some((Endpoint, 0)), "not everything of revision 1 yet");
    }
    assert_eq!(got, names, "each once");
}

#[test]
fn clients_that_ask_for_too_much_are_sent_away() {
    let mut session = ServerSession::delta(ClientKind::Envoy);
    let names: Vec<String> = (0..=MAX_NAMES).map(|index| index.to_string()).collect();
    let request = DeltaDiscoveryRequest { resource_names_subscribe: names, ..delta(Endpoint, &[]) };
    let error = session.on_delta(request).unwrap_err();
    assert_eq!(error, SessionError::TooMany { resource_type: Endpoint, most: MAX_NAMES });
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    assert_eq!(
        session.on_delta(delta(Cluster, &[&long])),
        Err(SessionError::LongName { resource_type: Cluster })
    );
    assert_eq!(session.on_delta(DeltaDiscoveryRequest::default()), Err(SessionError::NoType));
    assert_eq!(session.on_sotw(DiscoveryRequest::default()), Err(SessionError::WrongProtocol));
    let secret =
        DeltaDiscoveryRequest { type_url: "type.googleapis.com/x.Secret".into(), ..Default::default() };
    assert_eq!(session.on_delta(secret), Ok(Heard::default()));
}

fn sotw(of: ResourceType, names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: of.type_url().into(),
        resource_names: owned(names),
        response_nonce: nonce.into(),
        ..DiscoveryRequest::default()
    }
}

/// As grpcio does it: everything by name, one after the other.
#[test]
fn a_grpc_client_is_served_by_name() {
    let mut bench =
        Bench::new(ServerSession::sotw(ClientKind::Grpc), vec![state("a", &[1]), state("b", &[1])]);
    let ask = |bench: &mut Bench, of, names: &[&str], nonce: &str| {
        bench.session.on_sotw(sotw(of, names, nonce)).unwrap();
        bench.session.next_sotw(&bench.resources)
    };
    let name = "a.hello-world.com:5000";
    let listener = ask(&mut bench, Listener, &[name], "").unwrap();
    assert_eq!(listener.resources.len(), 1);
    assert!(ask(&mut bench, Listener, &[name], &listener.nonce).is_none());
    let cluster = ask(&mut bench, Cluster, &["a"], "").unwrap();
    assert_eq!(cluster.resources.len(), 1);
    assert!(ask(&mut bench, Cluster, &["a"], &cluster.nonce).is_none());
    let endpoints = ask(&mut bench, Endpoint, &["a"], "").unwrap();
    assert!(ask(&mut bench, Endpoint, &["a"], &endpoints.nonce).is_none());
    assert_eq!(*bench.session.interest(), Interest::Services(["a".into()].into()));
    bench.put(state("b", &[2]));
    assert!(bench.session.next_sotw(&bench.resources).is_none());
    bench.put(state("a", &[2]));
    let update = bench.session.next_sotw(&bench.resources).unwrap();
    assert_ne!(update.version_info, endpoints.version_info);
    // An answer to the one before is stale, and changes nothing.
    assert!(bench.session.on_sotw(sotw(Endpoint, &[], &endpoints.nonce)).unwrap().stale_nonce);
    assert!(ask(&mut bench, Endpoint, &["a"], &update.nonce).is_none());
    // Nothing, after names, is nothing.
    assert!(ask(&mut bench, Cluster, &[], &cluster.nonce).is_none());
    bench.remove("a");
    let gone = bench.session.next_sotw(&bench.resources).unwrap();
    assert_eq!((gone.type_url.as_str(), gone.resources.len()), (Listener.type_url(), 0));
}

/// The list of clusters takes away what isn't in it: so one that listeners still name stays in it.
#[test]
fn a_list_keeps_what_is_still_named() {
    let mut bench = Bench::new(ServerSession::sotw(ClientKind::Envoy), vec![state("a", &[1])]);
    let mut nonces = HashMap::new();
    for of in [Cluster, Listener] {
        bench.session.on_sotw(sotw(of, &[], "")).unwrap();
        let response = bench.session.next_sotw(&bench.resources).unwrap();
        bench.session.on_sotw(sotw(of, &[], &response.nonce)).unwrap();
        nonces.insert(of, response.nonce);
    }
    bench.remove("a");
    bench.put(state("b", &[1]));
    let mut seen = Vec::new();
    while let Some(response) = bench.session.next_sotw(&bench.resources) {
        let of = ResourceType::of_url(&response.type_url).unwrap();
        seen.push((of, response.resources.len()));
        bench.session.on_sotw(sotw(of, &[], &response.nonce)).unwrap();
    }
    assert_eq!(seen, [(Cluster, 2), (Listener, 2), (Cluster, 1)]);
}

/// All of it can go to other threads, and be shared by them.
#[test]
fn sessions_and_resources_are_no_prisoners_of_a_thread() {
    fn check<T: Send + Sync>() {}
    check::<ServerSession>();
    check::<Resources>();
    check::<crate::client_session::ClientSession>();
}
