//! Whatever is added to a configuration is told of: with its own key, or with one that it stands in.

use serde_json::Value;

use crate::support::{apps, file, import, sample, stderr};

/// The ways to all mappings inside of a value.
fn mappings(value: &Value, way: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            found.push(way.to_owned());
            for (key, value) in entries {
                mappings(value, &format!("{way}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                mappings(element, &format!("{way}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// `/0/virtualNode/spec/listeners/0` as it is told from its resource on: `spec.listeners[0]`.
fn told(way: &str, from: &str) -> String {
    let inside = &way[way.find(from).unwrap() + 1..];
    let mut text = String::new();
    for step in inside.split('/') {
        match step.parse::<usize>() {
            Ok(index) => text.push_str(&format!("[{index}]")),
            Err(_) if text.is_empty() => text.push_str(step),
            Err(_) => text.push_str(&format!(".{step}")),
        }
    }
    text
}

/// Adds a key to every mapping in turn that lies in this key, and looks for it. `resource`: what stands at a way is called.
fn check(
    command: &str,
    whole: &Value,
    root: &str,
    resource: impl Fn(&str) -> String,
    more: &[&str],
) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut ways = Vec::new();
    mappings(whole, "", &mut ways);
    let mut checked = 0;
    for way in ways {
        if !way.contains(root) {
            continue;
        }
        let mut changed = whole.clone();
        changed.pointer_mut(&way).unwrap()["neverHeardOf"] = Value::from(7);
        let path = file(&folder, "changed.json", &changed.to_string());
        let mut args = vec![command, &path];
        args.extend(more);
        let output = import(&args);
        assert_eq!(output.status.code(), Some(0), "{way}: {}", stderr(&output));
        let lines = stderr(&output);
        let key = told(&way, root);
        let of = format!(": {}: ", resource(&way));
        let tells = |line: &str| {
            let Some((_, told)) = line.split_once(&of) else { return false };
            let told = told.strip_prefix("deployments[0].").unwrap_or(told);
            let Some((told, message)) = told.split_once(": ") else { return false };
            // Of a resource as a whole only that it is not there says enough.
            let whole = message.contains("left out") || message.contains("not made");
            if told == root.trim_start_matches('/') || message.contains("the whole route") {
                return whole;
            }
            let is_in = |rest: &str| rest.starts_with('.') || rest.starts_with('[') || rest.is_empty();
            told == format!("{key}.neverHeardOf") || key.strip_prefix(told).is_some_and(is_in)
        };
        assert!(lines.lines().any(tells), "{key}.neverHeardOf is lost in silence:\n{lines}");
        checked += 1;
    }
    checked
}

#[test]
fn of_service_connect() {
    let mut services = sample("services.json");
    // Deployments that are over are left out as a whole.
    services["services"][0]["deployments"].as_array_mut().unwrap().remove(0);
    let resource = |way: &str| {
        let service: String = way.split('/').take(3).collect::<Vec<_>>().join("/");
        format!("service {}", services.pointer(&service).unwrap()["serviceName"].as_str().unwrap())
    };
    let more = ["--namespace", "hello-world.com"];
    let checked = check("service-connect", &services, "/serviceConnectConfiguration", resource, &more);
    assert!(checked > 15, "{checked}");
}

#[test]
fn of_app_mesh() {
    let apps = apps();
    let resource = |way: &str| {
        let mut steps = way.split('/').skip(1);
        let (index, kind) = (steps.next().unwrap(), steps.next().unwrap());
        let name = apps[index.parse::<usize>().unwrap()][kind][format!("{kind}Name")].as_str().unwrap();
        let words: String = kind
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec![' ', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        format!("{words} {name}")
    };
    let checked = check("app-mesh", &apps, "/spec", resource, &[]);
    assert!(checked > 100, "{checked}");
}
