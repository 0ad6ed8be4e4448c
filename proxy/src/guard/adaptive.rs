//! The learnt limit of a service's requests in flight.

use std::sync::Arc;

use bowline_api::model;
use bowline_core::limit::{Adaptive, AdaptiveConfig, Priority};
use http::{HeaderMap, HeaderName};

/// A learnt limit with what the mesh says of it.
#[derive(Debug)]
pub struct AdaptiveLimit {
    /// What the mesh says.
    pub model: model::AdaptiveConcurrency,
    /// What has been learnt.
    pub learnt: Adaptive,
    header: Option<HeaderName>,
}

impl AdaptiveLimit {
    /// The same one while the mesh says the same.
    pub fn new(model: &model::AdaptiveConcurrency, before: Option<&Arc<AdaptiveLimit>>) -> Arc<Self> {
        if let Some(before) = before
            && before.model == *model
        {
            return before.clone();
        }
        let learnt = Adaptive::new(AdaptiveConfig {
            min_concurrency: model.min_concurrency,
            max_concurrency: model.max_concurrency,
            initial: model.initial_concurrency.clamp(model.min_concurrency, model.max_concurrency),
            probe_interval: model.probe_interval_seconds.get(),
            buffer_percent: model.buffer_percent,
        });
        let header =
            model.priority_header.as_ref().and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        Arc::new(AdaptiveLimit { model: model.clone(), learnt, header })
    }

    /// How many may be in flight for this request to be let in.
    #[inline]
    pub fn limit_for(&self, headers: &HeaderMap, route: Option<model::Priority>) -> u32 {
        let said = self.header.as_ref().and_then(|name| headers.get(name)).and_then(|value| {
            match value.as_bytes() {
                b"low" => Some(Priority::Low),
                b"normal" => Some(Priority::Normal),
                b"high" => Some(Priority::High),
                _ => None,
            }
        });
        let priority = said.unwrap_or(match route {
            Some(model::Priority::Low) => Priority::Low,
            Some(model::Priority::High) => Priority::High,
            Some(model::Priority::Normal) | None => Priority::Normal,
        });
        self.learnt.limit_for(priority)
    }
}
