//! OpenTelemetry for a proxy, without anything that knows what a proxy is: how it is configured, how trace context
//! comes in and goes out, which traces are sampled, and how spans and metrics get to a collector.
//!
//! The SDK's own path is left aside for two reasons: it makes an owned value of each attribute before it makes bytes
//! of it, and it knows nothing of `X-Amzn-Trace-Id`. Here a span is written once, as the bytes that are sent. The
//! types and messages are those of the opentelemetry crates, and the tests hold what is done here against the SDK.
//!
//! Nothing is built and nothing is allocated until somebody asks for it: without `OTEL_…` variables all that there
//! is of this crate is [`Settings`] with two empty signals.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`env`](mod@env) | the `OTEL_…` variables, and what is wrong with them |
//! | [`context`] | the ids of a trace and of a span |
//! | [`propagate`] | trace context in the headers of a request |
//! | [`sample`] | which traces are kept |
//! | [`wire`] | protobuf, written into a `Vec<u8>` |
//! | [`span`] | spans, one after the other, as OTLP has them |
//! | [`metric`] | metrics, as OTLP has them |
//! | [`resource`] | who sends all this |
//! | [`export`] | the way to the collector |

pub mod context;
pub mod env;
pub mod export;
pub mod metric;
pub mod propagate;
pub mod resource;
pub mod sample;
pub mod span;
pub mod wire;

pub use context::{Ids, SpanContext};
pub use env::Settings;
pub use export::{Dropped, ExportCounts, MetricsExporter, StartError, TraceExporter, Traces};
pub use metric::{Exemplar, HistogramPoint, MetricBuffer, MetricInfo, MetricKind};
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use propagate::{Extracted, Propagators};
pub use resource::Resource;
pub use sample::Sampler;
pub use span::{Attributes, Span, SpanBuffer};
