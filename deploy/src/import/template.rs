//! CloudFormation's functions, as far as the template alone says what they give: parameters with a default or a given
//! value, conditions and mappings made of them, and the names of resources that are in the template.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::value::{Content, Value};
use crate::inject::doc::{Doc, Fault, Node};

/// How deep values may be nested, functions looked through included.
const MAX_DEPTH: usize = 100;
/// How many values a file may have: nested YAML aliases can stand for billions.
const MAX_VALUES: usize = 1_000_000;
/// How many functions one value may be made of: they may go round in circles.
const MAX_CALLS: usize = 1_000;
/// How long a function's outcome may be, in bytes: texts that repeat each other can stand for gigabytes.
const MAX_TEXT: usize = 64 * 1024;

/// A file that may be a template.
pub(crate) struct Template<'a> {
    doc: &'a Doc,
    given: &'a BTreeMap<String, String>,
    /// Where lines begin.
    lines: Vec<usize>,
    is_template: bool,
    /// How many functions may still be looked at for the value that is being worked out.
    left: Cell<usize>,
}

/// What a function gives.
enum Given<'a> {
    Text(String),
    Node(&'a Node),
    Nothing,
}

impl<'a> Template<'a> {
    /// A file, and the values of its parameters.
    pub(crate) fn new(doc: &'a Doc, given: &'a BTreeMap<String, String>) -> Self {
        let starts = doc.text().match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let is_template = doc.root().own("Resources").is_some_and(Node::is_map);
        Self { doc, given, lines, is_template, left: Cell::new(0) }
    }

    /// Whether it is one.
    pub(crate) fn is_template(&self) -> bool {
        self.is_template
    }

    /// All of it, with what can be worked out in the place of the functions.
    ///
    /// # Errors
    /// There is too much of it.
    pub(crate) fn value(&self) -> Result<Value, Fault> {
        let mut left = MAX_VALUES;
        self.convert(self.doc.root(), 0, &mut left)
    }

    fn line(&self, node: &Node) -> usize {
        self.lines.partition_point(|start| *start <= node.start())
    }

    fn convert(&self, node: &Node, depth: usize, left: &mut usize) -> Result<Value, Fault> {
        let line = self.line(node);
        *left = left
            .checked_sub(1)
            .filter(|_| depth < MAX_DEPTH)
            .ok_or_else(|| Fault { line, message: "there is too much in this value".to_owned() })?;
        if self.is_template
            && let Some((name, argument)) = function(node)
        {
            self.left.set(MAX_CALLS);
            return match self.call(name, argument, depth) {
                Some(Given::Text(text)) => Ok(Value::new(line, scalar(text))),
                Some(Given::Node(node)) => self.convert(node, depth + 1, left),
                Some(Given::Nothing) => Ok(Value::new(line, Content::Null)),
                None => Ok(Value::new(line, Content::Unresolved(written(name, argument)))),
            };
        }
        let content = if node.is_null() {
            Content::Null
        } else if node.is_list() {
            let elements = node.elements().iter().map(|element| self.convert(element, depth + 1, left));
            let elements: Vec<Value> = elements.collect::<Result<_, _>>()?;
            // AWS::NoValue takes an element out.
            Content::List(elements.into_iter().filter(|element| !element.is_null()).collect())
        } else if node.is_map() {
            let entries = node.entries();
            let entries =
                entries.map(|(key, value)| Ok((key.to_owned(), self.convert(value, depth + 1, left)?)));
            Content::Map(entries.collect::<Result<_, Fault>>()?)
        } else {
            scalar(node.tagged_text().unwrap_or_default().to_owned())
        };
        Ok(Value::new(line, content))
    }

    /// `None` where functions stand inside of each other too deep, or too often: they may go round in circles.
    fn may_go_on(&self, depth: usize) -> Option<()> {
        self.left.set(self.left.get().checked_sub(1)?);
        (depth < MAX_DEPTH).then_some(())
    }

    /// What a function gives; `None` if the template doesn't say.
    fn call<'n>(&'n self, name: &str, argument: &'n Node, depth: usize) -> Option<Given<'n>> {
        self.may_go_on(depth)?;
        let depth = depth + 1;
        let element = |index: usize| argument.elements().get(index);
        let text = |index: usize| element(index).and_then(|node| self.text(node, depth));
        let given = match name {
            "Ref" if argument.tagged_text() == Some("AWS::NoValue") => Given::Nothing,
            "Ref" => Given::Text(self.reference(argument.tagged_text()?, depth)?),
            "Fn::GetAtt" => {
                let (resource, attribute) = match argument.tagged_text() {
                    Some(both) => both.split_once('.')?,
                    None => (element(0)?.text()?, element(1)?.text()?),
                };
                Given::Text(self.attribute(resource, attribute, depth)?)
            }
            "Fn::Sub" => Given::Text(self.substitute(argument, depth)?),
            "Fn::Join" => {
                let parts = element(1)?.elements().iter().map(|part| self.text(part, depth));
                Given::Text(parts.collect::<Option<Vec<_>>>()?.join(&text(0)?))
            }
            "Fn::Select" => {
                let index: usize = text(0)?.parse().ok()?;
                Given::Node(element(1)?.elements().get(index)?)
            }
            "Fn::FindInMap" => {
                let map = self.doc.root().get("Mappings")?.get(&text(0)?)?;
                Given::Node(map.get(&text(1)?)?.get(&text(2)?)?)
            }
            "Fn::If" => {
                self.left.set(MAX_CALLS);
                let holds = self.condition(&text(0)?, depth)?;
                Given::Node(element(if holds { 1 } else { 2 })?)
            }
            _ => return None,
        };
        match given {
            Given::Text(text) if text.len() > MAX_TEXT => None,
            given => Some(given),
        }
    }

    /// A value's text, functions worked out.
    fn text(&self, node: &Node, depth: usize) -> Option<String> {
        let Some((name, argument)) = function(node) else {
            return node.text().filter(|text| !is_dynamic(text)).map(str::to_owned);
        };
        match self.call(name, argument, depth)? {
            Given::Text(text) => Some(text),
            Given::Node(node) => self.text(node, depth + 1),
            Given::Nothing => None,
        }
    }

    fn reference(&self, name: &str, depth: usize) -> Option<String> {
        if let Some(value) = self.given.get(name) {
            return Some(value.clone());
        }
        if let Some(parameter) = self.doc.root().get("Parameters").and_then(|all| all.get(name)) {
            // Of an SSM parameter the default is its name, and only AWS knows what is in it.
            let kind = parameter.get("Type").and_then(Node::text).unwrap_or_default();
            let default = parameter.get("Default").filter(|_| !kind.starts_with("AWS::SSM::"))?;
            return default.text().map(str::to_owned);
        }
        self.name_of(name, depth)
    }

    fn attribute(&self, resource: &str, attribute: &str, depth: usize) -> Option<String> {
        let named = attribute.ends_with("Name") || matches!(attribute, "Arn" | "Id");
        if named { self.name_of(resource, depth) } else { None }
    }

    /// What a resource is called by others: its name where it has one that matters here, else its logical id.
    fn name_of(&self, id: &str, depth: usize) -> Option<String> {
        let resource = self.doc.root().get("Resources")?.get(id)?;
        let kind = resource.get("Type")?.text()?;
        let key = match kind {
            "AWS::AppMesh::Mesh" => "MeshName",
            "AWS::AppMesh::VirtualNode" => "VirtualNodeName",
            "AWS::AppMesh::VirtualService" => "VirtualServiceName",
            "AWS::AppMesh::VirtualRouter" => "VirtualRouterName",
            "AWS::ServiceDiscovery::HttpNamespace"
            | "AWS::ServiceDiscovery::PrivateDnsNamespace"
            | "AWS::ServiceDiscovery::PublicDnsNamespace"
            | "AWS::ServiceDiscovery::Service" => "Name",
            "AWS::ECS::TaskDefinition" | "AWS::ECS::Cluster" => return Some(id.to_owned()),
            _ => return None,
        };
        let name = resource.get("Properties").and_then(|properties| properties.get(key));
        let known = name.and_then(|name| self.text(name, depth + 1));
        // Virtual services and namespaces are called from outside, so their names matter. The others only have to be
        // told apart.
        let told_apart = matches!(key, "MeshName" | "VirtualNodeName" | "VirtualRouterName");
        known.or_else(|| (name.is_none() || told_apart).then(|| id.to_owned()))
    }

    /// The resources whose conditions don't hold (`Some(false)`), or can't be worked out (`None`).
    pub(crate) fn conditional(&self) -> BTreeMap<String, Option<bool>> {
        let resources = self.doc.root().get("Resources").filter(|_| self.is_template);
        let conditional = resources.into_iter().flat_map(Node::entries).filter_map(|(id, resource)| {
            let holds = self.condition(resource.get("Condition")?.text()?, 0);
            (holds != Some(true)).then(|| (id.to_owned(), holds))
        });
        conditional.collect()
    }

    fn substitute(&self, argument: &Node, depth: usize) -> Option<String> {
        let (pattern, variables) = match argument.tagged_text() {
            Some(pattern) => (pattern, None),
            None => (argument.elements().first()?.text()?, argument.elements().get(1)),
        };
        let (mut text, mut rest) = (String::new(), pattern);
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}')?;
            text.push_str(before);
            rest = after;
            if let Some(literal) = name.strip_prefix('!') {
                text.extend(["${", literal, "}"]);
                continue;
            }
            let name = name.trim();
            let variable = variables.and_then(|all| all.get(name));
            let value = match (variable, name.split_once('.')) {
                (Some(node), _) => self.text(node, depth),
                (None, Some((resource, attribute))) => self.attribute(resource, attribute, depth),
                (None, None) => self.reference(name, depth),
            };
            text.push_str(&value?);
            if text.len() > MAX_TEXT {
                return None;
            }
        }
        text.push_str(rest);
        if is_dynamic(&text) { None } else { Some(text) }
    }

    /// Whether a condition of the template holds; `None` if the template doesn't say.
    fn condition(&self, name: &str, depth: usize) -> Option<bool> {
        self.holds(self.doc.root().get("Conditions")?.get(name)?, depth + 1)
    }

    fn holds(&self, node: &Node, depth: usize) -> Option<bool> {
        self.may_go_on(depth)?;
        let (name, argument) = function(node)?;
        let mut parts = argument.elements().iter().map(|part| self.holds(part, depth + 1));
        match name {
            "Condition" => self.condition(argument.tagged_text()?, depth),
            "Fn::Equals" => {
                let sides = argument.elements();
                Some(self.text(sides.first()?, depth)? == self.text(sides.get(1)?, depth)?)
            }
            "Fn::Not" => parts.next()?.map(|holds| !holds),
            "Fn::And" => parts.try_fold(true, |all, part| Some(all && part?)),
            "Fn::Or" => parts.try_fold(false, |any, part| Some(any || part?)),
            _ => None,
        }
    }
}

fn scalar(text: String) -> Content {
    // What a dynamic reference stands for is known at deployment alone.
    if is_dynamic(&text) { Content::Unresolved(text) } else { Content::Text(text) }
}

fn is_dynamic(text: &str) -> bool {
    text.contains("{{resolve:")
}

/// The function that computes a value: `!Ref X`, or `{ "Ref": "X" }`, and what it is given.
fn function(node: &Node) -> Option<(&'static str, &Node)> {
    const FUNCTIONS: [&str; 21] = [
        "Ref",
        "Condition",
        "Fn::GetAtt",
        "Fn::Sub",
        "Fn::Join",
        "Fn::Select",
        "Fn::FindInMap",
        "Fn::If",
        "Fn::Equals",
        "Fn::Not",
        "Fn::And",
        "Fn::Or",
        "Fn::Base64",
        "Fn::Cidr",
        "Fn::GetAZs",
        "Fn::ImportValue",
        "Fn::Split",
        "Fn::ToJsonString",
        "Fn::Length",
        "Fn::Transform",
        "Fn::ForEach",
    ];
    if let Some(tag) = node.tag() {
        let tag = tag.trim_start_matches('!');
        return FUNCTIONS
            .into_iter()
            .find(|name| name.strip_prefix("Fn::").unwrap_or(name) == tag)
            .map(|name| (name, node));
    }
    let mut entries = node.entries();
    let (key, argument) = entries.next()?;
    if entries.next().is_some() {
        return None;
    }
    let function = FUNCTIONS.into_iter().find(|name| *name == key)?;
    // A resource's `Condition: X` is no function, and never alone.
    Some((function, argument))
}

/// A function as a person would write it.
fn written(name: &str, argument: &Node) -> String {
    let short = name.strip_prefix("Fn::").unwrap_or(name);
    let parts = |node: &Node| -> Vec<String> {
        node.elements().iter().filter_map(|part| part.text().map(str::to_owned)).collect()
    };
    match argument.tagged_text() {
        Some(text) => format!("!{short} {text}"),
        None if argument.elements().is_empty() => format!("!{short}"),
        None => format!("!{short} [{}, ...]", parts(argument).first().map_or("...", String::as_str)),
    }
}

#[cfg(test)]
mod tests;
