use super::*;

fn tokens(text: &str) -> Result<Tokens, String> {
    Tokens::parse("tokens.yaml", text.as_bytes().to_vec())
}

const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn there() -> Option<IpAddr> {
    Some("10.0.0.7".parse().unwrap())
}

#[test]
fn without_tokens_only_this_host_may() {
    let none = Tokens::default();
    assert_eq!(none.check("server", &[], HERE), Ok(()));
    assert_eq!(none.check("server", &[], Some("::ffff:127.0.0.1".parse().unwrap())), Ok(()));
    for peer in [there(), None] {
        let why = none.check("server", &["whatever"], peer).unwrap_err();
        assert!(matches!(&why, Denied::Forbidden(why) if why.contains("--registration-tokens")), "{why}");
    }
}

#[test]
fn a_token_holds_for_its_service() {
    let tokens = tokens("server: aaaaaaaa\nother: bbbbbbbb\n").unwrap();
    assert_eq!(tokens.check("server", &["aaaaaaaa"], there()), Ok(()));
    // One for the connection and one for registering may come together.
    assert_eq!(tokens.check("server", &["cccccccc", "aaaaaaaa"], there()), Ok(()));
    for wrong in ["bbbbbbbb", "aaaaaaa", "aaaaaaaaa", "aaaaaaab", ""] {
        // Being on this host is no excuse once there are tokens.
        assert!(matches!(tokens.check("server", &[wrong], HERE), Err(Denied::Forbidden(_))), "{wrong}");
    }
    assert!(matches!(tokens.check("server", &[], HERE), Err(Denied::Missing(_))));
    assert!(matches!(tokens.check("third", &["aaaaaaaa"], HERE), Err(Denied::Forbidden(_))));
}

#[test]
fn a_list_in_a_variable_is_a_file_in_one_line() {
    for list in [
        "server: aaaaaaaa; other: bbbbbbbb",
        "server: aaaaaaaa\nother: bbbbbbbb",
        r#"{"server": "aaaaaaaa", "other": "bbbbbbbb"}"#,
    ] {
        let tokens = Tokens::of_list(list).unwrap();
        assert_eq!(tokens.check("server", &["aaaaaaaa"], there()), Ok(()), "{list}");
        assert_eq!(tokens.check("other", &["bbbbbbbb"], there()), Ok(()), "{list}");
    }
    assert!(Tokens::of_list("server").unwrap_err().contains("--registration-token-list"));
}

#[test]
fn the_token_for_all_is_not_for_those_with_their_own() {
    let tokens = tokens(r#"{ "*": "anyanyany", "server": "aaaaaaaa" }"#).unwrap();
    assert_eq!(tokens.check("third", &["anyanyany"], there()), Ok(()));
    assert!(tokens.check("server", &["anyanyany"], there()).is_err());
}

#[test]
fn a_bad_file_is_explained_without_its_secrets() {
    for (text, words) in [
        ("", "expected a mapping"),
        ("{}", "no token in it"),
        ("[secretsecret]", "expected a mapping"),
        ("server: 12345678", "write it in quotes"),
        ("server: secret", "at least 8 characters"),
        ("server: 'secret secret'", "without spaces"),
        ("server: a\n server: b", "tokens.yaml:"),
    ] {
        let why = tokens(text).unwrap_err();
        assert!(why.contains(words) && !why.contains("secret") && !why.contains("1234"), "{text}: {why}");
    }
    assert!(!format!("{:?}", tokens("server: secretsecret").unwrap()).contains("secret"));
    assert!(Tokens::load(Path::new("/does/not/exist")).unwrap_err().contains("can't read it"));
}

#[test]
fn bearers() {
    assert_eq!(bearer("Bearer abc"), Some("abc"));
    assert_eq!(bearer("bearer  abc"), Some("abc"));
    for other in ["abc", "Basic abc", "Bearer ", ""] {
        assert_eq!(bearer(other), None, "{other}");
    }
}
