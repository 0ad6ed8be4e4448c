//! Files that are right, and what is made of them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bowline_api::mesh_file::{Options, load_with, parse_with};
use bowline_api::model::{AppProtocol, AttemptTimeout, BalancingPolicy, Endpoints, RetryOn, Seconds};
use bowline_api::{Mesh, load, parse};

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("bowline-api-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            fs::write(path.join(file), text).unwrap();
        }
        Self(path)
    }

    /// What loading says, with the folder's own path taken out.
    fn problems(&self) -> String {
        load(&self.0).unwrap_err().to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn good(name: &str, text: &str) -> Mesh {
    parse(name, text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn everything_that_is_built_can_be_written() {
    let mesh = good(
        "mesh.yaml",
        r#"
namespace: hello-world.com
services:
  - discoveryName: server
    portName: web
    appProtocol: grpc
    clientAliases: [{ dnsName: server.hello-world.com, port: 5000 }, { port: 80 }]
    vip: 127.255.0.7
    endpoints:
      static:
        - { address: "127.0.0.1:9001", weight: 0, zone: a, metadata: { version: v1, "1": "2" } }
        - address: "[fd00::7]:9001"
    timeout: { perRequestTimeoutSeconds: 15, idleTimeoutSeconds: 0, responseHeadersSeconds: 1.5, perAttemptSeconds: 0.25, connectSeconds: 0.5 }
    retry:
      retries: 1
      on: [connectFailure, refusedStream, reset, timeout, unavailable, status: [502, 503, 504]]
      backoff: { baseMilliseconds: 5, maxMilliseconds: 5 }
      budget: { percent: 0, minPerSecond: 0, windowSeconds: 60 }
      maxBodyBytes: 0
    loadBalancing: { policy: roundRobin, panicPercent: 0 }
    outlierDetection: { consecutiveFailures: 0, baseEjectionSeconds: 0.1, maxEjectionSeconds: 0.1, maxEjectionPercent: 100 }
"#,
    );
    let service = mesh.service("server").unwrap();
    assert_eq!(service.app_protocol, Some(AppProtocol::Grpc));
    assert_eq!(service.vip, Some(Ipv4Addr::new(127, 255, 0, 7)));
    assert_eq!(service.client_aliases[1].dns_name, "server.hello-world.com");
    let endpoints = service.endpoints.static_endpoints();
    assert_eq!(endpoints[0].metadata["1"], "2");
    assert_eq!((endpoints[0].weight, endpoints[1].weight), (0, 1));
    assert!(endpoints[1].address.is_ipv6());
    assert_eq!(service.timeout.per_attempt_seconds, AttemptTimeout::Fixed(Seconds::from_f64(0.25).unwrap()));
    assert_eq!(service.timeout.idle(AppProtocol::Grpc), None);
    let on = service.retry.on.as_ref().unwrap();
    assert_eq!(on[0], RetryOn::ConnectFailure);
    assert_eq!(on[5], RetryOn::Status(vec![502, 503, 504]));
    assert_eq!(service.load_balancing.policy, BalancingPolicy::RoundRobin);
}

/// What we print can be read again, also with every default in it: `bowline check --output json` is a mesh file.
#[test]
fn a_mesh_written_out_is_a_mesh_file() {
    for text in [
        "namespace: a",
        "namespace: a\nservices: [{ discoveryName: s, endpoints: { static: [] } }]",
        "namespace: a\nservices: [{ portName: p, clientAliases: [{ port: 1 }], endpoints: { static: [{ address: 10.0.0.1:1 }] } }]",
    ] {
        let mesh = good("mesh.yaml", text);
        let written = serde_json::to_string_pretty(&mesh).unwrap();
        assert_eq!(good("mesh.json", &written), mesh, "{written}");
        assert_eq!(good("mesh.yaml", &written), mesh, "JSON is YAML: {written}");
    }
}

/// The object of the ECS API, as `aws ecs describe-services` prints it, with nothing added but the endpoints.
#[test]
fn service_connect_json_can_be_pasted_in() {
    let pasted = |tls: &str| {
        format!(
            r#"{{
	"namespace": "hello-world.com",
	"services": [
		{{
			"portName": "webserver",
			"discoveryName": "server",
			"clientAliases": [
				{{
					"port": 5000,
					"dnsName": "server.hello-world.com"
				}}
			],
			"timeout": {{
				"idleTimeoutSeconds": 120,
				"perRequestTimeoutSeconds": 0
			}},{tls}
			"endpoints": {{ "static": [{{ "address": "10.0.0.7:9001" }}] }}
		}},
		{{
			"portName": "api",
			"clientAliases": [ {{ "port": 80 }} ],
			"endpoints": {{ "static": [] }}
		}}
	]
}}
"#
        )
    };
    let mesh = good("service-connect.json", &pasted(""));
    assert_eq!(mesh.services[0].timeout.idle_timeout_seconds, Some(Seconds::new(120)));
    assert_eq!(mesh.services[0].request_timeout(), None, "0 is off");
    assert_eq!(mesh.services[1].discovery_name, "api", "Service Connect's default is the port's name");
    assert_eq!(mesh.services[1].client_aliases[0].dns_name, "api.hello-world.com");

    let tls = r#"
			"tls": {
				"issuerCertificateAuthority": { "awsPcaAuthorityArn": "arn:aws:acm-pca:eu-west-1:1:certificate-authority/x" },
				"kmsKey": "arn:aws:kms:eu-west-1:1:key/x",
				"roleArn": "arn:aws:iam::1:role/x"
			},"#;
    let problems = parse("service-connect.json", &pasted(tls)).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    let problem = &problems.as_slice()[0];
    assert_eq!((problem.line, problem.column, problem.path.as_str()), (17, 4, "services[0].tls"));
    assert!(problem.message.starts_with("not yet: this version does not do TLS"), "{problem}");

    let without = pasted("").replace("\"endpoints\": { \"static\": [] }", "\"ingressPortOverride\": 8080");
    let problems = parse("service-connect.json", &without).unwrap_err().to_string();
    assert!(problems.contains("services[1]: missing key \"endpoints\""), "{problems}");
    assert!(problems.contains("services[1].ingressPortOverride: not yet"), "{problems}");
}

#[test]
fn yaml_keeps_its_promises() {
    let mesh = good(
        "mesh.yaml",
        "\u{feff}# a comment\r\nnamespace: \"hello-world.com\"\r\nservices:\r\n- discoveryName: 'null'\r\n  clientAliases: [{port: 0x50}, {port: +81}]\r\n  endpoints: {static: []}\r\n  retry: {\"on\": [reset]}\r\n...\r\n",
    );
    let service = &mesh.services[0];
    assert_eq!(service.discovery_name, "null");
    assert_eq!(service.client_aliases[0].port, 80);
    assert_eq!(service.client_aliases[1].port, 81);
    assert_eq!(service.retry.on, Some(vec![RetryOn::Reset]));
    // `on` is true for YAML 1.1, and a word for YAML 1.2 and for us.
    let mesh = good(
        "m.yaml",
        "namespace: a\nservices: [{ discoveryName: on, endpoints: { static: [] }, retry: { on: [timeout] } }]",
    );
    assert_eq!(mesh.services[0].retry.on, Some(vec![RetryOn::Timeout]));
}

#[test]
fn anchors_share_a_policy() {
    let text = "
namespace: a
services:
  - discoveryName: one
    endpoints: { static: [] }
    retry: &careful { retries: 1 }
  - discoveryName: two
    endpoints: { static: [] }
    retry: *careful
";
    let mesh = good("mesh.yaml", text);
    assert_eq!(mesh.services[0].retry, mesh.services[1].retry);
    assert_eq!(mesh.services[1].retry.retries, 1);
    // A mistake behind an anchor is one mistake, at the anchor.
    let problems = parse("mesh.yaml", &text.replace("retries: 1", "retires: 1")).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    assert_eq!(problems.as_slice()[0].line, 6);
}

#[test]
fn dns_names_are_compared_without_case_and_share_a_vip() {
    let text = |second: &str| {
        format!(
            "namespace: a
services:
  - {{ discoveryName: one, vip: 127.255.0.7, clientAliases: [{{ dnsName: X.a, port: 80 }}], endpoints: {{ static: [] }} }}
  - {{ discoveryName: two, vip: {second}, endpoints: {{ static: [] }} }}
"
        )
    };
    let mesh = good("m.yaml", &text("127.255.0.7, clientAliases: [{ dnsName: x.A, port: 81 }]"));
    assert_eq!(mesh.services[1].client_aliases[0].dns_name, "x.a");
    for (second, words) in [
        (
            "127.255.0.8, clientAliases: [{ dnsName: x.A, port: 81 }]",
            "x.a is pinned to 127.255.0.7 on line 3 already",
        ),
        (
            "127.255.0.7, clientAliases: [{ dnsName: y.a, port: 81 }]",
            "127.255.0.7 is pinned for x.a on line 3 already",
        ),
    ] {
        let problems = parse("m.yaml", &text(second)).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        assert!(problems.to_string().starts_with("m.yaml:4:"), "{problems}");
        assert!(problems.to_string().contains(words), "{problems}");
    }
}

#[test]
fn the_vip_range_can_be_another() {
    let text = "namespace: a\nservices: [{ discoveryName: s, vip: 127.7.0.9, clientAliases: [{ port: 80 }], endpoints: { static: [] } }]";
    assert!(parse("m.yaml", text).is_err());
    let options = Options { vip_range: "127.7.0.0/24".parse().unwrap() };
    assert!(parse_with("m.yaml", text, &options).is_ok());
}

const ONE: &str = "namespace: a\nservices:\n  - { discoveryName: one, clientAliases: [{ port: 80 }], endpoints: { static: [] } }\n";
const TWO: &str = "namespace: a\nservices:\n  - { discoveryName: two, clientAliases: [{ port: 80 }], endpoints: { static: [] } }\n";

#[test]
fn a_folder_is_one_mesh() {
    let folder = Folder::new(
        "folder",
        &[
            ("20-two.json", &serde_json::to_string(&good("two.yaml", TWO)).unwrap()),
            ("10-one.yaml", ONE),
            ("30-none.yml", "namespace: a\n"),
            (".hidden.yaml", "broken: ["),
            ("10-one.yaml~", "broken: ["),
            ("#10-one.yaml#", "broken: ["),
            (".#10-one.yaml", "broken: ["),
            ("10-one.yaml.bak", "broken: ["),
            (".10-one.yaml.swp", "broken: ["),
            ("README.md", "broken: ["),
        ],
    );
    fs::create_dir(folder.0.join("folder.yaml")).unwrap();
    let loaded = load_with(&folder.0, &Options::default()).unwrap_or_else(|p| panic!("{p}"));
    let names: Vec<&str> = loaded.mesh.services.iter().map(|s| s.discovery_name.as_str()).collect();
    assert_eq!(names, ["one", "two"], "in the order of the files' names");
    let files: Vec<_> = loaded.files.iter().map(|f| f.file_name().unwrap().to_string_lossy()).collect();
    assert_eq!(files, ["10-one.yaml", "20-two.json", "30-none.yml"]);
}

#[test]
fn problems_of_all_files_come_at_once_and_name_both_places() {
    let folder = Folder::new(
        "both",
        &[
            ("a.yaml", ONE),
            ("b.yaml", &ONE.replace("port: 80", "port: 81, prot: 1")),
            (
                "c.yaml",
                &TWO.replace("namespace: a", "namespace: other")
                    .replace("port: 80", "dnsName: one.a, port: 80"),
            ),
            ("d.yaml", ""),
            ("e.yaml", "["),
        ],
    );
    fs::write(folder.0.join("f.yaml"), b"namespace: a\n# \xff\n").unwrap();
    fs::write(folder.0.join("g.yaml"), b"\xff\xfen\0a\0").unwrap();
    let problems = folder.problems();
    for expected in [
        "b.yaml:3:22: services[0].discoveryName: duplicate service \"one\"; it is on a.yaml:3 already",
        "unknown key \"prot\"; did you mean \"port\"?",
        "c.yaml:1:12: namespace: \"other\" is not the namespace \"a\" of a.yaml:1",
        "c.yaml:3:43: services[0].clientAliases[0]: duplicate alias one.a:80; service \"one\" has it on a.yaml:3 already",
        "d.yaml: the file is empty",
        "e.yaml:2:1: not valid YAML",
        "f.yaml:2:3: this is not UTF-8",
        "g.yaml: the file is UTF-16",
    ] {
        assert!(problems.contains(expected), "expected {expected} in\n{problems}");
    }
    assert!(problems.ends_with("\n8 problems"), "{problems}");
}

#[test]
fn what_is_not_there_is_said() {
    let problems = load(Path::new("no-such-file.yaml")).unwrap_err().to_string();
    assert!(problems.starts_with("no-such-file.yaml: can't read it: "), "{problems}");
    let folder = Folder::new("empty", &[("README.md", "")]);
    let problems = load(&folder.0).unwrap_err().to_string();
    assert!(problems.contains("there is no mesh file in this folder"), "{problems}");
    // An endless file ends at the bound.
    if Path::new("/dev/zero").exists() {
        let problems = load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(problems.contains("larger than 16 MiB"), "{problems}");
    }
}

#[test]
fn endpoints_may_be_none() {
    let mesh = good("m.yaml", "namespace: a\nservices: [{ discoveryName: s, endpoints: { static: [] } }]");
    assert_eq!(mesh.services[0].endpoints, Endpoints::Static(Vec::new()));
}

#[test]
fn other_files_can_have_any_keys() {
    let read = |text: &str| bowline_api::mesh_file::parse_value("tokens.yaml", text.as_bytes().to_vec());
    assert_eq!(read("# for tests\na: 'b'\n\"*\": c\n").unwrap(), serde_json::json!({ "a": "b", "*": "c" }));
    assert_eq!(read("{\t\"a\": [1] }").unwrap(), serde_json::json!({ "a": [1] }));
    assert_eq!(read("").unwrap(), serde_json::Value::Null);
    let problems = read("a: b\n  c: d\n").unwrap_err().to_string();
    assert!(problems.starts_with("tokens.yaml:2"), "{problems}");
}
