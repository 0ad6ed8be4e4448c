//! What most requests have nothing of: apart, as the future of a request is what a busy connection costs most memory for.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::breaker::Permit;
use http::HeaderValue;

use super::Call;
use crate::access::{Access, Granted};
use crate::http::mirror::Copy;
use crate::snapshot::rules::Route;
use crate::snapshot::{Policy, Service};

/// All of that.
#[derive(Default)]
pub(super) struct Rare {
    /// The route that it takes.
    pub(super) route: Option<Arc<Route>>,
    /// How it is handled, where that is not as the service's policy says.
    pub(super) own_policy: Option<Arc<Policy>>,
    /// Whose route led to the service, where it is another one's.
    pub(super) owner: Option<Arc<Service>>,
    /// The route leads to where this proxy knows nothing of.
    pub(super) astray: Option<Box<str>>,
    /// A copy that waits for the body.
    pub(super) copy: Option<Box<Copy>>,
    /// For so long it was held up: by a fault, or until it was its turn by a rate limit.
    pub(super) held_up: Duration,
    /// What the service's breaker is told in the end.
    pub(super) permit: Option<Permit>,
    /// The hash of its key, where the service's endpoints are found by one.
    pub(super) key: Option<u64>,
    /// What was asked of who calls, and what is passed on of it.
    pub(super) doors: Vec<(Arc<Access>, Option<Arc<Granted>>)>,
    /// Cookies to set on the response, so that the caller brings its key along from now on.
    pub(super) set_cookies: Vec<HeaderValue>,
}

impl Call<'_> {
    /// A place for it.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The route that it takes.
    #[inline]
    pub(super) fn route(&self) -> Option<&Arc<Route>> {
        self.rare.as_ref()?.route.as_ref()
    }

    #[inline]
    pub(super) fn own_policy(&self) -> Option<&Policy> {
        self.rare.as_ref()?.own_policy.as_deref()
    }

    /// For so long it was held up on purpose.
    #[inline]
    pub(super) fn held_up(&self) -> Duration {
        self.rare.as_ref().map_or(Duration::ZERO, |rare| rare.held_up)
    }

    /// Whose route led to the service, where it is another one's.
    pub(super) fn owner(&self) -> Option<&Arc<Service>> {
        self.rare.as_ref()?.owner.as_ref()
    }

    /// The hash of its key.
    #[inline]
    pub(super) fn key(&self) -> Option<u64> {
        self.rare.as_ref()?.key
    }

    /// Whether the service's breaker waits to hear how it ends.
    #[inline]
    pub(super) fn has_permit(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.permit.is_some())
    }
}
