use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_api::model::{Jwks, Jwt, JwtAlgorithm, Seconds};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;

/// RFC 7515, appendix A: the payload of A.1, A.2, A.3 and A.5. It expires at 1300819380.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Ql\
    L-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WT\
    BEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDT\
    W9gb54h4FRWyuXpoQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W\
    2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB\
    _eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
    wlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const A3_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const IN_TIME: f64 = 1_300_819_379.0;
const NOW: f64 = 1_800_000_000.0;

fn asked(algorithms: &[JwtAlgorithm]) -> Jwt {
    Jwt {
        jwks: Jwks::File("keys.json".to_owned()),
        issuer: None,
        audiences: Vec::new(),
        scopes: Vec::new(),
        algorithms: algorithms.to_vec(),
        header: "authorization".to_owned(),
        claims_to_headers: std::collections::BTreeMap::new(),
        leeway_seconds: Seconds::new(0),
    }
}

fn keys(list: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": list }).to_string().as_bytes()).unwrap()
}

fn rsa() -> Value {
    json!({ "kty": "RSA", "n": A2_N, "e": "AQAB" })
}

fn p256() -> Value {
    let (x, y) =
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
}

/// A compact token of a head, the payload of the RFC, and a signature.
fn compact(head: &str, signature: &str) -> Vec<u8> {
    format!("{}.{PAYLOAD}.{signature}", URL_SAFE_NO_PAD.encode(head)).into_bytes()
}

fn signer(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(signer: &Ed25519KeyPair, id: Option<&str>) -> Value {
    let x = URL_SAFE_NO_PAD.encode(signer.public_key());
    let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    if let Some(id) = id {
        key["kid"] = json!(id);
    }
    key
}

fn sign(signer: &Ed25519KeyPair, head: &str, claims: &str) -> Vec<u8> {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes()));
    format!("{text}.{signature}").into_bytes()
}

/// What becomes of these claims, signed as they should be.
fn outcome(claims: &str, asked: &Jwt) -> Result<Verified, Bad> {
    let signer = signer(1);
    verify(&sign(&signer, r#"{"alg":"EdDSA"}"#, claims), &keys(&[public(&signer, None)]), asked, NOW)
}

#[test]
fn tokens_of_rfc_7515_are_good_until_they_expire() {
    let (rs, es) = (asked(&[JwtAlgorithm::Rs256]), asked(&[JwtAlgorithm::Es256]));
    let a2 = compact(r#"{"alg":"RS256"}"#, A2_SIGNATURE);
    let a3 = compact(r#"{"alg":"ES256"}"#, A3_SIGNATURE);
    for (token, asked, other) in [(&a2, &rs, &es), (&a3, &es, &rs)] {
        let set = keys(&[rsa(), p256()]);
        let good = verify(token, &set, asked, IN_TIME).unwrap();
        assert_eq!(good.claims["iss"], "joe");
        assert_eq!(good.until, 1_300_819_380.0);
        assert_eq!(verify(token, &set, asked, IN_TIME + 1.0), Err(Bad::Expired));
        assert_eq!(verify(token, &set, other, IN_TIME), Err(Bad::Algorithm));
        assert_eq!(verify(token, &keys(&[]), asked, IN_TIME), Err(Bad::UnknownKey));
        let late = Jwt { leeway_seconds: Seconds::new(60), ..asked.clone() };
        assert!(verify(token, &set, &late, IN_TIME + 60.0).is_ok());
        assert_eq!(verify(token, &set, &late, IN_TIME + 61.0), Err(Bad::Expired));
        // Any bit of what is signed.
        let mut changed = token.clone();
        changed[40] ^= 1;
        assert!(matches!(verify(&changed, &set, asked, IN_TIME), Err(Bad::Signature | Bad::Malformed)));
    }
}

#[test]
fn rfc_8037_s_signature_is_good() {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let set = keys(&[json!({ "kty": "OKP", "crv": "Ed25519", "x": x })]);
    let key = set.candidates(JwtAlgorithm::EdDsa, None).next().unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(key.has_signed(JwtAlgorithm::EdDsa, message, &signature));
    assert!(!key.has_signed(JwtAlgorithm::EdDsa, &message[1..], &signature));
}

#[test]
fn the_mesh_file_says_how_tokens_are_signed_and_they_don_t() {
    let all = asked(&[
        JwtAlgorithm::Rs256,
        JwtAlgorithm::Rs384,
        JwtAlgorithm::Rs512,
        JwtAlgorithm::Ps256,
        JwtAlgorithm::Es256,
        JwtAlgorithm::Es384,
        JwtAlgorithm::EdDsa,
    ]);
    let set = keys(&[rsa(), p256(), json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMko" })]);
    assert_eq!(set.len(), 2, "a shared secret is no key here");
    // RFC 7519, 6.1, and the ways to write it.
    for none in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":""}"#, r#"{"alg":"rs256"}"#] {
        assert_eq!(verify(&compact(none, ""), &set, &all, IN_TIME), Err(Bad::Algorithm), "{none}");
    }
    // RFC 7515, A.1; and the same with the public key as the secret.
    let a1 =
        compact("{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(verify(&a1, &set, &all, IN_TIME), Err(Bad::Algorithm));
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(A2_N).unwrap());
    let text = format!("{}.{PAYLOAD}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
    let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&hmac, text.as_bytes()));
    assert_eq!(verify(format!("{text}.{tag}").as_bytes(), &set, &all, IN_TIME), Err(Bad::Algorithm));
    // A key of one kind, a signature of another.
    for (head, signature) in [
        (r#"{"alg":"PS256"}"#, A2_SIGNATURE),
        (r#"{"alg":"RS512"}"#, A2_SIGNATURE),
        (r#"{"alg":"RS256"}"#, A3_SIGNATURE),
        (r#"{"alg":"ES256"}"#, A2_SIGNATURE),
        (r#"{"alg":"RS256"}"#, ""),
        (r#"{"alg":"ES256"}"#, &"A".repeat(86)),
    ] {
        assert_eq!(verify(&compact(head, signature), &set, &all, IN_TIME), Err(Bad::Signature), "{head}");
    }
    // Keys that are for something else.
    for (name, value) in [("use", json!("enc")), ("key_ops", json!(["encrypt"])), ("alg", json!("RS512"))] {
        let mut key = rsa();
        key[name] = value;
        let token = compact(r#"{"alg":"RS256"}"#, A2_SIGNATURE);
        assert_eq!(verify(&token, &keys(&[key]), &all, IN_TIME), Err(Bad::UnknownKey), "{name}");
    }
}

#[test]
fn the_key_id_finds_the_key_and_without_one_all_are_tried() {
    let (a, b, c) = (signer(1), signer(2), signer(3));
    let asked = asked(&[JwtAlgorithm::EdDsa]);
    let claims = r#"{"exp":1900000000}"#;
    let both = keys(&[public(&a, Some("a")), public(&b, Some("b"))]);
    let with = |id: &str| format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#);
    let of = |signer, head: &str, set: &Keys| {
        verify(&sign(signer, head, claims), set, &asked, NOW).map(|good| good.until)
    };
    assert_eq!(of(&b, &with("b"), &both), Ok(1_900_000_000.0));
    assert_eq!(of(&b, &with("a"), &both), Err(Bad::Signature));
    assert_eq!(of(&b, &with("c"), &both), Err(Bad::UnknownKey));
    let plain = r#"{"alg":"EdDSA"}"#;
    assert!(of(&b, plain, &both).is_ok(), "several keys, no id");
    assert_eq!(of(&c, plain, &both), Err(Bad::Signature));
    let one = keys(&[public(&a, Some("a"))]);
    assert!(of(&a, plain, &one).is_ok(), "one key, no id");
    assert!(of(&a, &with("x"), &keys(&[public(&a, None)])).is_ok(), "a key without an id");
    assert_eq!(of(&a, r#"{"alg":"EdDSA","kid":1}"#, &one), Err(Bad::Malformed));
}

#[test]
fn times_are_numbers_and_there_is_an_end() {
    let asked = asked(&[JwtAlgorithm::EdDsa]);
    let leeway = Jwt { leeway_seconds: Seconds::new(60), ..asked.clone() };
    for (claims, without, with) in [
        (r#"{}"#, Some(Bad::NoExpiry), Some(Bad::NoExpiry)),
        (r#"{"exp":null}"#, Some(Bad::Malformed), Some(Bad::Malformed)),
        (r#"{"exp":"1900000000"}"#, Some(Bad::Malformed), Some(Bad::Malformed)),
        (r#"{"exp":[1900000000]}"#, Some(Bad::Malformed), Some(Bad::Malformed)),
        (r#"{"exp":1900000000.5}"#, None, None),
        (r#"{"exp":-1}"#, Some(Bad::Expired), Some(Bad::Expired)),
        (r#"{"exp":1799999941}"#, Some(Bad::Expired), None),
        (r#"{"exp":1799999940}"#, Some(Bad::Expired), Some(Bad::Expired)),
        (r#"{"exp":1900000000,"nbf":1800000000}"#, None, None),
        (r#"{"exp":1900000000,"nbf":1800000060}"#, Some(Bad::NotYet), None),
        (r#"{"exp":1900000000,"nbf":1800000061}"#, Some(Bad::NotYet), Some(Bad::NotYet)),
        (r#"{"exp":1900000000,"nbf":"soon"}"#, Some(Bad::Malformed), Some(Bad::Malformed)),
    ] {
        assert_eq!(outcome(claims, &asked).err(), without, "{claims}");
        assert_eq!(outcome(claims, &leeway).err(), with, "{claims}");
    }
}

#[test]
fn a_token_is_for_somebody_and_something() {
    let mut asked = asked(&[JwtAlgorithm::EdDsa]);
    asked.issuer = Some("https://id.test/".to_owned());
    asked.audiences = vec!["shop".to_owned(), "store".to_owned()];
    asked.scopes = vec!["read".to_owned(), "write".to_owned()];
    let good =
        json!({ "exp": 1_900_000_000, "iss": "https://id.test/", "aud": "shop", "scope": "write read" });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        outcome(&claims.to_string(), &asked).err()
    };
    assert_eq!(with("x", json!(1)), None);
    assert_eq!(with("aud", json!(["other", "store"])), None);
    assert_eq!(with("scp", json!(["a"])), None, "it has them in scope");
    for (name, value, why) in [
        ("iss", json!("https://id.test"), Bad::Issuer),
        ("iss", json!(["https://id.test/"]), Bad::Issuer),
        ("aud", json!("other"), Bad::Audience),
        ("aud", json!("shop store"), Bad::Audience),
        ("aud", json!([]), Bad::Audience),
        ("aud", json!({ "shop": 1 }), Bad::Audience),
        ("scope", json!("read"), Bad::Scope),
        ("scope", json!("readwrite"), Bad::Scope),
        ("scope", Value::Null, Bad::Scope),
    ] {
        assert_eq!(with(name, value.clone()), Some(why), "{name}: {value}");
    }
    let mut listed = good.clone();
    listed.as_object_mut().unwrap().remove("scope");
    listed["scp"] = json!(["write", "read"]);
    assert_eq!(outcome(&listed.to_string(), &asked).err(), None);
}

#[test]
fn what_can_t_be_read_is_refused_and_nothing_breaks() {
    let asked = asked(&[JwtAlgorithm::EdDsa]);
    let signer = signer(1);
    let set = keys(&[public(&signer, None)]);
    let head = r#"{"alg":"EdDSA"}"#;
    let claims = r#"{"exp":1900000000}"#;
    let good = String::from_utf8(sign(&signer, head, claims)).unwrap();
    let deep = format!("{{\"exp\":1900000000,\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let twice = r#"{"exp":1900000000,"sub":"ann","sub":"root"}"#;
    let crit = r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#;
    let twice_head = r#"{"alg":"none","alg":"EdDSA"}"#;
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        good.replace('.', ".."),
        good.rsplit_once('.').unwrap().0.to_owned(),
        format!("{}.{}", "A".repeat(20_000), good),
        String::from_utf8(sign(&signer, head, &deep)).unwrap(),
        String::from_utf8(sign(&signer, head, twice)).unwrap(),
        String::from_utf8(sign(&signer, head, "[]")).unwrap(),
        String::from_utf8(sign(&signer, head, "{\"exp\":1900000000")).unwrap(),
        String::from_utf8(sign(&signer, head, "{\"exp\":1900000000} ,")).unwrap(),
        String::from_utf8(sign(&signer, crit, claims)).unwrap(),
        String::from_utf8(sign(&signer, twice_head, claims)).unwrap(),
        String::from_utf8(sign(&signer, "[]", claims)).unwrap(),
        String::from_utf8(sign(&signer, "{}", claims)).unwrap(),
    ] {
        let short: String = token.chars().take(60).collect();
        assert_eq!(verify(token.as_bytes(), &set, &asked, NOW), Err(Bad::Malformed), "{short}");
    }
    // Cut anywhere, and any byte another one: never good.
    let good = good.into_bytes();
    for cut in 0..good.len() {
        assert!(verify(&good[..cut], &set, &asked, NOW).is_err(), "cut at {cut}");
        let mut changed = good.clone();
        changed[cut] = if changed[cut] == b'x' { b'y' } else { b'x' };
        assert!(verify(&changed, &set, &asked, NOW).is_err(), "changed at {cut}");
    }
    assert!(verify(&good, &set, &asked, NOW).is_ok());
}

#[test]
fn only_plain_claims_have_a_header() {
    for (value, text) in [
        (json!("ann"), Some("ann")),
        (json!("ä"), Some("ä")),
        (json!(7), Some("7")),
        (json!(-1.5), Some("-1.5")),
        (json!(true), Some("true")),
        (json!(null), None),
        (json!(["a"]), None),
        (json!({ "a": 1 }), None),
    ] {
        assert_eq!(said(&value), Ok(text.map(str::to_owned)), "{value}");
    }
    for control in ["a\r\nx-admin: 1", "a\tb", "\u{0}", "\u{7f}", "\u{85}"] {
        assert_eq!(said(&json!(control)), Err(Bad::Claim), "{control:?}");
    }
}

#[test]
fn what_is_no_key_set_is_none() {
    for text in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":1}"] {
        assert!(Keys::parse(text.as_bytes()).is_err(), "{text}");
    }
    // Keys that can't be used are left out.
    let odd = [
        json!({}),
        json!(1),
        json!({ "kty": "RSA", "n": "!", "e": "AQAB" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" }),
    ];
    assert!(keys(&odd).is_empty());
    assert_eq!(keys(&[odd.to_vec(), vec![rsa()]].concat()).len(), 1);
}
