//! An ECS task definition inside of a file: by itself, or as a resource of a template. Here it is read; `check` says what
//! is wrong with it, `add` puts the sidecar in, `remove` takes it out.

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod mode;
pub(crate) mod remove;
pub(crate) mod sidecar;

use super::doc::{Doc, Node, Path};
use super::fargate;

/// The sidecar's container.
pub(crate) const SIDECAR: &str = "bowline";
/// The container that sets up the redirect.
pub(crate) const INIT: &str = "bowline-init";
/// The volume of the sidecar's state directory.
pub(crate) const STATE_VOLUME: &str = "bowline-state";
/// The label that says what was added beside the sidecar.
pub(crate) const LABEL: &str = "bowline.inject";

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// `containerDefinitions`, as the ECS API has it.
    Camel,
    /// `ContainerDefinitions`, as CloudFormation has it.
    Pascal,
}

impl Case {
    /// An ECS key as it is written here.
    pub(crate) fn key(self, key: &str) -> String {
        let mut letters = key.chars();
        match (self, letters.next()) {
            (Case::Pascal, Some(first)) => first.to_uppercase().chain(letters).collect(),
            _ => key.to_owned(),
        }
    }
}

/// Where a task definition is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The way to its mapping.
    pub(crate) path: Path,
    /// How its keys are written.
    pub(crate) case: Case,
    /// What it is called where there are several.
    pub(crate) name: Option<String>,
}

impl Place {
    /// The way to one of its keys.
    pub(crate) fn key(&self, key: &str) -> Path {
        self.path.key(&self.case.key(key))
    }

    /// The way to its containers.
    pub(crate) fn containers(&self) -> Path {
        self.key("containerDefinitions")
    }

    /// The way to the properties of its `proxyConfiguration`, which the API and templates name differently.
    pub(crate) fn proxy_properties(&self) -> Path {
        let key = if self.case == Case::Camel { "properties" } else { "ProxyConfigurationProperties" };
        self.key("proxyConfiguration").key(key)
    }
}

/// A value that may be absent, or be known only when a template is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// It isn't there.
    Absent,
    /// This is it.
    Is(T),
    /// A function of the template computes it.
    Computed,
}

impl<T> Known<T> {
    /// The value, where it is known.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Known::Is(value) => Some(value),
            _ => None,
        }
    }
}

/// A task definition.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its line.
    pub(crate) line: usize,
    pub(crate) network_mode: Known<String>,
    pub(crate) network_line: usize,
    /// `requiresCompatibilities`; empty if it is absent or computed.
    pub(crate) compatibilities: Vec<String>,
    pub(crate) operating_system: Known<String>,
    /// CPU units of the task.
    pub(crate) cpu: Known<u32>,
    /// MiB of the task.
    pub(crate) memory: Known<u32>,
    pub(crate) size_line: usize,
    pub(crate) containers: Vec<Container>,
    pub(crate) volumes: Vec<String>,
    pub(crate) proxy: Option<Proxy>,
}

/// A container of a task definition.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) index: usize,
    pub(crate) line: usize,
    /// Absent where it is computed.
    pub(crate) name: Option<String>,
    /// Whether a function of the template makes it: then it can't be added to.
    pub(crate) is_computed: bool,
    /// What it is called in words: its name, or what its name is computed by.
    pub(crate) called: String,
    pub(crate) essential: Known<bool>,
    pub(crate) cpu: Known<u32>,
    pub(crate) memory: Known<u32>,
    pub(crate) reservation: Known<u32>,
    pub(crate) stop_timeout: Known<u32>,
    /// TCP ports that it listens on, and their lines.
    pub(crate) ports: Vec<(u16, usize)>,
    /// The containers that it depends on, and their lines.
    pub(crate) depends_on: Vec<(String, usize)>,
    /// Names in its environment, and their lines.
    pub(crate) environment: Vec<(String, usize)>,
    pub(crate) user: Known<String>,
    /// `namespace` and `value` of its `systemControls`, and their lines.
    pub(crate) system_controls: Vec<(String, String, usize)>,
    /// Whether it routes logs (FireLens): it has to start before all others.
    pub(crate) is_log_router: bool,
    /// What `inject` has noted in its label.
    pub(crate) label: Option<String>,
}

/// A task definition's `proxyConfiguration`.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) line: usize,
    pub(crate) container: Known<String>,
    /// Names and values, in their order.
    pub(crate) properties: Vec<(String, Known<String>)>,
}

impl Proxy {
    /// A list of ports or addresses among the properties.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let value = self.properties.iter().find(|(property, _)| property == name);
        let text = value.and_then(|(_, value)| value.value()).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
    }
}

impl Task {
    /// Reads it. `None` if what stands in this place has no list of containers.
    pub(crate) fn read(doc: &Doc, place: &Place) -> Option<Self> {
        let reader = Reader { doc, case: place.case };
        let task = doc.at(&place.path)?;
        let containers = reader.get(task, "containerDefinitions").filter(|node| node.is_list())?;
        let line = |key: &str| reader.get(task, key).map_or(task, |node| node).start();
        let platform = reader.get(task, "runtimePlatform");
        Some(Self {
            line: doc.line(task.start()),
            network_mode: reader.text(task, "networkMode"),
            network_line: doc.line(line("networkMode")),
            compatibilities: reader
                .elements(task, "requiresCompatibilities")
                .filter_map(|node| reader.plain(node))
                .collect(),
            operating_system: platform
                .map_or(Known::Absent, |node| reader.text(node, "operatingSystemFamily")),
            cpu: reader.parsed(task, "cpu", fargate::cpu_units),
            memory: reader.parsed(task, "memory", fargate::mebibytes),
            size_line: doc.line(line("cpu")),
            containers: containers
                .elements()
                .iter()
                .enumerate()
                .map(|(i, node)| reader.container(i, node))
                .collect(),
            volumes: reader
                .elements(task, "volumes")
                .filter_map(|volume| reader.known_text(volume, "name"))
                .collect(),
            proxy: reader.get(task, "proxyConfiguration").map(|node| reader.proxy(node)),
        })
    }

    /// The container of a name.
    pub(crate) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name.as_deref() == Some(name))
    }

    /// Whether ECS may run it on Fargate.
    pub(crate) fn is_fargate(&self) -> bool {
        self.compatibilities.iter().any(|name| name.eq_ignore_ascii_case("FARGATE"))
    }
}

/// Reads keys in the case of the file, and sees through references to parameters with a default.
struct Reader<'a> {
    doc: &'a Doc,
    case: Case,
}

impl<'a> Reader<'a> {
    fn get(&self, node: &'a Node, key: &str) -> Option<&'a Node> {
        node.get(&self.case.key(key))
    }

    fn elements(&self, node: &'a Node, key: &str) -> impl Iterator<Item = &'a Node> {
        self.get(node, key).map(Node::elements).unwrap_or_default().iter()
    }

    /// A scalar's text, where it is known before the template is deployed.
    fn plain(&self, node: &'a Node) -> Option<String> {
        if self.case == Case::Camel {
            return node.text().map(str::to_owned);
        }
        let parameter = match node.tag() {
            Some("!Ref") => node.tagged_text(),
            _ => node.own("Ref").and_then(Node::text),
        };
        match parameter {
            Some(name) => {
                let default = self.doc.root().get("Parameters")?.get(name)?.get("Default")?;
                default.text().map(str::to_owned)
            }
            None => node.text().map(str::to_owned),
        }
    }

    fn text(&self, node: &'a Node, key: &str) -> Known<String> {
        self.parsed(node, key, |text| Some(text.to_owned()))
    }

    fn known_text(&self, node: &'a Node, key: &str) -> Option<String> {
        self.text(node, key).value().cloned()
    }

    fn parsed<T>(&self, node: &'a Node, key: &str, parse: impl Fn(&str) -> Option<T>) -> Known<T> {
        match self.get(node, key) {
            None => Known::Absent,
            Some(value) => self.plain(value).and_then(|text| parse(&text)).map_or(Known::Computed, Known::Is),
        }
    }

    fn container(&self, index: usize, node: &'a Node) -> Container {
        let number = |key: &str| self.parsed(node, key, |text| text.parse::<f64>().ok().map(|n| n as u32));
        let name = self.known_text(node, "name");
        let raw = self.get(node, "name").and_then(Node::tagged_text);
        let called = name.as_deref().or(raw).map_or_else(|| format!("number {}", index + 1), str::to_owned);
        let labels = self.get(node, "dockerLabels");
        let line = |node: &Node| self.doc.line(node.start());
        Container {
            index,
            line: line(node),
            is_computed: self.case == Case::Pascal && node.is_computed(),
            name,
            called,
            essential: self.parsed(node, "essential", |text| text.to_ascii_lowercase().parse().ok()),
            cpu: number("cpu"),
            memory: number("memory"),
            reservation: number("memoryReservation"),
            stop_timeout: number("stopTimeout"),
            ports: self
                .elements(node, "portMappings")
                .filter(|port| self.known_text(port, "protocol").is_none_or(|protocol| protocol != "udp"))
                .filter_map(|port| Some((self.known_text(port, "containerPort")?.parse().ok()?, line(port))))
                .collect(),
            depends_on: self
                .elements(node, "dependsOn")
                .filter_map(|on| Some((self.known_text(on, "containerName")?, line(on))))
                .collect(),
            environment: self
                .elements(node, "environment")
                .filter_map(|variable| Some((self.known_text(variable, "name")?, line(variable))))
                .collect(),
            user: self.text(node, "user"),
            system_controls: self
                .elements(node, "systemControls")
                .filter_map(|control| {
                    let value = self.known_text(control, "value").unwrap_or_default();
                    Some((self.known_text(control, "namespace")?, value, line(control)))
                })
                .collect(),
            is_log_router: self.get(node, "firelensConfiguration").is_some(),
            label: labels.and_then(|labels| labels.get(LABEL)).and_then(Node::text).map(str::to_owned),
        }
    }

    fn proxy(&self, node: &'a Node) -> Proxy {
        let key = if self.case == Case::Camel { "properties" } else { "ProxyConfigurationProperties" };
        let properties = node.get(key).map(Node::elements).unwrap_or_default();
        Proxy {
            line: self.doc.line(node.start()),
            container: self.text(node, "containerName"),
            properties: properties
                .iter()
                .filter_map(|property| {
                    Some((self.known_text(property, "name")?, self.text(property, "value")))
                })
                .collect(),
        }
    }
}
