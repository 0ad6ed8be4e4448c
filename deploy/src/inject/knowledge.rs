//! What is known of the mesh that the task will be part of.

use bowline_api::mesh_file::{self, Options};
use bowline_api::model::Endpoints;
use bowline_api::nearest;
use bowline_api::vip::VipRange;

use super::args::InjectArgs;
use super::report::Report;

/// What a mesh file tells.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    /// Its namespace; `None` without a mesh file.
    pub(crate) namespace: Option<String>,
    /// The name and port of each alias that the sidecar will bind; `None` without a mesh file.
    pub(crate) aliases: Option<Vec<(String, u16)>>,
}

impl Knowledge {
    /// Reads the mesh file, if one is given, and checks the flags against it.
    pub(crate) fn read(args: &InjectArgs, report: &mut Report) -> Self {
        let Some(path) = &args.mesh else { return Self::default() };
        let vip_range = args.vip_range.unwrap_or(VipRange::DEFAULT);
        let loaded = match mesh_file::load_with(path, &Options { vip_range }) {
            Ok(loaded) => loaded,
            Err(problems) => {
                for problem in &problems {
                    report.refuse(0, problem.to_string(), "bowline check says the same");
                }
                return Self::default();
            }
        };
        let mesh = loaded.mesh;
        let names: Vec<&str> = mesh.services.iter().map(|service| service.discovery_name.as_str()).collect();
        let registered = args.register.iter().map(|register| (&register.service, "--register"));
        for (name, flag) in args.services.iter().map(|name| (name, "--services")).chain(registered) {
            match mesh.services.iter().find(|service| service.discovery_name == *name) {
                None => {
                    let near = nearest(name, names.iter().copied());
                    let help = near.map_or("put it into the mesh file".to_owned(), |near| {
                        format!("did you mean {near}?")
                    });
                    report.refuse(
                        0,
                        format!("{flag} {name}: there is no such service in {}", path.display()),
                        help,
                    );
                }
                Some(service)
                    if flag == "--register" && !matches!(service.endpoints, Endpoints::Registered(_)) =>
                {
                    report.refuse(
                        0,
                        format!("--register {name}: the service's endpoints don't come from registration"),
                        "write endpoints: { registered: {} } in the mesh file, or leave --register out",
                    );
                }
                Some(_) => {}
            }
        }
        if let Some(namespace) = args.namespace.as_ref().filter(|namespace| **namespace != mesh.namespace) {
            report.refuse(
                0,
                format!("--namespace {namespace}: the mesh file's is {}", mesh.namespace),
                "a mesh is one namespace",
            );
        }
        let bound = mesh
            .services
            .iter()
            .filter(|service| args.services.is_empty() || args.services.contains(&service.discovery_name));
        let aliases = bound.flat_map(|service| &service.client_aliases);
        Self {
            aliases: Some(aliases.map(|alias| (alias.dns_name.clone(), alias.port)).collect()),
            namespace: Some(mesh.namespace.clone()),
        }
    }

    /// Whether an alias has a port below 1024.
    pub(crate) fn has_low_ports(&self) -> bool {
        self.aliases.iter().flatten().any(|(_, port)| *port < 1024)
    }
}
