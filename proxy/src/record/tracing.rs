//! How requests are traced: the same for as long as the process runs.

use bowline_otlp::{Propagators, Sampler};

/// What decides over traces at a request's head.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The headers in which callers say what trace a request belongs to, and in which endpoints are told.
    pub propagators: Propagators,
    /// Which requests are recorded.
    pub sampler: Sampler,
    /// Whether traces begin here at all. To say of one that it is not sampled would silence apps with a sampler that does
    /// as its caller does, so it is said only where others of its kind are.
    pub begins: bool,
}

impl Tracing {
    /// By these two.
    pub fn new(propagators: Propagators, sampler: Sampler) -> Self {
        let begins = !matches!(sampler, Sampler::AlwaysOff | Sampler::ParentOrOff);
        Tracing { propagators, sampler, begins }
    }
}
