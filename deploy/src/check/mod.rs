//! `bowline check`.

mod summary;

use std::io::{self, IsTerminal, Write};

use bowline_api::mesh_file::{Loaded, Options, Problem, Problems, load_with};
use bowline_look::args::Output;
use bowline_look::style::Style;
use serde_json::json;

use crate::cli::CheckArgs;
use crate::{DONE, WRONG};

/// Checks, writes the outcome, and gives the exit code.
pub(crate) fn run(
    args: &CheckArgs,
    out: &mut (impl Write + IsTerminal),
    err: &mut (impl Write + IsTerminal),
) -> io::Result<u8> {
    let outcome = load_with(&args.path, &Options { vip_range: args.vip_range });
    let code = if outcome.is_ok() { DONE } else { WRONG };
    match (args.output, outcome) {
        (Output::Text, Ok(loaded)) => {
            let style = Style::of(out);
            summary::write(&loaded, style, out)?;
        }
        (Output::Text, Err(problems)) => {
            let style = Style::of(err);
            write_problems(&problems, style, err)?;
        }
        (Output::Json, Ok(loaded)) => write_json(&as_json(&loaded), out)?,
        (Output::Json, Err(problems)) => write_json(&json!({ "valid": false, "problems": problems }), out)?,
    }
    out.flush()?;
    Ok(code)
}

fn as_json(loaded: &Loaded) -> serde_json::Value {
    let counts = summary::Counts::of(&loaded.mesh);
    let files: Vec<String> = loaded.files.iter().map(|f| f.display().to_string()).collect();
    json!({
        "valid": true,
        "problems": [],
        "files": files,
        "services": counts.services,
        "aliases": counts.aliases,
        "endpoints": counts.endpoints,
        "mesh": loaded.mesh,
    })
}

/// One JSON value, for programs.
pub(crate) fn write_json(value: &serde_json::Value, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Every problem, and how many there are.
pub(crate) fn write_problems(problems: &Problems, style: Style, err: &mut impl Write) -> io::Result<()> {
    for problem in problems {
        write_problem(problem, style, err)?;
    }
    let count =
        if problems.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", problems.len()) };
    writeln!(err, "{}", style.bad(count))
}

/// The same text as the problem's own `Display`, in colour.
fn write_problem(problem: &Problem, style: Style, err: &mut impl Write) -> io::Result<()> {
    let said = problem.to_string();
    let (place, message) = match said.split_once(&problem.message) {
        Some((place, _)) => (place, problem.message.as_str()),
        None => ("", said.as_str()),
    };
    writeln!(err, "{}{}", style.strong(place), message)?;
    if let Some(help) = &problem.help {
        writeln!(err, "{}", style.faint(format!("    help: {help}")))?;
    }
    Ok(())
}
