//! `bowline status`.

mod control;
mod proxy;

use std::io::{self, IsTerminal, Write};

use bowline_api::admin::{ControlPlane, Services};
use bowline_api::control_admin::{Clients, Snapshot};
use bowline_look::args::{Output, PROXY_ADMIN};
use bowline_look::ask::{Admin, AdminAddr, AskError};
use bowline_look::style::Style;
use bowline_look::words::{count, wrapped};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::check::write_json;
use crate::cli::StatusArgs;
use crate::{DONE, FAILED};

/// What a control plane says.
struct Control {
    snapshot: Snapshot,
    clients: Clients,
}

/// What of a proxy's `/config` is of interest here. Its mesh is left out: a proxy of another version may have keys in it
/// that are not known here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigPage {
    generation: u64,
    mesh_file_refused: bool,
    control_plane: Option<ControlPlane>,
}

/// What a proxy says.
struct Proxy {
    config: ConfigPage,
    services: Services,
}

/// What is to be looked at, and what there is when there is nothing.
#[derive(Debug, Default)]
struct Verdict {
    problems: Vec<String>,
    sums: Vec<String>,
}

impl Verdict {
    fn problem(&mut self, n: usize, one: &str, many: &str) {
        if n > 0 {
            self.problems.push(count(n, one, many));
        }
    }
}

/// Asks, writes the outcome, and gives the exit code.
pub(crate) fn run(args: &StatusArgs, out: &mut (impl Write + IsTerminal)) -> io::Result<u8> {
    let admin = Admin::new(args.control_admin.clone());
    let control = ask_control(&admin);
    let proxies = ask_proxies(&args.proxy_admin);
    let mut verdict = Verdict::default();
    match &control {
        Ok(control) => control::judge(control, &mut verdict),
        Err(_) => verdict.problems.push("the control plane can't be reached".to_owned()),
    }
    for (addr, proxy) in &proxies {
        match proxy {
            Ok(proxy) => proxy::judge(addr, proxy, &mut verdict),
            Err(_) => verdict.problems.push(format!("proxy {addr} can't be reached")),
        }
    }
    match args.output {
        Output::Text => write_text(&admin, &control, &proxies, &verdict, out)?,
        Output::Json => write_json(&page(&admin, &control, &proxies, &verdict), out)?,
    }
    out.flush()?;
    let answered = control.is_ok() && proxies.iter().all(|(_, proxy)| proxy.is_ok());
    Ok(if answered { DONE } else { FAILED })
}

fn ask_control(admin: &Admin) -> Result<Control, AskError> {
    Ok(Control { snapshot: admin.get("/snapshot")?, clients: admin.get("/clients")? })
}

fn ask_proxies(named: &[AdminAddr]) -> Vec<(AdminAddr, Result<Proxy, AskError>)> {
    let ask = |addr: &AdminAddr| {
        let admin = Admin::new(addr.clone());
        let config = admin.get("/config");
        config.and_then(|config| Ok(Proxy { config, services: admin.get("/services")? }))
    };
    if named.is_empty() {
        // Where nobody has asked for it, its absence is no news.
        let here = PROXY_ADMIN.parse::<AdminAddr>();
        return here.into_iter().map(|addr| (addr.clone(), ask(&addr))).filter(|(_, p)| p.is_ok()).collect();
    }
    named.iter().map(|addr| (addr.clone(), ask(addr))).collect()
}

fn write_text(
    admin: &Admin,
    control: &Result<Control, AskError>,
    proxies: &[(AdminAddr, Result<Proxy, AskError>)],
    verdict: &Verdict,
    out: &mut (impl Write + IsTerminal),
) -> io::Result<()> {
    let style = Style::of(out);
    match control {
        Ok(control) => control::write(admin.addr(), control, style, out)?,
        Err(error) => {
            let head = format!("control plane {}: ", admin.addr());
            writeln!(out, "{}", style.bad(wrapped("", &format!("{head}{error}"))))?;
            writeln!(out, "{}", style.faint(crate::diff::start_help()))?;
        }
    }
    for (addr, proxy) in proxies {
        writeln!(out)?;
        match proxy {
            Ok(proxy) => proxy::write(addr, proxy, style, out)?,
            Err(error) => {
                writeln!(out, "{}", style.bad(wrapped("", &format!("proxy {addr}: {error}"))))?;
            }
        }
    }
    writeln!(out)?;
    match verdict.problems.is_empty() {
        true => writeln!(out, "{}: {}", style.good("all is well"), verdict.sums.join(", ")),
        false => writeln!(out, "{}: {}", style.bad("look at this"), verdict.problems.join("; ")),
    }
}

fn page(
    admin: &Admin,
    control: &Result<Control, AskError>,
    proxies: &[(AdminAddr, Result<Proxy, AskError>)],
    verdict: &Verdict,
) -> Value {
    let control = match control {
        Ok(Control { snapshot, clients }) => {
            json!({ "address": admin.addr().to_string(), "snapshot": snapshot, "clients": clients.clients })
        }
        Err(error) => json!({ "address": admin.addr().to_string(), "error": error.to_string() }),
    };
    let proxies: Vec<Value> = proxies
        .iter()
        .map(|(addr, proxy)| match proxy {
            Ok(Proxy { config, services }) => json!({
                "address": addr.to_string(),
                "generation": config.generation,
                "meshFileRefused": config.mesh_file_refused,
                "controlPlane": config.control_plane,
                "services": services.services,
            }),
            Err(error) => json!({ "address": addr.to_string(), "error": error.to_string() }),
        })
        .collect();
    json!({
        "control": control,
        "proxies": proxies,
        "verdict": { "ok": verdict.problems.is_empty(), "problems": verdict.problems },
    })
}
