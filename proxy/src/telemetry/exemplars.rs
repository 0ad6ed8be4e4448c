//! Of each bucket of a service's latencies the last request that was traced: from a graph to a trace in one step.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use bowline_otlp::Exemplar;
use bowline_otlp::{SpanId, TraceId};

use super::metrics::{BUCKETS, bucket_of};

/// One for each bucket.
pub type OfBuckets = [Option<Exemplar>; BUCKETS];

/// The exemplars of one histogram. Whoever looks at requests writes them, never a worker. Nothing is allocated before
/// there is one.
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<Option<Box<OfBuckets>>>);

impl Exemplars {
    /// A request of a sampled trace took so long, and ended at this time.
    pub fn note(&self, seconds: f64, trace_id: TraceId, span_id: SpanId, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let exemplar = Exemplar { value: seconds, trace_id, span_id, unix_nanos };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_or_insert_default()[bucket_of((seconds * 1e6) as u64)] = Some(exemplar);
    }

    /// Those there are; `None` without any.
    pub fn get(&self) -> Option<Box<OfBuckets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bowline_otlp::{SpanId, TraceId};

    use super::Exemplars;

    #[test]
    fn each_bucket_has_its_last() {
        let exemplars = Exemplars::default();
        assert!(exemplars.get().is_none());
        for (number, seconds) in [(1, 0.0001), (2, 0.0004), (3, 0.3), (4, 60.0)] {
            let at = UNIX_EPOCH + Duration::from_nanos(number);
            exemplars.note(seconds, TraceId::from(7), SpanId::from(number), at);
        }
        let all = exemplars.get().unwrap();
        let shown: Vec<_> = all
            .iter()
            .enumerate()
            .filter_map(|(at, one)| one.map(|one| (at, one.unix_nanos, one.value)))
            .collect();
        assert_eq!(shown, [(0, 2, 0.0004), (9, 3, 0.3), (15, 4, 60.0)]);
    }
}
