use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_cookie_is_found_among_others_or_else_set() {
    let cookie = Cookie { name: "sid".to_owned(), attributes: "; Path=/".to_owned() };
    let mut rng = fastrand::Rng::with_seed(7);
    let mut hashed = |pairs: &[_]| by_cookie(&cookie, &headers(pairs), &mut rng);
    let plain = hashed(&[("cookie", "sid=abc")]);
    assert_eq!(plain, Hashed { hash: xxh64(b"abc", 0), set_cookie: None });
    for found in ["a=b; sid=abc", "sid=abc;a=b", " xsid=1;sid=; sid=abc"] {
        assert_eq!(hashed(&[("cookie", found)]), plain, "{found}");
    }
    assert_eq!(hashed(&[("cookie", "a=b"), ("cookie", "sid=abc")]), plain);
    let first = hashed(&[("cookie", "xsid=abc; SID=abc; sid=")]);
    let set = first.set_cookie.as_ref().and_then(|set| set.to_str().ok()).expect("a cookie to set");
    let value = set.strip_prefix("sid=").and_then(|rest| rest.strip_suffix("; Path=/")).expect(set);
    let brought = format!("sid={value}");
    assert_eq!(first.hash, by_cookie(&cookie, &headers(&[("cookie", &brought)]), &mut rng).hash);
    let set_before = |name: &str| {
        let on = HashKey::Cookie(Cookie { name: name.to_owned(), attributes: String::new() });
        of_set(&on, first.set_cookie.as_ref().expect("a cookie to set"))
    };
    assert_eq!((set_before("sid"), set_before("si")), (Some(first.hash), None));
    assert_ne!(by_cookie(&cookie, &headers(&[]), &mut rng).set_cookie, first.set_cookie);
}

#[test]
fn the_first_forwarded_address_is_the_clients() {
    for (value, address) in [
        ("10.0.0.7", Some("10.0.0.7")),
        ("10.0.0.7, 10.0.0.8", Some("10.0.0.7")),
        ("10.0.0.7:4711", Some("10.0.0.7")),
        ("2001:db8::1 ,x", Some("2001:db8::1")),
        ("unknown, 10.0.0.8", None),
    ] {
        let found = first_forwarded(&headers(&[("x-forwarded-for", value)]));
        assert_eq!(found, address.map(|address| address.parse().unwrap()), "{value}");
    }
    assert_eq!(hash_address("::ffff:10.0.0.7".parse().unwrap()), hash_address("10.0.0.7".parse().unwrap()));
}

#[test]
fn a_parameter_is_found_by_its_whole_name() {
    assert_eq!(parameter("user=1&u=2&u=3", "u"), Some("2"));
    assert_eq!(parameter("user=1&u", "u"), None);
    assert_eq!(parameter("u=", "u"), Some(""));
}
