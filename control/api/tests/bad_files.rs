//! Hostile and misspelt files: each is refused, at the right line, in words that help.

use bowline_api::{Problems, parse};

/// A file in which only the fifth line, the first of `body`, and those below it vary.
fn problems_of(body: &str) -> Problems {
    let text = format!(
        "namespace: hello-world.com\nservices:\n  - discoveryName: server\n    endpoints: {{ static: [{{ address: \"127.0.0.1:9001\" }}] }}\n{body}\n"
    );
    parse("mesh.yaml", &text).expect_err(body)
}

/// Body of the service from line 5 on, where the first problem is, and words that it must have.
const IN_SERVICE: &[(&str, &str, &[&str])] = &[
    // Names of keys.
    ("    retry: { retires: 2 }", "5:14", &["services[0].retry.retires", "did you mean \"retries\"?"]),
    ("    Timeout: {}", "5:5", &["did you mean \"timeout\"?"]),
    ("    client_aliases: []", "5:5", &["did you mean \"clientAliases\"?"]),
    ("    port: 5000", "5:5", &["unknown key \"port\"; it belongs in services[].clientAliases[]"]),
    ("    namespace: other", "5:5", &["it belongs at the top of the file"]),
    ("    perRequestTimeoutSeconds: 15", "5:5", &["it belongs in services[].timeout"]),
    ("    protocol: http", "5:5", &["did you mean \"appProtocol\"?"]),
    ("    retry: { attempts: 2 }", "5:14", &["did you mean \"retries\"?"]),
    ("    frobnicate: 1", "5:5", &["unknown key \"frobnicate\"", "valid here: discoveryName"]),
    ("    enabled: true", "5:5", &["Service Connect's switch is not needed"]),
    ("    \"\": 1", "5:5", &["unknown key \"\""]),
    // Types.
    (
        "    clientAliases: [{ port: \"5000\" }]",
        "5:29",
        &["from 1 to 65535, found the text \"5000\"", "remove the quotes"],
    ),
    ("    portName: 8080", "5:15", &["expected a text, found the number 8080", "put it in quotes: \"8080\""]),
    ("    portName: true", "5:15", &["expected a text, found the boolean true"]),
    ("    clientAliases: { port: 80 }", "5:20", &["expected a list, found a mapping", "- "]),
    ("    retry: { on: reset }", "5:18", &["expected a list, found the text \"reset\"", "write [reset]"]),
    (
        "    timeout:\n    retry: {}",
        "5:12",
        &["expected a mapping (key: value), found nothing", "indented deeper"],
    ),
    ("    timeout: 15", "5:14", &["expected a mapping (key: value), found the number 15"]),
    ("    timeout: []", "5:14", &["found a list"]),
    ("    retry: { retries: 2.5 }", "5:23", &["expected a whole number from 0 to 10, found the number 2.5"]),
    ("    timeout: { connectSeconds: 1s }", "5:32", &["above 0, at most 60", "without \"s\""]),
    ("    clientAliases: [[]]", "5:21", &["services[0].clientAliases[0]", "found a list"]),
    // Ranges.
    ("    clientAliases: [{ port: 0 }]", "5:29", &["from 1 to 65535"]),
    ("    clientAliases: [{ port: 65536 }]", "5:29", &["from 1 to 65535"]),
    ("    clientAliases: [{ port: -80 }]", "5:29", &["found the number -80"]),
    ("    clientAliases: [{ port: 99999999999999999999999 }]", "5:29", &["from 1 to 65535"]),
    ("    timeout: { connectSeconds: 0 }", "5:32", &["a number above 0"]),
    ("    timeout: { connectSeconds: .nan }", "5:32", &["a number above 0", ".nan"]),
    ("    timeout: { idleTimeoutSeconds: .inf }", "5:36", &["from 0 to 31536000"]),
    ("    timeout: { idleTimeoutSeconds: -1 }", "5:36", &["from 0 to 31536000"]),
    ("    timeout: { perAttemptSeconds: automatic }", "5:35", &["expected \"auto\" or a number from 0"]),
    ("    timeout: { perAttemptSeconds: Auto }", "5:35", &["did you mean \"auto\"?"]),
    ("    timeout: { perAttemptSeconds: -3 }", "5:35", &["a number from 0 to 31536000"]),
    ("    retry: { retries: 11 }", "5:23", &["from 0 to 10"]),
    ("    outlierDetection: { maxEjectionPercent: 101 }", "5:45", &["from 0 to 100"]),
    ("    loadBalancing: { panicPercent: 50% }", "5:36", &["without \"%\""]),
    // Words.
    ("    appProtocol: HTTP", "5:18", &["unknown word \"HTTP\"; did you mean \"http\"?"]),
    (
        "    appProtocol: websocket",
        "5:18",
        &["\"http\", \"http2\", \"grpc\" or \"tcp\"", "found the text \"websocket\""],
    ),
    ("    loadBalancing: { policy: round-robin }", "5:30", &["did you mean \"roundRobin\"?"]),
    ("    retry: { on: [] }", "5:18", &["at least one element"]),
    ("    retry: { on: [5xx] }", "5:19", &["services[0].retry.on[0]", "found the text \"5xx\""]),
    ("    retry: { on: [503] }", "5:19", &["found the number 503"]),
    ("    retry: { on: [status] }", "5:19", &["\"status\" needs a value"]),
    ("    retry: { on: [status: 503] }", "5:27", &["expected a list, found the number 503", "write [503]"]),
    ("    retry: { on: [status: [200]] }", "5:28", &["from 400 to 599"]),
    ("    retry: { on: [{ status: [503], reset: true }] }", "5:36", &["unknown key \"reset\""]),
    // Values that only look right.
    ("    vip: 127.255.0.256", "5:10", &["expected an IPv4 address"]),
    ("    vip: 10.0.0.1", "5:10", &["not a usable address of the VIP range 127.255.0.0/16"]),
    ("    vip: 127.255.255.255\n    clientAliases: [{ port: 80 }]", "5:10", &["not a usable address"]),
    ("    vip: 127.255.0.7", "5:10", &["this service has no clientAliases"]),
    (
        "    clientAliases: [{ dnsName: a.b, port: 1 }, { dnsName: b.c, port: 1 }]\n    vip: 127.255.0.7",
        "6:10",
        &["pinned for one dnsName"],
    ),
    ("    clientAliases: [{ dnsName: \"http://a.b\", port: 80 }]", "5:32", &["no scheme, no port"]),
    ("    clientAliases: [{ dnsName: a.b., port: 80 }]", "5:32", &["no trailing dot"]),
    ("    clientAliases: [{ dnsName: 10.0.0.1, port: 80 }]", "5:32", &["is an address; clients dial a name"]),
    (
        "    clientAliases: [{ port: 80 }, { port: 80 }]",
        "5:35",
        &["duplicate alias server.hello-world.com:80"],
    ),
    (
        "    clientAliases: [{ dnsName: a.b, port: 1 }, { dnsName: A.B, port: 1 }]",
        "5:48",
        &["duplicate alias a.b:1"],
    ),
    ("    clientAliases: [{ dnsName: a.b }]", "5:21", &["missing key \"port\"", "from 1 to 65535"]),
    (
        "    retry: { backoff: { baseMilliseconds: 300 } }",
        "5:23",
        &["maxMilliseconds (250) is less than baseMilliseconds (300)"],
    ),
    ("    outlierDetection: { maxEjectionSeconds: 10 }", "5:45", &["less than baseEjectionSeconds (30 s)"]),
    (
        "    timeout: { perRequestTimeoutSeconds: 1, perAttemptSeconds: 2 }",
        "5:64",
        &["one attempt may take 2 s", "after 1 s"],
    ),
    // YAML's traps.
    ("    retry: {}\n    retry: {}", "6:5", &["duplicate key \"retry\"; it is on line 5 already"]),
    ("    timeout: { connectSeconds: 010 }", "5:32", &["010 has a leading zero"]),
    ("    <<: { retry: {} }", "5:5", &["merge keys (<<) are not supported"]),
    ("    retry: !custom {}", "5:12", &["the tag \"!custom\" means nothing"]),
    ("    retry: *nowhere", "5:12", &["unknown anchor"]),
    ("    retry: &a { backoff: *a }", "5:26", &["inside the value it repeats"]),
    ("    ? [a, b]\n    : c", "5:7", &["a key must be a word"]),
    ("\tretry: {}", "5:", &["not valid YAML", "line 5 is indented with a tab"]),
    ("    retry: { retries: 2", "", &["not valid YAML"]),
    ("    retry: \"unclosed", "", &["not valid YAML"]),
    ("---\nnamespace: b", "5:1", &["a second document begins here"]),
    // Service Connect's words that this version does not do.
    (
        "    tls: { issuerCertificateAuthority: { awsPcaAuthorityArn: a } }",
        "5:5",
        &["not yet", "TLS between proxies"],
    ),
    ("    tls: ~", "5:5", &["not yet", "TLS between proxies"]),
    ("    ingressPortOverride: 8080", "5:5", &["not yet"]),
];

#[test]
fn a_bad_service_is_refused_at_its_line() {
    for (body, place, words) in IN_SERVICE {
        let problems = problems_of(body);
        let first = problems.as_slice()[0].to_string();
        assert!(first.starts_with(&format!("mesh.yaml:{place}")), "{body}\nexpected {place} in\n{problems}");
        for word in *words {
            assert!(first.contains(word), "{body}\nexpected {word} in\n{problems}");
        }
    }
    assert!(IN_SERVICE.len() >= 70);
}

/// Each of these has one thing wrong, and must not draw a tail of others.
#[test]
fn one_mistake_is_one_problem() {
    for (body, ..) in IN_SERVICE {
        // `vip: 10.0.0.1` is wrong twice: no address of the range, and no alias to give it to.
        if body.contains("vip: 10.0.0.1") {
            continue;
        }
        let problems = problems_of(body);
        assert_eq!(problems.len(), 1, "{body}\n{problems}");
    }
}

/// Whole files, the line of the first problem, and words that it must have.
const WHOLE: &[(&str, usize, &str)] = &[
    ("", 0, "the file is empty"),
    ("# nothing\n", 0, "the file is empty"),
    ("---\n", 0, "the file is empty"),
    ("null\n", 0, "the file is empty"),
    ("5\n", 1, "expected a mapping (key: value), found the number 5"),
    ("- namespace: a\n", 1, "expected a mapping (key: value), found a list"),
    ("services: []\n", 1, "missing key \"namespace\""),
    ("namespace: 5\n", 1, "expected a text, found the number 5"),
    ("namespace: \"\"\n", 1, "expected a DNS name, e.g. hello-world.com, found \"\""),
    ("namespace: a b\n", 1, "expected a DNS name"),
    ("namespace: a\nservices:\n  - discoveryName: a\n", 3, "missing key \"endpoints\""),
    ("namespace: a\nservices:\n  - endpoints: { static: [] }\n", 3, "missing key \"discoveryName\""),
    (
        "namespace: a\nservices:\n  - portName: UPPER\n    endpoints: { static: [] }\n",
        3,
        "give it a discoveryName",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: A.b\n    endpoints: { static: [] }\n",
        3,
        "1 to 64 of a-z, 0-9, _ and -",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: {}\n",
        4,
        "expected { static: ... }, { dns: ... }",
    ),
    ("namespace: a\nservices:\n  - discoveryName: a\n    endpoints: []\n", 4, "found a list"),
    ("namespace: a\nservices:\n  - discoveryName: a\n    endpoints: static\n", 4, "\"static\" needs a value"),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { statics: [] }\n",
        4,
        "did you mean \"static\"?",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { dns: { name: x } }\n",
        4,
        "missing key \"port\": only SRV records bring their own",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { dns: { name: 10.0.0.1, port: 80 } }\n",
        4,
        "is an address, and no name to resolve",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { dns: { name: a..b, port: 80 } }\n",
        4,
        "\"a..b\" is no DNS name",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { dns: { name: 'a:80', port: 80 } }\n",
        4,
        "\"a:80\" is no DNS name",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { cloudMap: { service: '' } }\n",
        4,
        "expected a text, found an empty one",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: localhost:80 }] }\n",
        4,
        "\"localhost\" is a host name: those are for endpoints.dns",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: 10.0.0.1 }] }\n",
        4,
        "add the port: \"10.0.0.1:PORT\"",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"10.0.0.1:99999\" }] }\n",
        4,
        "the port is a number from 1 to 65535",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"fd00::7:80\" }] }\n",
        4,
        "add the port: \"[fd00::7:80]:PORT\"",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"http://10.0.0.1:80\" }] }\n",
        4,
        "leave out the scheme",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"10.0.0.1:0\" }] }\n",
        4,
        "port 0 can't be called",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"0.0.0.0:80\" }] }\n",
        4,
        "it means every address",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [{ address: \"127.255.3.4:80\" }] }\n",
        4,
        "lies in the VIP range",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints:\n      static:\n        - address: 10.0.0.1:80\n        - address: 10.0.0.1:80\n",
        7,
        "duplicate endpoint 10.0.0.1:80; it is on line 6",
    ),
    (
        "namespace: a\nservices:\n  - discoveryName: a\n    endpoints: { static: [] }\n  - discoveryName: a\n    endpoints: { static: [] }\n",
        5,
        "duplicate service \"a\"; it is on line 3 already",
    ),
    ("namespace: a\nservices:\n  a: { endpoints: { static: [] } }\n", 3, "expected a list, found a mapping"),
    ("name\u{0}space: a\n", 1, "the control character U+0000"),
    ("namespace: a\n# \u{1b}[31m\n", 2, "the control character U+001B"),
    ("namespace: a\nnamespace: b\n", 2, "duplicate key \"namespace\""),
    ("namespace: a\r\nservcies: []\r\n", 2, "did you mean \"services\"?"),
    ("\u{feff}namespace: a\nservcies: []\n", 2, "did you mean \"services\"?"),
    ("namespace: a\n--- \nnamespace: a\n", 2, "a second document"),
    ("%YAML 3.0\n%YAML 3.0\n---\nnamespace: a\n", 2, "not valid YAML"),
];

#[test]
fn a_bad_file_is_refused_at_its_line() {
    for (text, line, words) in WHOLE {
        let problems = parse("mesh.yaml", text).expect_err(text);
        let first = &problems.as_slice()[0];
        assert_eq!(first.line, *line, "{text}\n{problems}");
        assert!(first.to_string().contains(words), "{text}\nexpected {words} in\n{problems}");
    }
}

/// A terminal obeys what it is shown: escapes in a file must not get there as they are.
#[test]
fn messages_carry_no_control_characters() {
    for body in [
        r#"    "\e[31m\n": 1"#,
        r#"    retry: { on: ["\e[31m"] }"#,
        r#"    retry: { on: "\e[31m" }"#,
        r#"    retry: { "\a": 1, "\a": 1 }"#,
        r#"    clientAliases: [{ dnsName: "\e[31m", port: 80 }]"#,
        r#"    portName: "\e[31m\n""#,
        r#"    appProtocol: "\e[31m""#,
        r#"    timeout: "\e[31m""#,
        r#"    timeout: { connectSeconds: "1\e" }"#,
        r#"  - portName: "\e[31m"
    endpoints: { static: [] }"#,
    ] {
        for body in [body.to_owned(), format!("{body}\n    frobnicate: 1")] {
            let text = format!(
                "namespace: a\nservices:\n  - discoveryName: server\n    endpoints: {{ static: [] }}\n{body}\n"
            );
            let Err(problems) = parse("mesh.yaml", &text) else { continue };
            for problem in &problems {
                let said = format!("{}{}", problem.path, problem.message);
                assert!(!said.contains(char::is_control), "{body}\n{said:?}");
                let help = problem.help.as_deref().unwrap_or_default();
                assert!(!help.contains(char::is_control), "{body}\n{help:?}");
            }
        }
    }
    let said = problems_of(r#"    "\e[31m": 1"#).to_string();
    assert!(said.contains(r#"services[0]."\u{1b}[31m": unknown key "\u{1b}[31m""#), "{said}");
}

#[test]
fn the_words_are_these() {
    let text = "\
namespace: hello-world.com
services:
  - discoveryName: server
    appProtocol: Http
    clientAliases:
      - dnsName: server.hello-world.com
        port: \"5000\"
    endpoints:
      static:
        - { address: 127.0.0.1:9001, wieght: 3 }
    retry:
      retires: 3
      on: [conectFailure]
    tls: {}
  - discoveryName: server
    endpoints: { static: [] }
    timeout: { connectSeconds: 90 }
";
    let expected = "\
mesh.yaml:4:18: services[0].appProtocol: unknown word \"Http\"; did you mean \"http\"?
mesh.yaml:7:15: services[0].clientAliases[0].port: expected a whole number from 1 to 65535, found the text \"5000\"
    help: remove the quotes
mesh.yaml:10:38: services[0].endpoints.static[0].wieght: unknown key \"wieght\"; did you mean \"weight\"?
mesh.yaml:12:7: services[0].retry.retires: unknown key \"retires\"; did you mean \"retries\"?
mesh.yaml:13:12: services[0].retry.on[0]: unknown word \"conectFailure\"; did you mean \"connectFailure\"?
mesh.yaml:14:5: services[0].tls: not yet: this version does not do TLS between proxies, and refuses \"tls\" rather than ignore it
mesh.yaml:15:20: services[1].discoveryName: duplicate service \"server\"; it is on line 3 already
mesh.yaml:17:32: services[1].timeout.connectSeconds: expected a number above 0, at most 60, found the number 90
8 problems";
    assert_eq!(parse("mesh.yaml", text).unwrap_err().to_string(), expected);
}

#[test]
fn json_is_explained_in_its_own_words() {
    for (text, line, words) in [
        ("{\n  \"namespace\": \"a\",\n}\n", 3, "not valid JSON: key must be a string"),
        ("{\n  'namespace': 'a'\n}\n", 2, "not valid JSON: key must be a string"),
        ("{\n  \"namespace\": \"a\"", 2, "not valid JSON: EOF while parsing an object"),
        ("", 0, "the file is empty"),
        ("{\n\t\"namespace\": \"a\",\n\t\"servcies\": []\n}\n", 3, "did you mean \"services\"?"),
        ("{\n  \"namespace\": \"a\",\n  \"namespace\": \"b\"\n}\n", 3, "duplicate key"),
        ("{ \"namespace\": null }", 1, "found nothing"),
    ] {
        let problems = parse("mesh.json", text).expect_err(text);
        let first = &problems.as_slice()[0];
        assert_eq!(first.line, line, "{text}\n{problems}");
        assert!(first.to_string().contains(words), "{text}\nexpected {words} in\n{problems}");
    }
}

#[test]
fn a_thousand_problems_are_enough() {
    let text = format!("namespace: a\nservices:\n{}", "  - foo: 1\n".repeat(100_000));
    let problems = parse("mesh.yaml", &text).unwrap_err();
    assert!((1000..1010).contains(&problems.len()), "{}", problems.len());
    let last = problems.as_slice().last().unwrap();
    assert!(last.message.contains("the rest of the file was not looked at"), "{last}");
}

#[test]
fn a_bomb_is_defused() {
    // A billion laughs: ten anchors of ten aliases each.
    let mut laughs = "namespace: a\nl0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*l{}", level - 1);
        laughs.push_str(&format!("l{level}: &l{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    let deep_aliases: String = (1..200)
        .map(|i| format!("l{i}: &l{i} [*l{}]\n", i - 1))
        .fold("l0: &l0 []\n".to_owned(), |a, b| a + &b);
    let cases = [
        (laughs, "more than 1000000 values"),
        (deep_aliases, "nested deeper than 64 levels"),
        ("[".repeat(200), "nested deeper than 64 levels"),
        ("[".repeat(100_000), "nested deeper than 64 levels"),
        ("{a: ".repeat(100_000), "nested deeper than 64 levels"),
        ("- ".repeat(100_000), "nested deeper than 64 levels"),
        (format!("namespace: {}\n", "a".repeat(10_000)), "at most 253 characters, found 10000"),
        (format!("{}: a\n", "a".repeat(1_000)), "unknown key"),
        ("x".repeat(17 * 1024 * 1024), "larger than 16 MiB"),
    ];
    for (text, words) in cases {
        let problems = parse("mesh.yaml", &text).expect_err(words);
        let said = problems.to_string();
        assert!(said.contains(words), "expected {words} in {}", &said[..said.len().min(2000)]);
        assert!(said.len() < 5_000, "a message must stay short: {} bytes about {words}", said.len());
    }
    let json = "[".repeat(100_000);
    assert!(parse("mesh.json", &json).is_err());
}
