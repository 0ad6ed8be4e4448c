//! Reading mesh files: every error at once, each with its place.
//!
//! text → [`reader`] → [`tree`] → [`check`] against the schema → the model, by serde → [`semantics`]. Each step finds
//! all it can, and a service that is broken in one step does not hide what is wrong with the others in the next.

mod check;
mod problem;
mod reader;
mod semantics;
mod tree;
mod value;
pub(crate) mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

pub use problem::{Problem, Problems};
pub use value::parse_value;

use self::check::Finding;
pub use self::semantics::header_kept_from_rules;
use self::semantics::{Located, Named};
use self::tree::{Content, Node, Scalar};
use crate::vip::VipRange;
use crate::{Mesh, Service};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// A mesh, and the files it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The mesh, with all defaults and names filled in.
    pub mesh: Mesh,
    /// The files, in the order in which they were read.
    pub files: Vec<PathBuf>,
}

/// What a check depends on beside the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The range that a pinned `vip` must lie in.
    pub vip_range: VipRange,
}

/// Reads a mesh file, or a folder of them: every `*.yaml`, `*.yml` and `*.json` in it, sorted by name, hidden files and
/// folders inside it left out.
///
/// # Errors
/// Everything that is wrong, in all files.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    load_with(path, &Options::default())
}

/// [`load`] with options.
///
/// # Errors
/// Everything that is wrong, in all files.
pub fn load_with(path: &Path, options: &Options) -> Result<Loaded, Problems> {
    let files = list(path).map_err(|problem| Problems::new(vec![problem]))?;
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    for file in &files {
        let name = file.display().to_string();
        match read_file(file) {
            Ok(bytes) => sources.extend(Source::read(name, bytes, &mut problems)),
            Err(error) => problems.push(about_file(name, format!("can't read it: {error}"), None)),
        }
    }
    let mesh = combine(&sources, options, problems)?;
    Ok(Loaded { mesh, files })
}

/// Reads the text of one mesh file. `name` is for the messages; text whose name ends in `.json` must be JSON.
///
/// # Errors
/// Everything that is wrong.
pub fn parse(name: &str, text: &str) -> Result<Mesh, Problems> {
    parse_with(name, text, &Options::default())
}

/// [`parse`] with options.
///
/// # Errors
/// Everything that is wrong.
pub fn parse_with(name: &str, text: &str, options: &Options) -> Result<Mesh, Problems> {
    let mut problems = Vec::new();
    let source = Source::read(name.to_owned(), text.as_bytes().to_vec(), &mut problems);
    combine(source.as_slice(), options, problems)
}

fn about_file(file: String, message: String, help: Option<String>) -> Problem {
    Problem { file, line: 0, column: 0, path: String::new(), message, help }
}

/// The files that a path stands for.
fn list(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    let name = || path.display().to_string();
    let unreadable = |error: io::Error| about_file(name(), format!("can't read it: {error}"), None);
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        // Editors' backups (`a.yaml~`, `#a.yaml#`, `a.yaml.bak`) have other endings.
        let wanted = file.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if wanted && !hidden && !file.is_dir() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let message = "there is no mesh file in this folder".to_owned();
        return Err(about_file(name(), message, Some("mesh files end in .yaml, .yml or .json".to_owned())));
    }
    files.sort();
    Ok(files)
}

/// The bytes of a file, but never more than is needed to know that it is too large.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that could be read as a document, with what was found in it so far.
struct Source {
    name: String,
    root: Node,
    /// The indices of services in which something is wrong already.
    broken: BTreeSet<usize>,
}

impl Source {
    /// Reads the text and checks it against the schema. `None` if there is no document to go on with.
    fn read(name: String, bytes: Vec<u8>, problems: &mut Vec<Problem>) -> Option<Self> {
        let text = match to_text(bytes) {
            Ok(text) => text,
            Err(finding) => {
                problems.push(in_file(&name, finding));
                return None;
            }
        };
        let json = Path::new(&name).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let text = if json {
            if let Err(problem) = check_json(&name, &text) {
                problems.push(problem);
                return None;
            }
            // JSON may be indented with tabs, YAML may not. A tab inside a JSON string is escaped, so these are all
            // outside; and a space in its place leaves every column where it was.
            text.replace('\t', " ")
        } else {
            text
        };
        let reading = reader::read(&text);
        problems.extend(reading.faults.into_iter().map(|fault| Problem {
            file: name.clone(),
            line: fault.at.line,
            column: fault.at.column,
            path: String::new(),
            message: fault.message,
            help: fault.help,
        }));
        let stopped = problems.last().is_some_and(|p| p.file == name);
        let root = match reading.root {
            Some(root) if !is_nothing(&root) => root,
            Some(_) | None if stopped => return None,
            _ => {
                let help = Some("a mesh file needs at least \"namespace: NAME\"".to_owned());
                problems.push(about_file(name, "the file is empty".to_owned(), help));
                return None;
            }
        };
        let findings = match check::check(&root) {
            Ok(findings) => findings,
            Err(findings) => {
                problems.extend(findings.into_iter().map(|finding| in_file(&name, finding)));
                return None;
            }
        };
        let broken = findings.iter().filter_map(|f| service_index(&f.path)).collect();
        problems.extend(findings.into_iter().map(|finding| in_file(&name, finding)));
        Some(Self { name, root, broken })
    }

    fn namespace(&self) -> Option<(&Node, &str)> {
        let node = self.root.get("namespace")?;
        let Content::Scalar { text, plain } = &node.content else { return None };
        match tree::resolve(text, *plain) {
            Scalar::Text(text) => Some((node, text)),
            _ => None,
        }
    }

    /// The elements of `services`.
    fn elements(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.root.get("services").map(Node::elements).unwrap_or_default().iter().enumerate()
    }

    /// The names of all services, also of those that can't be read: references to them are not wrong.
    fn names(&self) -> impl Iterator<Item = Named<'_>> {
        self.elements().filter_map(|(index, service)| {
            ["discoveryName", "portName"].into_iter().find_map(|key| {
                let node = service.get(key)?;
                let Content::Scalar { text, .. } = &node.content else { return None };
                Some(Named { name: text, at: node.at, key, file: &self.name, index })
            })
        })
    }

    /// The services that can be made into the model's types.
    fn services(&self, problems: &mut Vec<Problem>) -> Vec<Located<'_>> {
        let mut located = Vec::new();
        for (index, node) in
            self.root.get("services").map(Node::elements).unwrap_or_default().iter().enumerate()
        {
            match Service::deserialize(node.to_json()) {
                Ok(service) => located.push(Located { service, node, file: &self.name, index }),
                Err(_) if self.broken.contains(&index) => {}
                // The schema let something pass that the types refuse: our mistake, and no reason to lose a service.
                Err(error) => problems.push(Problem {
                    file: self.name.clone(),
                    line: node.at.line,
                    column: node.at.column,
                    path: format!("services[{index}]"),
                    message: error.to_string(),
                    help: None,
                }),
            }
        }
        located
    }
}

/// Makes one mesh of all files, and checks what only shows across them.
fn combine(sources: &[Source], options: &Options, mut problems: Vec<Problem>) -> Result<Mesh, Problems> {
    let mut namespace: Option<(&Source, &Node, &str)> = None;
    for source in sources {
        let Some((node, text)) = source.namespace() else { continue };
        match namespace {
            None => namespace = Some((source, node, text)),
            Some((first, at, one)) if one != text => problems.push(Problem {
                file: source.name.clone(),
                line: node.at.line,
                column: node.at.column,
                path: "namespace".to_owned(),
                message: format!(
                    "{} is not the namespace {} of {}:{}; a folder is one namespace",
                    words::quoted(text),
                    words::quoted(one),
                    first.name,
                    at.at.line
                ),
                help: None,
            }),
            Some(_) => {}
        }
    }
    let namespace = namespace.map_or("", |(_, _, text)| text);
    let mut located: Vec<Located<'_>> = Vec::new();
    for source in sources {
        located.extend(source.services(&mut problems));
    }
    for service in &mut located {
        service.service.resolve_names(namespace);
    }
    let names: Vec<Named<'_>> = sources.iter().flat_map(Source::names).collect();
    problems.extend(semantics::check(&located, &names, options));
    if problems.is_empty() {
        let services = located.into_iter().map(|l| l.service).collect();
        return Ok(Mesh { namespace: namespace.to_owned(), services });
    }
    Err(Problems::new(problems))
}

fn in_file(file: &str, finding: Finding) -> Problem {
    Problem {
        file: file.to_owned(),
        line: finding.at.line,
        column: finding.at.column,
        path: finding.path,
        message: finding.message,
        help: finding.help,
    }
}

fn is_nothing(root: &Node) -> bool {
    matches!(&root.content, Content::Scalar { text, plain } if tree::resolve(text, *plain) == Scalar::Null)
}

/// The 2 of `services[2].retry`.
fn service_index(path: &str) -> Option<usize> {
    path.strip_prefix("services[")?.split(']').next()?.parse().ok()
}

fn to_text(bytes: Vec<u8>) -> Result<String, Finding> {
    let whole = |message: String, help: Option<String>| Finding {
        at: tree::Position::default(),
        path: String::new(),
        message,
        help,
    };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(whole(format!("the file is larger than {} MiB", MAX_FILE_BYTES / 1024 / 1024), None));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let help = Some("save it as UTF-8".to_owned());
        return Err(whole("the file is UTF-16, and must be UTF-8".to_owned(), help));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        Finding {
            at: reader::position_at(&before, before.len()),
            path: String::new(),
            message: "this is not UTF-8".to_owned(),
            help: Some("save the file as UTF-8".to_owned()),
        }
    })
}

/// JSON is a subset of YAML, but where it is broken, JSON's own rules explain it better.
fn check_json(name: &str, text: &str) -> Result<(), Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(());
    }
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| {
        let message = error.to_string();
        // The place is told in front.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        Problem {
            file: name.to_owned(),
            line: error.line(),
            column: error.column(),
            path: String::new(),
            message: format!("not valid JSON: {message}"),
            help: None,
        }
    })
}
