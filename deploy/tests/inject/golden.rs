//! Samples before and after: what is added, that twice is once, and that it comes out again byte for byte.

use std::fs;

use crate::support::{CONTROL, file, inject, injected, sample, samples, stderr};

/// What is done with which sample, and under which name its outcome is kept.
const CASES: [(&str, &str, &[&str]); 12] = [
    ("fargate.out.json", "fargate.json", &["--register", "server=9001,health=/health/ready"]),
    (
        "fargate_proxy.out.json",
        "fargate.json",
        &[
            "--mode",
            "forward-proxy",
            "--cpu",
            "128",
            "--memory",
            "256",
            "--services",
            "web,server",
            "--env",
            "BOWLINE_LOG_FORMAT=json",
            "--secret",
            "TOKEN=arn:aws:ssm:eu-central-1:123456789012:parameter/token",
        ],
    ),
    (
        "fargate_alone.out.json",
        "fargate.json",
        &[
            "--mode",
            "appmesh",
            "--mesh",
            "mesh.yaml",
            "--mesh-path",
            "/mesh/all.yaml",
            "--vip-range",
            "127.254.0.0/16",
        ],
    ),
    ("described.out.json", "described.json", &["--mesh", "mesh.yaml"]),
    ("described_as_is.out.json", "described.json", &["--keep-read-only", "--app", "job"]),
    ("appmesh.out.json", "appmesh.json", &["--replace-envoy"]),
    ("template.out.yaml", "template.yaml", &["--mesh", "mesh.yaml", "--register", "server=8001"]),
    (
        "template_one.out.yaml",
        "template.yaml",
        &["--resource", "JobTask", "--mesh-path", "/etc/bowline/seed.yaml"],
    ),
    (
        "template.out.json",
        "template.json",
        &[
            "--mode",
            "dns",
            "--init-image",
            "{\"Ref\": \"Image\"}",
            "--image",
            "{\"Fn::Sub\": \"${Image}-sidecar\"}",
        ],
    ),
    (
        "compose.out.yaml",
        "compose.yaml",
        &[
            "--mesh",
            "mesh.yaml",
            "--app",
            "web",
            "--app",
            "server",
            "--mount",
            "./tls=/run/bowline",
            "--control",
            "https://control:18000",
            "--control-ca",
            "/run/bowline/ca.pem",
        ],
    ),
    (
        "compose_dns.out.yaml",
        "compose_dns.yaml",
        &["--mode", "dns", "--app", "web", "--env", "BOWLINE_DNS_UPSTREAM=192.0.2.53:53"],
    ),
    ("compose_proxy.out.yaml", "compose_dns.yaml", &["--mode", "forward-proxy", "--app", "web"]),
];

/// The flags of a case: those of all, unless it says otherwise itself.
fn flags(of: &[&'static str]) -> Vec<&'static str> {
    let mut flags: Vec<&str> = Vec::new();
    for pair in CONTROL.chunks(2) {
        let alone = of.contains(&"--mode") && of.contains(&"appmesh") && pair[0] != "--image";
        if !of.contains(&pair[0]) && !alone {
            flags.extend(pair);
        }
    }
    flags.extend(of);
    flags
}

#[test]
fn samples_become_what_is_expected() {
    for (golden, input, of) in CASES {
        let mut args = vec![input];
        args.extend(flags(of));
        let changed = injected(&args);
        let path = samples().join(golden);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &changed).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            changed == expected,
            "{golden} is not what {args:?} gives; UPDATE_GOLDEN=1 writes it:\n{changed}"
        );
    }
}

#[test]
fn twice_is_once() {
    let folder = tempfile::tempdir().unwrap();
    // Compose finds mesh files from the folder of its own file.
    let mesh = file(&folder, "mesh.yaml", &sample("mesh.yaml"));
    for (golden, input, of) in CASES {
        let flags: Vec<&str> = flags(of)
            .into_iter()
            .map(|flag| if flag == "mesh.yaml" { mesh.as_str() } else { flag })
            .collect();
        let once = sample(golden);
        let path = file(&folder, golden, &once);
        let mut args = vec![path.as_str()];
        args.extend(&flags);
        assert_eq!(injected(&args), once, "{golden}");
        // Other flags in between leave nothing behind.
        let other: &[&str] = if input.starts_with("compose") {
            &["--mode", "forward-proxy", "--app", "web", "--mesh", &mesh]
        } else {
            &["--mesh-path", "/other.yaml", "--image", "other", "--keep-read-only"]
        };
        let mut between = vec![path.as_str()];
        between.extend(other);
        if of.contains(&"--resource") {
            between.extend(&of[..2]);
        }
        let between = file(&folder, golden, &injected(&between));
        assert_ne!(fs::read_to_string(&between).unwrap(), once, "{golden}");
        let again = injected(&args);
        if input == "compose.yaml" {
            // The sidecar that was made last stands last.
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(sorted(&again), sorted(&once), "{golden}");
        } else {
            assert_eq!(again, once, "{golden}");
        }
    }
}

#[test]
fn it_comes_out_byte_for_byte() {
    for (golden, input, of) in CASES {
        if of.contains(&"--replace-envoy") {
            continue;
        }
        let removed = injected(&[golden, "--remove", "--keep-read-only"]);
        // What was unwrapped stays so.
        let expected =
            if golden == "described.out.json" { injected(&[input, "--remove"]) } else { sample(input) };
        assert_eq!(removed, expected, "{golden}");
    }
}

#[test]
fn a_file_without_a_sidecar_is_left_alone() {
    for input in ["fargate.json", "appmesh.json", "template.yaml", "template.json", "compose.yaml"] {
        let output = inject(&[input, "--remove"]);
        assert_eq!(output.stdout, sample(input).as_bytes());
        assert!(stderr(&output).contains("there is no sidecar"), "{}", stderr(&output));
    }
}

#[test]
fn an_envoy_that_was_replaced_is_not_brought_back_in_silence() {
    let output = inject(&["appmesh.out.json", "--remove"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("envoy was replaced"), "{}", stderr(&output));
}

#[test]
fn windows_line_ends_stay() {
    let folder = tempfile::tempdir().unwrap();
    for (golden, input, of) in CASES.into_iter().filter(|(_, input, _)| !input.starts_with("compose")) {
        let path = file(&folder, input, &sample(input).replace('\n', "\r\n"));
        let mut args = vec![path.as_str()];
        args.extend(flags(of));
        assert_eq!(injected(&args), sample(golden).replace('\n', "\r\n"), "{golden}");
    }
}
