//! Talking to etcd: a few calls of its v3 API, over whichever of its members answers.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::messages::{
    KeyValue, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use crate::store::board::LeaseId;

/// How long a call may take.
const CALL: Duration = Duration::from_secs(3);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// A silent connection is asked after this long whether it lives. Etcd takes more often than 5 s for an attack.
const PING: Duration = Duration::from_secs(6);
/// Keys of one answer to a list.
const PAGE: i64 = 1000;

/// A client of all members.
#[derive(Debug)]
pub(super) struct Client {
    members: Vec<Channel>,
    current: AtomicUsize,
}

impl Client {
    /// Members are `host:port`. No connection is made yet.
    pub(super) fn new(members: &[String]) -> Result<Self, String> {
        let channel = |member: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{member}"))
                .map_err(|error| format!("{member:?} is no HOST:PORT: {error}"))?;
            // Pings only while something is under way: the watch always is.
            let endpoint = endpoint
                .connect_timeout(CONNECT)
                .http2_keep_alive_interval(PING)
                .keep_alive_timeout(CALL)
                .tcp_nodelay(true);
            Ok::<_, String>(endpoint.connect_lazy())
        };
        let members = members.iter().map(channel).collect::<Result<_, _>>()?;
        Ok(Client { members, current: AtomicUsize::new(0) })
    }

    fn grpc(&self) -> (usize, Grpc<Channel>) {
        let current = self.current.load(Relaxed);
        (current, Grpc::new(self.members[current % self.members.len()].clone()))
    }

    /// Goes on to the next member, unless somebody has done so since.
    fn next_member(&self, failed: usize) {
        let _ = self.current.compare_exchange(failed, failed.wrapping_add(1), Relaxed, Relaxed);
    }

    /// One question, one answer.
    pub(super) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (member, mut grpc) = self.grpc();
        let call = async {
            grpc.ready().await.map_err(|error| Status::unavailable(words(&error)))?;
            let path = PathAndQuery::from_static(path);
            grpc.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await
        };
        let answer = match tokio::time::timeout(CALL, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        if answer.as_ref().is_err_and(is_of_the_member) {
            self.next_member(member);
        }
        answer
    }

    /// Everything from `key` to before `end`, and as of which revision.
    pub(super) async fn list(&self, key: &[u8], end: &[u8]) -> Result<(Vec<KeyValue>, i64), Status> {
        let (mut found, mut from, mut revision) = (Vec::new(), key.to_vec(), 0);
        loop {
            let request = RangeRequest { key: from, range_end: end.to_vec(), limit: PAGE, revision };
            let page: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
            // All pages are of one moment.
            if revision == 0 {
                revision = page.header.as_ref().map_or(0, |header| header.revision);
            }
            let last = page.kvs.last().map(|kv| kv.key.clone());
            found.extend(page.kvs);
            match last {
                Some(mut last) if page.more => {
                    last.push(0);
                    from = last;
                }
                _ => return Ok((found, revision)),
            }
        }
    }

    /// What stands under a key.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest { key: key.to_vec(), ..RangeRequest::default() };
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// Does all of it, if the comparisons hold: whether they did.
    pub(super) async fn transact(&self, request: TxnRequest) -> Result<bool, Status> {
        let answer: TxnResponse = self.call("/etcdserverpb.KV/Txn", request).await?;
        Ok(answer.succeeded)
    }

    /// A new lease.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseId, Status> {
        let ttl = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let answer: LeaseGrantResponse =
            self.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest { ttl }).await?;
        Ok(answer.id)
    }

    /// Renews a lease. False: it has run out.
    pub(super) async fn keep_alive(&self, id: LeaseId) -> Result<bool, Status> {
        let answer: LeaseKeepAliveResponse =
            self.call("/etcdserverpb.Lease/LeaseKeepAlive", LeaseKeepAliveRequest { id }).await?;
        Ok(answer.ttl > 0)
    }

    /// Every change from `key` to before `end`, from a revision on.
    pub(super) async fn watch(&self, key: &[u8], end: &[u8], from: i64) -> Result<Watching<'_>, Status> {
        let create = WatchCreateRequest {
            key: key.to_vec(),
            range_end: end.to_vec(),
            start_revision: from,
            progress_notify: true,
            fragment: true,
        };
        // The stream of requests must stay open: its end would be the watch's.
        let requests =
            tokio_stream::once(WatchRequest { create: Some(create) }).chain(tokio_stream::pending());
        let (member, mut grpc) = self.grpc();
        let open = async {
            grpc.ready().await.map_err(|error| Status::unavailable(words(&error)))?;
            let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            grpc.streaming(Request::new(requests), path, codec).await
        };
        match tokio::time::timeout(CALL, open).await {
            Ok(Ok(answer)) => Ok(Watching { client: self, member, responses: answer.into_inner() }),
            Ok(Err(status)) => {
                self.next_member(member);
                Err(status)
            }
            Err(_) => {
                self.next_member(member);
                Err(Status::deadline_exceeded("no answer in time"))
            }
        }
    }
}

/// An open watch.
#[derive(Debug)]
pub(super) struct Watching<'a> {
    client: &'a Client,
    member: usize,
    responses: Streaming<WatchResponse>,
}

impl Watching<'_> {
    /// The next response.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = match self.responses.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(Status::unavailable("the watch has ended")),
            Err(status) => Err(status),
        };
        if next.is_err() {
            self.client.next_member(self.member);
        }
        next
    }
}

/// Whether another member may know better.
fn is_of_the_member(status: &Status) -> bool {
    use tonic::Code::{Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown};
    matches!(status.code(), Unavailable | DeadlineExceeded | Unknown | Cancelled | Internal)
}

/// An error with what has caused it.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    words
}

/// The end of the range of all keys that begin with this.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Everything to the end.
    vec![0]
}

/// A failure in one line.
pub(super) fn say(status: &Status) -> String {
    // A transport error keeps what is worth knowing in its sources.
    match std::error::Error::source(status) {
        Some(source) if status.message() == "transport error" => words(source),
        _ if status.message().is_empty() => format!("{:?}", status.code()),
        _ => status.message().to_owned(),
    }
}
