use http::HeaderValue;

use super::*;
use crate::hash::xxh64;

fn path(rule: PathRule) -> Rule {
    Rule { path: rule, ..Rule::default() }
}

fn table(rules: &[Rule]) -> Table {
    Table::new(rules).expect("compiles")
}

/// Asks for `path?query` at a host.
fn find(table: &Table, host: &str, target: &str, headers: &HeaderMap) -> Option<usize> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    table.find(&Request { method: &Method::GET, host, path, query, headers })
}

fn fits(rule: Rule, target: &str) -> bool {
    find(&table(&[rule]), "server", target, &HeaderMap::new()) == Some(0)
}

#[test]
fn paths() {
    let (exact, prefix) =
        (|p: &str| path(PathRule::Exact(p.into())), |p: &str| path(PathRule::Prefix(p.into())));
    let (template, regex) =
        (|p: &str| path(PathRule::Template(p.into())), |p: &str| path(PathRule::Regex(p.into())));
    for (rule, yes, no) in [
        (Rule::default(), &["/", "/a/b", "*"][..], &[][..]),
        (exact("/a"), &["/a", "/a?b=c"], &["/", "/a/", "/A", "/a/b"]),
        (prefix("/v1"), &["/v1", "/v1/", "/v1/a"], &["/v10", "/v", "/a/v1"]),
        (prefix("/v1/"), &["/v1/", "/v1/a"], &["/v1", "/v10/"]),
        (prefix("/"), &["/", "/a", "//"], &["*"]),
        (
            template("/users/{id}"),
            &["/users/7", "/users/%20"],
            &["/users", "/users/", "/users/7/", "/users/7/a", "/user/7"],
        ),
        (
            template("/users/{id}/orders/{order}"),
            &["/users/7/orders/8"],
            &["/users//orders/8", "/users/7/orders"],
        ),
        (template("/files/{*rest}"), &["/files/a", "/files/a/b/"], &["/files", "/files/"]),
        (template("/"), &["/"], &["", "/a"]),
        (template("/users/"), &["/users/"], &["/users", "/users//", "/users/7", "/user"]),
        (
            template("/users/{id}/edit"),
            &["/users/7/edit"],
            &["/users/7/edited", "/users/7/edit/", "/users/7/"],
        ),
        (regex("/v[0-9]+/.*"), &["/v1/", "/v22/a"], &["/v/", "/a/v1/", "/v1"]),
        (regex("/a|/b"), &["/a", "/b"], &["/ab", "/a/b"]),
    ] {
        for target in yes {
            assert!(fits(rule.clone(), target), "{rule:?} fits {target}");
        }
        for target in no {
            assert!(!fits(rule.clone(), target), "{rule:?} does not fit {target}");
        }
    }
}

#[test]
fn the_first_that_fits_decides() {
    let rules = [
        path(PathRule::Exact("/api/info".into())),
        Rule { method: Some("POST".into()), ..path(PathRule::Prefix("/api".into())) },
        path(PathRule::Prefix("/api".into())),
    ];
    let (table, none) = (table(&rules), HeaderMap::new());
    assert_eq!(find(&table, "", "/api/info", &none), Some(0));
    assert_eq!(find(&table, "", "/api/x", &none), Some(2));
    assert_eq!(find(&table, "", "/other", &none), None);
    let request = Request { method: &Method::POST, host: "", path: "/api/x", query: "", headers: &none };
    assert_eq!(table.find(&request), Some(1));
    assert_eq!(table.mismatch(0, &request), Some(Mismatch::Path));
    assert_eq!(table.mismatch(1, &request), None);
}

#[test]
fn hosts() {
    for (rule, yes, no) in [
        (
            "server.hello-world.com",
            &["server.hello-world.com", "SERVER.hello-world.com:5000", "server.hello-world.com."][..],
            &["hello-world.com", "a.server.hello-world.com", ""][..],
        ),
        (
            "*.hello-world.com",
            &["a.hello-world.com", "a.b.Hello-World.com:80"],
            &["hello-world.com", ".hello-world.com", "ahello-world.com"],
        ),
        ("[::1]", &["[::1]", "[::1]:80"], &["::1"]),
    ] {
        let table = table(&[Rule { hosts: vec!["elsewhere".into(), rule.into()], ..Rule::default() }]);
        for host in yes {
            assert_eq!(find(&table, host, "/", &HeaderMap::new()), Some(0), "{rule} fits {host}");
        }
        for host in no {
            assert_eq!(find(&table, host, "/", &HeaderMap::new()), None, "{rule} does not fit {host}");
        }
    }
}

#[test]
fn headers() {
    let mut headers = HeaderMap::new();
    headers.append("x-user", HeaderValue::from_static("anna"));
    headers.append("x-user", HeaderValue::from_static("bert"));
    headers.append("x-odd", HeaderValue::from_bytes(b"\xffabc").expect("a value"));
    let exact = |text: &str| TextRule::Exact(text.into());
    for (name, rule, fits) in [
        ("X-User", exact("anna"), true),
        ("x-user", exact("bert"), true),
        ("x-user", exact("Anna"), false),
        ("x-user", exact("anna, bert"), false),
        ("x-user", TextRule::Prefix("be".into()), true),
        ("x-user", TextRule::Prefix("e".into()), false),
        ("x-user", TextRule::Regex("[a-n]+".into()), true),
        ("x-user", TextRule::Regex("n".into()), false),
        ("x-user", TextRule::Present, true),
        ("x-user", TextRule::Absent, false),
        ("x-none", TextRule::Present, false),
        ("x-none", TextRule::Absent, true),
        ("x-none", exact(""), false),
        ("x-odd", TextRule::Regex(".*".into()), false),
        ("x-odd", TextRule::Present, true),
    ] {
        let table = table(&[Rule { headers: vec![(name.into(), rule.clone())], ..Rule::default() }]);
        assert_eq!(find(&table, "", "/", &headers).is_some(), fits, "{name} {rule:?}");
    }
    let both = Rule {
        headers: vec![("x-user".into(), TextRule::Present), ("x-none".into(), TextRule::Present)],
        ..Rule::default()
    };
    let table = table(&[both]);
    let request = Request { method: &Method::GET, host: "", path: "/", query: "", headers: &headers };
    assert_eq!(table.mismatch(0, &request), Some(Mismatch::Header("x-none")));
}

#[test]
fn queries() {
    let exact = |text: &str| TextRule::Exact(text.into());
    let long = format!("/?q=%41{}", "a".repeat(2_000));
    for (target, name, rule, expected) in [
        ("/?a=1&b=2", "b", exact("2"), true),
        ("/?a=1&b=2", "b", exact("1"), false),
        ("/?b=1&b=2", "b", exact("2"), true),
        ("/?b=a%20b", "b", exact("a b"), true),
        ("/?b=a+b", "b", exact("a b"), true),
        ("/?b=a%2Bb", "b", exact("a+b"), true),
        ("/?b=%C3%A4", "b", exact("ä"), true),
        ("/?b=100%", "b", exact("100%"), true),
        ("/?b=%zz", "b", exact("%zz"), true),
        ("/?a%5B%5D=1", "a[]", exact("1"), true),
        ("/?b=%41bc", "b", TextRule::Prefix("Ab".into()), true),
        ("/?b=%41", "b", TextRule::Prefix("Ab".into()), false),
        ("/?b=%41+c", "b", TextRule::Regex("[A-Z] c".into()), true),
        ("/?b=%FF", "b", TextRule::Regex(".*".into()), false),
        ("/?b", "b", TextRule::Present, true),
        ("/?b", "b", exact(""), true),
        ("/?a", "b", TextRule::Present, false),
        ("/?a", "b", TextRule::Absent, true),
        ("/?b=%20", "b", TextRule::Absent, false),
        ("/", "", TextRule::Present, false),
        (&long, "q", TextRule::Regex("A.*".into()), false),
        (&long, "q", TextRule::Prefix("Aaa".into()), true),
    ] {
        let rule = Rule { query: vec![(name.into(), rule)], ..Rule::default() };
        assert_eq!(fits(rule.clone(), target), expected, "{target} {rule:?}");
    }
}

#[test]
fn every_wrong_rule_is_told() {
    let rules = [
        path(PathRule::Regex("(".into())),
        path(PathRule::Regex("a)|(b".into())),
        path(PathRule::Prefix("v1".into())),
        Rule::default(),
        path(PathRule::Template("/a{id}".into())),
        path(PathRule::Template("/{*rest}/a".into())),
        path(PathRule::Template("/{a}/{a}".into())),
        path(PathRule::Template("/{}".into())),
        Rule { method: Some("G T".into()), ..Rule::default() },
        Rule { hosts: vec!["a.*".into()], ..Rule::default() },
        Rule { hosts: vec!["*a".into()], ..Rule::default() },
        Rule { headers: vec![("x y".into(), TextRule::Present)], ..Rule::default() },
        Rule { query: vec![("q".into(), TextRule::Regex("[".into()))], ..Rule::default() },
    ];
    let errors = Table::new(&rules).expect_err("wrong");
    assert_eq!(
        errors.iter().map(|error| error.route).collect::<Vec<_>>(),
        [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    );
    assert_eq!(errors[2].to_string(), "route 2: the path `v1` does not begin with /");
    assert!(table(&[]).is_empty());
}

fn rewritten(rule: &PathRule, rewrite: &PathRewrite, target: &str) -> Option<String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Rewrite::new(rule, rewrite).expect("compiles").apply(path, query)
}

#[test]
fn rewrites() {
    let prefix = |old: &str, new: &str, target: &str| {
        rewritten(&PathRule::Prefix(old.into()), &PathRewrite::Prefix(new.into()), target).expect("changed")
    };
    // The legacy table's nginx rule.
    assert_eq!(prefix("/api/auth/", "/api/v1/auth/", "/api/auth/login?a=b"), "/api/v1/auth/login?a=b");
    for (old, new, target, expected) in [
        ("/v1", "/", "/v1/a", "/a"),
        ("/v1", "/", "/v1", "/"),
        ("/v1", "", "/v1/a", "/a"),
        ("/v1", "", "/v1", "/"),
        ("/v1/", "/v2", "/v1/a", "/v2/a"),
        ("/v1/", "/v2", "/v1/", "/v2"),
        ("/v1", "/v2/", "/v1/a/", "/v2/a/"),
        ("/", "/base", "/a?", "/base/a?"),
        ("/v1", "/v2", "/v1?x=/v1", "/v2?x=/v1"),
    ] {
        assert_eq!(prefix(old, new, target), expected, "{old} → {new} of {target}");
    }
}

#[test]
fn rewrites_of_whole_paths_and_templates() {
    let new = |text: &str| PathRewrite::Path(text.into());
    let template = PathRule::Template("/users/{id}/{*rest}".into());
    let path = rewritten(&template, &new("/v2/{id}/u/{rest}"), "/users/7/a/b?q");
    assert_eq!(path.as_deref(), Some("/v2/7/u/a/b?q"));
    assert_eq!(rewritten(&PathRule::Any, &new("/health"), "/x?a").as_deref(), Some("/health?a"));
    assert_eq!(rewritten(&PathRule::Any, &new("/health?b"), "/x?a").as_deref(), Some("/health?b"));
    assert_eq!(rewritten(&PathRule::Any, &PathRewrite::Keep, "/x?a"), None);
    let exact = rewritten(&PathRule::Exact("/a".into()), &PathRewrite::Prefix("/b".into()), "/a");
    assert_eq!(exact.as_deref(), Some("/b"));
    for (rule, rewrite) in [
        (template, new("/{name}")),
        (PathRule::Any, PathRewrite::Prefix("/v1".into())),
        (PathRule::Any, new("v1")),
        (PathRule::Prefix("/a".into()), PathRewrite::Prefix("b".into())),
    ] {
        assert!(Rewrite::new(&rule, &rewrite).is_err(), "{rule:?} {rewrite:?}");
    }
}

/// What a prefix rule fits, its rewrite can change; and the result begins with the new prefix and one slash.
#[test]
fn prefixes_and_their_rewrites_agree() {
    let parts = ["", "/", "/a", "/a/", "/ab", "/b/c", "//", "/a/b/c/"];
    for old in parts.iter().filter(|part| !part.is_empty()) {
        for new in parts {
            let rule = PathRule::Prefix((*old).into());
            let rewrite = Rewrite::new(&rule, &PathRewrite::Prefix(new.into())).expect("compiles");
            for below in parts {
                let target = format!("{old}{below}");
                let made = rewrite.apply(&target, None);
                assert_eq!(made.is_some(), fits(path(rule.clone()), &target));
                if let Some(made) = made {
                    assert!(made.starts_with('/') && made.starts_with(new), "{target}: {made}");
                    let rest = below.trim_start_matches('/');
                    assert!(made.ends_with(rest), "{target}: {made}");
                }
            }
        }
    }
}

#[test]
fn splits_follow_their_weights() {
    println!("seed 4");
    let mut rng = fastrand::Rng::with_seed(4);
    for weights in [&[90, 10][..], &[1], &[0, 1, 0, 3], &[1_000_000, 1, 500_000], &[u32::MAX, u32::MAX]] {
        let split = Split::new(weights);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let (mut random, mut keyed) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        for key in 0..100_000_u64 {
            random[split.pick(&mut rng).expect("a target")] += 1.0 / 100_000.0;
            let hash = xxh64(&key.to_le_bytes(), 0);
            keyed[split.pick_for(hash).expect("a target")] += 1.0 / 100_000.0;
        }
        for ((random, keyed), weight) in random.iter().zip(&keyed).zip(weights) {
            let fair = f64::from(*weight) / sum;
            assert!((random - fair).abs() < 0.01 && (keyed - fair).abs() < 0.01, "{random} {keyed} {fair}");
            assert!(*weight > 0 || (*random == 0.0 && *keyed == 0.0));
        }
    }
    assert_eq!(Split::new(&[]).pick(&mut rng), None);
    assert_eq!(Split::new(&[0]).pick(&mut rng), None);
    assert_eq!(Split::new(&[0, 0]).pick_for(7), None);
}

/// A canary that grows from 1 to 5 to 50 %: who was on it stays on it.
#[test]
fn keys_stay_while_a_share_grows() {
    let splits = [[99, 1], [95, 5], [50, 50], [1, 3], [0, 10]].map(|weights| Split::new(&weights));
    let mut moved = 0;
    for key in 0..20_000_u64 {
        let hash = xxh64(&key.to_le_bytes(), 0);
        let targets: Vec<_> = splits.iter().map(|split| split.pick_for(hash).expect("a target")).collect();
        assert!(targets.is_sorted(), "{targets:?}");
        moved += u32::from(targets[0] != targets[4]);
    }
    assert!((19_500..20_000).contains(&moved), "{moved}");
}

#[test]
fn a_look_up_among_many_is_as_one_rule_at_a_time() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let names = ["x-a", "x-b", "x-c"];
    let text = |rng: &mut fastrand::Rng| match rng.u8(..4) {
        0 => TextRule::Absent,
        1 => TextRule::Present,
        _ => TextRule::Exact(rng.u8(..3).to_string()),
    };
    for _ in 0..2000 {
        let rules: Vec<Rule> = (0..rng.usize(1..8))
            .map(|_| {
                let headers = (0..rng.usize(..3)).map(|_| (names[rng.usize(..3)].to_owned(), text(&mut rng)));
                Rule { headers: headers.collect(), ..Rule::default() }
            })
            .collect();
        let mut headers = HeaderMap::new();
        for _ in 0..rng.usize(..4) {
            headers.append(names[rng.usize(..3)], HeaderValue::from(rng.u16(..3)));
        }
        let alone = rules
            .iter()
            .position(|rule| find(&table(std::slice::from_ref(rule)), "", "/", &headers).is_some());
        assert_eq!(find(&table(&rules), "", "/", &headers), alone, "{rules:?} {headers:?}");
    }
}

#[test]
fn a_table_knows_whether_it_looks_at_hosts() {
    let with_host = Rule { hosts: vec!["server".into()], ..Rule::default() };
    assert!(!table(&[Rule::default()]).looks_at_hosts());
    assert!(table(&[Rule::default(), with_host]).looks_at_hosts());
}
