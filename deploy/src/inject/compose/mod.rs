//! A compose file: a sidecar beside each service that was named, in that service's network.

mod check;
mod service;

use super::args::{InjectArgs, Mode};
use super::doc::{Doc, Fault, Node, Out, Path};
use super::environment::{FORWARD_PROXY, NOT_PROXIED};
use super::knowledge::Knowledge;
use super::report::Report;
use super::task::LABEL;

/// Behind the name of the app's service.
const SUFFIX: &str = "-bowline";

/// Puts sidecars in.
pub(crate) fn inject(
    doc: &mut Doc,
    args: &InjectArgs,
    knowledge: &Knowledge,
    report: &mut Report,
) -> Result<(), Fault> {
    let apps = apps(doc, args, report);
    // What is there is taken out first, so that it makes no difference whether it was there.
    for app in &apps {
        remove_beside(doc, app)?;
    }
    report.reading(doc.text());
    let mode = if args.mode == Mode::Auto { Mode::Hosts } else { args.mode };
    check::flags(mode, args, knowledge, report);
    for app in &apps {
        check::app(doc, app, mode, knowledge, report);
    }
    if report.is_refused() {
        return Ok(());
    }
    for app in &apps {
        add(doc, app, mode, args, knowledge)?;
    }
    report.note(0, format!("mode {}: {}", mode.as_str(), check::needs(mode)));
    Ok(())
}

/// Takes sidecars out: those beside the services that were named, or all.
pub(crate) fn remove(doc: &mut Doc, args: &InjectArgs, report: &mut Report) -> Result<(), Fault> {
    let named = services(doc).filter_map(|(_, service)| label(service)?.split(' ').next().map(str::to_owned));
    let beside: Vec<String> = named.filter(|app| args.app.is_empty() || args.app.contains(app)).collect();
    if beside.is_empty() {
        report.note(0, "there is no sidecar that inject has put here");
    }
    beside.iter().try_for_each(|app| remove_beside(doc, app))
}

fn services(doc: &Doc) -> impl Iterator<Item = (&str, &Node)> {
    doc.root().own("services").into_iter().flat_map(Node::entries)
}

fn service_path(name: &str) -> Path {
    Path::default().key("services").key(name)
}

/// What a sidecar's label says: the service beside which it is, and what was added there.
fn label(service: &Node) -> Option<&str> {
    service.get("labels")?.get(LABEL)?.text()
}

/// The services that were named, or the only one there is.
fn apps(doc: &Doc, args: &InjectArgs, report: &mut Report) -> Vec<String> {
    let all: Vec<&str> =
        services(doc).filter(|(_, service)| label(service).is_none()).map(|(name, _)| name).collect();
    let list = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    for app in args.app.iter().filter(|app| !all.contains(&app.as_str())) {
        report.refuse(0, format!("--app {app}: there is no such service"), format!("there are {list}"));
    }
    if args.app.is_empty() && all.len() != 1 {
        report.refuse(0, "which services get a sidecar?", format!("name them with --app; there are {list}"));
        return Vec::new();
    }
    let chosen = all.into_iter().filter(|name| args.app.is_empty() || args.app.iter().any(|app| app == name));
    chosen.map(str::to_owned).collect()
}

fn add(doc: &mut Doc, app: &str, mode: Mode, args: &InjectArgs, knowledge: &Knowledge) -> Result<(), Fault> {
    let path = service_path(app);
    let mut marks = vec![app.to_owned()];
    if mode == Mode::Dns {
        doc.insert(&path, "dns", &Out::texts(["127.0.0.1"]))?;
        marks.push("dns".to_owned());
    }
    if mode == Mode::ForwardProxy {
        forward_proxy(doc, &path.key("environment"), &mut marks)?;
    }
    let Some(node) = doc.at(&path) else { return Ok(()) };
    let sidecar = service::sidecar(app, node, mode, args, knowledge, &marks.join(" "));
    doc.insert(&Path::default().key("services"), &format!("{app}{SUFFIX}"), &sidecar)
}

/// The variables for the forward proxy, in the form in which the service has its environment.
fn forward_proxy(doc: &mut Doc, environment: &Path, marks: &mut Vec<String>) -> Result<(), Fault> {
    let variables = [
        ("HTTP_PROXY", FORWARD_PROXY),
        ("http_proxy", FORWARD_PROXY),
        ("NO_PROXY", NOT_PROXIED),
        ("no_proxy", NOT_PROXIED),
    ];
    let Some(node) = doc.at(environment) else {
        marks.push("environment".to_owned());
        let all = variables.map(|(name, value)| (name, value.into()));
        return doc.insert_at(environment, &Out::map(all));
    };
    let there = check::variables(node);
    let is_list = node.is_list();
    for (name, value) in variables.into_iter().filter(|(name, _)| !there.iter().any(|one| one == name)) {
        if is_list {
            doc.push(environment, &format!("{name}={value}").into())?;
        } else {
            doc.insert(environment, name, &value.into())?;
        }
        marks.push(format!(":{name}"));
    }
    Ok(())
}

/// Takes the sidecar beside a service out, if there is one, and what was added to the service for it.
fn remove_beside(doc: &mut Doc, app: &str) -> Result<(), Fault> {
    let found = services(doc).find_map(|(name, service)| {
        let label = label(service)?;
        (label.split(' ').next() == Some(app)).then(|| (name.to_owned(), label.to_owned()))
    });
    let Some((sidecar, label)) = found else { return Ok(()) };
    let path = service_path(app);
    for mark in label.split(' ').skip(1).collect::<Vec<_>>().into_iter().rev() {
        let environment = path.key("environment");
        match mark.strip_prefix(':') {
            Some(name) => {
                let element = doc.at(&environment).map(|node| {
                    let position = check::variables(node).iter().position(|variable| variable == name);
                    position.map(|index| {
                        if node.is_list() { environment.index(index) } else { environment.key(name) }
                    })
                });
                if let Some(Some(element)) = element {
                    doc.remove(&element, "")?;
                }
            }
            None if doc.at(&path.key(mark)).is_some() => doc.remove(&path.key(mark), "")?,
            None => {}
        }
    }
    doc.remove(&service_path(&sidecar), "")
}
