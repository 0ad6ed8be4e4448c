//! The sidecar's environment: what it is told, in the variables of `bowline-proxy run`.

use super::args::{InjectArgs, Mode};
use super::knowledge::Knowledge;

/// Where the mesh file lies inside of the sidecar, if nothing else is said.
const MESH_PATH: &str = "/etc/bowline/mesh.yaml";
/// Where apps find the forward proxy.
pub(crate) const FORWARD_PROXY: &str = "http://127.0.0.1:15001";

/// What is not called through it: the task's metadata and credentials, and its own loopback.
pub(crate) const NOT_PROXIED: &str = "127.0.0.1,localhost,169.254.169.254,169.254.170.2";

/// Names and values, in the order in which they are written. `drain` and `workers`: seconds, and threads.
pub(crate) fn variables(
    args: &InjectArgs,
    knowledge: &Knowledge,
    mode: Mode,
    drain: u32,
    workers: u32,
) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    if !args.control.is_empty() {
        set("BOWLINE_CONTROL", args.control.join(","));
        let namespace = args.namespace.clone().or_else(|| knowledge.namespace.clone());
        set("BOWLINE_NAMESPACE", namespace.unwrap_or_default());
        if let Some(path) = &args.control_ca {
            set("BOWLINE_CONTROL_CA", path.clone());
        }
        if !args.services.is_empty() {
            set("BOWLINE_SERVICES", args.services.join(","));
        }
    }
    if !args.register.is_empty() {
        let register: Vec<&str> = args.register.iter().map(|register| register.text.as_str()).collect();
        set("BOWLINE_REGISTER", register.join(" "));
    }
    if let Some(path) = mesh_path(args) {
        set("BOWLINE_MESH", path);
    }
    set("BOWLINE_STATE_DIR", "/var/lib/bowline".to_owned());
    set("BOWLINE_DRAIN_SECONDS", drain.to_string());
    if workers > 1 {
        set("BOWLINE_WORKERS", workers.to_string());
    }
    if let Some(range) = args.vip_range {
        set("BOWLINE_VIP_RANGE", range.to_string());
    }
    match mode {
        Mode::Dns => set("BOWLINE_DNS", "127.0.0.1:15053".to_owned()),
        Mode::Hosts => set("BOWLINE_WRITE_HOSTS", "/etc/hosts".to_owned()),
        // What ECS redirects arrives at the task's own address.
        Mode::Appmesh => set("BOWLINE_INBOUND", "0.0.0.0:15006".to_owned()),
        _ => {}
    }
    if matches!(mode, Mode::Dns | Mode::Redirect | Mode::Appmesh | Mode::ForwardProxy) {
        set("BOWLINE_NO_VIP_LISTENERS", "true".to_owned());
    }
    for pair in &args.env {
        match variables.iter_mut().find(|(name, _)| *name == pair.name) {
            Some((_, value)) => value.clone_from(&pair.value),
            None => variables.push((pair.name.clone(), pair.value.clone())),
        }
    }
    variables.retain(|(name, _)| !args.secret.iter().any(|secret| secret.name == *name));
    variables
}

/// Where the mesh file lies inside of the sidecar, if it is to read one.
pub(crate) fn mesh_path(args: &InjectArgs) -> Option<String> {
    args.mesh_path.clone().or_else(|| args.control.is_empty().then(|| MESH_PATH.to_owned()))
}

/// Whether a variable says where telemetry goes.
pub(crate) fn is_exporter(name: &str) -> bool {
    name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT")
}

/// Whether the sidecar gets a variable of the app's too: where telemetry goes, and what is said about its origin.
pub(crate) fn is_passed_on(name: &str) -> bool {
    name.starts_with("OTEL_EXPORTER_OTLP_") || name == "OTEL_RESOURCE_ATTRIBUTES"
}
