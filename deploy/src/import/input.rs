//! The files: read, and turned into values.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::listing::{Listing, Place};
use super::template::Template;
use super::value::{Resource, Value};
use crate::inject::doc::{Doc, Syntax};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// One file.
#[derive(Debug)]
pub(crate) struct Input {
    /// As it was named to us.
    pub(crate) file: Rc<str>,
    /// All of it; in a template what could be worked out is.
    pub(crate) root: Value,
    /// Whether it is a CloudFormation template.
    pub(crate) is_template: bool,
    /// A template's resources that are not made (`Some(false)`), or perhaps not (`None`).
    conditional: BTreeMap<String, Option<bool>>,
}

impl Input {
    /// The resources of a template whose type begins so: logical id, type, properties. Those that are not made are left
    /// out.
    pub(crate) fn resources<'a>(
        &'a self,
        kinds: &'a str,
        listing: &mut Listing,
    ) -> Vec<(&'a str, &'a str, Resource<'a>)> {
        let mut found = Vec::new();
        for (id, resource) in self.root.get("Resources").into_iter().flat_map(Value::entries) {
            let Some(kind) =
                resource.get("Type").and_then(Value::text).filter(|kind| kind.starts_with(kinds))
            else {
                continue;
            };
            let place = Place { line: resource.line, resource: id.into(), ..Place::file(&self.file) };
            match self.conditional.get(id) {
                Some(Some(false)) => {
                    listing.note(place, "its condition doesn't hold, so it is left out");
                    continue;
                }
                Some(None) => {
                    listing.list(place, "its condition can't be worked out here, and is taken to hold");
                }
                _ => {}
            }
            let Some(properties) = resource.get("Properties") else { continue };
            let resource =
                Resource { file: self.file.clone(), name: id.into(), key: String::new(), value: properties };
            found.push((id, kind, resource));
        }
        found
    }
}

/// Reads files and folders. What can't be read is refused.
pub(crate) fn read(
    paths: &[PathBuf],
    parameters: &BTreeMap<String, String>,
    listing: &mut Listing,
) -> Vec<Input> {
    let mut inputs = Vec::new();
    for path in paths {
        let name: Rc<str> =
            if path.as_os_str() == "-" { "<stdin>".into() } else { path.display().to_string().into() };
        match files(path) {
            Ok(files) => {
                for file in files {
                    let name: Rc<str> =
                        if file == *path { name.clone() } else { file.display().to_string().into() };
                    inputs.extend(read_one(&file, name, parameters, listing));
                }
            }
            Err(error) => listing.refuse(Place::file(&name), format!("can't read it: {error}")),
        }
    }
    inputs
}

/// A file itself; of a folder those that can be configuration, sorted by name.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if path.as_os_str() == "-" || !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let wanted = file
            .extension()
            .is_some_and(|end| ["json", "yaml", "yml", "template"].iter().any(|known| end == *known));
        if wanted && !hidden && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(io::Error::other("there is no .json, .yaml, .yml or .template file in this folder"));
    }
    files.sort();
    Ok(files)
}

fn read_one(
    path: &Path,
    name: Rc<str>,
    parameters: &BTreeMap<String, String>,
    listing: &mut Listing,
) -> Option<Input> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) => {
            listing.refuse(Place::file(&name), format!("can't read it: {error}"));
            return None;
        }
    };
    let first = text.trim_start_matches('\u{feff}').trim_start().chars().next();
    let syntax =
        if name.ends_with(".json") || matches!(first, Some('{' | '[')) { Syntax::Json } else { Syntax::Yaml };
    let read = Doc::parse(text, syntax).and_then(|doc| {
        let template = Template::new(&doc, parameters);
        Ok((template.is_template(), template.value()?, template.conditional()))
    });
    match read {
        Ok((is_template, root, conditional)) => Some(Input { file: name, root, is_template, conditional }),
        Err(fault) => {
            listing.refuse(Place { line: fault.line, ..Place::file(&name) }, fault.message);
            None
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}
