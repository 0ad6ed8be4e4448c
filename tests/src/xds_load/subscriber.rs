//! A subscriber: one delta stream, as a proxy of ours opens it, that decodes no more than it must.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use bowline_xds::node::NodeInfo;
use bowline_xds::resource::ResourceType;
use bowline_xds::server_session::MORE;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::board::{Board, Mark, Seen, mark};

/// The largest response that is read, as a proxy reads it.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// What all subscribers share.
#[derive(Debug)]
pub struct Shared {
    /// When the load began.
    pub started: Instant,
    /// The changes.
    pub board: RefCell<Board>,
    /// The places of the services whose changes are watched.
    pub watched: HashMap<String, usize>,
    /// Bytes of all responses.
    pub bytes: Cell<u64>,
    /// How many responses.
    pub responses: Cell<u64>,
    /// Subscribers that have their first world.
    pub ready: Cell<usize>,
    /// Something has changed here.
    pub news: Notify,
}

/// What a subscriber wants.
#[derive(Clone, Debug)]
pub enum Wants {
    /// Everything.
    Namespace,
    /// These services.
    Services(Vec<String>),
}

/// One stream's state.
struct Subscriber {
    shared: Rc<Shared>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    /// Clusters whose endpoints have not come yet; `None` after the first world.
    waits_for: Option<Waiting>,
    seen: HashMap<usize, Seen>,
}

#[derive(Default)]
struct Waiting {
    clusters_are_complete: bool,
    endpoints: std::collections::HashSet<String>,
}

/// Keeps a stream until the control plane ends it.
///
/// # Errors
/// It has ended, with what was said.
pub async fn run(channel: Channel, node: NodeInfo, wants: Wants, shared: Rc<Shared>) -> Result<(), String> {
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
    let (requests, sent) = mpsc::channel(64);
    let mut subscriber =
        Subscriber { shared, requests, waits_for: Some(Waiting::default()), seen: HashMap::new() };
    let names = match wants {
        Wants::Namespace => Vec::new(),
        Wants::Services(names) => names,
    };
    subscriber.ask(ResourceType::Cluster, names, Some(node))?;
    subscriber.ask(ResourceType::Listener, Vec::new(), None)?;
    let said = |status: tonic::Status| status.message().to_owned();
    let answered = client.delta_aggregated_resources(ReceiverStream::new(sent)).await.map_err(said)?;
    let mut responses = answered.into_inner();
    while let Some(response) = responses.message().await.map_err(said)? {
        subscriber.take(response)?;
    }
    Err("the control plane has ended a stream".to_owned())
}

impl Subscriber {
    fn send(&self, request: DeltaDiscoveryRequest) -> Result<(), String> {
        self.requests.try_send(request).map_err(|_| "the control plane reads no requests".to_owned())
    }

    fn ask(&self, of: ResourceType, names: Vec<String>, node: Option<NodeInfo>) -> Result<(), String> {
        self.send(DeltaDiscoveryRequest {
            node: node.map(|node| node.to_node()),
            type_url: of.type_url().to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) -> Result<(), String> {
        let shared = self.shared.clone();
        let now = shared.started.elapsed();
        shared.responses.set(shared.responses.get() + 1);
        shared.bytes.set(shared.bytes.get() + response.encoded_len() as u64);
        let of = ResourceType::of_url(&response.type_url);
        if of == Some(ResourceType::Endpoint) {
            for resource in &response.resources {
                let Some(service) = shared.watched.get(&resource.name) else { continue };
                let body = resource.resource.as_ref().map(|any| &any.value[..]).unwrap_or_default();
                let seen = self.seen.entry(*service).or_default();
                shared.board.borrow_mut().received(*service, marks(body), seen, now);
            }
            if shared.board.borrow().unfinished() == 0 {
                shared.news.notify_one();
            }
        }
        if let Some(waiting) = &mut self.waits_for {
            let names = response.resources.iter().map(|resource| resource.name.clone());
            match of {
                Some(ResourceType::Cluster) => {
                    let names: Vec<_> = names.collect();
                    waiting.endpoints.extend(names.iter().cloned());
                    waiting.clusters_are_complete |= !response.system_version_info.ends_with(MORE);
                    // As a proxy does it: what is new is asked for before the old is acknowledged.
                    if !names.is_empty() {
                        self.ask(ResourceType::Endpoint, names, None)?;
                    }
                }
                Some(ResourceType::Endpoint) => {
                    for name in names {
                        waiting.endpoints.remove(&name);
                    }
                }
                _ => {}
            }
        }
        let complete = |waiting: &mut Waiting| waiting.clusters_are_complete && waiting.endpoints.is_empty();
        if self.waits_for.take_if(complete).is_some() {
            shared.ready.set(shared.ready.get() + 1);
            shared.news.notify_one();
        }
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        })
    }
}

/// The marks in an encoded list of endpoints. Found without decoding it, which would cost this side more than all else:
/// a `SocketAddress` has its address, a text, in field 2.
fn marks(list: &[u8]) -> impl Iterator<Item = Mark> {
    const FIELD_2: u8 = 0x12;
    list.windows(2).enumerate().filter_map(|(at, head)| {
        let length = usize::from(head[1]);
        if head[0] != FIELD_2 || !("10.128.0.1".len().."10.255.255.255".len() + 1).contains(&length) {
            return None;
        }
        mark(std::str::from_utf8(list.get(at + 2..at + 2 + length)?).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::address::Address as Kind;
    use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress};
    use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    use envoy_types::pb::envoy::config::endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
    };

    use super::super::board::address;
    use super::*;

    #[test]
    fn marks_are_found_in_what_is_sent() {
        let one = |ip: String| {
            let socket = SocketAddress { address: ip, ..SocketAddress::default() };
            let endpoint = Endpoint {
                address: Some(Address { address: Some(Kind::SocketAddress(socket)) }),
                ..Endpoint::default()
            };
            LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..LbEndpoint::default() }
        };
        let ips = [address(7).ip().to_string(), "10.0.0.1".into(), address(70_000).ip().to_string()];
        let locality =
            LocalityLbEndpoints { lb_endpoints: ips.map(one).to_vec(), ..LocalityLbEndpoints::default() };
        let list = ClusterLoadAssignment {
            cluster_name: "service-0010".into(),
            endpoints: vec![locality],
            ..ClusterLoadAssignment::default()
        };
        assert_eq!(marks(&list.encode_to_vec()).collect::<Vec<_>>(), [7, 70_000]);
        assert_eq!(marks(&[]).count() + marks(&[0x12]).count() + marks(&[0x12, 12, b'1']).count(), 0);
    }
}
