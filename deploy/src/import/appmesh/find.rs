//! The resources of App Mesh that are in the files.

use super::super::input::Input;
use super::super::listing::{Listing, Place};
use super::super::value::{Resource, Value};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The mesh itself.
    Mesh,
    /// Tasks of one version of an app.
    Node,
    /// A name that is called.
    Service,
    /// Chooses among nodes by its routes.
    Router,
    /// A rule of a router.
    Route,
    /// A rule of a gateway.
    GatewayRoute,
    /// An Envoy at the edge.
    Gateway,
}

/// In this order, since a route's own keys also name its router, and a gateway route's its gateway.
const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Route, "route", "AWS::AppMesh::Route"),
    (Kind::GatewayRoute, "gatewayRoute", "AWS::AppMesh::GatewayRoute"),
    (Kind::Node, "virtualNode", "AWS::AppMesh::VirtualNode"),
    (Kind::Service, "virtualService", "AWS::AppMesh::VirtualService"),
    (Kind::Router, "virtualRouter", "AWS::AppMesh::VirtualRouter"),
    (Kind::Gateway, "virtualGateway", "AWS::AppMesh::VirtualGateway"),
    (Kind::Mesh, "mesh", "AWS::AppMesh::Mesh"),
];

impl Kind {
    /// In words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Mesh => "mesh",
            Kind::Node => "virtual node",
            Kind::Service => "virtual service",
            Kind::Router => "virtual router",
            Kind::Route => "route",
            Kind::GatewayRoute => "gateway route",
            Kind::Gateway => "virtual gateway",
        }
    }
}

/// A resource.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name; in a template its logical id, if it has no name that can be worked out.
    pub(crate) name: String,
    /// The mesh that it is in, if that is known.
    pub(crate) mesh: Option<String>,
    /// The router that a route belongs to, or the gateway of a gateway route.
    pub(crate) parent: Option<String>,
    /// Its `spec`.
    pub(crate) resource: Resource<'a>,
}

/// Looks through all files.
pub(crate) fn find<'a>(inputs: &'a [Input], listing: &mut Listing) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    for input in inputs {
        let before = items.len();
        if input.is_template {
            for (id, kind, resource) in input.resources("AWS::AppMesh::", listing) {
                match KINDS.iter().find(|(_, _, name)| *name == kind) {
                    Some(kind) => items.extend(item(input, kind, Some(id), resource.value, listing)),
                    None => listing.list(resource.place(), format!("{kind} is not known here")),
                }
            }
        } else {
            look_at(input, &input.root, &mut items, listing);
        }
        if items.len() == before {
            listing.list(Place::file(&input.file), "there is no resource of App Mesh in it");
        }
    }
    let mut unique: Vec<Item<'a>> = Vec::new();
    for item in items {
        let same = |other: &&Item<'_>| {
            (other.kind, &other.name, &other.parent, &other.mesh)
                == (item.kind, &item.name, &item.parent, &item.mesh)
        };
        match unique.iter().find(same) {
            Some(first) => {
                let message =
                    format!("stands in {} too, and that is taken", first.resource.place().in_file());
                item.resource.list(item.resource.value, listing, message);
            }
            None => unique.push(item),
        }
    }
    unique
}

/// A file that is no template, or an element of a list in it.
fn look_at<'a>(input: &'a Input, value: &'a Value, items: &mut Vec<Item<'a>>, listing: &mut Listing) {
    if value.is_list() {
        value.elements().for_each(|element| look_at(input, element, items, listing));
        return;
    }
    for kind in &KINDS {
        // As it is described, or as it is created.
        if let Some(inner) = value.get(kind.1).filter(|inner| inner.is_map()) {
            return items.extend(item(input, kind, None, inner, listing));
        }
    }
    if let Some(kind) = KINDS.iter().find(|(_, key, _)| value.has("spec") && value.has(&format!("{key}Name")))
    {
        return items.extend(item(input, kind, None, value, listing));
    }
    let listed = KINDS.iter().any(|(_, key, _)| {
        let list = if *key == "mesh" { "meshes".to_owned() } else { format!("{key}s") };
        value.has(&list)
    });
    let message = if listed {
        "is what a list-... command prints, which has names alone: use the describe-... commands"
    } else {
        "is not what `aws appmesh` prints"
    };
    listing.list(Place { line: value.line, ..Place::file(&input.file) }, message);
}

fn item<'a>(
    input: &'a Input,
    kind: &(Kind, &str, &str),
    id: Option<&str>,
    value: &'a Value,
    listing: &mut Listing,
) -> Option<Item<'a>> {
    let (kind, key, _) = *kind;
    let text = |key: &str| value.get(key).and_then(Value::text).map(str::to_owned);
    let named = text(&format!("{key}Name"));
    // A virtual service's name is what clients dial; the others only have to be told apart.
    let name = if kind == Kind::Service && value.has("virtualServiceName") {
        named
    } else {
        named.or_else(|| id.map(str::to_owned))
    };
    let called = id.map_or_else(
        || format!("{} {}", kind.as_str(), name.as_deref().unwrap_or("without a name")),
        str::to_owned,
    );
    let place = Place { line: value.line, resource: called.as_str().into(), ..Place::file(&input.file) };
    let Some(name) = name else {
        listing.list(place, "its name can't be worked out, so it is left out: give --parameter NAME=VALUE");
        return None;
    };
    let Some(spec) = value.get("spec") else {
        // A mesh may have none.
        if kind != Kind::Mesh {
            listing.list(place, "has no spec");
        }
        return None;
    };
    let spec_key = value.entries().map(|(key, _)| key).find(|key| key.eq_ignore_ascii_case("spec"));
    let resource = Resource {
        file: input.file.clone(),
        name: called.into(),
        key: spec_key.unwrap_or("spec").to_owned(),
        value: spec,
    };
    let parent = match kind {
        Kind::Route => text("virtualRouterName"),
        Kind::GatewayRoute => text("virtualGatewayName"),
        _ => None,
    };
    Some(Item { kind, name, mesh: text("meshName"), parent, resource })
}
