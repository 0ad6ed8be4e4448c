//! What holds for the requests of a route.

use bowline_api::Service;
use bowline_api::model::{AppProtocol, HashOn, Retry, RetryConditions, Route, Timeout};

use super::around::Around;

/// What holds for the requests of a route, or for those that no route fits.
#[derive(Debug)]
pub(crate) struct Policy<'a> {
    /// The service that is called.
    pub(crate) service: &'a Service,
    pub(crate) timeout: Timeout,
    pub(crate) retry: Retry,
    pub(crate) hash: Option<&'a HashOn>,
}

impl<'a> Policy<'a> {
    /// Of a service's own requests.
    pub(crate) fn of(service: &'a Service) -> Self {
        Policy {
            service,
            timeout: service.timeout.clone(),
            retry: service.retry.clone(),
            hash: service.load_balancing.hash.as_ref(),
        }
    }

    /// Of a route's. What the called service says holds, with the route's own over it; of several services it is the first
    /// that is known.
    pub(crate) fn of_route(service: &'a Service, route: &Route, around: &'a Around) -> Self {
        let called =
            |name: &str| if name == service.discovery_name { Some(service) } else { around.service(name) };
        let called = route.to.iter().find_map(|to| called(&to.service)).unwrap_or(service);
        let mut policy = Self::of(called);
        if let Some(timeout) = &route.timeout {
            policy.timeout = timeout.over(&policy.timeout);
        }
        if let Some(retry) = &route.retry {
            policy.retry = retry.over(&policy.retry);
        }
        policy
    }

    /// What is tried again for requests that are, or are not, idempotent.
    pub(crate) fn conditions(&self, detected: AppProtocol, idempotent: bool) -> RetryConditions {
        self.retry.conditions(self.service.speaks(detected), idempotent)
    }
}
