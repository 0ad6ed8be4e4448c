//! What a control plane says, in words.

use std::io::{self, Write};

use bowline_api::control_admin::{Client, ServiceSnapshot, Snapshot};
use bowline_look::ask::AdminAddr;
use bowline_look::style::Style;
use bowline_look::table::{Cell, Table, Tone};
use bowline_look::words::{count, plain, span, wrapped};

use super::{Control, Verdict};

/// What of it is to be looked at.
pub(super) fn judge(control: &Control, verdict: &mut Verdict) {
    let Snapshot { services, troubles, held_back, .. } = &control.snapshot;
    let clients = &control.clients.clients;
    let held = services.iter().filter(|service| service.held).count();
    let empty = services.iter().filter(|service| service.endpoints.is_empty()).count();
    let refused = clients.iter().filter(|client| refuses(client, control.clients.revision)).count();
    verdict.problem(troubles.len(), "source in trouble", "sources in trouble");
    verdict.problem(held, "service held", "services held");
    verdict.problem(empty, "service without endpoints", "services without endpoints");
    verdict.problem(refused, "client refuses a push", "clients refuse a push");
    if held_back.as_ref().is_some_and(|held| held.state == "stopped") {
        verdict.problems.push("a new mesh was taken back".to_owned());
    }
    let endpoints = services.iter().map(|service| service.endpoints.len()).sum();
    verdict.sums.push(count(services.len(), "service", "services"));
    verdict.sums.push(count(endpoints, "endpoint", "endpoints"));
    verdict.sums.push(count(clients.len(), "client", "clients"));
}

/// It has refused something, and has not acknowledged all since.
fn refuses(client: &Client, revision: u64) -> bool {
    client.last_nack.is_some() && client.acknowledged < revision
}

/// Writes it.
pub(super) fn write(
    addr: &AdminAddr,
    control: &Control,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let snapshot = &control.snapshot;
    writeln!(
        out,
        "{} {addr}: namespace {}, revision {}",
        style.strong("control plane"),
        plain(&snapshot.namespace),
        snapshot.revision
    )?;
    if let Some(held) = &snapshot.held_back {
        match held.why.as_deref() {
            None => {
                let (percent, since) = (held.percent, span(held.seconds));
                writeln!(
                    out,
                    "  a new mesh: {} at {percent} % of the clients for {since}",
                    plain(&held.state)
                )?;
            }
            Some(why) => {
                let words = format!("a new mesh was taken back, until the file changes: {}", plain(why));
                writeln!(out, "{}", style.bad(wrapped("  ", &words)))?;
            }
        }
    }
    write_services(&snapshot.services, style, out)?;
    write_held(addr, &snapshot.services, style, out)?;
    if !snapshot.troubles.is_empty() {
        writeln!(out, "\n{}", style.bad("sources in trouble; what they found last stays"))?;
        for trouble in &snapshot.troubles {
            let service = trouble.service.as_deref().map(|name| format!(", service {name}"));
            let head =
                format!("{}{} for {}:", trouble.source, service.unwrap_or_default(), span(trouble.seconds));
            writeln!(out, "{}", wrapped("  ", &plain(&head)))?;
            // The mistakes in a mesh file come one a line.
            for line in trouble.why.lines() {
                writeln!(out, "{}", wrapped("    ", &plain(line)))?;
            }
        }
    }
    write_clients(control, style, out)
}

fn write_services(services: &[ServiceSnapshot], style: Style, out: &mut impl Write) -> io::Result<()> {
    if services.is_empty() {
        return writeln!(out, "  no services");
    }
    let mut table = Table::new(["SERVICE", "SOURCE", ">ENDPOINTS", "STATE", "NAME", "VIP"]);
    for service in services {
        let (state, tone) = match service {
            ServiceSnapshot { held: true, .. } => ("held", Tone::Bad),
            ServiceSnapshot { settled: false, .. } => ("settling", Tone::Faint),
            service if service.endpoints.is_empty() => ("empty", Tone::Bad),
            _ => ("ok", Tone::Plain),
        };
        let mut names = service.vips.iter();
        let vip = |name: Option<(&String, &std::net::Ipv4Addr)>| match name {
            Some((name, vip)) => [name.as_str().into(), vip.to_string().into()],
            None => ["".into(), "".into()],
        };
        let [name, address] = vip(names.next());
        table.row([
            service.service.as_str().into(),
            service.source.as_str().into(),
            service.endpoints.len().to_string().into(),
            Cell::new(state, tone),
            name,
            address,
        ]);
        for more in names {
            let [name, address] = vip(Some(more));
            table.row(["".into(), "".into(), "".into(), "".into(), name, address]);
        }
    }
    table.write(style, out)
}

fn write_held(
    addr: &AdminAddr,
    services: &[ServiceSnapshot],
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    for service in services.iter().filter(|service| service.held) {
        let name = plain(&service.service);
        let kept = count(service.endpoints.len(), "endpoint", "endpoints");
        writeln!(
            out,
            "\n{}",
            style.bad(format!("{name} has lost all its endpoints, and keeps its last {kept}"))
        )?;
        writeln!(out, "  if it is to be empty: curl -X POST 'http://{addr}/allow-empty?service={name}'")?;
    }
    Ok(())
}

fn write_clients(control: &Control, style: Style, out: &mut impl Write) -> io::Result<()> {
    let (revision, clients) = (control.clients.revision, &control.clients.clients);
    if clients.is_empty() {
        return writeln!(out, "\nno clients");
    }
    writeln!(out)?;
    let mut table = Table::new(["CLIENT", "KIND", "VERSION", "ZONE", "HERE FOR", "ACKNOWLEDGED", ">NACKS"]);
    for client in clients {
        let behind = revision.saturating_sub(client.acknowledged);
        let acknowledged = match behind {
            0 => format!("{revision}"),
            _ => format!("{}, behind by {behind}", client.acknowledged),
        };
        let tone = if refuses(client, revision) { Tone::Bad } else { Tone::Plain };
        table.row([
            client.id.as_str().into(),
            client.kind.as_str().into(),
            client.version.as_str().into(),
            client.zone.as_deref().unwrap_or("-").into(),
            span(client.connected_seconds).into(),
            Cell::new(acknowledged, tone),
            client.nacks.to_string().into(),
        ]);
    }
    table.write(style, out)?;
    for client in clients {
        if let Some(why) = &client.last_nack {
            let head = format!("{} refused last:", plain(&client.id));
            writeln!(out, "\n{}", style.bad(head))?;
            writeln!(out, "{}", wrapped("  ", &plain(why)))?;
        }
    }
    let others: usize = clients.iter().filter(|client| !client.lost.is_empty()).count();
    if others > 0 {
        let who = count(others, "client can't", "clients can't");
        writeln!(out, "\n{}", style.faint(format!("{who} do all of the mesh: see `lost` in /clients")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use bowline_look::words::WIDTH;

    fn control() -> Control {
        let endpoint = json!({ "address": "10.0.0.1:80" });
        let long = "a-very-long-name-".repeat(10);
        let snapshot = json!({ "namespace": "hello-world.com", "revision": 9, "services": [
            { "service": "server", "source": "registered", "settled": true, "endpoints": [endpoint],
              "vips": { "server.hello-world.com": "127.255.0.7", "other.hello-world.com": "127.255.0.8" } },
            { "service": "kept", "source": "dns", "settled": true, "held": true, "endpoints": [endpoint, endpoint], "vips": {} },
            { "service": "new", "source": "registered", "settled": false, "endpoints": [endpoint], "vips": {} },
            { "service": long, "source": "static", "settled": true, "endpoints": [],
              "vips": { (long): "127.255.0.9" } },
        ], "troubles": [
            { "source": "dns", "service": "kept", "why": "NXDOMAIN kept.internal", "seconds": 200.0 },
            { "source": "mesh", "why": "mesh.yaml:3: one\nmesh.yaml:4: two", "seconds": 3.0 },
        ] });
        let client = json!({ "id": "task-1", "kind": "bowline", "version": "0.1.0", "zone": "a", "peer": "10.0.0.9:4000",
            "protocol": "delta", "connectedSeconds": 200_000.0, "acknowledged": 9, "pushes": 5, "nacks": 0 });
        let mut refuses = client.clone();
        for (key, value) in
            [("id", json!("envoy\u{1b}[31m")), ("acknowledged", json!(6)), ("nacks", json!(2))]
        {
            refuses[key] = value;
        }
        refuses["lastNack"] = json!("word ".repeat(60));
        refuses["lost"] = json!({ "server": ["hedge"] });
        let clients = json!({ "revision": 9, "clients": [client, refuses] });
        Control {
            snapshot: serde_json::from_value(snapshot).unwrap(),
            clients: serde_json::from_value(clients).unwrap(),
        }
    }

    #[test]
    fn all_is_told_and_fits_the_page() {
        let mut out = Vec::new();
        let addr: AdminAddr = "127.0.0.1:18001".parse().unwrap();
        write(&addr, &control(), Style::plain(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        for words in [
            "control plane 127.0.0.1:18001: namespace hello-world.com, revision 9",
            "127.255.0.7",
            "127.255.0.8",
            "settling",
            "kept has lost all its endpoints, and keeps its last 2 endpoints",
            "curl -X POST 'http://127.0.0.1:18001/allow-empty?service=kept'",
            "dns, service kept for 3 min:",
            "    NXDOMAIN kept.internal",
            "    mesh.yaml:4: two",
            "6, behind by 3",
            "2 d",
            "[31m refused last:",
            "1 client can't do all of the mesh",
        ] {
            assert!(text.contains(words), "{words}\n--- in\n{text}");
        }
    }

    #[test]
    fn a_new_mesh_that_is_tried_or_was_taken_back_is_told() {
        let (addr, mut control) = ("127.0.0.1:18001".parse().unwrap(), control());
        let trying = json!({ "percent": 10, "seconds": 12.0, "state": "trying" });
        let stopped = json!({ "percent": 10, "seconds": 0.0, "state": "stopped", "why": "30 % failed" });
        for (held, words, judged) in [
            (trying, "a new mesh: trying at 10 % of the clients for 12 s", false),
            (stopped, "a new mesh was taken back, until the file changes: 30 % failed", true),
        ] {
            control.snapshot.held_back = serde_json::from_value(held).unwrap();
            let (mut out, mut verdict) = (Vec::new(), Verdict::default());
            write(&addr, &control, Style::plain(), &mut out).unwrap();
            judge(&control, &mut verdict);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(words), "{words}\n--- in\n{text}");
            assert_eq!(verdict.problems.contains(&"a new mesh was taken back".to_owned()), judged);
        }
    }

    #[test]
    fn the_verdict_names_each_thing_once() {
        let mut verdict = Verdict::default();
        judge(&control(), &mut verdict);
        let problems = verdict.problems.join("; ");
        assert_eq!(
            problems,
            "2 sources in trouble; 1 service held; 1 service without endpoints; 1 client refuses a push"
        );
        assert_eq!(verdict.sums.join(", "), "4 services, 4 endpoints, 2 clients");
    }
}
