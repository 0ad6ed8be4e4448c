//! The way to the collector.
//!
//! Spans are appended to an open batch by whoever has them; full batches, and those that have waited long enough, are
//! sent by a task of the runtime that the exporter was started on. Whatever the collector does, what is kept is
//! bounded, and what is dropped is counted by why. Nobody who has a span ever waits.
//!
//! * `queue`: the batches, and what is dropped for want of room.
//! * `patience`: when to try again (pure).
//! * `courier`: one request after the other, tried again as the protocol says.
//! * `connection`: sockets, TLS and HTTP. gRPC and HTTP share it: a unary call of gRPC is a POST with five bytes more.
//! * `answer`: what a collector has said (pure).

mod answer;
mod around;
mod connection;
mod counts;
mod courier;
mod metrics;
mod patience;
mod payload;
mod queue;
mod tls;
mod traces;

pub use self::counts::{Dropped, ExportCounts};
pub use self::metrics::MetricsExporter;
pub use self::tls::StartError;
pub use self::traces::{TraceExporter, Traces};

#[cfg(test)]
mod tests;
