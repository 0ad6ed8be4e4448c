//! What stands against the sidecar in a task definition, whatever way calls take to it.

use super::{Container, INIT, Known, Place, SIDECAR, Task};
use crate::inject::args::{InjectArgs, Mode};
use crate::inject::fargate;
use crate::inject::knowledge::Knowledge;
use crate::inject::report::Report;

/// The user that the sidecar runs as, by number.
pub(crate) const USER: u32 = 20_001;
/// MiB that the container which sets up the redirect may take.
pub(crate) const INIT_MEMORY: u32 = 32;
/// CPU units of the sidecar, where the app's containers have a share.
const CPU: u32 = 64;
/// How many containers a task definition may have.
const MAX_CONTAINERS: usize = 10;
/// Ports on which the sidecar listens itself, and in which modes: any (`None`) or this one.
const OWN_PORTS: [(u16, &str, Option<Mode>); 4] = [
    (15_000, "its admin pages", None),
    (15_001, "the app's calls", None),
    (15_006, "calls to the app", Some(Mode::Appmesh)),
    (15_053, "DNS queries", Some(Mode::Dns)),
];

/// The kernel setting that lets anybody bind ports below 1024.
pub(crate) const LOW_PORTS: &str = "net.ipv4.ip_unprivileged_port_start";

/// The containers that wait for the sidecar.
pub(crate) fn apps(task: &Task, place: &Place, args: &InjectArgs, report: &mut Report) -> Vec<usize> {
    let envoy = task.proxy.as_ref().and_then(|proxy| proxy.container.value());
    let before = before_sidecar(task, args, report);
    let waits = |container: &&Container| match &container.name {
        Some(name) => Some(name) != envoy && !before.contains(&name.as_str()) && !container.is_log_router,
        None => !container.is_log_router,
    };
    let others: Vec<&Container> = task.containers.iter().filter(waits).collect();
    let (computed, others): (Vec<&Container>, Vec<&Container>) =
        others.into_iter().partition(|container| container.is_computed);
    for container in computed {
        report.note(
            container.line,
            format!(
                "container {} is computed: it doesn't wait for the sidecar unless you write its DependsOn",
                container.called
            ),
        );
    }
    let chosen: Vec<&Container> = others
        .iter()
        .copied()
        .filter(|container| args.app.is_empty() || args.app.contains(&container.called))
        .collect();
    for app in &args.app {
        if !chosen.iter().any(|container| container.called == *app) {
            let names: Vec<&str> = others.iter().map(|container| container.called.as_str()).collect();
            let task_name = place.name.as_deref().unwrap_or("the task");
            report.refuse(
                task.line,
                format!("--app {app}: {task_name} has no such app container"),
                format!("it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
            );
        }
    }
    if others.is_empty() {
        report.refuse(task.line, "there is no app container that the sidecar could serve", "add one");
    } else if !chosen.is_empty() && !chosen.iter().any(|container| container.essential != Known::Is(false)) {
        report.refuse(
            chosen[0].line,
            "no app container is essential: the task would live on when the app has ended",
            "set essential to true for the container whose end is the end of the task",
        );
    }
    chosen.into_iter().map(|container| container.index).collect()
}

/// The containers that the sidecar waits for, and those that these wait for.
fn before_sidecar<'a>(task: &'a Task, args: &'a InjectArgs, report: &mut Report) -> Vec<&'a str> {
    let mut before: Vec<&str> = Vec::new();
    let mut next: Vec<&str> = args.after.iter().map(|after| after.name.as_str()).collect();
    for after in args.after.iter().filter(|after| task.container(&after.name).is_none()) {
        report.refuse(
            task.line,
            format!("--after {}: there is no such container", after.name),
            "name one of the task's containers",
        );
    }
    while let Some(name) = next.pop() {
        if !before.contains(&name) {
            before.push(name);
            let on =
                task.container(name).map(|container| container.depends_on.as_slice()).unwrap_or_default();
            next.extend(on.iter().map(|(on, _)| on.as_str()));
        }
    }
    before
}

/// Everything else.
pub(crate) fn check(task: &Task, mode: Mode, args: &InjectArgs, knowledge: &Knowledge, report: &mut Report) {
    flags(task, mode, args, knowledge, report);
    names(task, mode, args, report);
    ports(task, mode, args, knowledge, report);
    size(task, mode, args, report);
    users(task, mode, report);
    if mode == Mode::ForwardProxy {
        for container in &task.containers {
            for (name, line) in &container.environment {
                if ["http_proxy", "HTTP_PROXY"].contains(&name.as_str()) {
                    report.refuse(
                        *line,
                        format!("container {} has {name} already", container.called),
                        "take it out, or use another --mode",
                    );
                }
            }
        }
    }
    if low_ports(args, knowledge, mode) {
        for container in &task.containers {
            for (name, value, line) in &container.system_controls {
                if name == LOW_PORTS && value != "0" {
                    report.refuse(
                        *line,
                        format!("{LOW_PORTS} is {value} here, and the sidecar needs 0; it holds for the whole task"),
                        "set it to 0, or give aliases ports from 1024 on",
                    );
                }
            }
        }
    }
    for (name, line) in task.containers.iter().flat_map(|container| &container.depends_on) {
        if [SIDECAR, INIT].contains(&name.as_str()) {
            report.refuse(
                *line,
                format!("a container depends on {name}, but inject has not noted that it did this"),
                "take the dependency out",
            );
        }
    }
}

/// Whether the sidecar is let bind ports below 1024.
pub(crate) fn low_ports(args: &InjectArgs, knowledge: &Knowledge, mode: Mode) -> bool {
    args.low_ports || (mode == Mode::Zone && knowledge.has_low_ports())
}

/// CPU units of the sidecar: as it was said, else a share where others have one. Beside containers without one, which get
/// the least there is, a share would take nearly all.
pub(crate) fn sidecar_cpu(task: &Task, args: &InjectArgs) -> Option<u32> {
    let shares = |container: &Container| !matches!(container.cpu, Known::Absent | Known::Is(0));
    args.cpu.or_else(|| task.containers.iter().any(shares).then_some(CPU))
}

/// MiB that are reserved for the sidecar.
pub(crate) fn reservation(args: &InjectArgs) -> u32 {
    (args.memory / 4).max(6)
}

/// What the sidecar does itself on a port, if it does.
pub(crate) fn own_port(port: u16, mode: Mode) -> Option<&'static str> {
    let own = OWN_PORTS.iter().find(|(own, _, only)| *own == port && only.is_none_or(|only| only == mode));
    own.map(|(_, what, _)| *what)
}

fn flags(task: &Task, mode: Mode, args: &InjectArgs, knowledge: &Knowledge, report: &mut Report) {
    if args.image.is_none() {
        report.refuse(
            0,
            "--image is missing: ECS has to know where to get the sidecar",
            "build it with deploy/Dockerfile.proxy, push it to your registry, and say --image REGISTRY/bowline-proxy:TAG",
        );
    }
    if matches!(mode, Mode::Redirect | Mode::Dns) && args.init_image.is_none() {
        report.refuse(
            0,
            format!(
                "--init-image is missing: mode {} sets rules up by a container of its own",
                mode.as_str()
            ),
            "build it with deploy/Dockerfile.init, push it, and say --init-image REGISTRY/bowline-init:TAG",
        );
    }
    for pair in args.mount.iter().filter(|pair| !task.volumes.contains(&pair.name)) {
        let names = if task.volumes.is_empty() { "none".to_owned() } else { task.volumes.join(", ") };
        report.refuse(
            task.line,
            format!("--mount {}: the task has no such volume", pair.name),
            format!("add it to the task's volumes; it has {names}"),
        );
    }
    if args.control.is_empty() && args.mesh.is_none() && args.mesh_path.is_none() {
        report.refuse(
            0,
            "the sidecar would not know any mesh",
            "say --control URL --namespace NS, or --mesh FILE for a sidecar that runs alone on a mesh file",
        );
    }
    control(args, knowledge, report);
}

/// The flags about the control plane, in whatever file.
pub(crate) fn control(args: &InjectArgs, knowledge: &Knowledge, report: &mut Report) {
    if !args.control.is_empty() && args.namespace.is_none() && knowledge.namespace.is_none() {
        report.refuse(
            0,
            "--control without --namespace",
            "say which namespace the control plane is asked for",
        );
    }
    let given = |name: &str| args.env.iter().chain(&args.secret).any(|pair| pair.name == name);
    for url in &args.control {
        let is_function = url.starts_with('{');
        if !url.starts_with("http://") && !url.starts_with("https://") && !is_function {
            report.refuse(
                0,
                format!("--control {url} is no URL"),
                "write http://HOST:18000 or https://HOST:18000",
            );
        }
        if url.starts_with("https://") && args.control_ca.is_none() && !given("BOWLINE_CONTROL_CA") {
            report.refuse(
                0,
                format!("--control {url}: https needs the authority that has signed the certificate"),
                "say where it lies inside of the sidecar: --control-ca PATH, with --mount VOLUME=FOLDER",
            );
        }
        let host = url.split_once("://").map_or("", |(_, host)| host);
        if ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local)) {
            report.note(0, format!("--control {url} is the task's own loopback"));
        }
    }
}

fn names(task: &Task, mode: Mode, args: &InjectArgs, report: &mut Report) {
    for container in &task.containers {
        if [Some(SIDECAR), Some(INIT)].contains(&container.name.as_deref()) {
            report.refuse(
                container.line,
                format!("there is a container {} that inject has not put here", container.called),
                "take it out, or give it another name",
            );
        }
    }
    let leaving =
        task.proxy.as_ref().and_then(|proxy| proxy.container.value()).filter(|_| args.replace_envoy);
    let leaves = leaving.is_some_and(|name| task.container(name).is_some());
    let added = if matches!(mode, Mode::Redirect | Mode::Dns) { 2 } else { 1 };
    if task.containers.len() + added - usize::from(leaves) > MAX_CONTAINERS {
        report.refuse(
            task.line,
            format!(
                "the task has {} containers and would get {added} more; ECS takes {MAX_CONTAINERS} at most",
                task.containers.len()
            ),
            "move one into a task of its own",
        );
    }
}

fn ports(task: &Task, mode: Mode, args: &InjectArgs, knowledge: &Knowledge, report: &mut Report) {
    let mut listened: Vec<u16> = Vec::new();
    for container in &task.containers {
        for &(port, line) in &container.ports {
            listened.push(port);
            if let Some(what) = own_port(port, mode) {
                report.refuse(
                    line,
                    format!(
                        "container {} listens on {port}, where the sidecar takes {what}",
                        container.called
                    ),
                    "give the app another port",
                );
            }
            if mode != Mode::Zone {
                continue;
            }
            for (name, alias) in knowledge.aliases.iter().flatten().filter(|(_, alias)| *alias == port) {
                report.refuse(
                    line,
                    format!(
                        "container {} listens on {port}, the port of alias {name}:{alias}: the sidecar's listener and one on \
                         0.0.0.0 exclude each other",
                        container.called
                    ),
                    if task.is_fargate() {
                        "give the alias or the app another port, or leave the service out with --services"
                    } else {
                        "give the alias or the app another port, leave the service out with --services, or use --mode redirect"
                    },
                );
            }
        }
    }
    listened.sort_unstable();
    listened.dedup();
    if mode == Mode::Zone && knowledge.aliases.is_none() && !listened.is_empty() {
        let listened: Vec<String> = listened.iter().map(u16::to_string).collect();
        report.note(
            task.line,
            format!(
                "an alias with port {} can't be called from this task, because a container listens there; --mesh FILE finds \
                 out whether there is one",
                listened.join(" or ")
            ),
        );
    }
    for register in &args.register {
        if !listened.is_empty() && !listened.contains(&register.port) {
            report.note(
                task.line,
                format!("--register {}: no container has containerPort {}", register.text, register.port),
            );
        }
    }
}

/// Whether the sidecar fits into the size of the task, if it has one.
fn size(task: &Task, mode: Mode, args: &InjectArgs, report: &mut Report) {
    let init = if matches!(mode, Mode::Redirect | Mode::Dns) { INIT_MEMORY } else { 0 };
    let leaving =
        task.proxy.as_ref().and_then(|proxy| proxy.container.value()).filter(|_| args.replace_envoy);
    let staying = || {
        task.containers
            .iter()
            .filter(|container| container.name.is_none() || container.name.as_ref() != leaving)
    };
    let cpu: u32 = staying().filter_map(|container| container.cpu.value()).sum::<u32>()
        + sidecar_cpu(task, args).unwrap_or(0);
    let reserved =
        |container: &Container| container.reservation.value().or(container.memory.value()).copied();
    let memory: u32 = staying().filter_map(reserved).sum::<u32>() + reservation(args) + init;
    let has = |known: &Known<u32>, wanted: u32| known.value().is_none_or(|size| *size >= wanted);
    let limit = has(&task.memory, args.memory);
    if has(&task.cpu, cpu) && has(&task.memory, memory) && limit {
        return;
    }
    let mut what = Vec::new();
    if !has(&task.cpu, cpu) {
        what.push(format!("{cpu} CPU units, and the task has {}", task.cpu.value().copied().unwrap_or(0)));
    }
    if !has(&task.memory, memory) {
        what.push(format!("{memory} MiB, and the task has {}", task.memory.value().copied().unwrap_or(0)));
    }
    if !limit {
        what.push(format!("{} MiB for the sidecar at most, which is more than the task has", args.memory));
    }
    let least = |known: &Known<u32>, wanted: u32| known.value().copied().unwrap_or(0).max(wanted);
    let (cpu, memory) = (least(&task.cpu, cpu), least(&task.memory, memory.max(args.memory)));
    let help = match fargate::next_size(cpu, memory).filter(|_| task.is_fargate()) {
        Some((cpu, memory)) => format!(
            "give the task cpu {cpu} and memory {memory}, Fargate's next size, or give the other containers less"
        ),
        None => {
            format!("give the task cpu {cpu} and memory {memory} at least, or give the other containers less")
        }
    };
    report.refuse(task.size_line, format!("with the sidecar the containers want {}", what.join("; ")), help);
}

/// Traffic of the sidecar's user is left alone by the redirect of everything.
fn users(task: &Task, mode: Mode, report: &mut Report) {
    if !matches!(mode, Mode::Appmesh | Mode::Dns) {
        return;
    }
    for container in &task.containers {
        let Known::Is(user) = &container.user else { continue };
        if user.split(':').next() == Some(USER.to_string().as_str()) {
            report.refuse(
                container.line,
                format!(
                    "container {} runs as user {USER}, the sidecar's, and so would not be redirected",
                    container.called
                ),
                "give it another user",
            );
        }
    }
}
