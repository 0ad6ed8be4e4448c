//! What stands against a sidecar beside a service of a compose file.

use super::super::args::{InjectArgs, Mode};
use super::super::doc::{Doc, Node};
use super::super::knowledge::Knowledge;
use super::super::report::Report;
use super::super::task::check::{control, own_port};
use super::{SUFFIX, label, service_path};

/// Flags that can't be served in a compose file, and those that are missing.
pub(super) fn flags(mode: Mode, args: &InjectArgs, knowledge: &Knowledge, report: &mut Report) {
    match mode {
        Mode::Zone | Mode::Redirect | Mode::Appmesh => report.refuse(
            0,
            format!("mode {}: there is no such thing in a compose file", mode.as_str()),
            "leave --mode out (hosts), or use dns or forward-proxy",
        ),
        Mode::Dns if !args.env.iter().any(|pair| pair.name == "BOWLINE_DNS_UPSTREAM") => report.refuse(
            0,
            "mode dns: the network's own resolver would ask the sidecar, and the sidecar it, for names outside",
            "say whom the sidecar asks, --env BOWLINE_DNS_UPSTREAM=ADDR:53, or leave --mode out (hosts)",
        ),
        _ => {}
    }
    if args.control.is_empty() && args.mesh.is_none() {
        report.refuse(
            0,
            "the sidecar would not know any mesh",
            "say --mesh FILE, or --control URL --namespace NS",
        );
    }
    control(args, knowledge, report);
    let pointless = [
        (!args.secret.is_empty(), "--secret"),
        (!args.resource.is_empty(), "--resource"),
        (args.init_image.is_some(), "--init-image"),
        (args.replace_envoy, "--replace-envoy"),
        (args.low_ports, "--low-ports"),
        (!args.after.is_empty(), "--after"),
    ];
    for (_, flag) in pointless.into_iter().filter(|(given, _)| *given) {
        report.refuse(0, format!("{flag} means nothing in a compose file"), "leave it out");
    }
}

/// The service itself.
pub(super) fn app(doc: &Doc, name: &str, mode: Mode, knowledge: &Knowledge, report: &mut Report) {
    let Some(service) = doc.at(&service_path(name)) else { return };
    let line = |node: &Node| doc.line(node.start());
    let sidecar = format!("{name}{SUFFIX}");
    if let Some(there) = doc.at(&service_path(&sidecar)).filter(|there| label(there).is_none()) {
        report.refuse(
            line(there),
            format!("there is a service {sidecar} that inject has not put here"),
            "rename it",
        );
    }
    if let Some(node) = service.get("network_mode") {
        let network = node.tagged_text().unwrap_or_default();
        let help = match network.strip_prefix("service:") {
            Some(other) => format!("give the sidecar to the service whose network it is: --app {other}"),
            None => {
                "use a network of the compose file, with ports: for what is called from outside".to_owned()
            }
        };
        report.refuse(
            line(node),
            format!("{name} has network_mode {network}: the sidecar needs its own network"),
            help,
        );
    }
    let replicas =
        service.get("deploy").and_then(|deploy| deploy.get("replicas")).or_else(|| service.get("scale"));
    if let Some(node) = replicas.filter(|node| node.text() != Some("1")) {
        report.refuse(
            line(node),
            format!("{name} runs more than once: a sidecar joins the network of one container"),
            "make services of their own of them, each with a sidecar",
        );
    }
    ports(doc, name, service, mode, knowledge, report);
    if let Some(node) = service.get("dns").filter(|_| mode == Mode::Dns) {
        report.refuse(
            line(node),
            format!("{name} has dns: already"),
            "take it out, or leave --mode out (hosts)",
        );
    }
    let environment = service.get("environment");
    if mode == Mode::ForwardProxy
        && let Some(node) = environment
    {
        for variable in variables(node).iter().filter(|variable| variable.eq_ignore_ascii_case("http_proxy"))
        {
            report.refuse(
                line(node),
                format!("{name} has {variable} already"),
                "take it out, or use another --mode",
            );
        }
    }
}

fn ports(doc: &Doc, name: &str, service: &Node, mode: Mode, knowledge: &Knowledge, report: &mut Report) {
    let lists = ["ports", "expose"].into_iter().filter_map(|key| service.get(key));
    for node in lists.flat_map(|list| list.elements()) {
        let Some(port) = container_port(node) else { continue };
        if let Some(what) = own_port(port, mode) {
            report.refuse(
                doc.line(node.start()),
                format!("{name} listens on {port}, where the sidecar takes {what}"),
                "give the app another port",
            );
        }
        if mode == Mode::ForwardProxy {
            continue;
        }
        for (alias, _) in knowledge.aliases.iter().flatten().filter(|(_, alias)| *alias == port) {
            report.refuse(
                doc.line(node.start()),
                format!(
                    "{name} listens on {port}, the port of alias {alias}:{port}: the sidecar's listener and one on 0.0.0.0 \
                     exclude each other"
                ),
                "give the alias or the app another port, or leave the service out with --services",
            );
        }
    }
}

/// The port inside of the container: of `80`, `8080:80`, `127.0.0.1:8080:80/tcp` or `{ target: 80 }`.
fn container_port(node: &Node) -> Option<u16> {
    let text = match node.get("target") {
        Some(target) => target.text()?,
        None => node.text()?,
    };
    text.split('/').next()?.rsplit(':').next()?.parse().ok()
}

/// The names in a service's environment, be it a list or a mapping.
pub(super) fn variables(environment: &Node) -> Vec<String> {
    let listed = environment.elements().iter().map(|node| node.text().unwrap_or_default());
    let listed = listed.map(|text| text.split('=').next().unwrap_or_default().to_owned());
    listed.chain(environment.entries().map(|(name, _)| name.to_owned())).collect()
}

/// What a mode is, and needs.
pub(super) fn needs(mode: Mode) -> &'static str {
    match mode {
        Mode::Dns => "queries that the network's resolver can't answer go to the sidecar",
        Mode::ForwardProxy => {
            "HTTP_PROXY; only clients that heed it are served, and nothing but HTTP and CONNECT"
        }
        _ => {
            "the sidecar writes the names into /etc/hosts, which it shares with the app. It starts after the app, whose \
             network it joins: the app has to try again until then"
        }
    }
}
