//! What a proxy says, in words.

use std::io::{self, Write};

use bowline_look::ask::AdminAddr;
use bowline_look::style::Style;
use bowline_look::table::{Cell, Table, Tone};
use bowline_look::words::{count, plain, span, wrapped};

use super::{ConfigPage, Proxy, Verdict};

/// What of it is to be looked at.
pub(super) fn judge(addr: &AdminAddr, proxy: &Proxy, verdict: &mut Verdict) {
    let ConfigPage { mesh_file_refused, control_plane, .. } = &proxy.config;
    if *mesh_file_refused {
        verdict.problems.push(format!("proxy {addr} has an invalid mesh file"));
    }
    if let Some(control) = control_plane {
        if !control.connected {
            verdict.problems.push(format!("proxy {addr} is not connected"));
        }
        if !control.rejected.is_empty() {
            let n = count(control.rejected.len(), "resource", "resources");
            verdict.problems.push(format!("proxy {addr} refuses {n}"));
        }
    }
    let ejected = proxy.services.services.iter().map(|service| service.ejected).sum();
    if ejected > 0 {
        verdict
            .problems
            .push(format!("proxy {addr} has {} ejected", count(ejected, "endpoint", "endpoints")));
    }
}

/// Writes it.
pub(super) fn write(addr: &AdminAddr, proxy: &Proxy, style: Style, out: &mut impl Write) -> io::Result<()> {
    let services = &proxy.services;
    let head =
        format!("{addr}: namespace {}, generation {}", plain(&services.namespace), proxy.config.generation);
    writeln!(out, "{} {head}", style.strong("proxy"))?;
    match &proxy.config.control_plane {
        Some(control) => {
            let since = control.seconds.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
            let from = match control.mesh_from.as_str() {
                "" => "it has no mesh yet".to_owned(),
                from => format!("mesh from {from}"),
            };
            let why = control.trouble.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
            match control.connected {
                true => writeln!(out, "  connected to {}{since}, {from}", plain(&control.url))?,
                false => {
                    let words = format!("not connected{since}, tried {} last{why}; {from}", control.url);
                    writeln!(out, "{}", style.bad(wrapped("  ", &plain(&words))))?;
                }
            }
            for refused in &control.rejected {
                let words = format!("refused: {} {}: {}", refused.kind, refused.name, refused.why);
                writeln!(out, "{}", style.bad(wrapped("  ", &plain(&words))))?;
            }
        }
        None => writeln!(out, "  without a control plane, on its mesh file")?,
    }
    if proxy.config.mesh_file_refused {
        writeln!(out, "  {}", style.bad("its mesh file is invalid; the last good one is in force"))?;
    }
    if services.services.is_empty() {
        return writeln!(out, "  no services");
    }
    let mut table = Table::new(["SERVICE", ">ENDPOINTS", ">EJECTED", "STATE", "ALIAS", "VIP"]);
    for service in &services.services {
        let (state, tone) = match service {
            service if service.bypassed => ("bypassed", Tone::Bad),
            service if service.endpoints == 0 => ("empty", Tone::Bad),
            _ => ("ok", Tone::Plain),
        };
        let mut aliases = service.aliases.iter();
        let cells = |alias: Option<&bowline_api::admin::AliasSummary>| match alias {
            Some(alias) => {
                [format!("{}:{}", alias.dns_name, alias.port).into(), alias.vip.to_string().into()]
            }
            None => ["".into(), "".into()],
        };
        let [alias, vip] = cells(aliases.next());
        let ejected = if service.ejected > 0 { Tone::Bad } else { Tone::Plain };
        table.row([
            service.service.as_str().into(),
            service.endpoints.to_string().into(),
            Cell::new(service.ejected.to_string(), ejected),
            Cell::new(state, tone),
            alias,
            vip,
        ]);
        for more in aliases {
            let [alias, vip] = cells(Some(more));
            table.row(["".into(), "".into(), "".into(), "".into(), alias, vip]);
        }
    }
    table.write(style, out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use bowline_look::words::WIDTH;

    fn proxy() -> Proxy {
        let config = json!({ "generation": 4, "meshFileRefused": false, "mesh": { "a key of tomorrow": 1 }, "controlPlane": {
            "url": "http://10.0.0.1:18000", "connected": false, "seconds": 90.0, "trouble": "connection refused",
            "meshFrom": "last good", "rejected": [
                { "kind": "cluster", "name": "server", "why": "no such policy\u{7} ".repeat(20) },
            ] } });
        let alias = |name: &str| json!({ "dnsName": name, "port": 5000, "vip": "127.255.0.7" });
        let services = json!({ "namespace": "hello-world.com", "generation": 4, "services": [
            { "service": "server", "endpoints": 2, "ejected": 1, "aliases": [alias("a.hello-world.com"), alias("b.hello-world.com")] },
            { "service": "way-round", "endpoints": 1, "ejected": 0, "bypassed": true, "aliases": [] },
        ] });
        Proxy {
            config: serde_json::from_value(config).unwrap(),
            services: serde_json::from_value(services).unwrap(),
        }
    }

    #[test]
    fn trouble_is_told_and_fits_the_page() {
        let (addr, mut out, mut verdict) =
            ("127.0.0.1:15000".parse().unwrap(), Vec::new(), Verdict::default());
        write(&addr, &proxy(), Style::plain(), &mut out).unwrap();
        judge(&addr, &proxy(), &mut verdict);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{7}'), "{text}");
        for words in [
            "proxy 127.0.0.1:15000: namespace hello-world.com, generation 4",
            "not connected for 90 s, tried http://10.0.0.1:18000 last: connection refused; mesh from last good",
            "refused: cluster server: no such policy",
            "b.hello-world.com:5000",
            "bypassed",
        ] {
            assert!(text.contains(words), "{words}\n--- in\n{text}");
        }
        assert_eq!(
            verdict.problems,
            [
                "proxy 127.0.0.1:15000 is not connected",
                "proxy 127.0.0.1:15000 refuses 1 resource",
                "proxy 127.0.0.1:15000 has 1 endpoint ejected",
            ]
        );
    }
}
