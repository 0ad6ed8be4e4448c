//! Where the control plane's knowledge comes from. Each source turns its world into [`Change`]s; the registry puts them
//! together.

pub mod cloudmap;
pub mod dns;
pub mod mesh_file;
pub mod registration;

use std::sync::Arc;

use bowline_api::Mesh;
use bowline_api::model::Endpoint;
use tokio::sync::{mpsc, watch};

/// What a source has found.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The services and their policies, all of them.
    Mesh(Arc<Mesh>),
    /// All endpoints that a service has now.
    Endpoints {
        /// Its `discoveryName`.
        service: String,
        /// The whole list; empty: it has none.
        endpoints: Vec<Endpoint>,
        /// False while some may be missing from the list: see `ServiceState::settled`.
        settled: bool,
    },
    /// A source can't look, or can again. What it found last stays.
    Trouble {
        /// The service; `None`: all of this source.
        service: Option<String>,
        /// Which source: `mesh`, `dns`, `cloudMap`, `registered`; or `zone`, which is none, and in which names can't be
        /// published as they should be.
        source: &'static str,
        /// What is wrong, in words; `None`: nothing any more.
        why: Option<String>,
    },
}

/// A source of endpoints.
pub trait Source: Send + 'static {
    /// Follows the mesh (which services are this source's, and how they are to be found) and reports each change, until
    /// the receiver has gone.
    fn run(
        self,
        mesh: watch::Receiver<Arc<Mesh>>,
        changes: mpsc::Sender<Change>,
    ) -> impl Future<Output = ()> + Send;
}
