//! The control plane's session against the proxy's, over connections that break, and worlds that change: in the end the
//! proxy's world is the control plane's, whatever has happened on the way.
//!
//! `SEEDS=n` runs more of them, `SEED=n` one alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bowline_api::Service;
use bowline_api::model::{ClientAlias, Endpoint, Endpoints};
use bowline_xds::client_session::{ClientSession, Held, Subscription};
use bowline_xds::kind::ClientKind;
use bowline_xds::node::NodeInfo;
use bowline_xds::resource::ResourceType;
use bowline_xds::resources::Resources;
use bowline_xds::server_session::{Interest, ServerSession};
use bowline_xds::world::{ServiceState, World};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use fastrand::Rng;
use prost::Message;

const NAMESPACE: &str = "hello-world.com";
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// A client that asks for more after everything has come to rest is in a loop.
const QUIET_MESSAGES: usize = 200;

fn seeds() -> Vec<u64> {
    let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(256)).collect(),
    }
}

/// The control plane: a world, and what was made of it.
struct Control {
    world: World,
    resources: Arc<Resources>,
    kind: ClientKind,
    revision: u64,
}

impl Control {
    fn new(kind: ClientKind) -> Self {
        let world = World { namespace: NAMESPACE.into(), services: BTreeMap::new() };
        let resources = Arc::new(Resources::build(kind, 1, &world, None));
        Control { world, resources, kind, revision: 1 }
    }

    fn publish(&mut self, rng: &mut Rng) {
        self.revision += 1;
        // Now and then a control plane that has just started, and knows nothing of what was before.
        let before = (rng.u8(..20) > 0).then_some(&*self.resources);
        self.resources = Arc::new(Resources::build(self.kind, self.revision, &self.world, before));
    }

    fn change(&mut self, rng: &mut Rng) {
        for _ in 0..rng.usize(1..4) {
            let name = NAMES[rng.usize(..NAMES.len())];
            match rng.u8(..10) {
                0..2 => drop(self.world.services.remove(name)),
                2..4 => self.put(service(name, rng)),
                // Two endpoints of one address: nobody can take that.
                4 => {
                    let mut state = service(name, rng);
                    state.endpoints = vec![endpoint(1, rng), endpoint(1, rng)];
                    self.put(state);
                }
                _ => {
                    if let Some(state) = self.world.services.get(name) {
                        let mut state = ServiceState::clone(state);
                        state.endpoints = endpoints(rng);
                        state.settled = rng.u8(..4) > 0;
                        self.put(state);
                    }
                }
            }
        }
        self.publish(rng);
    }

    fn put(&mut self, state: ServiceState) {
        self.world.services.insert(state.service.discovery_name.clone(), Arc::new(state));
    }

    /// Everything is as it should be.
    fn mend(&mut self, rng: &mut Rng) {
        for state in self.world.services.values_mut() {
            let mut mended = ServiceState::clone(state);
            mended.settled = true;
            let mut seen = BTreeSet::new();
            mended.endpoints.retain(|endpoint| seen.insert(endpoint.address));
            if mended != **state {
                *state = Arc::new(mended);
            }
        }
        self.publish(rng);
    }
}

fn service(name: &str, rng: &mut Rng) -> ServiceState {
    let mut service = Service::new(name, Endpoints::Registered(Default::default()));
    let dns_name = format!("{name}.{NAMESPACE}");
    service.client_aliases = (0..rng.u16(1..3))
        .map(|index| ClientAlias { dns_name: dns_name.clone(), port: 5000 + index, test_traffic_rules: None })
        .collect();
    service.retry.retries = rng.u32(..4);
    let vip = std::net::Ipv4Addr::new(127, 255, 0, name.as_bytes()[0]);
    let vips = [(dns_name, vip)].into_iter().collect();
    ServiceState { service, endpoints: endpoints(rng), settled: rng.u8(..4) > 0, vips }
}

fn endpoints(rng: &mut Rng) -> Vec<Endpoint> {
    let hosts: Vec<u8> = (1..6).filter(|_| rng.bool()).collect();
    hosts.into_iter().map(|host| endpoint(host, rng)).collect()
}

fn endpoint(host: u8, rng: &mut Rng) -> Endpoint {
    let mut endpoint = Endpoint::new(([10, 0, 0, host], 9001).into());
    endpoint.weight = rng.u32(..3);
    endpoint.zone = rng.bool().then(|| ["a", "b"][rng.usize(..2)].to_owned());
    for label in ["version", "colour", "size"] {
        if rng.u8(..4) == 0 {
            endpoint.metadata.insert(label.into(), rng.u8(..3).to_string());
        }
    }
    endpoint
}

/// A stream, and what is on its way in both directions.
struct Stream {
    server: ServerSession,
    up: VecDeque<DeltaDiscoveryRequest>,
    down: VecDeque<DeltaDiscoveryResponse>,
}

struct Simulation {
    rng: Rng,
    control: Control,
    client: ClientSession,
    subscription: Subscription,
    stream: Option<Stream>,
    messages: usize,
}

fn node() -> NodeInfo {
    NodeInfo {
        id: "task".into(),
        namespace: NAMESPACE.into(),
        zone: None,
        version: "1".into(),
        caller: String::new(),
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // The standard resources are for others, but our proxies can read them: a quarter gets those.
        let kind = if rng.u8(..4) == 0 { ClientKind::Envoy } else { ClientKind::Bowline };
        let subscription = match kind == ClientKind::Envoy || rng.bool() {
            true => Subscription::Namespace,
            false => Subscription::Services(NAMES[..4].iter().map(|name| (*name).to_owned()).collect()),
        };
        let client = ClientSession::new(node(), subscription.clone());
        Simulation { rng, control: Control::new(kind), client, subscription, stream: None, messages: 0 }
    }

    fn connect(&mut self) {
        let up = self.client.connected().into();
        self.stream =
            Some(Stream { server: ServerSession::delta(self.control.kind), up, down: VecDeque::new() });
    }

    /// The next message up arrives; whether there was one.
    fn up(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some(request) = stream.up.pop_front() else { return false };
        self.messages += 1;
        let heard = stream.server.on_delta(request).expect("a client of ours keeps to the rules");
        assert!(!heard.stale_nonce, "every response is answered once");
        self.look();
        true
    }

    /// The server looks what there is to say.
    fn look(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while let Some(response) = stream.server.next_delta(&self.control.resources) {
            stream.down.push_back(response);
        }
    }

    /// The next message down arrives; whether there was one.
    fn down(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let Some(response) = stream.down.pop_front() else { return false };
        self.messages += 1;
        let before = self.client.world();
        let step = self.client.on_response(response);
        stream.up.extend(step.requests);
        let after = self.client.world();
        for name in before.services.keys().chain(after.services.keys()) {
            let differs = before.services.get(name) != after.services.get(name);
            assert_eq!(step.changed.contains(name), differs, "{name}: told, and not as it was");
        }
        true
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..25 => {
                self.control.change(&mut self.rng);
                // Only those are woken who have something to look at.
                self.look();
            }
            25..30 => self.stream = None,
            30..32 => {
                // The proxy starts again, with what it had written down.
                let text = serde_json::to_string(&self.client.held()).unwrap();
                let held: Held = serde_json::from_str(&text).unwrap();
                let before = self.client.world();
                self.client = ClientSession::new(node(), self.subscription.clone());
                assert_eq!(self.client.restore(held), []);
                assert_eq!(self.client.world(), before);
                self.stream = None;
            }
            32..66 => drop(self.up()),
            _ => drop(self.down()),
        }
        if self.stream.is_none() && self.rng.bool() {
            self.connect();
        }
    }

    fn settle(&mut self) {
        self.control.mend(&mut self.rng);
        if self.stream.is_none() {
            self.connect();
        }
        self.look();
        self.messages = 0;
        while self.up() || self.down() {
            assert!(self.messages < QUIET_MESSAGES, "the two of them don't come to rest");
        }
        let mut expected = self.control.world.clone();
        if let Subscription::Services(names) = &self.subscription {
            expected.services.retain(|name, _| names.contains(name));
        }
        match self.control.kind {
            ClientKind::Envoy => assert_eq!(essence(&self.client.world()), essence(&expected)),
            _ => assert_eq!(self.client.world(), expected),
        }
        assert!(self.client.is_complete());
        assert_eq!(self.client.rejected(), []);
        let server = &self.stream.as_ref().expect("connected").server;
        assert_eq!(server.acknowledged(), self.control.revision);
        match (&self.subscription, server.interest()) {
            (Subscription::Namespace, interest) => assert_eq!(*interest, Interest::All),
            (Subscription::Services(names), interest) => {
                let all: BTreeSet<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
                assert_eq!(*interest, Interest::Services(all));
            }
        }
    }
}

/// The name of a service, where it is, and how it is dialled.
type Essence = (String, Vec<Endpoint>, Vec<(String, u16)>);

/// What standard resources keep of a world: where each service is, and how it is dialled.
fn essence(world: &World) -> Vec<Essence> {
    let aliases = |state: &ServiceState| {
        let aliases = state.service.client_aliases.iter();
        aliases
            .map(|alias| (alias.dns_name.clone(), alias.port))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    world
        .services
        .iter()
        .map(|(name, state)| (name.clone(), state.endpoints.clone(), aliases(state)))
        .collect()
}

#[test]
fn a_proxy_always_ends_up_with_the_control_planes_world() {
    for seed in seeds() {
        println!("SEED={seed}");
        let mut simulation = Simulation::new(seed);
        for _ in 0..3 {
            for _ in 0..80 {
                simulation.step();
            }
            simulation.settle();
        }
    }
}

/// A client of the older protocol: it asks for clusters and listeners as a whole, or by name, for the rest by name, and
/// keeps the last of each.
#[derive(Default)]
struct Sotw {
    names: BTreeMap<ResourceType, Vec<String>>,
    held: BTreeMap<ResourceType, BTreeMap<String, Vec<u8>>>,
    versions: BTreeMap<ResourceType, String>,
}

impl Sotw {
    fn request(&self, resource_type: ResourceType, nonce: &str) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            version_info: self.versions.get(&resource_type).cloned().unwrap_or_default(),
            resource_names: self.names.get(&resource_type).cloned().unwrap_or_default(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        }
    }

    fn on_response(&mut self, response: DiscoveryResponse) -> Vec<DiscoveryRequest> {
        let resource_type = ResourceType::of_url(&response.type_url).unwrap();
        let held = self.held.entry(resource_type).or_default();
        let whole = matches!(resource_type, ResourceType::Cluster | ResourceType::Listener);
        if whole {
            held.clear();
        }
        for any in &response.resources {
            // All four types have their name in the first field.
            #[derive(Clone, PartialEq, Message)]
            struct Named {
                #[prost(string, tag = "1")]
                name: String,
            }
            let name = Named::decode(&any.value[..]).unwrap().name;
            held.insert(name, any.value.clone());
        }
        self.versions.insert(resource_type, response.version_info);
        let mut requests = Vec::new();
        if resource_type == ResourceType::Cluster {
            let clusters: Vec<String> = self.held[&ResourceType::Cluster].keys().cloned().collect();
            let loads = self.held.entry(ResourceType::Endpoint).or_default();
            loads.retain(|name, _| clusters.contains(name));
            if self.names.insert(ResourceType::Endpoint, clusters.clone()) != Some(clusters) {
                requests.push((ResourceType::Endpoint, String::new()));
            }
        }
        requests.push((resource_type, response.nonce));
        requests.into_iter().map(|(of, nonce)| self.request(of, &nonce)).collect()
    }
}

#[test]
fn a_client_of_the_older_protocol_does_too() {
    // Its side is less of our own, and encoding for Envoy takes time: a quarter of the seeds.
    let all = seeds();
    for seed in all.iter().copied().take(all.len().div_ceil(4)) {
        println!("SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        let kind = [ClientKind::Envoy, ClientKind::Bowline][rng.usize(..2)];
        let mut control = Control::new(kind);
        let mut client = Sotw::default();
        client.names.insert(ResourceType::Route, vec!["outbound".to_owned()]);
        let mut server = ServerSession::sotw(kind);
        let (mut up, mut down) = (VecDeque::new(), VecDeque::new());
        let mut connected = false;
        let mut last_nonce: BTreeMap<ResourceType, String> = BTreeMap::new();
        for round in 0..300 {
            let quiet = round % 100 == 99;
            if quiet {
                control.mend(&mut rng);
            } else {
                match rng.u8(..10) {
                    0..3 => control.change(&mut rng),
                    3 if rng.u8(..4) == 0 => connected = false,
                    _ => {}
                }
            }
            if !connected {
                connected = true;
                server = ServerSession::sotw(kind);
                (up, down) = (VecDeque::new(), VecDeque::new());
                last_nonce.clear();
                let asks = |of: &ResourceType| *of != ResourceType::Endpoint || client.names.contains_key(of);
                up.extend(ResourceType::ALL.iter().filter(|of| asks(of)).map(|of| client.request(*of, "")));
            }
            let mut left = if quiet { QUIET_MESSAGES } else { rng.usize(..4) };
            let mut moved = true;
            while left > 0 && moved {
                moved = false;
                left -= 1;
                while let Some(response) = server.next_sotw(&control.resources) {
                    down.push_back(response);
                }
                if let Some(request) = up.pop_front() {
                    server.on_sotw(request).unwrap();
                    moved = true;
                }
                while let Some(response) = server.next_sotw(&control.resources) {
                    down.push_back(response);
                }
                if let Some(response) = down.pop_front() {
                    let of = ResourceType::of_url(&response.type_url).unwrap();
                    last_nonce.insert(of, response.nonce.clone());
                    for mut request in client.on_response(response) {
                        let of = ResourceType::of_url(&request.type_url).unwrap();
                        // Whoever changes what it asks for names the last response that it has.
                        request.response_nonce = last_nonce.get(&of).cloned().unwrap_or_default();
                        up.push_back(request);
                    }
                    moved = true;
                }
            }
            if quiet {
                assert!(left > 0, "the two of them don't come to rest");
                for of in ResourceType::ALL {
                    let expected: BTreeMap<String, Vec<u8>> = control
                        .resources
                        .all(of)
                        .map(|r| (r.name.to_string(), r.any.value.clone()))
                        .collect();
                    let held = client.held.get(&of).cloned().unwrap_or_default();
                    let read = |(name, bytes): (&String, &Vec<u8>)| {
                        // Labels are encoded in any order.
                        let read = |bytes: &[u8]| ClusterLoadAssignment::decode(bytes).unwrap();
                        let is_load = of == ResourceType::Endpoint;
                        (name.clone(), if is_load { Ok(read(bytes)) } else { Err(bytes.clone()) })
                    };
                    let (held, expected): (Vec<_>, Vec<_>) =
                        (held.iter().map(read).collect(), expected.iter().map(read).collect());
                    assert_eq!(held, expected);
                }
            }
        }
    }
}
