//! Putting the sidecar into a task definition.

use super::check::USER;
use super::sidecar::{Plan, Taken, container_key, depends_on, in_case};
use super::{Case, Place, SIDECAR, STATE_VOLUME, Task};
use crate::inject::args::Mode;
use crate::inject::doc::{Doc, Fault, Out, Path};
use crate::inject::environment::{FORWARD_PROXY, NOT_PROXIED};
use crate::inject::report::Report;

pub(crate) use super::sidecar::Plan as SidecarPlan;

/// The mark of a task that had a volume for the state before.
pub(super) const OWN_VOLUME: &str = "=volume";

/// What the forward proxy's users have to know.
const PROXY_VARIABLES: [(&str, &str); 4] = [
    ("HTTP_PROXY", FORWARD_PROXY),
    ("http_proxy", FORWARD_PROXY),
    ("NO_PROXY", NOT_PROXIED),
    ("no_proxy", NOT_PROXIED),
];

/// Puts it in. `carried`: what the label of a sidecar that was there before said and still holds.
pub(crate) fn add(
    doc: &mut Doc,
    place: &Place,
    task: &Task,
    plan: &Plan<'_>,
    carried: Vec<String>,
    report: &mut Report,
) -> Result<(), Fault> {
    let case = place.case;
    let taken = Taken::from(doc, place, plan, report);
    let mut added = Added { marks: carried };
    let replaced = match (&task.proxy, plan.mode) {
        (Some(proxy), Mode::Appmesh) => proxy.container.value().and_then(|name| task.container(name)),
        _ => None,
    };
    if let Some(name) = replaced.and_then(|envoy| envoy.name.as_deref()) {
        release(doc, place, task, name)?;
    }
    for &index in &plan.apps {
        let app = mark_of(task, index);
        let on = in_case(depends_on(SIDECAR, "HEALTHY"), case);
        let list = container_key(place, index, "dependsOn");
        added.element(doc, &list, &format!("{app}.dependsOn"), on)?;
        if plan.mode == Mode::ForwardProxy {
            let list = container_key(place, index, "environment");
            for (name, value) in PROXY_VARIABLES {
                if task.containers[index].environment.iter().any(|(there, _)| there == name) {
                    continue;
                }
                let variable = in_case(Out::map([("name", name.into()), ("value", value.into())]), case);
                added.element(doc, &list, &format!("{app}.environment"), variable)?;
                added.mark(format!("{app}:{name}"));
            }
        }
    }
    if plan.mode == Mode::Appmesh {
        proxy_configuration(doc, place, task, plan, &mut added)?;
    }
    if !task.volumes.iter().any(|volume| volume == STATE_VOLUME) {
        let mut volume = vec![(case.key("name"), Out::from(STATE_VOLUME))];
        // The API prints it with the empty mapping. A template needs none.
        if case == Case::Camel {
            volume.push(("host".to_owned(), Out::Map(Vec::new())));
        }
        added.element(doc, &place.key("volumes"), "volumes", Out::Map(volume))?;
    } else {
        report.note(task.line, format!("the task's own volume {STATE_VOLUME} is used"));
        added.mark(OWN_VOLUME.to_owned());
    }
    let containers = place.containers();
    if let Some(init) = plan.init(case, &taken) {
        doc.push(&containers, &init)?;
    }
    // Those that stay go last, so that it makes no difference when they came.
    added.marks.sort_by_key(|mark| mark.starts_with('!'));
    doc.push(&containers, &plan.sidecar(task, case, &taken, &added.marks.join(" ")))
}

/// What a container is called in marks: computed names may hold anything.
pub(super) fn mark_of(task: &Task, index: usize) -> String {
    task.containers
        .get(index)
        .and_then(|container| container.name.clone())
        .unwrap_or_else(|| format!("#{index}"))
}

/// Keeps book of what has to go, or come back, with the sidecar.
struct Added {
    marks: Vec<String>,
}

impl Added {
    /// Adds an element to a list, which is made if it isn't there.
    fn element(&mut self, doc: &mut Doc, list: &Path, mark: &str, element: Out) -> Result<(), Fault> {
        let Some(node) = doc.at(list) else {
            self.mark(mark.to_owned());
            return doc.insert_at(list, &Out::List(vec![element]));
        };
        if node.is_null() {
            doc.replace(list, &Out::List(vec![element]))?;
            self.mark(format!("{mark}=null"));
            return Ok(());
        }
        if let Some(interior) = doc.interior(list).filter(|interior| !interior.is_empty()) {
            self.mark(format!("{mark}=[{}", encode(interior)));
        }
        doc.push(list, &element)
    }

    fn mark(&mut self, mark: String) {
        if !self.marks.contains(&mark) {
            self.marks.push(mark);
        }
    }
}

/// White space, as letters.
fn encode(interior: &str) -> String {
    let letter = |c| match c {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        _ => 's',
    };
    interior.chars().map(letter).collect()
}

/// The white space that letters stand for.
pub(super) fn decode(letters: &str) -> String {
    let space = |c| match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        _ => ' ',
    };
    letters.chars().map(space).collect()
}

/// Makes ECS redirect to the sidecar.
fn proxy_configuration(
    doc: &mut Doc,
    place: &Place,
    task: &Task,
    plan: &Plan<'_>,
    added: &mut Added,
) -> Result<(), Fault> {
    let case = place.case;
    let wanted = [
        ("IgnoredUID", USER.to_string()),
        ("ProxyIngressPort", "15006".to_owned()),
        ("ProxyEgressPort", "15001".to_owned()),
    ];
    let property =
        |name: &str, value: &str| in_case(Out::map([("name", name.into()), ("value", value.into())]), case);
    let configuration = place.key("proxyConfiguration");
    let Some(proxy) = &task.proxy else {
        let mut ports: Vec<u16> = plan.args.register.iter().map(|register| register.port).collect();
        if ports.is_empty() {
            ports = plan
                .apps
                .iter()
                .flat_map(|index| &task.containers[*index].ports)
                .map(|(port, _)| *port)
                .collect();
        }
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut properties: Vec<Out> = wanted.iter().map(|(name, value)| property(name, value)).collect();
        properties.push(property("AppPorts", &ports.join(",")));
        properties.push(property("EgressIgnoredIPs", "169.254.170.2,169.254.169.254"));
        let key = if case == Case::Camel { "properties" } else { "ProxyConfigurationProperties" };
        let made = Out::Map(vec![
            (case.key("type"), "APPMESH".into()),
            (case.key("containerName"), SIDECAR.into()),
            (key.to_owned(), Out::List(properties)),
        ]);
        added.mark("proxyConfiguration".to_owned());
        return doc.insert_at(&configuration, &made);
    };
    let named = configuration.key(&case.key("containerName"));
    if let Some(name) = proxy.container.value().filter(|name| *name != SIDECAR) {
        added.mark(format!("proxyConfiguration={name}"));
        doc.replace(&named, &SIDECAR.into())?;
        if let Some(envoy) = task.container(name) {
            added.mark(format!("!{name}"));
            // Those before it keep their places, and all that comes is put behind.
            doc.remove(&place.containers().index(envoy.index), "")?;
        }
    }
    let list = place.proxy_properties();
    for (name, value) in &wanted {
        match proxy.properties.iter().position(|(property, _)| property == name) {
            Some(index) => {
                let old = proxy.properties[index].1.value();
                if old != Some(value) {
                    added.mark(old.map_or_else(|| format!("!{name}"), |old| format!("{name}={old}")));
                    doc.replace(&list.index(index).key(&case.key("value")), &value.as_str().into())?;
                }
            }
            None => {
                added.element(doc, &list, "proxyConfiguration.properties", property(name, value))?;
                added.mark(format!("+{name}"));
            }
        }
    }
    Ok(())
}

/// Takes out the dependencies on a container that goes, and lists of them that would be left empty.
fn release(doc: &mut Doc, place: &Place, task: &Task, name: &str) -> Result<(), Fault> {
    for container in &task.containers {
        let list = container_key(place, container.index, "dependsOn");
        let on = &container.depends_on;
        if !on.is_empty() && on.iter().all(|(on, _)| on == name) {
            doc.remove(&list, "")?;
            continue;
        }
        for (position, _) in
            on.iter().enumerate().filter(|(_, (on, _))| on == name).collect::<Vec<_>>().iter().rev()
        {
            doc.remove(&list.index(*position), "")?;
        }
    }
    Ok(())
}
