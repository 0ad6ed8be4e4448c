//! Trace context in the headers of a request: W3C, B3 and AWS X-Ray, as `OTEL_PROPAGATORS` names them.
//!
//! Headers are changed in place. What comes out of one format is written in all that are named, and no header of a
//! named format is left that says something else. Headers of formats that are not named pass through untouched, and
//! so does `baggage` in any case: it is the app's own, and nothing here has to look at it.

mod b3;
mod hex;
mod w3c;
mod xray;

use http::{HeaderMap, HeaderName};
use opentelemetry::trace::TraceId;

use crate::context::SpanContext;

/// The words of `OTEL_PROPAGATORS`.
pub const WORDS: &[&str] = &["tracecontext", "baggage", "b3", "b3multi", "xray", "none"];

/// One way to write trace context into headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    W3c,
    B3,
    B3Multi,
    XRay,
}

/// The formats that are read and written. Small enough to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// In the order of the list; the first `len` of them.
    formats: [Format; 4],
    len: u8,
}

/// What a request has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extracted {
    /// Nothing that can be read.
    Nothing,
    /// The caller's span, and its decision.
    Parent(SpanContext),
    /// The caller's span, which leaves the decision to us (B3 without a sampling state, X-Ray's `Sampled=?`). Its
    /// `sampled` is false and has no meaning.
    Undecided(SpanContext),
    /// A trace that has no span yet, as a load balancer of AWS begins it, with a decision where there is one.
    Trace {
        /// Its id.
        trace_id: TraceId,
        /// Whether it is kept.
        sampled: Option<bool>,
    },
    /// A decision without any id: B3's `0`, `1` and `d`.
    Decision {
        /// Whether the trace that begins here is kept.
        sampled: bool,
    },
}

impl Extracted {
    /// The caller's span.
    pub fn parent(&self) -> Option<&SpanContext> {
        match self {
            Extracted::Parent(context) | Extracted::Undecided(context) => Some(context),
            _ => None,
        }
    }

    /// The trace to go on with; `None`: a new one begins.
    pub fn trace_id(&self) -> Option<TraceId> {
        match self {
            Extracted::Trace { trace_id, .. } => Some(*trace_id),
            _ => self.parent().map(|parent| parent.trace_id),
        }
    }

    /// What the caller has decided; `None`: nothing.
    pub fn decision(&self) -> Option<bool> {
        match self {
            Extracted::Parent(context) => Some(context.sampled),
            Extracted::Trace { sampled, .. } => *sampled,
            Extracted::Decision { sampled } => Some(*sampled),
            Extracted::Nothing | Extracted::Undecided(_) => None,
        }
    }

    /// How much it says. What says less never replaces what says more: a load balancer's trace id must not tear the
    /// trace that runs through it.
    fn weight(&self) -> u8 {
        match self {
            Extracted::Nothing => 0,
            Extracted::Decision { .. } => 1,
            Extracted::Trace { .. } => 2,
            Extracted::Parent(_) | Extracted::Undecided(_) => 3,
        }
    }
}

impl Default for Propagators {
    /// W3C alone: what the specification has as default, as baggage needs nothing.
    fn default() -> Self {
        Propagators { formats: [Format::W3c; 4], len: 1 }
    }
}

impl Propagators {
    /// None: headers are neither read nor written.
    pub const NONE: Propagators = Propagators { formats: [Format::W3c; 4], len: 0 };

    /// Of a list of [`WORDS`]; other words come back, for a complaint. `none` ends it: nothing is read or written.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> (Self, Vec<&'a str>) {
        let (mut propagators, mut unknown) = (Propagators::NONE, Vec::new());
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "tracecontext" => propagators.add(Format::W3c),
                "b3" => propagators.add(Format::B3),
                "b3multi" => propagators.add(Format::B3Multi),
                "xray" => propagators.add(Format::XRay),
                "baggage" => {}
                "none" => return (Propagators::NONE, unknown),
                _ => unknown.push(word),
            }
        }
        (propagators, unknown)
    }

    fn add(&mut self, format: Format) {
        if !self.formats().contains(&format) {
            self.formats[usize::from(self.len)] = format;
            self.len += 1;
        }
    }

    fn formats(&self) -> &[Format] {
        &self.formats[..usize::from(self.len)]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether ids of new traces must be such that X-Ray takes them (see [`crate::Ids::trace_id_at`]).
    pub fn has_xray(&self) -> bool {
        self.formats().contains(&Format::XRay)
    }

    /// What a request has brought. Of several formats that bring as much the last one of the list wins.
    pub fn extract(&self, headers: &HeaderMap) -> Extracted {
        let mut best = Extracted::Nothing;
        for format in self.formats() {
            let mut found = match format {
                Format::W3c => w3c::extract(headers),
                Format::B3 | Format::B3Multi => b3::extract(headers),
                Format::XRay => xray::extract(headers),
            };
            if found == Extracted::Nothing || found.weight() < best.weight() {
                continue;
            }
            // Only W3C has a state. It belongs to the trace, whichever header named that.
            if let Extracted::Parent(context) | Extracted::Undecided(context) = &mut found
                && let Extracted::Parent(before) = &mut best
                && before.trace_id == context.trace_id
                && context.state.is_none()
            {
                context.state = before.state.take();
            }
            best = found;
        }
        best
    }

    /// Writes a span into the headers, in all formats, in place of what was there.
    pub fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        for format in self.formats() {
            match format {
                Format::W3c => w3c::inject(context, headers),
                Format::B3 | Format::B3Multi => {}
                Format::XRay => xray::inject(context, headers),
            }
        }
        let (single, multi) =
            (self.formats().contains(&Format::B3), self.formats().contains(&Format::B3Multi));
        if single || multi {
            b3::inject(context, headers, single, multi);
        }
    }

    /// Whether [`Propagators::inject`] writes or removes headers of this name.
    pub fn owns(&self, name: &HeaderName) -> bool {
        self.formats().iter().any(|format| match format {
            Format::W3c => w3c::HEADERS.contains(name),
            Format::B3 | Format::B3Multi => b3::HEADERS.contains(name),
            Format::XRay => *name == xray::HEADER,
        })
    }
}

/// Whether a header carries trace context in any format that is known here.
pub fn is_trace_header(name: &HeaderName) -> bool {
    w3c::HEADERS.contains(name) || b3::HEADERS.contains(name) || *name == xray::HEADER
}

#[cfg(test)]
mod tests;
