use std::collections::BTreeMap;

use http::HeaderMap;

use super::*;

fn with_keys(keys: &[(&str, &str)]) -> Arc<Access> {
    let sha256: BTreeMap<_, _> = keys
        .iter()
        .map(|(caller, key)| {
            let hash: String =
                super::sha256(key.as_bytes()).iter().map(|byte| format!("{byte:02X}")).collect();
            ((*caller).to_owned(), hash)
        })
        .collect();
    let api_key = Some(model::ApiKey { header: "x-api-key".to_owned(), sha256 });
    Access::new(&model::Access { api_key, jwt: None }, None)
}

fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn an_api_key_is_known_by_its_hash_and_not_passed_on() {
    let access = with_keys(&[("ann", "secret-1"), ("bob", "secret-2")]);
    for key in ["secret-1", "secret-2"] {
        let mut shown = head(&[("x-api-key", key), ("x-other", "1")]);
        assert!(access.check(&shown).is_ok());
        access.keep_key(&mut shown);
        assert_eq!(shown, head(&[("x-other", "1")]));
    }
    assert_eq!(access.check(&head(&[])), Err(Denied::NoKey));
    for wrong in ["", "secret", "secret-11", "SECRET-1", "ann"] {
        assert_eq!(access.check(&head(&[("x-api-key", wrong)])), Err(Denied::WrongKey), "{wrong:?}");
    }
    let twice = head(&[("x-api-key", "wrong"), ("x-api-key", "secret-1")]);
    assert_eq!(access.check(&twice), Err(Denied::WrongKey));
    assert_eq!(with_keys(&[]).check(&head(&[("x-api-key", "")])), Err(Denied::WrongKey));
}

#[test]
fn hashes_are_read_in_either_case_and_compared_whole() {
    assert_eq!(from_hex(&"Ab".repeat(32)), Some([0xab; 32]));
    assert_eq!(from_hex(&"ab".repeat(31)), None);
    assert_eq!(from_hex(&"xy".repeat(32)), None);
    for at in 0..32 {
        let mut other = [7; 32];
        other[at] ^= 128;
        assert!(!is_same(&[7; 32], &other), "{at}");
    }
    assert!(is_same(&[7; 32], &[7; 32]));
}

#[test]
fn without_keys_nobody_can_tell() {
    let jwks = model::Jwks::File("/nowhere/keys.json".to_owned());
    let text = r#"{ "jwks": { "file": "/nowhere/keys.json" }, "claimsToHeaders": { "sub": "x-user" } }"#;
    let jwt: model::Jwt = serde_json::from_str(text).unwrap();
    assert_eq!(jwt.jwks, jwks);
    let access = Access::new(&model::Access { api_key: None, jwt: Some(jwt) }, None);
    assert_eq!(access.check(&head(&[])), Err(Denied::NoToken));
    for other in ["Basic YTpi", "Bearer", "Bearer\u{9}x"] {
        assert_eq!(access.check(&head(&[("authorization", other)])), Err(Denied::NoToken), "{other}");
    }
    let denied = access.check(&head(&[("authorization", "Bearer a.b.c")])).unwrap_err();
    assert!(matches!(&denied, Denied::NoKeySet(_)), "{denied:?}");
    let mut spoofed = head(&[("x-user", "root"), ("x-user", "root")]);
    access.clean(&mut spoofed);
    assert!(spoofed.is_empty());
}

#[test]
fn every_way_to_be_denied_has_a_word() {
    for denied in [Denied::NoKey, Denied::WrongKey, Denied::NoToken, Denied::NoKeySet(String::new())] {
        assert!(Denied::WHYS.contains(&denied.why()), "{denied:?}");
    }
    assert_eq!(std::collections::BTreeSet::from(Denied::WHYS).len(), Denied::WHYS.len());
}

#[test]
fn what_is_remembered_ends_with_its_time_and_with_its_keys() {
    let table = remembered::Remembered::default();
    let granted: Arc<Granted> = Arc::default();
    table.put([1; 32], 1, 10.0, granted.clone(), 0.0);
    assert!(table.get(&[1; 32], 1, 9.9).is_some());
    assert!(table.get(&[1; 32], 1, 10.0).is_none(), "it has expired");
    assert!(table.get(&[1; 32], 2, 5.0).is_none(), "the keys are others");
    assert!(table.get(&[2; 32], 1, 5.0).is_none());
    table.put([2; 32], 2, 10.0, granted.clone(), 0.0);
    table.put([3; 32], 1, 10.0, granted, 0.0);
    assert!(table.get(&[1; 32], 2, 5.0).is_none());
    assert!(table.get(&[3; 32], 2, 5.0).is_none(), "verified with keys that are gone");
}
