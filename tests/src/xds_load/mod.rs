//! Load for a control plane: many subscribers, changes that reach them, and how long each took.
//!
//! Subscribers speak raw delta ADS as our own proxies do, and read of a response only what they must: the load shares a
//! machine with what it measures. Changes are made as tasks make them, over the registration service.

pub mod board;
pub mod flaps;
pub mod percentiles;
pub mod process;
pub mod subscriber;
pub mod tasks;

use std::path::Path;

use bowline_api::model::Endpoints;

/// What the load has to know of the mesh.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The namespace.
    pub namespace: String,
    /// All services, by `discoveryName`.
    pub services: Vec<String>,
    /// Those whose endpoints register themselves: their places in `services`.
    pub registered: Vec<usize>,
}

impl Plan {
    /// Reads it from a mesh file.
    ///
    /// # Errors
    /// In words: the file can't be read, or no service in it is `registered`.
    pub fn read(file: &Path) -> Result<Self, String> {
        let mesh = bowline_api::load(file).map_err(|problems| problems.to_string())?.mesh;
        let registered: Vec<_> = mesh
            .services
            .iter()
            .enumerate()
            .filter(|(_, service)| matches!(service.endpoints, Endpoints::Registered(_)))
            .map(|(at, _)| at)
            .collect();
        if registered.is_empty() {
            return Err(format!("{}: no service has `endpoints: {{ registered: {{}} }}`", file.display()));
        }
        let services = mesh.services.into_iter().map(|service| service.discovery_name).collect();
        Ok(Plan { namespace: mesh.namespace, services, registered })
    }
}
