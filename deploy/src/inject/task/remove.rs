//! Taking the sidecar out of a task definition, by what its label says.

use super::add::{OWN_VOLUME, decode, mark_of};
use super::sidecar::container_key;
use super::{INIT, Place, SIDECAR, STATE_VOLUME, Task};
use crate::inject::doc::{Doc, Fault, Out, Path};

/// Takes it out, if it is there. Gives back the marks that can't be undone, and whether there was one.
///
/// # Errors
/// The text can't be changed as it would have to be.
pub(crate) fn remove(doc: &mut Doc, place: &Place, task: &Task) -> Result<Option<Vec<String>>, Fault> {
    let Some(label) = task.container(SIDECAR).and_then(|sidecar| sidecar.label.clone()) else {
        return Ok(None);
    };
    let marks: Vec<&str> = label.split(' ').filter(|mark| !mark.is_empty()).collect();
    let case = place.case;
    // Its own containers go last: those before them keep their places until then.
    for container in &task.containers {
        let index = container.index;
        let name = mark_of(task, index);
        let on = container_key(place, index, "dependsOn");
        let is_sidecar = |text: &str| text == SIDECAR;
        drop_elements(
            doc,
            &on,
            &case.key("containerName"),
            &is_sidecar,
            &marks,
            &format!("{name}.dependsOn"),
        )?;
        let environment = container_key(place, index, "environment");
        let added = |text: &str| {
            marks
                .iter()
                .any(|mark| mark.strip_prefix(&name).and_then(|rest| rest.strip_prefix(':')) == Some(text))
        };
        drop_elements(doc, &environment, &case.key("name"), &added, &marks, &format!("{name}.environment"))?;
    }
    if !marks.contains(&OWN_VOLUME) {
        drop_elements(
            doc,
            &place.key("volumes"),
            &case.key("name"),
            &|text| text == STATE_VOLUME,
            &marks,
            "volumes",
        )?;
    }
    let is_added = |text: &str| [SIDECAR, INIT].contains(&text);
    drop_elements(doc, &place.containers(), &case.key("name"), &is_added, &[], "")?;
    proxy_configuration(doc, place, task, &marks)?;
    Ok(Some(marks.iter().filter(|mark| mark.starts_with('!')).map(|mark| (*mark).to_owned()).collect()))
}

/// Takes the elements out of a list whose key is one of ours, and brings the list back to what it was.
fn drop_elements(
    doc: &mut Doc,
    list: &Path,
    key: &str,
    is_ours: &dyn Fn(&str) -> bool,
    marks: &[&str],
    mark: &str,
) -> Result<(), Fault> {
    let Some(node) = doc.at(list) else { return Ok(()) };
    let elements = node.elements();
    let ours: Vec<usize> = elements
        .iter()
        .enumerate()
        .filter(|(_, element)| element.get(key).and_then(|name| name.text()).is_some_and(is_ours))
        .map(|(index, _)| index)
        .collect();
    if ours.is_empty() {
        return Ok(());
    }
    let was = marks.iter().find_map(|said| said.strip_prefix(mark)?.strip_prefix('='));
    if ours.len() == elements.len() {
        if marks.contains(&mark) {
            return doc.remove(list, "");
        }
        if was == Some("null") {
            return doc.replace(list, &Out::Plain("null".to_owned()));
        }
    }
    let interior = was.and_then(|was| was.strip_prefix('[')).map(decode).unwrap_or_default();
    ours.iter().rev().try_for_each(|index| doc.remove(&list.index(*index), &interior))
}

/// Brings back what `proxyConfiguration` said.
fn proxy_configuration(doc: &mut Doc, place: &Place, task: &Task, marks: &[&str]) -> Result<(), Fault> {
    let configuration = place.key("proxyConfiguration");
    let Some(proxy) = &task.proxy else { return Ok(()) };
    if marks.contains(&"proxyConfiguration") {
        return doc.remove(&configuration, "");
    }
    let case = place.case;
    let list = place.proxy_properties();
    for mark in marks {
        if let Some(name) = mark.strip_prefix("proxyConfiguration=") {
            doc.replace(&configuration.key(&case.key("containerName")), &name.into())?;
        }
        if let Some((name, old)) = mark.split_once('=')
            && let Some(index) = proxy.properties.iter().position(|(property, _)| property == name)
        {
            doc.replace(&list.index(index).key(&case.key("value")), &old.into())?;
        }
    }
    for mark in marks.iter().rev() {
        if let Some(name) = mark.strip_prefix('+') {
            drop_elements(doc, &list, &case.key("name"), &|text| text == name, &[], "")?;
        }
    }
    Ok(())
}
