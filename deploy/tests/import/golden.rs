//! Samples and the mesh files that are made of them, with what is said beside.

use std::fs;

use bowline_api::Mesh;

use crate::support::{import, imported, samples, stderr, stdout};

/// Under which name its outcome is kept, and what is imported.
const CASES: [(&str, &[&str]); 6] = [
    (
        "services",
        &["service-connect", "services.json", "server.json", "db.json", "--namespace", "hello-world.com"],
    ),
    (
        "services_cloud_map",
        &[
            "service-connect",
            "services.json",
            "--endpoints",
            "cloud-map",
            "--namespace",
            "ns-abcdefgh12345678=hello-world.com",
        ],
    ),
    ("connect", &["service-connect", "connect.yaml"]),
    (
        "connect_prod",
        &["service-connect", "connect.yaml", "--parameter", "Stage=prod", "--parameter", "Port=9443"],
    ),
    ("apps", &["app-mesh", "apps"]),
    ("mesh", &["app-mesh", "mesh.yaml", "--parameter", "Domain=shop.internal"]),
];

/// Whether zones are balanced by is told by the mesh model, and changes with it.
fn without_zones(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.contains("the caller's zone")).collect()
}

#[test]
fn samples_become_what_is_expected() {
    for (name, args) in CASES {
        let output = import(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        let made = [("out.yaml", stdout(&output)), ("err.txt", without_zones(&stderr(&output)))];
        for (end, text) in made {
            let path = samples().join(format!("{name}.{end}"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                text == expected,
                "{name}.{end} is not what {args:?} gives; UPDATE_GOLDEN=1 writes it:\n{text}"
            );
        }
    }
}

#[test]
fn what_is_made_is_a_mesh_file() {
    for (_, args) in CASES {
        let (mesh, _) = imported(args);
        assert!(!mesh.services.is_empty(), "{args:?}");
        let mut json = args.to_vec();
        json.extend(["--output-format", "json"]);
        let output = import(&json);
        let parsed =
            bowline_api::parse("made.json", &stdout(&output)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(parsed, mesh, "{args:?}: JSON says something else than YAML");
    }
}

/// What is a comment today must be a mesh file's once it is built.
#[test]
fn what_is_not_done_yet_is_kept_as_yaml() {
    let mut routes = 0;
    for (name, args) in CASES {
        let text = stdout(&import(args));
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                let margin = line.len() - line.trim_start().len();
                // Comments for people have one space behind the #.
                let rest = line.trim_start().strip_prefix('#').filter(|rest| !rest.is_empty());
                let key =
                    rest.filter(|rest| margin > 0 && (!rest.starts_with(' ') || rest.starts_with("  ")));
                key.map_or(line.to_owned(), |key| format!("{}{key}", " ".repeat(margin)))
            })
            .collect();
        assert!(
            lines.iter().any(|line| !text.contains(line.as_str())) || !text.contains("# not yet: "),
            "{text}"
        );
        let text = lines.join("\n");
        let value = bowline_api::mesh_file::parse_value("made.yaml", text.clone().into_bytes());
        let value = value.unwrap_or_else(|problems| panic!("{name}: {problems}\n{text}"));
        let mesh: Mesh =
            serde_json::from_value(value).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        for service in &mesh.services {
            for target in service.routes.iter().flat_map(|route| &route.to) {
                assert!(mesh.service(&target.service).is_some(), "{name}: no service {}", target.service);
            }
        }
        routes += mesh.services.iter().map(|service| service.routes.len()).sum::<usize>();
        let Err(problems) = bowline_api::parse("made.yaml", &text) else { continue };
        // Only that it is not built may be wrong with it.
        for problem in &problems {
            assert!(problem.message.contains("not yet"), "{name}: {problem}");
        }
    }
    assert!(routes >= 4, "{routes}");
}
