//! What is said when there is no answer, or none that helps.

use std::io;

use serde_json::json;

use crate::args::Output;
use crate::ask::{AdminAddr, AskError};
use crate::style::Style;
use crate::terminal::Stream;
use crate::words::{plain, plain_json, wrapped};
use crate::{FAILED, WRONG};

const BAD_REQUEST: u16 = 400;
const NOT_FOUND: u16 = 404;

/// The exit code of it. What the page takes for a wrong question is wrong usage.
pub(crate) fn code(error: &AskError) -> u8 {
    match error {
        AskError::Refused { status: BAD_REQUEST, .. } => WRONG,
        _ => FAILED,
    }
}

/// Says it, as text on `err` or as a line of JSON on `out`, and gives the exit code.
pub(crate) fn tell(
    addr: &AdminAddr,
    error: &AskError,
    output: Output,
    out: &mut impl Stream,
    err: &mut impl Stream,
) -> io::Result<u8> {
    match output {
        Output::Json => {
            let said = match error {
                AskError::Refused { text, .. } => text.trim_end().to_owned(),
                error => error.to_string(),
            };
            let page = json!({ "address": addr.to_string(), "error": said });
            writeln!(out, "{}", plain_json(&page.to_string()))?;
            out.flush()?;
        }
        Output::Text => {
            let style = Style::of(err);
            writeln!(err, "{}", style.bad(said(addr, error)))?;
            if let Some(help) = help(error) {
                writeln!(err, "{}", style.faint(wrapped("    help: ", help)))?;
            }
        }
    }
    Ok(code(error))
}

/// In words, on one line but for what a page has said.
pub(crate) fn said(addr: &AdminAddr, error: &AskError) -> String {
    match error {
        AskError::Away(why) => format!("no proxy answers at {addr}: {}", plain(why)),
        // As it is, but for what a terminal would obey.
        AskError::Refused { text, .. } => text.lines().map(plain).collect::<Vec<_>>().join("\n"),
        AskError::Garbled(why) => format!("{addr} is not the admin port of a proxy: {}", plain(why)),
    }
}

fn help(error: &AskError) -> Option<&'static str> {
    match error {
        AskError::Refused { .. } => None,
        _ => Some(
            "start one with `bowline-proxy run --mesh PATH`, or say where its admin pages are: --admin HOST:PORT, or \
             BOWLINE_ADMIN",
        ),
    }
}

/// The mesh has no such service.
pub(crate) fn no_such_service<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> AskError {
    let nearest = bowline_api::nearest(name, names);
    let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    AskError::Refused { status: NOT_FOUND, text: format!("the mesh has no service {name}{hint}") }
}
