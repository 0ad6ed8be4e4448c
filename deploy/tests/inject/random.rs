//! Task definitions in random shapes and layouts: the sidecar comes out as it went in, and nothing else changes.

use serde_json::{Value, json};

use crate::support::{CONTROL, file, injected};

const SHAPES: usize = 60;

/// A task definition with more or less in it.
fn task(rng: &mut fastrand::Rng) -> Value {
    let containers: Vec<Value> = (0..rng.usize(1..4))
        .map(|i| {
            let mut container =
                json!({ "name": format!("app{i}"), "image": "app:1", "memory": 64, "x": [1.5, "}],", {}] });
            let some = [
                ("dependsOn", json!([])),
                ("environment", json!([])),
                ("environment", json!([{ "name": "A", "value": "\"é\\" }])),
                ("essential", json!(i == 0)),
                ("portMappings", json!([{ "containerPort": 9000 + i }])),
                ("logConfiguration", json!({ "logDriver": "awslogs", "options": { "awslogs-group": "g" } })),
                ("dependsOn", Value::Null),
            ];
            for (key, value) in some {
                if rng.bool() {
                    container[key] = value;
                }
            }
            if i > 0 && rng.bool() {
                container["dependsOn"] = json!([{ "containerName": "app0", "condition": "START" }]);
            }
            container
        })
        .collect();
    let mut task = json!({ "family": "f", "containerDefinitions": containers, "networkMode": "awsvpc" });
    for (key, value) in [
        ("volumes", json!([])),
        ("volumes", json!([{ "name": "mine", "host": {} }])),
        ("volumes", json!([{ "name": "bowline-state", "host": {} }])),
        ("requiresCompatibilities", json!(["EC2"])),
        ("zzz", json!({ "unknown": [[], {}, null] })),
        (
            "proxyConfiguration",
            json!({ "type": "APPMESH", "containerName": "gone", "properties": [{ "name": "AppPorts", "value": "1" }, { "name": "ProxyIngressPort", "value": "15000" }] }),
        ),
    ] {
        if rng.u8(..3) == 0 {
            task[key] = value;
        }
    }
    task
}

/// One of the layouts that people and programs write.
fn layout(value: &Value, rng: &mut fastrand::Rng) -> String {
    let indent = *rng.choice(["  ", "    ", "\t", " "].iter()).unwrap();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(value, &mut serializer).unwrap();
    let pretty = String::from_utf8(bytes).unwrap();
    match rng.u8(..6) {
        0 => value.to_string(),
        1 => pretty.replace('\n', "\r\n"),
        2 => pretty.replace("[]", "[ ]") + "\n",
        3 => pretty.replace("[]", "[\n\n]").replace("[\n", "[ \n"),
        _ => pretty + "\n",
    }
}

#[test]
fn what_goes_in_comes_out() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    for shape in 0..SHAPES {
        let task = task(&mut rng);
        let before = layout(&task, &mut rng);
        let input = file(&folder, "before.json", &before);
        let mut args = vec![input.as_str()];
        args.extend(CONTROL);
        if task.get("proxyConfiguration").is_none() {
            args.extend(["--mode", *rng.choice(["zone", "appmesh", "forward-proxy"].iter()).unwrap()]);
        }
        let after = injected(&args);
        let what = format!("seed {seed}, shape {shape}:\n{before}\n{after}");
        let output = file(&folder, "after.json", &after);
        args[0] = &output;
        assert!(injected(&args) == after, "twice is not once, {what}");
        assert!(injected(&[&output, "--remove"]) == before, "it doesn't come out, {what}");
        unchanged(&task, &serde_json::from_str(&after).unwrap(), &what);
    }
}

/// The sample with comments, empty lines, other line ends and other indentation here and there.
fn disturbed(text: &str, rng: &mut fastrand::Rng) -> String {
    let wider = rng.bool();
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        // Inside of a block scalar each line counts, and this one has a text of its own.
        let inside = line.contains("echo") || line.contains("exec api") || line.trim().is_empty();
        match rng.u8(..8) {
            0 if !inside => lines.push(format!("{}# a - comment: [", " ".repeat(rng.usize(..12)))),
            1 if !inside => lines.push(String::new()),
            _ => {}
        }
        let margin = if wider { 2 * indent } else { indent };
        let behind = if rng.u8(..8) == 0 && line.ends_with(|c: char| c.is_ascii_lowercase()) && !inside {
            "   # behind"
        } else {
            ""
        };
        lines.push(format!("{}{}{behind}", " ".repeat(margin), line.trim_start()));
    }
    if wider {
        // A dash and what is behind it count as one level.
        lines = lines
            .into_iter()
            .map(|line| line.replacen("- ", "-   ", usize::from(line.trim_start().starts_with("- "))))
            .collect();
    }
    let end = *rng.choice(["", "\n", "\n\n# the end", "\n\n"].iter()).unwrap();
    let text = lines.join("\n") + end;
    if rng.u8(..4) == 0 { text.replace('\n', "\r\n") } else { text }
}

#[test]
fn yaml_comes_out_whatever_stands_around_it() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    for shape in 0..SHAPES {
        let (name, more): (_, &[&str]) = *rng
            .choice(
                [
                    ("template.yaml", [].as_slice()),
                    ("template.yaml", &["--mode", "forward-proxy"]),
                    ("template.yaml", &["--mode", "appmesh", "--resource", "JobTask"]),
                    ("compose.yaml", &["--app", "web", "--app", "server"]),
                    ("compose.yaml", &["--app", "server", "--mode", "forward-proxy"]),
                    (
                        "compose_dns.yaml",
                        &["--app", "web", "--mode", "dns", "--env", "BOWLINE_DNS_UPSTREAM=192.0.2.53"],
                    ),
                ]
                .iter(),
            )
            .unwrap();
        let before = disturbed(&crate::support::sample(name), &mut rng);
        let input = file(&folder, name, &before);
        let mut args = vec![input.as_str()];
        args.extend(CONTROL);
        args.extend(more);
        let after = injected(&args);
        let what = format!("seed {seed}, shape {shape}, {name} {more:?}:\n{before}\n=====\n{after}");
        let output = file(&folder, &format!("after.{name}"), &after);
        args[0] = &output;
        assert!(injected(&args) == after, "twice is not once, {what}");
        assert!(injected(&[&output, "--remove"]) == before, "it doesn't come out, {what}");
        // Not a line of the user's is lost, but those that got something behind them.
        let mut lines = after.lines();
        let lost = before.lines().filter(|line| {
            !lines
                .by_ref()
                .any(|other| other == *line || other.starts_with(line.trim_end_matches([']', ' ', '}'])))
        });
        assert_eq!(lost.count(), 0, "{what}");
    }
}

/// Everything that was there is there, in its order, but for what `inject` says that it changes.
fn unchanged(before: &Value, after: &Value, what: &str) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(keys(after).starts_with(&keys(before)), "{what}");
    for (key, value) in before.as_object().unwrap() {
        if !["containerDefinitions", "volumes", "proxyConfiguration"].contains(&key.as_str()) {
            assert_eq!(after[key], *value, "{what}");
        }
    }
    let containers = before["containerDefinitions"].as_array().unwrap();
    let changed = after["containerDefinitions"].as_array().unwrap();
    assert_eq!(changed.len(), containers.len() + 1, "{what}");
    assert_eq!(changed[containers.len()]["name"], "bowline", "{what}");
    for (container, changed) in containers.iter().zip(changed) {
        assert!(keys(changed).starts_with(&keys(container)), "{what}");
        for (key, value) in container.as_object().unwrap() {
            if !["dependsOn", "environment"].contains(&key.as_str()) {
                assert_eq!(changed[key], *value, "{what}");
            }
        }
        let on = changed["dependsOn"].as_array().unwrap();
        assert!(on.contains(&json!({ "containerName": "bowline", "condition": "HEALTHY" })), "{what}");
        assert_eq!(on.len(), container["dependsOn"].as_array().map_or(0, Vec::len) + 1, "{what}");
    }
}
