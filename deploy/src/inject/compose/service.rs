//! The service that is added to a compose file.

use std::path::{Path, PathBuf};

use super::super::args::{InjectArgs, Mode};
use super::super::doc::{Node, Out};
use super::super::environment;
use super::super::knowledge::Knowledge;
use super::super::task::LABEL;
use super::super::task::check::USER;
use super::super::task::sidecar::{FILES, STATE_DIR};

/// The image, if none is said: as the Dockerfile's readers call it.
const IMAGE: &str = concat!("bowline-proxy:", env!("CARGO_PKG_VERSION"));
/// Seconds that the sidecar serves an app that is being stopped, and that it may take to stop: compose gives an app ten.
const STOP: (u32, u32) = (15, 20);

/// The sidecar of a service. `label` says beside which service it is, and what was added there.
pub(super) fn sidecar(
    app: &str,
    service: &Node,
    mode: Mode,
    args: &InjectArgs,
    knowledge: &Knowledge,
    label: &str,
) -> Out {
    let (drain, stop) = STOP;
    // What the app and the sidecar share of /etc/hosts belongs to root, and is read-only under a read-only root.
    let writes_hosts = mode == Mode::Hosts;
    // A container that starts again has a new network, and the sidecar must join that one.
    let after = Out::map([("condition", "service_started".into()), ("restart", true.into())]);
    let depends_on = Out::map([(app, after)]);
    let mut sidecar = Out::map([
        ("image", args.image.as_deref().unwrap_or(IMAGE).into()),
        ("command", Out::texts(["run"])),
        ("network_mode", format!("service:{app}").into()),
        ("depends_on", depends_on),
        ("user", if writes_hosts { "0".into() } else { USER.to_string().into() }),
        ("cap_drop", Out::texts(["ALL"])),
    ]);
    if writes_hosts {
        // Root without this can't write to the state directory, which belongs to the image's user.
        sidecar.set("cap_add", Out::texts(["DAC_OVERRIDE"]));
    } else {
        sidecar.set("read_only", true.into());
    }
    sidecar.set("mem_limit", format!("{}m", args.memory).into());
    if let Some(cpu) = args.cpu {
        sidecar.set("cpu_shares", cpu.into());
    }
    let mut variables = environment::variables(args, knowledge, mode, drain, 1);
    if mode == Mode::Dns {
        // The network's resolver asks on port 53.
        for (_, value) in variables.iter_mut().filter(|(name, _)| name == "BOWLINE_DNS") {
            *value = "127.0.0.1:53".to_owned();
        }
        variables.retain(|(name, _)| name != "BOWLINE_NO_VIP_LISTENERS");
    }
    let taken = exported(service, args);
    let variables = variables.into_iter().map(|(name, value)| (name, dollars(&value).into())).chain(taken);
    sidecar.set("environment", Out::Map(variables.collect()));
    let mut volumes: Vec<Out> = vec![STATE_DIR.into()];
    if let (Some(inside), Some(mesh)) = (environment::mesh_path(args), &args.mesh) {
        volumes.push(format!("{}:{inside}:ro", beside(&args.file, mesh)).into());
    }
    for pair in &args.mount {
        volumes.push(format!("{}:{}:ro", dollars(&pair.name), dollars(&pair.value)).into());
    }
    sidecar.set("volumes", Out::List(volumes));
    sidecar.set("ulimits", Out::map([("nofile", FILES.into())]));
    sidecar.set(
        "healthcheck",
        Out::map([
            ("test", Out::texts(["CMD", "/bowline-proxy", "health"])),
            ("interval", "5s".into()),
            ("timeout", "3s".into()),
            ("retries", 3.into()),
            ("start_period", "15s".into()),
        ]),
    );
    sidecar.set("stop_grace_period", format!("{stop}s").into());
    for key in ["restart", "profiles", "logging"] {
        if let Some(value) = service.get(key).and_then(Out::copy) {
            sidecar.set(key, value);
        }
    }
    sidecar.set("labels", Out::map([(LABEL, label.into())]));
    sidecar
}

/// The app's variables that say where telemetry goes.
fn exported(service: &Node, args: &InjectArgs) -> Vec<(String, Out)> {
    let Some(node) = service.get("environment") else { return Vec::new() };
    let listed = node.elements().iter().filter_map(|element| {
        let (name, value) = element.text()?.split_once('=')?;
        Some((name.to_owned(), Out::from(value)))
    });
    let mapped = node.entries().filter_map(|(name, value)| Some((name.to_owned(), Out::copy(value)?)));
    let all: Vec<(String, Out)> = listed.chain(mapped).collect();
    if !all.iter().any(|(name, _)| environment::is_exporter(name)) {
        return Vec::new();
    }
    let said = |name: &str| args.env.iter().any(|pair| pair.name == name);
    all.into_iter().filter(|(name, _)| environment::is_passed_on(name) && !said(name)).collect()
}

/// A dollar begins a variable of compose; two are one.
fn dollars(text: &str) -> String {
    text.replace('$', "$$")
}

/// A path as it is from the folder of the compose file, where compose looks for it.
fn beside(file: &Path, mesh: &Path) -> String {
    let absolute = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    let folder = file
        .parent()
        .map_or(Path::new("."), |folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let relative = absolute(folder).zip(absolute(mesh)).and_then(|(folder, mesh)| {
        let shared = folder.components().zip(mesh.components()).take_while(|(a, b)| a == b).count();
        // Two folders on nothing in common but the root are told apart best by the whole path.
        let up = folder.components().count() - shared;
        let mut relative = PathBuf::from(if up == 0 { "." } else { ".." });
        (1..up).for_each(|_| relative.push(".."));
        mesh.components().skip(shared).for_each(|part| relative.push(part));
        (shared > 1).then_some(relative)
    });
    dollars(&relative.unwrap_or_else(|| mesh.to_owned()).display().to_string())
}
