//! Which way the app's calls can take to the sidecar, by what the task may do.

use super::{Known, Place, SIDECAR, Task};
use crate::inject::args::Mode;
use crate::inject::report::Report;

/// How many ports ECS's redirect takes; it leaves the rest out without a word.
const MAX_REDIRECTED_PORTS: usize = 15;

/// The mode to use. What stands against it, and against any sidecar in such a task, is reported.
pub(crate) fn choose(task: &Task, wanted: Mode, replace_envoy: bool, report: &mut Report) -> Mode {
    platform(task, report);
    let mode = match (wanted, &task.proxy) {
        (Mode::Auto, Some(_)) => Mode::Appmesh,
        (Mode::Auto, None) => Mode::Zone,
        (mode, _) => mode,
    };
    match mode {
        Mode::Hosts => report.refuse(
            task.line,
            "mode hosts: containers of a task don't share /etc/hosts",
            "leave --mode out, or see the modes in bowline inject --help",
        ),
        Mode::Redirect | Mode::Dns if task.is_fargate() => report.refuse(
            task.line,
            format!("mode {}: it needs the capability NET_ADMIN, which Fargate gives to no container", mode.as_str()),
            "leave --mode out (zone works on Fargate), or take FARGATE out of requiresCompatibilities if the task only \
             runs on EC2",
        ),
        _ => {}
    }
    if let Some(proxy) = &task.proxy {
        if mode == Mode::Appmesh {
            appmesh(task, replace_envoy, report);
        } else {
            report.refuse(
                proxy.line,
                format!("mode {}: the task's proxyConfiguration redirects everything, also what the sidecar sends", mode.as_str()),
                "take proxyConfiguration out, or use --mode appmesh",
            );
        }
    }
    mode
}

/// Tasks that no sidecar can serve.
fn platform(task: &Task, report: &mut Report) {
    let external = task.compatibilities.iter().any(|name| name.eq_ignore_ascii_case("EXTERNAL"));
    if external {
        report.refuse(
            task.network_line,
            "requiresCompatibilities EXTERNAL (ECS Anywhere): there is no awsvpc network mode, so the containers of a task \
             don't share a network of their own",
            "run one bowline-proxy on each host, beside ECS, and tasks in network mode host; or register the task for EC2 \
             or FARGATE",
        );
    }
    if let Known::Is(system) = &task.operating_system
        && system.to_ascii_uppercase().starts_with("WINDOWS")
    {
        report.refuse(
            task.line,
            format!("runtimePlatform {system}: the sidecar runs on Linux only"),
            "call services of the mesh from Windows by way of a Linux task that runs the sidecar",
        );
    }
    let vpc = "set networkMode to awsvpc (the service then needs subnets and security groups in its networkConfiguration)";
    match &task.network_mode {
        Known::Is(mode) if mode == "awsvpc" => {}
        Known::Computed => report.note(task.network_line, "networkMode is computed; it must be awsvpc"),
        Known::Absent if task.is_fargate() => {
            report.refuse(task.line, "networkMode is missing; Fargate wants awsvpc", "set networkMode to awsvpc");
        }
        _ if external => {}
        Known::Is(mode) if mode == "host" => report.refuse(
            task.network_line,
            "networkMode host: all tasks of a host share one loopback, and two sidecars would want the same addresses",
            format!("{vpc}; or run one bowline-proxy for the whole host, beside ECS"),
        ),
        Known::Is(mode) if mode == "none" => {
            report.refuse(task.network_line, "networkMode none: the task has no network", vpc);
        }
        Known::Is(mode) if mode != "bridge" => {
            report.refuse(task.network_line, format!("networkMode {mode} is not known"), vpc);
        }
        _ => report.refuse(
            task.network_line,
            "networkMode bridge (the default): each container has a loopback of its own, so the app can't reach the \
             addresses that stand for names of the mesh",
            vpc,
        ),
    }
}

/// What ECS's own redirect asks for.
fn appmesh(task: &Task, replace_envoy: bool, report: &mut Report) {
    let Some(proxy) = &task.proxy else { return };
    for name in ["AppPorts", "EgressIgnoredPorts"] {
        let ports = proxy.list(name);
        if ports.len() > MAX_REDIRECTED_PORTS {
            report.refuse(
                proxy.line,
                format!("{name} has {} ports; ECS heeds the first {MAX_REDIRECTED_PORTS} and leaves the rest out without a word", ports.len()),
                format!("name {MAX_REDIRECTED_PORTS} at most, or use another --mode and take proxyConfiguration out"),
            );
        }
    }
    if proxy.container == Known::Computed {
        let help = "write the container's name out";
        report.refuse(
            proxy.line,
            "the containerName of proxyConfiguration is computed, and would be replaced",
            help,
        );
    }
    if let Known::Is(name) = &proxy.container
        && name != SIDECAR
        && let Some(envoy) = task.container(name)
        && !replace_envoy
    {
        report.refuse(
            envoy.line,
            format!("proxyConfiguration names container {name}, which the sidecar would have to replace"),
            format!("say --replace-envoy to take {name} out; --remove can't bring it back"),
        );
    }
}

/// Says which mode it is, and what it needs.
pub(crate) fn note(mode: Mode, task: &Task, place: &Place, report: &mut Report) {
    let needs = match mode {
        Mode::Zone => {
            "VIP listeners; the names must be in a private DNS zone of the VPC, which bowline-control serve --publish-zone keeps"
        }
        Mode::Redirect => {
            "an init container redirects the VIPs; the names must be in a private DNS zone of the VPC"
        }
        Mode::Dns => "an init container redirects the VIPs and DNS; no zone is needed",
        Mode::Appmesh => "ECS redirects all connections; a name needs some address in DNS, whichever",
        Mode::ForwardProxy => {
            "HTTP_PROXY; only clients that heed it are served, and nothing but HTTP and CONNECT"
        }
        Mode::Auto | Mode::Hosts => return,
    };
    let task_name = place.name.as_deref().map_or_else(String::new, |name| format!("{name}: "));
    report.note(task.line, format!("{task_name}mode {}: {needs}", mode.as_str()));
}
