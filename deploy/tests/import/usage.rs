//! Flags, exit codes, and what is refused.

use std::fs;

use bowline_api::model::{Endpoints, Seconds};

use crate::support::{file, import, imported, stderr, stdout};

const SERVICE: &str = r#"{ "serviceConnectConfiguration": { "enabled": true, "namespace": "NAMESPACE", "services": [
    { "portName": "NAME", "clientAliases": [{ "port": 5000 }] }] } }"#;

fn service(name: &str, namespace: &str) -> String {
    SERVICE.replace("NAMESPACE", namespace).replace("NAME", name)
}

#[test]
fn strict_exits_with_3_if_anything_was_listed() {
    let output = import(&["service-connect", "connect.yaml", "--strict"]);
    assert_eq!(output.status.code(), Some(3));
    // What was made is there all the same.
    bowline_api::parse("made.yaml", &stdout(&output)).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let one = file(&folder, "one.json", &service("http", "a.b"));
    let task = r#"{ "family": "t", "containerDefinitions": [{ "portMappings": [
        { "name": "http", "containerPort": 80, "appProtocol": "http" }] }] }"#;
    let task = file(&folder, "task.json", task);
    let output = import(&["service-connect", &one, &task, "--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("nothing is lost"), "{}", stderr(&output));
}

#[test]
fn it_can_go_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mesh.yaml");
    let output = import(&["app-mesh", "apps", "--output", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), stdout(&import(&["app-mesh", "apps"])));
    let nowhere = folder.path().join("none/mesh.yaml");
    let output = import(&["app-mesh", "apps", "--output", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_service_that_is_in_two_files_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let one = file(&folder, "one.json", &service("http", "a.b"));
    let same = file(&folder, "same.json", &service("http", "a.b"));
    let (mesh, said) = imported(&["service-connect", &one, &same]);
    assert_eq!(mesh.services.len(), 1);
    assert!(said.contains("http is the same as in"), "{said}");
    let other = file(&folder, "other.json", &service("http", "a.b").replace("5000", "5001"));
    let (mesh, said) = imported(&["service-connect", &one, &other]);
    assert_eq!(mesh.services.len(), 1);
    assert!(said.contains("another service http stands in"), "{said}");
}

#[test]
fn a_mesh_file_has_one_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let one = file(&folder, "one.json", &service("http", "a.b"));
    let two = file(&folder, "two.json", &service("web", "c.d"));
    let output = import(&["service-connect", &one, &two]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("here are a.b, c.d: choose with --namespace"), "{}", stderr(&output));
    let (mesh, said) = imported(&["service-connect", &one, &two, "--namespace", "c.d"]);
    assert_eq!((mesh.namespace.as_str(), mesh.services[0].discovery_name.as_str()), ("c.d", "web"));
    assert!(said.contains("is in namespace a.b: make another mesh file"), "{said}");

    let arn = |id: &str| format!("arn:aws:servicediscovery:eu-west-1:123456789012:namespace/ns-{id}");
    let three = file(&folder, "three.json", &service("x", &arn("aaaaaaaaaaaaaaaa")));
    let four = file(&folder, "four.json", &service("y", &arn("bbbbbbbbbbbbbbbb")));
    let output = import(&["service-connect", &three]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("say --namespace NAME"), "{}", stderr(&output));
    let both = ["service-connect", &three, &four, "--namespace", "a.b"];
    let output = import(&both);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("it can't be known which of these is a.b"), "{}", stderr(&output));
    let named = ["--namespace", "ns-aaaaaaaaaaaaaaaa=c.d", "--namespace", "ns-bbbbbbbbbbbbbbbb=a.b"];
    let (mesh, _) = imported(&[both.as_slice(), named.as_slice()].concat());
    assert_eq!(mesh.services[0].discovery_name, "y");
}

#[test]
fn what_service_connect_allowed_is_not_cut_short() {
    let args = ["service-connect", "services.json", "server.json", "--namespace", "hello-world.com"];
    let (mesh, _) = imported(&args);
    let timeout = &mesh.service("server").unwrap().timeout;
    assert_eq!(timeout.per_request_timeout_seconds, Some(Seconds::new(60)));
    assert_eq!(timeout.response_headers_seconds, Some(Seconds::new(60)));
    // By default ours bounds the headers, and gRPC keeps what it had.
    assert_eq!(mesh.service("stream").unwrap().timeout.per_request_timeout_seconds, Some(Seconds::new(15)));
    assert_eq!(mesh.service("db").unwrap().timeout.per_request_timeout_seconds, Some(Seconds::new(5)));
    let alias = &mesh.service("stream").unwrap().client_aliases[0];
    assert_eq!((alias.dns_name.as_str(), alias.port), ("stream.hello-world.com", 5001));
}

#[test]
fn endpoints_of_virtual_nodes_are_where_they_were() {
    let (mesh, _) = imported(&["app-mesh", "apps"]);
    assert_eq!(mesh.namespace, "apps.local");
    let Endpoints::Dns(dns) = &mesh.service("checkout").unwrap().endpoints else { panic!("{mesh:?}") };
    assert_eq!((dns.name.as_str(), dns.port), ("checkout-v1.internal", Some(8080)));
    let alias = &mesh.service("checkout").unwrap().client_aliases[0];
    assert_eq!((alias.dns_name.as_str(), alias.port), ("checkout.apps.local", 80));
    let outlier = mesh.service("checkout").unwrap().outlier_detection;
    assert_eq!((outlier.consecutive_failures, outlier.max_ejection_percent), (7, 40));
    let Endpoints::Static(list) = &mesh.service("rates").unwrap().endpoints else { panic!("{mesh:?}") };
    assert_eq!(list[0].address, "10.0.3.17:50051".parse().unwrap());
    assert_eq!(mesh.service("db").unwrap().limits.as_ref().map(|limits| limits.max_connections), Some(20));
}

#[test]
fn one_mesh_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let other =
        r#"{ "virtualService": { "meshName": "other", "virtualServiceName": "x.other.local", "spec": {} } }"#;
    let other = file(&folder, "other.json", other);
    let output = import(&["app-mesh", "apps", &other]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("several meshes, apps, other: choose one with --mesh"),
        "{}",
        stderr(&output)
    );
    let (mesh, said) = imported(&["app-mesh", "apps", &other, "--mesh", "apps"]);
    assert_eq!(mesh.services.len(), 7);
    assert!(said.contains("virtual service x.other.local: spec: note: is in mesh other"), "{said}");
    assert_eq!(import(&["app-mesh", "apps", "--mesh", "none"]).status.code(), Some(2));
}

#[test]
fn files_that_can_not_be_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let broken = file(&folder, "broken.json", "{\n  \"services\": [,]\n}");
    let bomb = {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (one, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
            let aliases = vec![format!("*{one}"); 10].join(", ");
            text.push_str(&format!("{next}: &{next} [{aliases}]\n"));
        }
        file(&folder, "bomb.yaml", &text)
    };
    let circle = "Conditions:\n  A: !And [!Condition A, !Condition A]\nResources:\n  N:\n    Type: AWS::AppMesh::Mesh\n    \
                  Condition: A\n    Properties: { MeshName: !Sub \"${N}${N}${N}${N}${N}${N}\", Spec: {} }\n";
    let circle = file(&folder, "circle.yaml", circle);
    let empty = tempfile::tempdir().unwrap();
    let wrong = [
        (broken.as_str(), "broken.json:2: not valid JSON"),
        ("none.json", "can't read it"),
        (&bomb, "there is too much in this value"),
        (&circle, "nothing to call"),
        (empty.path().to_str().unwrap(), "in this folder"),
        ("server.json", "nothing of App Mesh"),
    ];
    for (path, expected) in wrong {
        let output = import(&["app-mesh", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(stderr(&output).contains(expected), "{path}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{path}");
    }
    let output = import(&["service-connect", "server.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no Service Connect configuration"), "{}", stderr(&output));
}

#[test]
fn help_has_examples() {
    for command in ["service-connect", "app-mesh"] {
        let output = import(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Examples:") && stdout(&output).contains("Exit codes:"));
    }
}
