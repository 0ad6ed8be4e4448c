//! What is known of one request, for those who look at requests one by one: traces, the access log, `tap`. It is kept only
//! while somebody looks, and what is made of it is made on another thread.

mod outbox;
mod recording;
mod texts;
mod tracing;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::Tick;
use bowline_otlp::{SpanId, TraceId};
use http::{HeaderMap, Method, Version};

pub use self::outbox::{Observers, Outbox, Received, Wants};
pub use self::recording::Recording;
pub use self::texts::{FORWARDED_FOR, REQUEST_ID, Text, Texts};
pub use self::tracing::Tracing;
use crate::error::Reason;
use crate::snapshot::{Service, SharedEndpoint};

/// One request, from its head to the end of its response.
#[derive(Debug)]
pub struct Record {
    /// Its place in a trace; `None`: it is in none that is recorded.
    pub trace: Option<Trace>,
    /// The trace that its caller says it belongs to, recorded or not, where lines are made of it.
    pub said: Option<TraceId>,
    /// Whom it is for; `None`: for nobody in the mesh.
    pub service: Option<Arc<Service>>,
    /// The route that it takes, by its name.
    pub route: Option<Arc<str>>,
    /// How long it was held up on purpose.
    pub delayed: Duration,
    /// Who calls the app; `None`: the app is the one that calls.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: Method,
    /// What the app, or its caller, speaks.
    pub version: Version,
    /// It is a gRPC call.
    pub grpc: bool,
    /// Host, target and some headers.
    pub texts: Texts,
    /// All headers as they came, where somebody looks for some.
    pub headers: Option<Box<HeaderMap>>,
    /// When its head had come.
    pub started: Tick,
    /// When the response head was there; 0: there was none.
    pub answered: Tick,
    /// When all was over.
    pub ended: Tick,
    /// The response's status; 0: there was none.
    pub status: u16,
    /// The status of a gRPC call, where one came.
    pub grpc_status: Option<u32>,
    /// The proxy answered itself, and why.
    pub reason: Option<Reason>,
    /// How it ended.
    pub ending: Ending,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// Each try, in order.
    pub attempts: Vec<Attempt>,
}

/// A request's place in a trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The request itself.
    pub span: SpanId,
    /// What the caller's side of it is called; `None`: it begins here.
    pub parent: Option<SpanId>,
    /// `tracestate` as it came.
    pub state: Option<Box<str>>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The response was passed on to its end, or the proxy's own was.
    Complete,
    /// The response broke off.
    Broken(Reason),
    /// Whoever asked went away first.
    Cancelled,
}

/// One try at one endpoint.
#[derive(Debug)]
pub struct Attempt {
    /// What it is called in the trace.
    pub span: Option<SpanId>,
    /// The endpoint.
    pub endpoint: Arc<SharedEndpoint>,
    /// When the endpoint was picked.
    pub started: Tick,
    /// When its outcome was known; 0: it never was.
    pub ended: Tick,
    /// What came of it.
    pub outcome: Outcome,
    /// Because of it the endpoint was ejected.
    pub ejected: bool,
    /// What had gone wrong, in the word of `bowline_retries_total`, and after what wait the next one followed; `None`: none
    /// did.
    pub retried: Option<(&'static str, Duration)>,
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing: whoever asked went away first.
    Nothing,
    /// A response head with this status, and where it told, the status of a gRPC call.
    Answer(u16, Option<u32>),
    /// None, and why; the text is for a person.
    Fault(Reason, Box<str>),
}
