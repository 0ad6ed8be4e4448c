//! Flags, outcomes and exit codes.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{CONTROL, file, inject, injected, sample, samples, stderr, stdout};

#[test]
fn the_diff_is_one_that_patch_takes() {
    let mut args = vec!["fargate.json", "--diff"];
    args.extend(CONTROL);
    let output = inject(&args);
    assert_eq!(output.status.code(), Some(0));
    let diff = stdout(&output);
    assert!(diff.starts_with("--- fargate.json\n+++ fargate.json\n@@ -"), "{diff}");
    assert!(!diff.contains('\u{1b}'), "{diff}");
    // What `patch` would do, in short: lines that stay and go must be those of the file, in their order.
    let (before, mut args) = (sample("fargate.json"), vec!["fargate.json"]);
    args.extend(CONTROL);
    let after = injected(&args);
    let side = |marks: [char; 2]| -> Vec<String> {
        let lines = diff.lines().skip(2).filter(|line| line.starts_with(marks));
        lines.map(|line| line[1..].to_owned()).collect()
    };
    let is_in = |part: &[String], whole: &str| {
        let mut lines = whole.lines();
        part.iter().all(|wanted| lines.any(|line| line == wanted))
    };
    assert!(is_in(&side([' ', '-']), &before));
    assert!(is_in(&side([' ', '+']), &after));
    let added = diff.lines().filter(|line| line.starts_with('+')).count() - 1;
    let gone = diff.lines().filter(|line| line.starts_with('-')).count() - 1;
    assert_eq!(after.lines().count(), before.lines().count() + added - gone);
    // Nothing changes, nothing is printed.
    assert_eq!(injected(&["fargate.json", "--remove", "--diff"]), "");
}

#[test]
fn it_writes_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "task.json", &sample("fargate.json"));
    let output = folder.path().join("new.json");
    let mut args = vec![input.as_str(), "--output", output.to_str().unwrap()];
    args.extend(CONTROL);
    assert_eq!(injected(&args), "");
    assert_eq!(fs::read_to_string(&input).unwrap(), sample("fargate.json"));
    args.splice(1..3, ["--write"]);
    assert_eq!(injected(&args), "");
    assert_eq!(fs::read_to_string(&input).unwrap(), fs::read_to_string(&output).unwrap());
    assert_eq!(injected(&[&input, "--remove", "-w"]), "");
    assert_eq!(fs::read_to_string(&input).unwrap(), sample("fargate.json"));
    let nowhere = folder.path().join("no/such/folder");
    let failed = inject(&[&input, "--remove", "--output", nowhere.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn stdin_is_read() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bowline"))
        .args(["inject", "-"])
        .args(CONTROL)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(sample("fargate.json").as_bytes()).unwrap();
    let mut args = vec!["fargate.json"];
    args.extend(CONTROL);
    assert_eq!(stdout(&child.wait_with_output().unwrap()), injected(&args));
}

#[test]
fn new_flags_change_the_sidecar_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["fargate.json"];
    args.extend(CONTROL);
    let first = file(&folder, "first.json", &injected(&args));
    args[0] = &first;
    args.extend(["--memory", "64", "--register", "server=9001"]);
    let second: Value = serde_json::from_str(&injected(&args)).unwrap();
    let containers = second["containerDefinitions"].as_array().unwrap();
    assert_eq!(containers.len(), 2);
    assert_eq!((&containers[1]["memory"], &containers[1]["memoryReservation"]), (&64.into(), &16.into()));
    let environment = containers[1]["environment"].as_array().unwrap();
    assert!(environment.iter().any(|one| one["name"] == "BOWLINE_REGISTER" && one["value"] == "server=9001"));
    assert_eq!(second["volumes"].as_array().unwrap().len(), 1);
}

#[test]
fn the_sidecar_gets_a_share_where_others_have_one_and_threads_where_there_are_cores() {
    let folder = tempfile::tempdir().unwrap();
    let sidecar = |cpu: &str, container: u32, more: &[&str]| -> Value {
        let mut task: Value = serde_json::from_str(&sample("fargate.json")).unwrap();
        task["cpu"] = cpu.into();
        task["memory"] = "32768".into();
        task["containerDefinitions"][0]["cpu"] = container.into();
        let input = file(&folder, "task.json", &task.to_string());
        let mut args = vec![input.as_str()];
        args.extend(CONTROL);
        args.extend(more);
        let task: Value = serde_json::from_str(&injected(&args)).unwrap();
        task["containerDefinitions"][1].clone()
    };
    let workers = |sidecar: &Value| {
        let environment = sidecar["environment"].as_array().unwrap().clone();
        environment.into_iter().find(|one| one["name"] == "BOWLINE_WORKERS").map(|one| one["value"].clone())
    };
    let (small, large, bare) = (sidecar("512", 256, &[]), sidecar("8192", 4096, &[]), sidecar("512", 0, &[]));
    assert_eq!((&small["cpu"], workers(&small)), (&64.into(), None));
    assert_eq!((&large["cpu"], workers(&large)), (&64.into(), Some("4".into())));
    assert_eq!(bare.get("cpu"), None);
    assert_eq!(sidecar("512", 0, &["--cpu", "32"])["cpu"], 32);
}

#[test]
fn an_app_that_exports_nothing_makes_no_sidecar_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let text = sample("fargate.json").replace("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL");
    let input = file(&folder, "task.json", &text);
    let mut args = vec![input.as_str()];
    args.extend(CONTROL);
    let task: Value = serde_json::from_str(&injected(&args)).unwrap();
    assert!(!task["containerDefinitions"][1].to_string().contains("OTEL_"));
}

#[test]
fn containers_that_a_template_computes_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = sample("template.yaml").replace(
        "        # A second container.",
        "        - !If [Debug, { Name: debug, Image: x }, !Ref AWS::NoValue]\n        # A second container.",
    );
    let json = sample("template.json").replace(
        "\"ContainerDefinitions\": [",
        "\"ContainerDefinitions\": [\n          { \"Fn::If\": [\"Debug\", { \"Name\": \"debug\" }, { \"Ref\": \"AWS::NoValue\" }] },",
    );
    for (name, text) in [("a.yaml", yaml), ("a.json", json)] {
        let path = file(&folder, name, &text);
        let mut args = vec![path.as_str()];
        args.extend(CONTROL);
        let output = inject(&args);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let line = text.lines().position(|line| line.contains("debug")).unwrap() + 1;
        assert!(
            stderr(&output).contains(&format!("{name}:{line}: note: container number ")),
            "{}",
            stderr(&output)
        );
        let changed = text.lines().find(|line| line.contains("debug")).unwrap();
        assert!(stdout(&output).lines().any(|line| line == changed));
        let after = file(&folder, &format!("after.{name}"), &stdout(&output));
        assert_eq!(injected(&[&after, "--remove"]), text);
    }
}

#[test]
fn what_the_sidecar_waits_for_does_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut task: Value = serde_json::from_str(&sample("fargate.json")).unwrap();
    let containers = task["containerDefinitions"].as_array_mut().unwrap();
    let on = json!([{ "containerName": "first", "condition": "SUCCESS" }]);
    containers.push(json!({ "name": "first", "image": "x", "essential": false }));
    containers.push(json!({ "name": "tokens", "image": "x", "essential": false, "dependsOn": on }));
    containers
        .push(json!({ "name": "logs", "image": "x", "firelensConfiguration": { "type": "fluentbit" } }));
    let input = file(&folder, "task.json", &task.to_string());
    let mut args = vec![input.as_str(), "--after", "tokens"];
    args.extend(CONTROL);
    let changed: Value = serde_json::from_str(&injected(&args)).unwrap();
    let on =
        |index: usize| changed["containerDefinitions"][index].get("dependsOn").cloned().unwrap_or_default();
    assert_eq!(on(0), json!([{ "containerName": "bowline", "condition": "HEALTHY" }]));
    assert_eq!([on(1), on(3)], [Value::Null, Value::Null]);
    assert_eq!(on(2), json!([{ "containerName": "first", "condition": "SUCCESS" }]));
    assert_eq!(on(4), json!([{ "containerName": "tokens", "condition": "SUCCESS" }]));
    args[2] = "none";
    assert!(stderr(&inject(&args)).contains("--after none: there is no such container"));
    args[2] = "tokens=SOON";
    assert!(stderr(&inject(&args)).contains("START, COMPLETE, SUCCESS or HEALTHY"));
}

#[test]
fn compose_finds_the_mesh_file_from_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::create_dir_all(folder.path().join("c $d")).unwrap();
    let compose = file(&folder, "a/b/compose.yaml", &sample("compose.yaml"));
    for (mesh, mounted) in [
        ("a/b/mesh.yaml", "./mesh.yaml:/etc/bowline/mesh.yaml:ro"),
        ("a/mesh.yaml", "../mesh.yaml:/etc/bowline/mesh.yaml:ro"),
        ("c $d/mesh.yaml", "../../c $$d/mesh.yaml:/etc/bowline/mesh.yaml:ro"),
    ] {
        let mesh = file(&folder, mesh, &sample("mesh.yaml"));
        let changed = injected(&[&compose, "--app", "web", "--mesh", &mesh]);
        assert!(changed.contains(&format!("\"{mounted}\"")), "{mounted} is not in\n{changed}");
        assert!(changed.contains("BOWLINE_MESH: /etc/bowline/mesh.yaml"), "{changed}");
        assert!(!changed.contains("BOWLINE_CONTROL"), "{changed}");
    }
}

#[test]
fn a_mesh_file_is_mounted_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        sample("fargate.json").replace("\"tags\"", "\"volumes\": [{ \"name\": \"config\" }], \"tags\"");
    let input = file(&folder, "task.json", &text);
    let args = [
        input.as_str(),
        "--image",
        "x",
        "--mesh",
        "mesh.yaml",
        "--mount",
        "config=/a",
        "--mesh-path",
        "/a/b.yaml",
    ];
    let task: Value = serde_json::from_str(&injected(&args)).unwrap();
    let sidecar = &task["containerDefinitions"][1];
    assert_eq!(
        sidecar["mountPoints"][1],
        json!({ "sourceVolume": "config", "containerPath": "/a", "readOnly": true })
    );
    assert!(
        sidecar["environment"]
            .as_array()
            .unwrap()
            .contains(&json!({ "name": "BOWLINE_MESH", "value": "/a/b.yaml" }))
    );
    // An alias of the mesh file has port 80.
    let low = json!([{ "namespace": "net.ipv4.ip_unprivileged_port_start", "value": "0" }]);
    assert_eq!(sidecar["systemControls"], low);
}

#[test]
fn help_says_how() {
    let help = stdout(&inject(&["--help"]));
    for word in [
        "--register",
        "--remove",
        "describe-task-definition",
        "zone",
        "forward-proxy",
        "128 MiB",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
}

#[test]
fn what_is_no_such_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, says) in [
        ("a.json", "{", "not valid JSON"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("b.yaml", "a: 1\n", "neither like an ECS task definition"),
        ("c.json", "{\"containerDefinitions\": 5}", "no list containerDefinitions"),
        (
            "d.yaml",
            "Resources:\n  A: { Type: AWS::S3::Bucket }\n",
            "no resource of type AWS::ECS::TaskDefinition",
        ),
        ("e.json", "[]", "neither like"),
    ] {
        let path = file(&folder, name, text);
        let mut args = vec![path.as_str()];
        args.extend(CONTROL);
        let output = inject(&args);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(stderr(&output).contains(says), "{name}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    let missing = inject(&[samples().join("none.json").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(2));
}
