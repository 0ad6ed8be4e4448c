//! Routes that could not do what they say: each is refused at its place, in words that help, and draws no tail.

use bowline_api::{Problems, parse};

/// A service with this one route, in flow style on line 6; beside it a TCP service `db` and another one.
fn problems_of(route: &str) -> Problems {
    parse("mesh.yaml", &mesh(route)).expect_err(route)
}

fn mesh(route: &str) -> String {
    format!(
        "namespace: a\nservices:\n  - discoveryName: server\n    endpoints: {{ static: [] }}\n    routes:\n      - {{ {route} }}\n  \
         - {{ discoveryName: db, appProtocol: tcp, endpoints: {{ static: [] }} }}\n  \
         - {{ discoveryName: other, endpoints: {{ static: [] }} }}\n"
    )
}

const BAD: &[(&str, &str, &str)] = &[
    ("match: { path: { prefix: v1 } }", "match.path.prefix", "\"v1\" does not begin with /"),
    ("match: { path: { exact: '/a?b' } }", "match.path.exact", "no path has '?' in it"),
    ("match: { path: { template: '/a/{b' } }", "match.path.template", "braces must hold a whole segment"),
    ("match: { path: { template: '/{*a}/b' } }", "match.path.template", "must be the last segment"),
    ("match: { path: { template: '/{a}/{a}' } }", "match.path.template", "each name may be used once"),
    ("match: { path: { regex: '(' } }", "match.path.regex", "not a regular expression"),
    // By itself it is one; as a part of another the bracket that closes that would be in the comment.
    ("match: { path: { regex: '(?x)/a # b' } }", "match.path.regex", "not a regular expression"),
    ("match: { method: get }", "match.method", "a method in capitals"),
    ("match: { hosts: ['a:80'] }", "match.hosts[0]", "has a port, which is not looked at"),
    ("match: { headers: { 'x y': { present: true } } }", "match.headers", "is not the name of a header"),
    ("to: [{ service: others }]", "to[0].service", "did you mean \"other\"?"),
    ("to: [{ service: db }]", "to[0].service", "is of appProtocol tcp"),
    ("to: [{ service: other, weight: 0 }]", "to", "all weights are 0"),
    ("to: [{ service: other }], splitBy: { header: x }", "splitBy", "needs two targets"),
    ("splitBy: path", "splitBy", "needs two targets"),
    (
        "to: [{ service: other }, { service: server }], splitBy: { cookie: { name: 'a b' } }",
        "splitBy.cookie.name",
        "can't be the name of a cookie",
    ),
    (
        "to: [{ service: other }], respond: {}",
        "respond",
        "one of to, redirect and respond, not to and respond",
    ),
    ("redirect: { host: b }, respond: {}", "respond", "not redirect and respond"),
    ("respond: {}, mirror: { service: other }", "mirror", "with respond nothing is sent on"),
    ("redirect: { host: b }, timeout: {}", "timeout", "with redirect nothing is sent on"),
    ("mirror: { service: db }", "mirror.service", "is of appProtocol tcp"),
    ("mirror: { service: othr }", "mirror.service", "did you mean \"other\"?"),
    ("rewrite: {}", "rewrite", "none of prefix, path and host"),
    (
        "rewrite: { prefix: /a }",
        "rewrite.prefix",
        "no prefix and no exact path that it could take the place of",
    ),
    ("match: { path: { prefix: /a } }, rewrite: { prefix: b }", "rewrite.prefix", "does not begin with /"),
    (
        "match: { path: { prefix: /a } }, rewrite: { prefix: '/b?c' }",
        "rewrite.prefix",
        "a ? begins the query",
    ),
    ("match: { path: { prefix: /a } }, rewrite: { prefix: /b, path: /c }", "rewrite.path", "not both"),
    ("rewrite: { path: '/a b' }", "rewrite.path", "can't have ' ' in it"),
    ("rewrite: { path: '/ü' }", "rewrite.path", "write it as % and its code"),
    ("rewrite: { path: \"/a\\r\\nX: b\" }", "rewrite.path", "can't have '\\r' in it"),
    ("rewrite: { path: '/a/{id}' }", "rewrite.path", "need a match.path.template"),
    (
        "match: { path: { template: '/a/{id}' } }, rewrite: { path: '/b/{ix}' }",
        "rewrite.path",
        "the route's template has no {ix}",
    ),
    ("rewrite: { host: 'a@b' }", "rewrite.host", "is not a host"),
    ("rewrite: { host: 'a:0' }", "rewrite.host", "is not a host"),
    ("rewrite: { host: \"a\\r\\nX: b\" }", "rewrite.host", "is not a host"),
    ("rewrite: { host: b }, redirect: { host: c }", "rewrite.host", "use redirect.host"),
    ("rewrite: { path: /b }, redirect: { path: /c }", "rewrite", "takes the place of what rewrite makes"),
    ("rewrite: { path: /b }, respond: {}", "rewrite", "would never count"),
    ("redirect: {}", "redirect", "sent where it came from"),
    ("redirect: { status: 304, host: b }", "redirect.status", "304 is no redirect"),
    ("redirect: { scheme: ftp }", "redirect.scheme", "neither http nor https"),
    ("redirect: { host: 'b:80' }", "redirect.host", "has a port"),
    ("redirect: { path: b }", "redirect.path", "does not begin with /"),
    ("respond: { status: 204, body: x }", "respond.body", "has no body"),
    ("respond: { headers: { content-length: '5' } }", "respond.headers", "it says how long the message is"),
    ("fault: {}", "fault", "neither delay nor abort"),
    (
        "fault: { abort: { status: 500 }, onlyWithHeader: '' }",
        "fault.onlyWithHeader",
        "is not the name of a header",
    ),
    ("headers: { request: { set: { Host: a } } }", "headers.request.set", "use rewrite.host"),
    ("headers: { request: { remove: [Connection] } }", "headers.request.remove[0]", "one connection only"),
    (
        "headers: { response: { add: { Transfer-Encoding: x } } }",
        "headers.response.add",
        "one connection only",
    ),
    (
        "headers: { response: { remove: [content-length] } }",
        "headers.response.remove[0]",
        "how long the message is",
    ),
    (
        "headers: { response: { set: { ':status': '200' } } }",
        "headers.response.set",
        "is not the name of a header",
    ),
    (
        "headers: { response: { set: { a: \"b\\r\\nc: d\" } } }",
        "headers.response.set",
        "can't have '\\r' in it",
    ),
    ("headers: { request: { set: { a: \"b\\0\" } } }", "headers.request.set", "can't have '\\0' in it"),
];

#[test]
fn each_is_refused_at_its_place() {
    for (route, place, words) in BAD {
        let problems = problems_of(route);
        assert_eq!(problems.len(), 1, "{route}\n{problems}");
        let said = problems.as_slice()[0].to_string();
        assert!(said.starts_with("mesh.yaml:6:"), "{route}\n{said}");
        assert!(said.contains(&format!("services[0].routes[0].{place}")), "{route}\n{said}");
        assert!(said.contains(words), "{route}\nexpected {words} in\n{said}");
    }
    assert!(BAD.len() > 50);
}

#[test]
fn what_is_good_is_taken() {
    for route in [
        "match: { path: { prefix: /api/auth/ } }, rewrite: { prefix: /api/v1/auth/ }",
        "match: { path: { exact: /a } }, rewrite: { prefix: '' , host: 'b.c:80' }",
        "match: { path: { template: '/u/{id}/{*rest}' } }, rewrite: { path: '/v/{rest}' }",
        "match: { path: { template: '/u/{id}' } }, redirect: { path: '/v/{id}', status: 301 }",
        "match: { path: { prefix: /a } }, rewrite: { prefix: /b }, redirect: {}",
        "match: { hosts: ['*.a.b', c, '[::1]'] }, respond: { status: 204 }",
        "to: [{ service: other, weight: 0 }, { service: server, subset: { version: v2 } }], splitBy: { cookie: { name: a } }",
        "fault: { delay: { seconds: 1, percent: 1 } }, mirror: { service: server }",
        "headers: { response: { remove: [server, x-bowline-error], set: { a: \"b\\tc ü\" } } }",
    ] {
        if let Err(problems) = parse("mesh.yaml", &mesh(route)) {
            panic!("{route}\n{problems}");
        }
    }
}

#[test]
fn names_of_routes_are_told_apart_and_a_tcp_service_has_none() {
    let text = "namespace: a\nservices:\n  - discoveryName: server\n    endpoints: { static: [] }\n    \
                routes: [{ name: '1' }, {}, { name: b }, { name: b }]\n  - discoveryName: db\n    appProtocol: tcp\n    \
                endpoints: { static: [] }\n    routes: [{}]\n    headers: {}\n    \
                clientAliases: [{ port: 1, testTrafficRules: { header: {} } }]\n";
    let problems = parse("mesh.yaml", text).expect_err("five problems").to_string();
    for words in [
        "services[0].routes[1].name: another route is called \"1\" already",
        "services[0].routes[3].name: another route is called \"b\" already",
        "services[1].routes: it looks at requests",
        "services[1].headers: it looks at requests",
        "services[1].clientAliases[0].testTrafficRules: it looks at requests",
    ] {
        assert!(problems.contains(words), "expected {words} in\n{problems}");
    }
}
