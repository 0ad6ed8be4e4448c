use super::semantics::{Located, Named};
use super::tree::{Scalar, leading_zero, resolve};
use super::words::nearest;
use super::*;

#[test]
fn scalars_mean_what_yaml_1_2_says() {
    let integer = [("0", 0), ("15", 15), ("-3", -3), ("+81", 81), ("0x50", 80), ("0o17", 15)];
    for (text, value) in integer {
        assert_eq!(resolve(text, true), Scalar::Integer(value), "{text}");
    }
    for (text, value) in
        [("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-1.0", -1.0), ("9223372036854775808", 2f64.powi(63))]
    {
        assert_eq!(resolve(text, true), Scalar::Float(value), "{text}");
    }
    assert_eq!(resolve("-.inf", true), Scalar::Float(f64::NEG_INFINITY));
    assert!(matches!(resolve(".NaN", true), Scalar::Float(f) if f.is_nan()));
    for word in [
        "yes",
        "on",
        "off",
        "inf",
        "nan",
        "infinity",
        "e5",
        "1_000",
        "0x",
        "0xg",
        "0b1",
        "-",
        "+",
        ".",
        "1.2.3",
        "--1",
        "-0x5",
        "127.0.0.1",
        "12:30",
    ] {
        assert_eq!(resolve(word, true), Scalar::Text(word), "{word}");
    }
    for (text, meaning) in [
        ("", Scalar::Null),
        ("~", Scalar::Null),
        ("TRUE", Scalar::Bool(true)),
        ("False", Scalar::Bool(false)),
    ] {
        assert_eq!(resolve(text, true), meaning, "{text}");
        assert_eq!(resolve(text, false), Scalar::Text(text), "in quotes it is a text");
    }
    assert!(leading_zero("010") && leading_zero("-01") && leading_zero("00"));
    assert!(!leading_zero("0") && !leading_zero("0x10") && !leading_zero("0.5") && !leading_zero("10"));
}

#[test]
fn the_nearest_word_is_near() {
    let words = ["retries", "on", "backoff", "budget", "maxBodyBytes"];
    for (typed, meant) in [
        ("retires", Some("retries")),
        ("Retries", Some("retries")),
        ("retrys", Some("retries")),
        ("max_body_bytes", Some("maxBodyBytes")),
        ("maxBodyByte", Some("maxBodyBytes")),
        ("buget", Some("budget")),
        ("timeout", None),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(nearest(typed, words), meant, "{typed}");
    }
    // Long words cost nothing.
    assert_eq!(nearest(&"x".repeat(1_000_000), words), None);
}

/// What the checks across keys say of a text, past the schema.
fn semantics_of(text: &str) -> Vec<String> {
    let root = reader::read(text).root.unwrap();
    let nodes = root.get("services").unwrap().elements();
    let located: Vec<Located<'_>> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let service = Service::deserialize(node.to_json()).unwrap();
            Located { service, node, file: "m.yaml", index }
        })
        .collect();
    let names: Vec<Named<'_>> = located
        .iter()
        .map(|l| Named {
            name: &l.service.discovery_name,
            at: l.node.at,
            key: "discoveryName",
            file: l.file,
            index: l.index,
        })
        .collect();
    semantics::check(&located, &names, &Options::default()).iter().map(ToString::to_string).collect()
}

#[test]
fn keys_that_must_fit_each_other_do() {
    let text = "
services:
  - discoveryName: server
    endpoints: { dns: { name: a } }
    healthCheck: { timeoutSeconds: 40 }
    circuitBreaker: { fallback: { service: severs } }
    routes:
      - match: { path: { regex: '(' }, headers: { x-user: { regex: '[' } } }
        to: [{ service: serverr }, { service: server }]
        mirror: { service: nobody }
  - discoveryName: fine
    endpoints: { dns: { name: a, type: SRV } }
    healthCheck: { http: { path: / } }
    routes: [{ match: { query: { a: { regex: 'a+' } } }, to: [{ service: server }] }]
";
    let said = semantics_of(text);
    for (place, words) in [
        ("m.yaml:4:23: services[0].endpoints.dns", "missing key \"port\": only SRV records bring their own"),
        ("m.yaml:5:18: services[0].healthCheck", "expected exactly one of http, grpc and tcp"),
        (
            "m.yaml:5:36: services[0].healthCheck.timeoutSeconds",
            "may take 40 s, but the next one starts after 30 s",
        ),
        (
            "m.yaml:9:25: services[0].routes[0].to[0].service",
            "no service \"serverr\"; did you mean \"server\"?",
        ),
        ("m.yaml:10:28: services[0].routes[0].mirror.service", "there is no service \"nobody\""),
        ("m.yaml:6:44: services[0].circuitBreaker.fallback.service", "did you mean \"server\"?"),
        ("m.yaml:8:33: services[0].routes[0].match.path.regex", "not a regular expression"),
        ("m.yaml:8:68: services[0].routes[0].match.headers.x-user.regex", "not a regular expression"),
    ] {
        let hit = said.iter().any(|s| s.starts_with(place) && s.contains(words));
        assert!(hit, "expected {place} {words} in\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), 8, "{}", said.join("\n"));
}

/// The file in DESIGN, with everything in it: nothing is unknown, and nothing that is not built is let through.
#[test]
fn the_whole_contract_is_known_and_what_is_not_built_is_refused() {
    let text = r#"namespace: hello-world.com
services:
  - discoveryName: server
    appProtocol: http
    clientAliases: [{ dnsName: server.hello-world.com, port: 5000 }]
    vip: 127.255.0.7
    endpoints:
      static: [{ address: "127.0.0.1:9001", weight: 1, zone: a, metadata: { version: v1 } }]
    timeout: { perRequestTimeoutSeconds: 15, idleTimeoutSeconds: 300, responseHeadersSeconds: 15, perAttemptSeconds: auto, connectSeconds: 1 }
    retry: { retries: 2, on: [connectFailure, refusedStream, reset, timeout, unavailable, status: [502, 503, 504]], backoff: { baseMilliseconds: 25, maxMilliseconds: 250 }, budget: { percent: 20, minPerSecond: 3, windowSeconds: 10 }, maxBodyBytes: 65536 }
    hedge: { afterPercentile: 95 }
    loadBalancing: { policy: peakEwma, hash: { header: x-user }, zoneAware: true, slowStartSeconds: 0, panicPercent: 50, subset: { version: v1 } }
    outlierDetection: { consecutiveFailures: 5, baseEjectionSeconds: 30, maxEjectionSeconds: 300, maxEjectionPercent: 50 }
    circuitBreaker: { errorPercent: 50, minimumRequests: 20, windowSeconds: 10, resetSeconds: 30, slowCallSeconds: 3, fallback: {} }
    healthCheck: { http: { path: /health/ready, status: [200] }, intervalSeconds: 30, timeoutSeconds: 5, healthyThreshold: 2, unhealthyThreshold: 2 }
    limits: { maxConnections: 1024, maxPendingRequests: 1024, maxRequests: 1024, adaptiveConcurrency: {} }
    rateLimit: [{ requestsPerSecond: 100, burst: 10, key: clientAddress }]
    routes: [{ match: { path: { prefix: /v1 }, method: GET, headers: {}, query: {} }, to: [{ service: server-v2, weight: 10 }], timeout: {}, retry: {}, rewrite: {}, headers: {}, fault: {}, redirect: {}, respond: {} }]
"#;
    // Those that exclude each other, and the route's target, which the sample leaves out.
    let problems = parse("mesh.yaml", text).unwrap_err();
    let said: Vec<String> = problems.into_iter().map(ToString::to_string).collect();
    assert!(said.iter().all(|problem| !problem.contains("unknown key")), "{said:?}");
    assert!(
        said.iter().any(|s| s.contains("no service \"server-v2\"; did you mean \"server\"?")),
        "{said:?}"
    );
}

#[test]
fn what_guards_a_service_is_checked() {
    let text = "
services:
  - discoveryName: server
    endpoints: { static: [] }
    circuitBreaker: { errorPercent: 0, fallback: { service: server } }
    limits: { adaptiveConcurrency: { minConcurrency: 9, maxConcurrency: 2 } }
    rateLimit: [{ burst: 2 }, { requestsPerSecond: 1, requestsPerMinute: 1 }, { requestsPerSecond: 1, atOnce: 2 }]
    routes: [{ rateLimit: [{ requestsPerMinute: 1, key: { header: 'x y' } }] }]
    access: { apiKey: { sha256: { me: abc } }, jwt: { jwks: { url: 'ftp://x' } } }
    ingress: { expose: [servers] }
  - discoveryName: db
    appProtocol: tcp
    endpoints: { static: [] }
    rateLimit: [{ requestsPerSecond: 1, side: outbound, key: clientAddress }]
    access: {}
";
    let said = semantics_of(text);
    for words in [
        "services[0].circuitBreaker: errorPercent and consecutiveFailures are both 0",
        "services[0].circuitBreaker.fallback.service: \"server\" is the service itself",
        "services[0].limits.adaptiveConcurrency.maxConcurrency: maxConcurrency (2) is less",
        "services[0].rateLimit[0]: missing key \"requestsPerSecond\"",
        "services[0].rateLimit[1].requestsPerMinute: expected one of",
        "services[0].rateLimit[2].atOnce: atOnce (2) is more than the burst (1)",
        "services[0].routes[0].rateLimit[0].key.header: \"x y\" is not the name of a header",
        "services[0].access.apiKey.sha256.me: expected a SHA-256",
        "services[0].access.jwt.jwks.url: \"ftp://x\" is no http or https URL",
        "services[0].ingress.expose[0]: there is no service \"servers\"; did you mean \"server\"?",
        "services[1].rateLimit: it looks at requests",
        "services[1].rateLimit[0].key: in a caller's own proxy there is one client",
        "services[1].access: expected apiKey, jwt or both",
        "services[1].access: it looks at requests",
    ] {
        assert!(said.iter().any(|s| s.contains(words)), "expected {words} in\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), 14, "{}", said.join("\n"));
}
