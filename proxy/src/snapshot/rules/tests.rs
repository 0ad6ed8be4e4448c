use std::fmt::Write as _;

use http::{HeaderMap, Method};

use super::*;

/// What the mesh file makes of these routes of a service `server`; `None`: it refuses them.
fn model_of(routes: &str) -> Option<bowline_api::Mesh> {
    let text = format!(
        "namespace: a\nservices:\n  - discoveryName: server\n    endpoints: {{ static: [] }}\n{routes}\n  \
         - {{ discoveryName: other, endpoints: {{ static: [] }}, timeout: {{ idleTimeoutSeconds: 7 }} }}\n"
    );
    bowline_api::parse("mesh.yaml", &text).ok()
}

fn compiled(routes: &str) -> (Option<Rules>, Vec<BadRoute>) {
    let mesh = model_of(routes).unwrap_or_else(|| panic!("the check refuses {routes}"));
    Rules::compile(&mesh.services[0], &mesh.services, &RouteCounts::default(), None)
}

fn seeded() -> fastrand::Rng {
    let seed = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed: BOWLINE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// A text that comes near to what is allowed, and often is not.
fn text(rng: &mut fastrand::Rng, pieces: &[&str]) -> String {
    let text: String = (0..rng.usize(..4)).map(|_| pieces[rng.usize(..pieces.len())]).collect();
    serde_json::Value::from(text).to_string()
}

fn path(rng: &mut fastrand::Rng) -> String {
    const PIECES: &[&str] = &[
        "/", "/a", "/{id}", "/{*rest}", "{", "}", "/%20", "?q=1", "#", " ", "ü", "..", "//", "\r\n", "b",
        "\\", "|", "\"", "^", "\u{7f}",
    ];
    let first = if rng.u32(..8) > 0 { "/" } else { "" };
    let rest = text(rng, PIECES);
    format!("\"{first}{}", &rest[1..])
}

fn host(rng: &mut fastrand::Rng) -> String {
    text(
        rng,
        &[
            "a", "B.c", ".", ":80", ":0", ":99999", "[::1]", "[", "]", "@", "*", "*.", "_", "-", " ", "ü",
            "/", "%",
        ],
    )
}

fn name(rng: &mut fastrand::Rng) -> String {
    text(
        rng,
        &[
            "x",
            "-",
            "X-A",
            "host",
            "te",
            "content-length",
            " ",
            ":",
            "\r\n",
            "ü",
            "server",
            "~",
            "(",
            "\u{0}",
            "1",
        ],
    )
}

fn value(rng: &mut fastrand::Rng) -> String {
    text(rng, &["x", " ", "\t", "\r\n", "ü", "\u{0}", "\u{7f}", "\u{1b}", "\u{85}", ",", "\"", "日本"])
}

fn regex(rng: &mut fastrand::Rng) -> String {
    text(
        rng,
        &[
            "a", ".*", "(", ")", "|", "[a-z]", "[", "+", "?", "(?x)", "#", "(?i)", "\\d", "{2}", "{999999}",
            "^", "$", "\n",
        ],
    )
}

fn route(rng: &mut fastrand::Rng) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut matches = Vec::new();
    match rng.u32(..5) {
        0 => matches.push(format!("path: {{ exact: {} }}", path(rng))),
        1 => matches.push(format!("path: {{ prefix: {} }}", path(rng))),
        2 => matches.push(format!("path: {{ template: {} }}", path(rng))),
        3 => matches.push(format!("path: {{ regex: {} }}", regex(rng))),
        _ => {}
    }
    if rng.u32(..4) == 0 {
        matches.push(format!("hosts: [{}]", host(rng)));
    }
    if rng.u32(..4) == 0 {
        matches.push(format!("headers: {{ {}: {{ regex: {} }} }}", name(rng), regex(rng)));
    }
    if rng.u32(..4) == 0 {
        matches.push(format!("query: {{ {}: {{ exact: {} }} }}", value(rng), value(rng)));
    }
    parts.push(format!("match: {{ {} }}", matches.join(", ")));
    match rng.u32(..6) {
        0 => parts.push(format!("redirect: {{ host: {} }}", host(rng))),
        1 => parts.push(format!("redirect: {{ path: {}, status: {} }}", path(rng), rng.u32(300..309))),
        2 => parts.push(format!(
            "respond: {{ status: {}, headers: {{ {}: {} }} }}",
            rng.u32(200..600),
            name(rng),
            value(rng)
        )),
        3 => parts.push("to: [{ service: other }, { service: server, subset: { a: b } }]".to_owned()),
        _ => {}
    }
    match rng.u32(..5) {
        0 => parts.push(format!("rewrite: {{ path: {} }}", path(rng))),
        1 => parts.push(format!("rewrite: {{ prefix: {} }}", path(rng))),
        2 => parts.push(format!("rewrite: {{ host: {} }}", host(rng))),
        _ => {}
    }
    if rng.u32(..3) == 0 {
        let (remove, set, add) = (name(rng), name(rng), name(rng));
        let edits =
            format!("remove: [{remove}], set: {{ {set}: {} }}, add: {{ {add}: {} }}", value(rng), value(rng));
        parts.push(format!(
            "headers: {{ {}: {{ {edits} }} }}",
            if rng.bool() { "request" } else { "response" }
        ));
    }
    if rng.u32(..6) == 0 {
        parts.push(format!(
            "fault: {{ abort: {{ status: {} }}, onlyWithHeader: {} }}",
            rng.u32(200..600),
            name(rng)
        ));
    }
    parts.join(", ")
}

/// What the check lets through compiles, and what it makes of a request's path can be sent.
#[test]
fn what_the_check_accepts_compiles() {
    let mut rng = seeded();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let route = route(&mut rng);
        let Some(mesh) = model_of(&format!("    routes: [{{ {route} }}]")) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let (rules, bad) = Rules::compile(&mesh.services[0], &mesh.services, &RouteCounts::default(), None);
        assert!(bad.is_empty(), "{route}: {bad:?}");
        let rules = rules.expect("it has a route");
        let compiled = &rules.routes()[0];
        for path in ["/", "/a", "/a/b", "//", "/%20/..", "/a/a/a/a"] {
            let Some(new) = compiled.rewrite.apply(path, Some("q=1&r")) else { continue };
            assert!(new.parse::<http::uri::PathAndQuery>().is_ok(), "{route}: {path} becomes {new}");
        }
        if let Action::Redirect(redirect) = &compiled.action {
            let location = redirect.location("http", "a.b:5000", "/a", Some("q"));
            let uri: http::Uri =
                location.parse().unwrap_or_else(|error| panic!("{route}: {location}: {error}"));
            assert!(uri.authority().is_some(), "{route}: {location}");
        }
    }
    println!("{accepted} accepted, {refused} refused");
    assert!(accepted > 300 && refused > 300, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_route_that_cannot_be_compiled_is_left_out_and_the_others_keep_their_names() {
    let mut mesh = model_of("    routes: [{}, { match: { path: { prefix: /b } } }]").expect("a mesh");
    mesh.services[0].routes[0].matches.path = Some(model::PathMatch::Regex("(".to_owned()));
    let (rules, bad) = Rules::compile(&mesh.services[0], &mesh.services, &RouteCounts::default(), None);
    assert_eq!((bad.len(), bad[0].route), (1, Some(0)));
    let rules = rules.expect("one is left");
    let names: Vec<_> =
        rules.routes().iter().map(|route| route.name.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["1"]);
}

#[test]
fn who_has_no_rules_has_none() {
    assert!(compiled("").0.is_none());
    assert!(compiled("    headers: {}").0.is_some());
}

#[test]
fn policies_are_those_of_the_target_with_the_routes_over_them() {
    let (rules, bad) = compiled(
        "    timeout: { idleTimeoutSeconds: 3 }\n    retry: { retries: 5 }\n    routes:\n      \
         - { to: [{ service: other }], timeout: { perRequestTimeoutSeconds: 2 } }\n      \
         - { retry: { retries: 1 } }\n      - { to: [{ service: other }] }",
    );
    assert!(bad.is_empty(), "{bad:?}");
    let rules = rules.expect("rules");
    let policy = |route: usize| {
        let Action::To(targets) = &rules.routes()[route].action else { panic!("it leads to a service") };
        targets.list[0].policy.clone()
    };
    let seconds = std::time::Duration::from_secs;
    let other = policy(0).expect("one of its own");
    assert_eq!((other.per_request, other.idle, other.retry.retries), (Some(seconds(2)), Some(seconds(7)), 2));
    let own = policy(1).expect("one of its own");
    assert_eq!((own.per_request, own.idle, own.retry.retries), (None, Some(seconds(3)), 1));
    assert!(policy(2).is_none());
    assert_eq!(rules.longest_idle(), Some(Some(seconds(7))));
}

#[test]
fn counters_stay_with_the_name_of_a_route() {
    let counts = RouteCounts::default();
    let compile = |routes: &str| {
        let mesh = model_of(routes).expect("a mesh");
        Rules::compile(&mesh.services[0], &mesh.services, &counts, None).0.expect("rules")
    };
    let first = compile("    routes: [{ name: a }, { name: b }]");
    first.routes()[0].counters.count(crate::telemetry::metrics::Class::Success);
    let second = compile("    routes: [{ name: c }, { name: a }]");
    assert_eq!(second.routes()[1].counters.requests(crate::telemetry::metrics::Class::Success), 1);
    let third = compile("    routes: [{ name: c }]");
    let fourth = compile("    routes: [{ name: a }]");
    assert_eq!(fourth.routes()[0].counters.requests(crate::telemetry::metrics::Class::Success), 0);
    drop(third);
}

#[test]
fn locations() {
    let location = |redirect: &str, authority: &str| {
        let (rules, _) = compiled(&format!("    routes: [{{ redirect: {{ {redirect} }} }}]"));
        let rules = rules.expect("rules");
        let Action::Redirect(redirect) = &rules.routes()[0].action else { panic!("it redirects") };
        redirect.location("http", authority, "/p", Some("q=1"))
    };
    for (redirect, authority, expected) in [
        ("scheme: https", "a", "https://a/p?q=1"),
        ("scheme: https", "a:80", "https://a/p?q=1"),
        ("scheme: https", "a:8080", "https://a:8080/p?q=1"),
        ("scheme: https, port: 443", "a:8080", "https://a/p?q=1"),
        ("scheme: https, port: 8443", "a", "https://a:8443/p?q=1"),
        ("host: b", "a:5000", "http://b:5000/p?q=1"),
        ("host: b, port: 80", "a:5000", "http://b/p?q=1"),
        ("port: 81", "[::1]", "http://[::1]:81/p?q=1"),
        ("port: 81", "[::1]:80", "http://[::1]:81/p?q=1"),
        ("path: /x", "a", "http://a/x?q=1"),
        ("path: '/x?'", "a", "http://a/x?"),
    ] {
        assert_eq!(location(redirect, authority), expected, "{redirect} at {authority}");
    }
}

#[test]
fn test_traffic_is_told_by_header_and_alias() {
    let text = "namespace: a\nservices:\n  - discoveryName: server\n    endpoints: { static: [] }\n    clientAliases:\n      \
                - { dnsName: One.a, port: 1, testTrafficRules: { header: {} } }\n      \
                - { dnsName: two.a, port: 2, testTrafficRules: { header: { name: X-T, value: { exact: 'y' } } } }\n      \
                - { dnsName: three.a, port: 3 }\n";
    let mesh = bowline_api::parse("mesh.yaml", text).expect("a mesh");
    let (rules, bad) = Rules::compile(&mesh.services[0], &mesh.services, &RouteCounts::default(), None);
    assert!(bad.is_empty(), "{bad:?}");
    let test = rules.and_then(|rules| rules.test_traffic).expect("rules for test traffic");
    assert_eq!(&*test.key, "server{deployment=test}");
    let fits = |headers: &[(&'static str, &'static str)], dialled: &str| {
        let headers: HeaderMap =
            headers.iter().map(|(n, v)| (n.parse().expect("a name"), v.parse().expect("a value"))).collect();
        test.fits(&headers, || dialled.to_owned())
    };
    let default = [("x-amzn-ecs-blue-green-test", "")];
    assert!(fits(&default, "one.a:1") && !fits(&default, "two.a:2") && !fits(&default, "three.a:3"));
    assert!(fits(&[("x-t", "n"), ("x-t", "y")], "two.a:2"));
    assert!(!fits(&[("x-t", "Y")], "two.a:2") && !fits(&[("x-t", "y")], "one.a:1") && !fits(&[], "one.a:1"));
}

#[test]
fn why_a_route_does_not_fit() {
    let (rules, _) = compiled(
        "    routes: [{ match: { method: PUT } }, { match: { path: { prefix: /x } } }, { match: { headers: { a: { present: true } } } }, {}]",
    );
    let rules = rules.expect("rules");
    let headers = HeaderMap::new();
    let request = Request { method: &Method::GET, host: "a", path: "/", query: "", headers: &headers };
    let mut said = String::new();
    for (route, mismatch) in rules.explain(&request) {
        let _ = write!(said, "{} {mismatch:?}; ", route.name.as_deref().unwrap_or_default());
    }
    assert_eq!(said, "0 Some(Method); 1 Some(Path); 2 Some(Header(\"a\")); 3 None; ");
    assert_eq!(rules.find(&request).and_then(|route| route.name.as_deref()), Some("3"));
}
