//! `endpoints`: what a proxy knows of each.

use std::io;

use bowline_api::admin::{EndpointSummary, Endpoints, Services};
use serde_json::{Value, json};

use crate::args::{EndpointsArgs, Output};
use crate::ask::{Admin, AskError};
use crate::style::Style;
use crate::table::{Cell, Table, Tone};
use crate::terminal::{Size, Stream};
use crate::words::{count, milliseconds, plain, plain_json, span};
use crate::{DONE, FAILED, trouble};

/// Asks, writes the outcome, and gives the exit code.
pub(crate) fn run(args: &EndpointsArgs, out: &mut impl Stream, err: &mut impl Stream) -> io::Result<u8> {
    let several = args.asked.admin.len() > 1;
    let mut code = DONE;
    let mut pages = Vec::new();
    for (at, addr) in args.asked.admin.iter().enumerate() {
        let admin = Admin::new(addr.clone());
        let page = match asked(&admin, args.service.as_deref()) {
            Ok(page) => page,
            Err(error) if several && args.asked.output == Output::Json => {
                code = FAILED;
                pages.push(json!({ "address": addr.to_string(), "error": error.to_string() }));
                continue;
            }
            Err(error) => {
                code = code.max(trouble::tell(addr, &error, args.asked.output, out, err)?);
                continue;
            }
        };
        match args.asked.output {
            Output::Json if several => {
                pages.push(json!({ "address": addr.to_string(), "endpoints": page["endpoints"] }));
            }
            Output::Json => write_json(&page, out)?,
            Output::Text => {
                let style = Style::of(out);
                if several {
                    let gap = if at > 0 { "\n" } else { "" };
                    writeln!(out, "{gap}{} {addr}", style.strong("proxy"))?;
                }
                let width = Size::of(out).map(|size| size.columns);
                let page = serde_json::from_value(page).map_err(io::Error::other)?;
                for line in lines(&page, style, width) {
                    writeln!(out, "{line}")?;
                }
            }
        }
    }
    if several && args.asked.output == Output::Json {
        write_json(&json!({ "proxies": pages }), out)?;
    }
    out.flush()?;
    Ok(code)
}

/// The page, with what is asked for alone.
fn asked(admin: &Admin, service: Option<&str>) -> Result<Value, AskError> {
    let mut page: Value = admin.get("/endpoints")?;
    // What can't be shown is said before anything is written.
    serde_json::from_value::<Endpoints>(page.clone())
        .map_err(|error| AskError::Garbled(error.to_string()))?;
    let Some(service) = service else { return Ok(page) };
    if let Some(endpoints) = page["endpoints"].as_array_mut() {
        endpoints.retain(|endpoint| endpoint["service"] == service);
        if endpoints.is_empty() {
            known(&admin.get("/services")?, service)?;
        }
    }
    Ok(page)
}

/// Whether there is such a service, with or without endpoints.
fn known(services: &Services, name: &str) -> Result<(), AskError> {
    let names = || services.services.iter().map(|service| service.service.as_str());
    match names().any(|known| known == name) {
        true => Ok(()),
        false => Err(trouble::no_such_service(name, names())),
    }
}

/// JSON as people read it.
pub(crate) fn write_json(value: &Value, out: &mut impl Stream) -> io::Result<()> {
    writeln!(out, "{}", plain_json(&serde_json::to_string_pretty(value)?))
}

const ZONE: usize = 2;
const WEIGHT: usize = 3;
/// What a narrow terminal has no room for, these first: connections, attempts, in flight, expected, weight.
const SPARE: [usize; 5] = [6, 8, 5, 7, WEIGHT];
/// A name or address that is longer is cut rather than that a column is left out for it.
const NAME: usize = 30;

/// The page in lines.
pub(crate) fn lines(page: &Endpoints, style: Style, width: Option<usize>) -> Vec<String> {
    if page.endpoints.is_empty() {
        return vec!["  no endpoints".to_owned()];
    }
    let mut table = Table::new([
        "SERVICE",
        "ADDRESS",
        "ZONE",
        ">WEIGHT",
        "STATE",
        ">IN FLIGHT",
        ">CONNS",
        ">EXPECTED",
        ">ATTEMPTS",
        ">FAILURES",
    ]);
    let mut before = None;
    for endpoint in &page.endpoints {
        let (state, tone) = state(endpoint);
        // The name stands once, at the first of its endpoints, where somebody looks; a pipe gets it in each line.
        let again = width.is_some() && before == Some(&endpoint.service);
        before = Some(&endpoint.service);
        table.row([
            Cell::new(if again { "" } else { &endpoint.service }, Tone::Strong),
            endpoint.address.to_string().into(),
            endpoint.zone.as_deref().unwrap_or("-").into(),
            endpoint.weight.to_string().into(),
            Cell::new(state, tone),
            endpoint.in_flight.to_string().into(),
            endpoint.connections.to_string().into(),
            endpoint.expected_milliseconds.map_or_else(|| "-".to_owned(), milliseconds).into(),
            endpoint.attempts.to_string().into(),
            endpoint.failures.to_string().into(),
        ]);
    }
    let all = &page.endpoints;
    let silent = [(ZONE, all.iter().all(|e| e.zone.is_none())), (WEIGHT, all.iter().all(|e| e.weight == 1))];
    let silent = silent.iter().filter(|(_, silent)| *silent).map(|(column, _)| *column);
    for column in silent.chain(SPARE) {
        if width.is_some_and(|width| table.width(NAME) > width) {
            table.hide(column);
        }
    }
    let mut lines = table.lines(style, width);
    let ejected = page.endpoints.iter().filter(|endpoint| endpoint.state == "ejected").count();
    let unhealthy = page.endpoints.iter().filter(|endpoint| endpoint.state == "unhealthy").count();
    for (n, what) in [(ejected, "ejected"), (unhealthy, "unhealthy")] {
        if n > 0 && width.is_some() {
            let all = count(page.endpoints.len(), "endpoint", "endpoints");
            lines.push(format!("  {}", style.bad(format!("{n} of {all} {what}"))));
        }
    }
    lines
}

/// The beginning of a reason: the whole of it is in the JSON.
fn cut(why: &str) -> String {
    const MOST: usize = 40;
    match why.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &why[..end]),
        None => why.to_owned(),
    }
}

fn state(endpoint: &EndpointSummary) -> (String, Tone) {
    match (endpoint.state.as_str(), endpoint.ejected_for_seconds) {
        ("active", _) if endpoint.consecutive_failures > 0 => {
            (format!("active, failed {}×", endpoint.consecutive_failures), Tone::Bad)
        }
        ("unhealthy", _) => {
            let why = endpoint.health.as_ref().and_then(|health| health.why.as_deref());
            (
                why.map_or_else(|| "unhealthy".to_owned(), |why| format!("unhealthy: {}", cut(&plain(why)))),
                Tone::Bad,
            )
        }
        ("active", _) if endpoint.slow_start_percent.is_some() => {
            let percent = endpoint.slow_start_percent.unwrap_or_default();
            (format!("active, slow start {percent:.0} %"), Tone::Plain)
        }
        ("active", _) => ("active".to_owned(), Tone::Plain),
        ("ejected", Some(seconds)) => (format!("ejected, {} left", span(seconds.ceil())), Tone::Bad),
        ("ejected", None) => ("ejected".to_owned(), Tone::Bad),
        (state, _) => (plain(state), Tone::Faint),
    }
}

#[cfg(test)]
mod tests;
