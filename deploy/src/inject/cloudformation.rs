//! Task definitions in a CloudFormation template.

use super::doc::{Doc, Node, Path};
use super::report::Report;
use super::task::{Case, Place};

const TASK_DEFINITION: &str = "AWS::ECS::TaskDefinition";

/// The task definitions that were asked for: all, or those named. What is in the way is reported.
pub(crate) fn places(doc: &Doc, wanted: &[String], report: &mut Report) -> Vec<Place> {
    let resources = doc.root().get("Resources");
    let all: Vec<(&str, &Node)> = resources
        .map(|resources| resources.entries().filter(|(_, node)| is_task_definition(node)).collect())
        .unwrap_or_default();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    for name in wanted.iter().filter(|name| !names.contains(&name.as_str())) {
        report.refuse(
            0,
            format!("--resource {name}: there is no {TASK_DEFINITION} of that name"),
            format!("there are {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        );
    }
    if all.is_empty() {
        report.refuse(
            0,
            format!("the template has no resource of type {TASK_DEFINITION}"),
            "is it the right file?",
        );
    }
    let chosen =
        all.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name));
    chosen
        .filter_map(|(name, node)| {
            let properties = node.own("Properties");
            let containers = properties.and_then(|properties| properties.get("ContainerDefinitions"));
            let at = containers.or(properties).unwrap_or(node);
            if !containers.is_some_and(|list| list.is_list() && list.tag().is_none() && !list.is_alias()) {
                report.refuse(
                    doc.line(at.start()),
                    format!("{name}: its ContainerDefinitions are no list, or a function computes them"),
                    "write the list out, or name the other task definitions with --resource",
                );
                return None;
            }
            let path = Path::default().key("Resources").key(name).key("Properties");
            Some(Place { path, case: Case::Pascal, name: Some(name.to_owned()) })
        })
        .collect()
}

/// Notes services that also use Service Connect: its redirect takes the usual VIPs.
pub(crate) fn note_service_connect(doc: &Doc, report: &mut Report) {
    let resources = doc.root().get("Resources");
    for (name, node) in resources.into_iter().flat_map(Node::entries) {
        let Some(connect) = node.get("Properties").and_then(|node| node.get("ServiceConnectConfiguration"))
        else {
            continue;
        };
        let enabled = connect.get("Enabled").and_then(Node::text);
        if enabled.is_some_and(|enabled| enabled.eq_ignore_ascii_case("true")) {
            report.note(
                doc.line(connect.start()),
                format!(
                    "{name} uses Service Connect, which redirects 127.255.0.0/16: give Bowline another network by \
                     --vip-range 127.254.0.0/16, here and at the control plane"
                ),
            );
        }
    }
}

fn is_task_definition(node: &Node) -> bool {
    node.get("Type").and_then(Node::text) == Some(TASK_DEFINITION)
}
