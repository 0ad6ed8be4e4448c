//! A place that is taken.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{Kind, Limiter};
use crate::descriptors::Descriptor;
use crate::dialled::{self, Dialled};

/// Taken until it is dropped.
#[derive(Debug)]
pub struct Place {
    limiter: Option<Arc<Limiter>>,
    kind: Kind,
    /// A connection is a file descriptor too.
    _descriptor: Option<Descriptor>,
    /// Its connection, where connections can come back. Boxed: there are none in most proxies.
    dialled: Option<Box<Dialled>>,
}

impl Place {
    pub(super) fn new(limiter: &Arc<Limiter>, kind: Kind) -> Self {
        let descriptor = (kind == Kind::Connection).then(Descriptor::count);
        Place { limiter: Some(limiter.clone()), kind, _descriptor: descriptor, dialled: None }
    }

    /// It is that of this connection, and no more of the one before.
    pub fn is_of(&mut self, stream: &TcpStream) {
        self.dialled = dialled::note(stream).map(Box::new);
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
