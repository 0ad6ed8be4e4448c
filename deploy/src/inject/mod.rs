//! `bowline inject`.

pub(crate) mod args;
mod cloudformation;
mod compose;
mod described;
mod diff;
pub(crate) mod doc;
mod environment;
mod fargate;
mod knowledge;
mod report;
mod task;

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path as FilePath;

use bowline_look::style::Style;

use self::args::{Format, InjectArgs};
use self::doc::{Doc, Fault, Syntax};
use self::knowledge::Knowledge;
use self::report::Report;
use self::task::add::{SidecarPlan, add};
use self::task::check;
use self::task::mode;
use self::task::remove::remove;
use self::task::{Case, Place, Task};
use crate::{DONE, FAILED, WRONG};

/// The largest file that is read, in bytes. A template has 1 MB at most.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Changes the file, writes the outcome, and gives the exit code.
pub(crate) fn run(
    args: &InjectArgs,
    out: &mut (impl Write + IsTerminal),
    err: &mut (impl Write + IsTerminal),
) -> io::Result<u8> {
    let stdin = args.file.as_os_str() == "-";
    let name = if stdin { "<stdin>".to_owned() } else { args.file.display().to_string() };
    let mut report = Report::new(name.clone());
    if stdin && args.write {
        report.refuse(0, "--write: stdin can't be written to", "use --output FILE");
    }
    let changed = match read(&args.file, stdin) {
        Ok(text) => change(&name, text, args, &mut report),
        Err(error) => {
            report.refuse(0, format!("can't read it: {error}"), "is it the right path?");
            None
        }
    };
    report.write(Style::of(err), err)?;
    let Some((old, new)) = changed.filter(|_| !report.is_refused()) else { return Ok(WRONG) };
    if args.diff {
        diff::write(&name, &old, &new, Style::of(out), out)?;
        out.flush()?;
        return Ok(DONE);
    }
    let target = if args.write { Some(args.file.as_path()) } else { args.output.as_deref() };
    match target {
        None => {
            out.write_all(new.as_bytes())?;
            out.flush()?;
        }
        Some(path) => {
            if let Err(error) = fs::write(path, &new) {
                writeln!(err, "bowline: can't write {}: {error}", path.display())?;
                return Ok(FAILED);
            }
        }
    }
    Ok(DONE)
}

fn read(path: &FilePath, stdin: bool) -> io::Result<String> {
    let mut bytes = Vec::new();
    if stdin {
        io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// The text before and after; `None` where that could not be made out.
fn change(name: &str, text: String, args: &InjectArgs, report: &mut Report) -> Option<(String, String)> {
    let old = text.clone();
    report.given(&old);
    let outcome = Doc::parse(text, syntax(name, &old)).map(|doc| {
        let format = match args.format {
            Format::Auto => detect(&doc),
            format => Some(format),
        };
        match format {
            Some(Format::Ecs) => task_definition(doc, args, report),
            Some(Format::Cloudformation) => template(doc, args, report),
            Some(Format::Compose) => compose_file(doc, args, report),
            _ => {
                report.refuse(
                    0,
                    "this looks neither like an ECS task definition, nor like a CloudFormation template, nor like a compose \
                     file",
                    "if it is one, say --format",
                );
                None
            }
        }
    });
    match outcome {
        Ok(new) => Some((old, new?.text().to_owned())),
        Err(fault) => {
            report.fault(fault);
            None
        }
    }
}

/// JSON by its name or its first character, since no YAML of interest begins with a brace.
fn syntax(name: &str, text: &str) -> Syntax {
    let first = text.trim_start_matches('\u{feff}').trim_start().chars().next();
    if name.ends_with(".json") || matches!(first, Some('{' | '[')) { Syntax::Json } else { Syntax::Yaml }
}

fn detect(doc: &Doc) -> Option<Format> {
    let root = doc.root();
    let containers = |node: &doc::Node| node.own("containerDefinitions").is_some();
    if containers(root) || root.own("taskDefinition").is_some_and(containers) {
        Some(Format::Ecs)
    } else if root.own("Resources").is_some_and(doc::Node::is_map) {
        Some(Format::Cloudformation)
    } else if root.own("services").is_some_and(doc::Node::is_map) {
        Some(Format::Compose)
    } else {
        None
    }
}

/// A file that is one ECS task definition.
fn task_definition(mut doc: Doc, args: &InjectArgs, report: &mut Report) -> Option<Doc> {
    if !args.resource.is_empty() {
        report.refuse(0, "--resource: the file is one task definition, not a template", "leave it out");
    }
    let place = Place { path: described::place(&doc), case: Case::Camel, name: None };
    change_tasks(&mut doc, &[place], args, report);
    if args.keep_read_only || report.is_refused() {
        return Some(doc);
    }
    described::make_registrable(doc, report).map_err(|fault| report.fault(fault)).ok()
}

/// A compose file.
fn compose_file(mut doc: Doc, args: &InjectArgs, report: &mut Report) -> Option<Doc> {
    let outcome = if args.remove {
        compose::remove(&mut doc, args, report)
    } else {
        let knowledge = Knowledge::read(args, report);
        compose::inject(&mut doc, args, &knowledge, report)
    };
    outcome.map_err(|fault| report.fault(fault)).ok()?;
    Some(doc)
}

/// A CloudFormation template.
fn template(mut doc: Doc, args: &InjectArgs, report: &mut Report) -> Option<Doc> {
    let places = cloudformation::places(&doc, &args.resource, report);
    if !args.remove && args.vip_range.is_none() {
        cloudformation::note_service_connect(&doc, report);
    }
    change_tasks(&mut doc, &places, args, report);
    Some(doc)
}

/// Each task definition in turn. Lines that are reported are those of the file as it was.
fn change_tasks(doc: &mut Doc, places: &[Place], args: &InjectArgs, report: &mut Report) {
    let knowledge = if args.remove { Knowledge::default() } else { Knowledge::read(args, report) };
    for place in places {
        let outcome = if args.remove {
            remove_task(doc, place, report)
        } else {
            inject_task(doc, place, args, &knowledge, report)
        };
        if let Err(fault) = outcome {
            report.fault(fault);
        }
    }
}

fn read_task(doc: &Doc, place: &Place) -> Result<Task, Fault> {
    Task::read(doc, place)
        .ok_or_else(|| Fault { line: 1, message: "there is no list containerDefinitions in it".to_owned() })
}

fn remove_task(doc: &mut Doc, place: &Place, report: &mut Report) -> Result<(), Fault> {
    report.reading(doc.text());
    let task = read_task(doc, place)?;
    match remove(doc, place, &task)? {
        None => report.note(task.line, "there is no sidecar that inject has put here"),
        Some(lasting) => {
            for mark in lasting {
                let what = mark.trim_start_matches('!');
                report.refuse(
                    task.line,
                    format!("{what} was replaced when the sidecar came, and can't be brought back"),
                    "take the file from before, from version control",
                );
            }
        }
    }
    Ok(())
}

fn inject_task(
    doc: &mut Doc,
    place: &Place,
    args: &InjectArgs,
    knowledge: &Knowledge,
    report: &mut Report,
) -> Result<(), Fault> {
    // What is there is taken out first, so that it makes no difference whether it was there.
    let before = read_task(doc, place)?;
    let carried = remove(doc, place, &before)?.unwrap_or_default();
    report.reading(doc.text());
    let task = read_task(doc, place)?;
    let mode = mode::choose(&task, args.mode, args.replace_envoy, report);
    let apps = check::apps(&task, place, args, report);
    check::check(&task, mode, args, knowledge, report);
    if report.is_refused() {
        return Ok(());
    }
    let plan = SidecarPlan { args, knowledge, mode, apps };
    add(doc, place, &task, &plan, carried, report)?;
    mode::note(mode, &task, place, report);
    Ok(())
}
