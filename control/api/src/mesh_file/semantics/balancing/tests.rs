use crate::parse;

/// What is said of a service with these keys.
fn said(keys: &str) -> String {
    let text = format!(
        "namespace: a\nservices:\n- discoveryName: server\n  clientAliases: [{{ port: 80 }}]\n  endpoints: \
         {{ static: [{{ address: '10.0.0.1:1', zone: eu-a, metadata: {{ version: v1, tier: x }} }}, \
         {{ address: '10.0.0.2:1', zone: eu-b, metadata: {{ version: v2 }} }}] }}\n  {keys}\n"
    );
    parse("m.yaml", &text).err().map(|problems| problems.to_string()).unwrap_or_default()
}

#[test]
fn what_fits_is_taken() {
    for keys in [
        "loadBalancing: { policy: ringHash, hash: { header: x-user }, boundedLoadPercent: 125 }",
        "loadBalancing: { policy: maglev, hash: { cookie: { name: sid, path: /a } } }",
        "loadBalancing: { policy: maglev, hash: path }",
        "loadBalancing: { zoneWeights: { eu-a: 0, eu-b: 1 }, subset: { version: v1, tier: x } }",
        "healthCheck: { http: { path: '/a/b?c=d%20', host: 'a.b:80' } }",
        "{ appProtocol: tcp, loadBalancing: { policy: maglev, hash: clientAddress } }",
    ] {
        let keys = keys
            .strip_prefix("{ ")
            .and_then(|keys| keys.strip_suffix(" }"))
            .map_or_else(|| keys.to_owned(), |both| both.replacen(", ", "\n  ", 1));
        assert_eq!(said(&keys), "", "{keys}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_line() {
    for (keys, place, words) in [
        ("loadBalancing: { policy: ringHash }", "6:28: services[0].loadBalancing.policy", "nothing to hash"),
        ("loadBalancing: { hash: path }", "6:26: services[0].loadBalancing.hash", "only ringHash and maglev"),
        ("loadBalancing: { boundedLoadPercent: 90 }", "loadBalancing.boundedLoadPercent", "no room"),
        ("loadBalancing: { boundedLoadPercent: 120 }", "loadBalancing.boundedLoadPercent", "only ringHash"),
        ("loadBalancing: { policy: maglev, hash: { header: 'a b' } }", "hash.header", "the name of a header"),
        (
            "loadBalancing: { policy: maglev, hash: { cookie: { name: 'a;b' } } }",
            "hash.cookie",
            "name of a cookie",
        ),
        (
            "loadBalancing: { policy: maglev, hash: { cookie: { name: a, path: '/;x' } } }",
            "hash.cookie",
            "path of a cookie",
        ),
        ("loadBalancing: { policy: maglev, hash: { query: '' } }", "hash.query", "has no name"),
        ("loadBalancing: { zoneWeights: { eu-a: 0 } }", "loadBalancing.zoneWeights", "weight 0"),
        (
            "loadBalancing: { zoneWeights: { eu-c: 1 } }",
            "loadBalancing.zoneWeights",
            "did you mean \"eu-a\"?",
        ),
        ("loadBalancing: { subset: { version: v3 } }", "subset.version", "did you mean \"v1\"?"),
        ("loadBalancing: { subset: { versoin: v1 } }", "subset.versoin", "did you mean \"version\"?"),
        (
            "loadBalancing: { subset: { version: v2, tier: x } }",
            "loadBalancing.subset",
            "none has all of them",
        ),
        ("healthCheck: { http: { path: '/a b' } }", "healthCheck.http.path", "can't be asked for"),
        ("healthCheck: { http: { path: /, host: 'a/b' } }", "healthCheck.http.host", "is no host"),
        (
            "appProtocol: tcp\n  loadBalancing: { policy: maglev, hash: path }",
            "loadBalancing.hash",
            "has no requests to hash",
        ),
    ] {
        let said = said(keys);
        assert!(
            said.contains(place) && said.contains(words),
            "expected {place} {words} for {keys} in\n{said}"
        );
    }
}
