//! What is refused, where, and what to change: one row each.

use serde_json::{Value, json};

use crate::support::{CONTROL, file, inject, sample, stderr};

/// The sample with something changed, and what is said then.
type Row<'a> = (&'a str, fn(&mut Value), &'a [&'a str], &'a [&'a str]);

/// Runs a row; gives back what was said.
fn refused(input: &str, (what, change, flags, says): Row<'_>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut task: Value = serde_json::from_str(&sample(input)).unwrap();
    change(&mut task);
    let path = file(&folder, "task.json", &serde_json::to_string_pretty(&task).unwrap());
    let mut args = vec![path.as_str()];
    args.extend(CONTROL);
    args.extend(flags);
    let output = inject(&args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{what}: {said}");
    assert!(output.stdout.is_empty(), "{what}");
    for wanted in says {
        assert!(said.contains(wanted), "{what}: {wanted:?} is not in\n{said}");
    }
    said
}

fn nothing(_: &mut Value) {}

#[test]
fn tasks_that_can_not_be_served() {
    let rows: [Row<'_>; 20] = [
        (
            "bridge",
            |task| task["networkMode"] = "bridge".into(),
            &[],
            &["task.json:3: networkMode bridge", "awsvpc"],
        ),
        (
            "host",
            |task| task["networkMode"] = "host".into(),
            &[],
            &["networkMode host", "for the whole host"],
        ),
        ("none", |task| task["networkMode"] = "none".into(), &[], &["no network", "awsvpc"]),
        (
            "the default is bridge",
            |task| {
                task.as_object_mut().unwrap().remove("networkMode");
                task["requiresCompatibilities"] = json!(["EC2"]);
            },
            &[],
            &["networkMode bridge (the default)"],
        ),
        (
            "Fargate without a mode",
            |task| {
                task.as_object_mut().unwrap().remove("networkMode");
            },
            &[],
            &["networkMode is missing"],
        ),
        (
            "Anywhere",
            |task| task["requiresCompatibilities"] = json!(["EXTERNAL"]),
            &[],
            &["ECS Anywhere", "each host"],
        ),
        (
            "Windows",
            |task| task["runtimePlatform"]["operatingSystemFamily"] = "WINDOWS_SERVER_2022_CORE".into(),
            &[],
            &["runs on Linux only"],
        ),
        (
            "nothing essential",
            |task| task["containerDefinitions"][0]["essential"] = false.into(),
            &[],
            &["no app container is essential", "set essential to true"],
        ),
        ("no rights on Fargate", nothing, &["--mode", "redirect"], &["NET_ADMIN", "zone works on Fargate"]),
        ("no rights on Fargate", nothing, &["--mode", "dns"], &["NET_ADMIN", "--init-image is missing"]),
        ("not in ECS", nothing, &["--mode", "hosts"], &["don't share /etc/hosts"]),
        (
            "no such volume",
            |task| task["volumes"] = json!([{ "name": "other" }]),
            &["--mount", "config=/etc/bowline"],
            &["--mount config: the task has no such volume", "it has other"],
        ),
        ("no such app", nothing, &["--app", "none"], &["--app none", "it has server"]),
        (
            "a container of ours that is not",
            |task| {
                let ours = json!({ "name": "bowline", "image": "x" });
                task["containerDefinitions"].as_array_mut().unwrap().push(ours);
            },
            &[],
            &["there is a container bowline that inject has not put here"],
        ),
        (
            "too many",
            |task| {
                let more = (0..9).map(|i| json!({ "name": format!("a{i}"), "image": "x" }));
                task["containerDefinitions"].as_array_mut().unwrap().extend(more);
            },
            &[],
            &["10 containers and would get 1 more"],
        ),
        (
            "our port",
            |task| task["containerDefinitions"][0]["portMappings"][0]["containerPort"] = 15_001.into(),
            &[],
            &["listens on 15001", "another port"],
        ),
        (
            "our port in this mode",
            |task| task["containerDefinitions"][0]["portMappings"][0]["containerPort"] = 15_006.into(),
            &["--mode", "appmesh"],
            &["listens on 15006"],
        ),
        (
            "our user",
            |task| task["containerDefinitions"][0]["user"] = "20001:5".into(),
            &["--mode", "appmesh"],
            &["runs as user 20001"],
        ),
        (
            "a proxy of its own",
            |task| task["containerDefinitions"][0]["environment"][0]["name"] = "http_proxy".into(),
            &["--mode", "forward-proxy"],
            &["has http_proxy already"],
        ),
        (
            "an alias's port",
            |task| task["containerDefinitions"][0]["portMappings"][0]["containerPort"] = 5000.into(),
            &["--mesh", "mesh.yaml"],
            &["the port of alias server.hello-world.com:5000", "exclude each other"],
        ),
    ];
    for row in rows {
        refused("fargate.json", row);
    }
}

#[test]
fn sizes_that_do_not_fit() {
    let rows: [Row<'_>; 5] = [
        (
            "cpu",
            |task| task["containerDefinitions"][0]["cpu"] = 512.into(),
            &[],
            &[
                "task.json:7: ",
                "576 CPU units, and the task has 512",
                "cpu 1024 and memory 2048, Fargate's next size",
            ],
        ),
        (
            "memory",
            |task| task["containerDefinitions"][0]["memory"] = 1024.into(),
            &[],
            &["1056 MiB, and the task has 1024", "cpu 512 and memory 2048"],
        ),
        (
            "a limit over all",
            nothing,
            &["--memory", "2048"],
            &["2048 MiB for the sidecar at most", "memory 2048"],
        ),
        (
            "in other words",
            |task| {
                task["cpu"] = ".25 vCPU".into();
                task["memory"] = "0.5 GB".into();
            },
            &[],
            &[
                "320 CPU units, and the task has 256",
                "544 MiB, and the task has 512",
                "cpu 512 and memory 1024",
            ],
        ),
        (
            "not on Fargate",
            |task| {
                task["requiresCompatibilities"] = json!(["EC2"]);
                task["containerDefinitions"][0]["cpu"] = 500.into();
            },
            &[],
            &["564 CPU units", "give the task cpu 564 and memory 1024 at least"],
        ),
    ];
    for row in rows {
        refused("fargate.json", row);
    }
}

#[test]
fn app_mesh_that_can_not_be_taken_over() {
    let ports = |task: &mut Value| {
        let ports: Vec<String> = (8000..8016).map(|port| port.to_string()).collect();
        task["proxyConfiguration"]["properties"][1]["value"] = ports.join(",").into();
    };
    let rows: [Row<'_>; 3] = [
        ("an Envoy", nothing, &[], &["proxyConfiguration names container envoy", "--replace-envoy"]),
        ("too many ports", ports, &["--replace-envoy"], &["AppPorts has 16 ports", "15"]),
        ("another mode", nothing, &["--mode", "zone"], &["redirects everything", "--mode appmesh"]),
    ];
    for row in rows {
        refused("appmesh.json", row);
    }
}

#[test]
fn flags_that_do_not_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = file(&folder, "mesh.yaml", &sample("mesh.yaml").replace("registered: {}", "static: []"));
    for (args, says) in [
        (vec!["fargate.json"], vec!["--image is missing", "would not know any mesh"]),
        (
            vec!["fargate.json", "--image", "x", "--control", "http://a:1"],
            vec!["--control without --namespace"],
        ),
        (
            vec!["fargate.json", "--image", "x", "--control", "a:1", "--namespace", "n"],
            vec!["--control a:1 is no URL"],
        ),
        (
            vec![
                "fargate.json",
                "--image",
                "x",
                "--control",
                "http://a:1",
                "--mesh",
                "mesh.yaml",
                "--register",
                "sever=1",
            ],
            vec!["--register sever: there is no such service", "did you mean server?"],
        ),
        (
            vec![
                "fargate.json",
                "--image",
                "x",
                "--control",
                "http://a:1",
                "--mesh",
                &mesh,
                "--register",
                "server=1",
            ],
            vec!["endpoints don't come from registration", "registered: {}"],
        ),
        (
            vec![
                "fargate.json",
                "--image",
                "x",
                "--control",
                "http://a:1",
                "--mesh",
                "mesh.yaml",
                "--namespace",
                "other",
            ],
            vec!["the mesh file's is hello-world.com"],
        ),
        (
            vec!["fargate.json", "--image", "x", "--mesh", "fargate.json"],
            vec!["fargate.json: fargate.json:2:5: "],
        ),
        (
            vec!["template.yaml", "--image", "x", "--mesh", "mesh.yaml", "--resource", "No"],
            vec!["there are ApiTask, JobTask"],
        ),
        (
            vec!["fargate.json", "--image", "x", "--mesh", "mesh.yaml", "--resource", "No"],
            vec!["not a template"],
        ),
        (vec!["fargate.json", "--remove", "--control", "http://a:1"], vec!["cannot be used with"]),
        (
            vec!["fargate.json", "--image", "x", "--control", "https://a:1", "--namespace", "n"],
            vec!["https needs the authority", "--control-ca PATH"],
        ),
        (vec!["fargate.json", "--register", "server=x"], vec!["expected NAME=PORT"]),
    ] {
        let output = inject(&args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        for wanted in says {
            assert!(said.contains(wanted), "{args:?}: {wanted:?} is not in\n{said}");
        }
    }
}

#[test]
fn all_of_it_is_said_at_once_with_the_lines_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // A sidecar stands above some of what is wrong: lines must be those of the file as it is.
    let mut args = vec!["template.yaml", "--mode", "zone"];
    args.extend(CONTROL);
    let injected = crate::support::injected(&args);
    let text = injected.replace("NetworkMode: awsvpc", "NetworkMode: host").replace("Cpu: 128", "Cpu: 256");
    let path = file(&folder, "template.yaml", &text);
    args[0] = &path;
    let said = stderr(&inject(&args));
    let line = |wanted: &str, nth: usize| {
        text.lines().enumerate().filter(|(_, line)| line.contains(wanted)).nth(nth).unwrap().0 + 1
    };
    for (line, wanted) in [
        (line("NetworkMode", 0), "networkMode host"),
        (line("NetworkMode", 1), "networkMode host"),
        (line("Cpu: \"256\"", 0), "320 CPU units"),
    ] {
        assert!(said.contains(&format!("template.yaml:{line}: ")), "{line} {wanted}: {said}");
        assert!(said.contains(wanted), "{said}");
    }
    assert!(said.ends_with("3 refusals, nothing is changed\n"), "{said}");
}

#[test]
fn compose_services_that_can_not_be_served() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder, "mesh.yaml", &sample("mesh.yaml"));
    for (change, flags, says) in [
        ("network_mode: host", "", "web has network_mode host"),
        ("network_mode: service:server", "", "--app server"),
        ("deploy: { replicas: 2 }", "", "runs more than once"),
        ("expose: [5000]", "", "the port of alias server.hello-world.com:5000"),
        ("expose: [\"127.0.0.1:80:15000/tcp\"]", "", "listens on 15000"),
        ("dns: [192.0.2.1]", "--mode=dns", "web has dns: already"),
        ("x: 1", "--mode=dns", "BOWLINE_DNS_UPSTREAM"),
        ("x: 1", "--mode=redirect", "there is no such thing in a compose file"),
        ("x: 1", "--low-ports", "means nothing in a compose file"),
        ("x: 1", "--app=none", "there are web, server"),
    ] {
        let text = sample("compose.yaml").replace("image: web:1", &format!("{change}\n    image: web:1"));
        let path = file(&folder, "compose.yaml", &text);
        let mesh = folder.path().join("mesh.yaml");
        let mut args = vec![path.as_str(), "--mesh", mesh.to_str().unwrap(), "--app", "web"];
        args.extend(Some(flags).filter(|flags| !flags.is_empty()));
        let output = inject(&args);
        assert_eq!(output.status.code(), Some(2), "{change}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{change}: {}", stderr(&output));
    }
    let unnamed = inject(&["compose.yaml", "--mesh", "mesh.yaml"]);
    assert!(stderr(&unnamed).contains("which services get a sidecar?"), "{}", stderr(&unnamed));
}
