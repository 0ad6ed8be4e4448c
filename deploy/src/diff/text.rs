//! What would change, in words.

use std::io::{self, Write};

use bowline_api::control_admin::{ChangedKey, Diff, Snapshot};
use bowline_look::ask::Admin;
use bowline_look::style::Style;
use bowline_look::words::{count, cut, plain, wrapped};
use serde_json::Value;

/// The longest value that is shown; `--output json` has all of it.
const LONGEST: usize = 80;
/// How many elements of a list are shown that come, or go.
const MOST: usize = 20;

/// Writes it.
pub(super) fn write(
    admin: &Admin,
    snapshot: &Snapshot,
    diff: &Diff,
    style: Style,
    out: &mut impl Write,
) -> io::Result<()> {
    let Diff { added, removed, changed } = diff;
    let at = format!("namespace {} at {}, revision {}", snapshot.namespace, admin.addr(), snapshot.revision);
    if added.is_empty() && removed.is_empty() && changed.is_empty() {
        let services = count(snapshot.services.len(), "service is as it is", "services are as they are");
        return writeln!(out, "{}: {services} ({at})", style.good("nothing would change"));
    }
    writeln!(out, "{at}")?;
    for service in added {
        writeln!(out, "\n{} {}", style.good("+"), style.good(plain(service)))?;
    }
    for gone in removed {
        let now = match gone.endpoints {
            0 => "it has no endpoints now".to_owned(),
            n => format!("it has {} now", count(n, "endpoint", "endpoints")),
        };
        writeln!(out, "\n{} {}  {now}", style.bad("-"), style.bad(plain(&gone.service)))?;
    }
    for service in changed {
        writeln!(out, "\n~ {}", style.strong(plain(&service.service)))?;
        for key in &service.keys {
            write_key(key, style, out)?;
        }
        if service.empties {
            let now = snapshot.services.iter().find(|known| known.service == service.service);
            let has = count(now.map_or(0, |known| known.endpoints.len()), "endpoint", "endpoints");
            let words = format!(
                "would lose all its endpoints: it has {has} now, which stay until somebody confirms, unless the \
                 control plane runs with --allow-empty"
            );
            writeln!(out, "{}", style.bad(wrapped("    ", &words)))?;
        }
    }
    let emptied = changed.iter().filter(|service| service.empties).count();
    let mut words = format!("{} added, {} removed, {} changed", added.len(), removed.len(), changed.len());
    if emptied > 0 {
        words.push_str(&format!("; {} would lose all endpoints", count(emptied, "service", "services")));
    }
    writeln!(out, "\n{}", style.strong(words))
}

fn write_key(key: &ChangedKey, style: Style, out: &mut impl Write) -> io::Result<()> {
    let name = plain(&key.key);
    if let (Value::Array(from), Value::Array(to)) = (&key.from, &key.to) {
        writeln!(out, "    {name}")?;
        let gone = from.iter().filter(|element| !to.contains(element)).collect::<Vec<_>>();
        let come = to.iter().filter(|element| !from.contains(element)).collect::<Vec<_>>();
        if gone.is_empty() && come.is_empty() {
            return writeln!(out, "      {}", style.faint("the same in another order"));
        }
        for element in gone.iter().take(MOST) {
            writeln!(out, "      {}", style.bad(format!("- {}", shown(element))))?;
        }
        for element in come.iter().take(MOST) {
            writeln!(out, "      {}", style.good(format!("+ {}", shown(element))))?;
        }
        let more = gone.len().saturating_sub(MOST) + come.len().saturating_sub(MOST);
        if more > 0 {
            writeln!(out, "      {}", style.faint(format!("and {more} more: see --output json")))?;
        }
        return Ok(());
    }
    let (from, to) = (shown(&key.from), shown(&key.to));
    if name.len() + from.chars().count() + to.chars().count() > LONGEST {
        writeln!(out, "    {name}\n      {}\n      {}", style.bad(from), style.good(to))
    } else {
        writeln!(out, "    {name}  {} → {}", style.bad(from), style.good(to))
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        value => cut(&plain(&value.to_string()), LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use bowline_api::control_admin::{ChangedService, RemovedService};
    use serde_json::json;

    use super::*;

    fn text(diff: &Diff) -> String {
        let admin = Admin::new("127.0.0.1:18001".parse().unwrap());
        let snapshot = json!({ "namespace": "hello-world.com", "revision": 7, "troubles": [], "services": [
            { "service": "server", "source": "static", "vips": {}, "endpoints": [{ "address": "10.0.0.1:80" }],
              "settled": true },
        ] });
        let snapshot = serde_json::from_value(snapshot).unwrap();
        let mut out = Vec::new();
        write(&admin, &snapshot, diff, Style::plain(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn all_that_would_change_is_told() {
        let key = |key: &str, from, to| ChangedKey { key: key.to_owned(), from, to };
        let diff = Diff {
            added: vec!["new".to_owned()],
            removed: vec![RemovedService { service: "old".to_owned(), endpoints: 3 }],
            changed: vec![ChangedService {
                service: "server".to_owned(),
                keys: vec![
                    key("timeout.connectSeconds", json!(1), json!(2)),
                    key("vip", json!(null), json!("127.255.0.7")),
                    key("endpoints.static", json!([{ "address": "10.0.0.1:80" }]), json!([])),
                ],
                empties: true,
            }],
        };
        let text = text(&diff);
        for line in [
            "namespace hello-world.com at 127.0.0.1:18001, revision 7",
            "+ new",
            "- old  it has 3 endpoints now",
            "~ server",
            "    timeout.connectSeconds  1 → 2",
            "    vip  unset → \"127.255.0.7\"",
            "    endpoints.static",
            "      - {\"address\":\"10.0.0.1:80\"}",
            "1 added, 1 removed, 1 changed; 1 service would lose all endpoints",
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n--- in\n{text}");
        }
        assert!(text.contains("would lose all its endpoints: it has 1 endpoint now"), "{text}");
    }

    #[test]
    fn nothing_is_told_as_nothing() {
        assert!(text(&Diff::default()).starts_with("nothing would change: 1 service is as it is"));
    }

    #[test]
    fn lists_show_only_what_differs() {
        let list = |range: std::ops::Range<u32>| Value::from(range.collect::<Vec<_>>());
        let key = ChangedKey { key: "endpoints.static".to_owned(), from: list(0..100), to: list(50..102) };
        let mut out = Vec::new();
        write_key(&key, Style::plain(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().filter(|line| line.starts_with("      - ")).count(), MOST);
        assert_eq!(text.lines().filter(|line| line.starts_with("      + ")).count(), 2);
        assert!(text.contains("and 30 more"), "{text}");
    }
}
