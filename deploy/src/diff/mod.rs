//! `bowline diff`.

mod text;

use std::io::{self, IsTerminal, Write};

use bowline_api::control_admin::{Diff, Snapshot};
use bowline_api::mesh_file::{Options, load_with};
use bowline_look::args::Output;
use bowline_look::ask::{Admin, AskError};
use bowline_look::style::Style;
use bowline_look::words::{plain, wrapped};
use serde_json::json;

use crate::check::{write_json, write_problems};
use crate::cli::DiffArgs;
use crate::{DIFFERENT, DONE, FAILED, WRONG};

/// Compares, writes the outcome, and gives the exit code.
pub(crate) fn run(
    args: &DiffArgs,
    out: &mut (impl Write + IsTerminal),
    err: &mut (impl Write + IsTerminal),
) -> io::Result<u8> {
    let loaded = match load_with(&args.path, &Options { vip_range: args.vip_range }) {
        Ok(loaded) => loaded,
        Err(problems) => {
            match args.output {
                Output::Text => write_problems(&problems, Style::of(err), err)?,
                Output::Json => write_json(&json!({ "valid": false, "problems": problems }), out)?,
            }
            return Ok(WRONG);
        }
    };
    let admin = Admin::new(args.control_admin.clone());
    // One JSON mesh, whatever files it was read from. It can be written, since it was read.
    let body = serde_json::to_vec(&loaded.mesh).map_err(io::Error::other)?;
    let asked = admin.get::<Snapshot>("/snapshot").and_then(|snapshot| {
        if snapshot.namespace != loaded.mesh.namespace {
            let text = format!(
                "this mesh is of namespace {:?}, and {:?} is served there: it would not be taken up",
                loaded.mesh.namespace, snapshot.namespace
            );
            return Err(AskError::Refused { status: 422, text });
        }
        Ok((snapshot, admin.post::<Diff>("/diff", &body)?))
    });
    match asked {
        Ok((snapshot, diff)) => {
            let same = diff.added.is_empty() && diff.removed.is_empty() && diff.changed.is_empty();
            match args.output {
                Output::Text => text::write(&admin, &snapshot, &diff, Style::of(out), out)?,
                Output::Json => {
                    let page = json!({
                        "control": admin.addr().to_string(),
                        "namespace": snapshot.namespace,
                        "revision": snapshot.revision,
                        "same": same,
                        "added": diff.added,
                        "removed": diff.removed,
                        "changed": diff.changed,
                    });
                    write_json(&page, out)?;
                }
            }
            out.flush()?;
            Ok(if args.exit_code && !same { DIFFERENT } else { DONE })
        }
        Err(error) => {
            match args.output {
                Output::Text => write_error(&admin, &error, err)?,
                Output::Json => {
                    let page = json!({ "control": admin.addr().to_string(), "error": error.to_string() });
                    write_json(&page, out)?;
                }
            }
            // 422: it was understood, and it is wrong.
            Ok(if matches!(error, AskError::Refused { status: 422, .. }) { WRONG } else { FAILED })
        }
    }
}

fn write_error(admin: &Admin, error: &AskError, err: &mut (impl Write + IsTerminal)) -> io::Result<()> {
    let style = Style::of(err);
    let addr = admin.addr();
    let said = match error {
        AskError::Away(why) => format!("the control plane does not answer at {addr}: {}", plain(why)),
        AskError::Refused { text, .. } => {
            // Problems of a mesh come one a line.
            let lines: Vec<String> = text.lines().map(plain).collect();
            format!("the control plane at {addr} refuses it: {}", lines.join("\n"))
        }
        AskError::Garbled(why) => format!("{addr} is not the admin port of a control plane: {}", plain(why)),
    };
    writeln!(err, "{}", style.bad(said))?;
    if !matches!(error, AskError::Refused { .. }) {
        writeln!(err, "{}", style.faint(start_help()))?;
    }
    Ok(())
}

/// What to do when there is no control plane.
pub(crate) fn start_help() -> String {
    wrapped(
        "    help: ",
        "start one with `bowline-control serve --mesh PATH`, or say where its admin pages are: --control-admin HOST:PORT",
    )
}
