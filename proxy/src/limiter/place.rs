//! A place that is taken.

use std::sync::Arc;

use super::{Kind, Limiter};
use crate::descriptors::Descriptor;

/// Taken until it is dropped.
#[derive(Debug)]
pub struct Place {
    limiter: Option<Arc<Limiter>>,
    kind: Kind,
    /// A connection is a file descriptor too.
    _descriptor: Option<Descriptor>,
}

impl Place {
    pub(super) fn new(limiter: &Arc<Limiter>, kind: Kind) -> Self {
        let descriptor = (kind == Kind::Connection).then(Descriptor::count);
        Place { limiter: Some(limiter.clone()), kind, _descriptor: descriptor }
    }

    /// Leaves it taken: from here on its holder sees to it that [`Limiter::give_back`] is called.
    pub fn keep(mut self) {
        self.limiter = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.take() {
            limiter.give_back(self.kind);
        }
    }
}
