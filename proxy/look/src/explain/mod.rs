//! `explain`: where a request would go.

use std::io;

use bowline_api::admin::Explanation;
use serde_json::{Value, json};

use crate::args::{ExplainArgs, Output};
use crate::ask::{Admin, AskError, in_query};
use crate::endpoints::write_json;
use crate::style::Style;
use crate::terminal::Stream;
use crate::words::{plain, wrapped};
use crate::{DONE, FAILED, trouble};

/// Asks, writes the outcome, and gives the exit code.
pub(crate) fn run(args: &ExplainArgs, out: &mut impl Stream, err: &mut impl Stream) -> io::Result<u8> {
    let several = args.asked.admin.len() > 1;
    let mut code = DONE;
    let mut pages = Vec::new();
    for (at, addr) in args.asked.admin.iter().enumerate() {
        let (page, explained) = match asked(&Admin::new(addr.clone()), args) {
            Ok(explained) => explained,
            Err(error) if several && args.asked.output == Output::Json => {
                code = code.max(trouble::code(&error));
                pages.push(json!({ "address": addr.to_string(), "error": error.to_string() }));
                continue;
            }
            Err(error) => {
                code = code.max(trouble::tell(addr, &error, args.asked.output, out, err)?);
                continue;
            }
        };
        if explained.service.is_none() {
            code = code.max(FAILED);
        }
        match args.asked.output {
            Output::Json if several => {
                pages.push(json!({ "address": addr.to_string(), "explanation": page }));
            }
            Output::Json => write_json(&page, out)?,
            Output::Text => {
                let style = Style::of(out);
                if several {
                    let gap = if at > 0 { "\n" } else { "" };
                    writeln!(out, "{gap}{} {addr}", style.strong("proxy"))?;
                }
                for line in lines(&explained, style) {
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

/// The page as it came, and what is understood of it.
fn asked(admin: &Admin, args: &ExplainArgs) -> Result<(Value, Explanation), AskError> {
    let mut asked = format!("/explain?url={}", in_query(&args.url));
    if args.method != "GET" {
        asked += &format!("&method={}", in_query(&args.method));
    }
    for header in &args.headers {
        asked += &format!("&header={}", in_query(header));
    }
    let page: Value = admin.get(&asked)?;
    match serde_json::from_value(page.clone()) {
        Ok(explained) => Ok((page, explained)),
        Err(error) => Err(AskError::Garbled(error.to_string())),
    }
}

/// The page in lines.
pub(crate) fn lines(explained: &Explanation, style: Style) -> Vec<String> {
    let url = plain(&explained.url);
    let head = match &explained.service {
        _ if explained.answered.is_some() => {
            let status = explained.answered.unwrap_or_default();
            format!("{url} is answered by the proxy itself with {}", style.strong(status.to_string()))
        }
        Some(service) => format!("{url} goes to service {}", style.strong(plain(service))),
        None => format!("{url} {}", style.bad("goes nowhere")),
    };
    let mut lines = vec![head];
    for (number, step) in (1..).zip(&explained.steps) {
        lines.extend(wrapped(&format!("  {number}. "), &plain(step)).lines().map(str::to_owned));
    }
    if explained.service.is_none() || explained.answered.is_some() {
        return lines;
    }
    match explained.candidates.is_empty() {
        true => lines.push(format!("  {}", style.bad("no endpoint may be picked now"))),
        false => lines.push(format!("  {}", style.faint("one of"))),
    }
    lines.extend(explained.candidates.iter().map(|addr| format!("    {}", style.good(addr))));
    if explained.not_candidates.is_empty() {
        return lines;
    }
    lines.push(format!("  {}", style.faint("and not")));
    let address = |addr: &std::net::SocketAddr| addr.to_string();
    let widest = explained.not_candidates.iter().map(|not| address(&not.address).len()).max().unwrap_or(0);
    for not in &explained.not_candidates {
        lines.push(format!("    {:<widest$}  {}", address(&not.address), style.bad(plain(&not.why))));
    }
    lines
}

#[cfg(test)]
mod tests;
