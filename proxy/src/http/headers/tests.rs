//! What happens to heads.

use http::{Request, Version};

use super::*;

fn head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> request::Parts {
    build(Request::builder()).body(()).unwrap().into_parts().0
}

/// The authority of a head, by a look of its own.
fn authority(head: &request::Parts) -> Result<Option<&str>, BadHead> {
    super::authority(head, &scan(&head.headers))
}

#[test]
fn the_absolute_target_wins_over_host() {
    let head = head(|b| b.uri("http://server.hello-world.com:5000/x").header("host", "other"));
    assert_eq!(authority(&head), Ok(Some("server.hello-world.com:5000")));
}

#[test]
fn authorities_that_cannot_be_trusted_are_refused() {
    assert!(authority(&head(|b| b.uri("/"))).is_err());
    assert!(authority(&head(|b| b.uri("/").header("host", "a").header("host", "a"))).is_err());
    assert!(authority(&head(|b| b.uri("/").header("host", "user@a"))).is_err());
    assert!(authority(&head(|b| b.uri("/").header("host", "a b"))).is_err());
    assert!(authority(&head(|b| b.uri("/").header("host", ""))).is_err());
    let differing = head(|b| b.version(Version::HTTP_2).uri("http://a/").header("host", "b"));
    assert!(authority(&differing).is_err());
    let agreeing = head(|b| b.version(Version::HTTP_2).uri("http://a/").header("host", "A"));
    assert_eq!(authority(&agreeing), Ok(Some("a")));
    assert_eq!(authority(&head(|b| b.version(Version::HTTP_10).uri("/"))), Ok(None));
}

#[test]
fn only_paths_are_forwarded() {
    assert!(check_target(&head(|b| b.method("CONNECT").uri("a:80"))).is_err());
    assert!(check_target(&head(|b| b.uri("name"))).is_err());
    assert!(check_target(&head(|b| b.uri("*"))).is_err());
    assert!(check_target(&head(|b| b.method("OPTIONS").uri("*"))).is_ok());
    assert!(check_target(&head(|b| b.uri("http://a"))).is_ok());
    assert!(check_target(&head(|b| b.uri("/a?b"))).is_ok());
}

#[test]
fn one_hop_headers_go_and_the_rest_stays() {
    let mut head = head(|b| {
        b.uri("/")
            .header("connection", "close, x-hop, content-length")
            .header("connection", "x-second")
            .header("x-second", "1")
            .header("keep-alive", "timeout=5")
            .header("x-hop", "1")
            .header("content-length", "3")
            .header("te", "trailers")
            .header("x-end", "2")
    });
    let scan = scan(&head.headers);
    strip_request(&mut head, &scan);
    let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "te", "x-end"]);
}

#[test]
fn to_http1_writes_host_and_joins_cookies() {
    let mut head = head(|b| {
        b.version(Version::HTTP_2).uri("http://a:1/p?q").header("cookie", "x=1").header("cookie", "y=2")
    });
    to_http1(&mut head).unwrap();
    assert_eq!(head.uri, "/p?q");
    assert_eq!(head.headers["host"], "a:1");
    assert_eq!(head.headers["cookie"], "x=1; y=2");
    assert_eq!(head.version, Version::HTTP_11);
}

#[test]
fn to_http2_takes_host_as_authority() {
    let mut head = head(|b| b.uri("/p?q").header("host", "a:1"));
    to_http2(&mut head).unwrap();
    assert_eq!(head.uri, "http://a:1/p?q");
    assert!(!head.headers.contains_key("host"));
}

#[test]
fn request_ids_are_version_4_uuids() {
    let seed = 7;
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..100 {
        let id = request_id(&mut rng);
        let id = id.to_str().unwrap();
        let groups: Vec<_> = id.split('-').collect();
        assert_eq!(groups.iter().map(|g| g.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        assert!(groups[2].starts_with('4'), "{id}");
        assert!(groups[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
    assert_ne!(request_id(&mut rng), request_id(&mut rng));
}

#[test]
fn a_request_id_of_the_apps_stays() {
    let mut head = head(|b| b.uri("/").header("x-request-id", "mine"));
    let scan = scan(&head.headers);
    ensure_request_id(&mut head.headers, &scan, &mut fastrand::Rng::with_seed(1));
    assert_eq!(head.headers["x-request-id"], "mine");
}
