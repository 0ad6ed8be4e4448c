//! What a collector has said, in one word: taken, later, or never. The rules are those of the OTLP specification.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;

use crate::env::Protocol;

/// Metadata of gRPC comes with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// So much of what a collector has to say gets into the log.
const MAX_WORDS: usize = 200;

/// A whole response.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has taken all but so many, and said why.
    Taken { rejected: u64, why: String },
    /// It may take the same at another time, and not before this.
    Later { why: String, after: Option<Duration> },
    /// It never will.
    Never { why: String },
}

impl Answer {
    /// Its meaning.
    pub(super) fn verdict(&self, protocol: Protocol) -> Verdict {
        match protocol {
            Protocol::Grpc => self.grpc(),
            Protocol::HttpProtobuf => self.http(),
        }
    }

    fn http(&self) -> Verdict {
        if self.status.is_success() {
            return taken(&self.body);
        }
        let why = match words(&self.body) {
            None => format!("status {}", self.status),
            Some(words) => format!("status {}: {words}", self.status),
        };
        match self.status.as_u16() {
            429 | 502..=504 => Verdict::Later { why, after: self.retry_after() },
            _ => Verdict::Never { why },
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok(),
        }
    }

    fn grpc(&self) -> Verdict {
        // A call that fails at once has its status in the headers.
        let get = |name: &str| self.trailers.get(name).or_else(|| self.headers.get(name));
        let Some(status) = get("grpc-status").and_then(|value| value.to_str().ok()) else {
            // Something that doesn't speak gRPC, such as a load balancer without a collector behind it.
            let why = format!("status {} without a gRPC status", self.status);
            return match self.status.as_u16() {
                429 | 502..=504 => Verdict::Later { why, after: self.retry_after() },
                _ => Verdict::Never { why },
            };
        };
        if status == "0" {
            // Five bytes stand before the message; it is not compressed, as nothing else was asked for.
            return taken(self.body.get(5..).unwrap_or_default());
        }
        let message = get("grpc-message").and_then(|value| words(value.as_bytes()));
        let why = match message {
            None => format!("gRPC status {status}"),
            Some(message) => format!("gRPC status {status}: {message}"),
        };
        let after = get("grpc-status-details-bin").and_then(retry_info);
        match status {
            // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
            "1" | "4" | "10" | "11" | "14" | "15" => Verdict::Later { why, after },
            // Resource exhausted, but only if it says that it won't last.
            "8" if after.is_some() => Verdict::Later { why, after },
            _ => Verdict::Never { why },
        }
    }
}

/// The response says what was rejected of it, if anything. Both signals' messages have the same form.
fn taken(body: &[u8]) -> Verdict {
    // A body that can't be read still comes with a status of success.
    let partial = Response::decode(body).ok().and_then(|said| said.partial_success).unwrap_or_default();
    let (rejected, why) = (partial.rejected.max(0).unsigned_abs(), partial.error_message);
    Verdict::Taken { rejected, why: words(why.as_bytes()).unwrap_or_default() }
}

/// The beginning of a text, fit for a log line; `None`: it is empty, or no text.
fn words(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let shown: String = text.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    (!shown.is_empty()).then_some(shown)
}

/// The response to an export of whatever signal.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

// google.rpc.Status with a google.rpc.RetryInfo in it: as much as is looked at.

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &HeaderValue) -> Option<Duration> {
    let status = Status::decode(&*BASE64.decode(details.as_bytes()).ok()?).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    Some(Duration::new(seconds, u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999)))
}

#[cfg(test)]
mod tests;
