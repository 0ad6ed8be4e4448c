use http::HeaderName;

use super::*;

fn grpc(status: u16, headers: &[(&str, &str)], trailers: &[(&str, &str)]) -> Verdict {
    let map = |lines: &[(&str, &str)]| {
        let line =
            |&(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        lines.iter().map(line).collect::<HeaderMap>()
    };
    let status = StatusCode::from_u16(status).unwrap();
    let answer = Answer { status, headers: map(headers), body: Vec::new(), trailers: map(trailers) };
    answer.verdict(Protocol::Grpc)
}

fn is_later(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Later { .. })
}

#[test]
fn each_status_of_grpc_has_its_verdict() {
    let taken = Verdict::Taken { rejected: 0, why: String::new() };
    assert_eq!(grpc(200, &[], &[("grpc-status", "0")]), taken);
    let later: Vec<u32> = (1..=17)
        .filter(|status| is_later(&grpc(200, &[], &[("grpc-status", &status.to_string())])))
        .collect();
    assert_eq!(later, [1, 4, 10, 11, 14, 15]);
    // A call that fails at once has it in the headers.
    let verdict = grpc(200, &[("grpc-status", "14"), ("grpc-message", "full\t")], &[]);
    assert_eq!(verdict, Verdict::Later { why: "gRPC status 14: full".to_owned(), after: None });
    assert!(is_later(&grpc(503, &[], &[])) && !is_later(&grpc(404, &[], &[])));
}

#[test]
fn a_broken_retry_info_is_none() {
    let with = |details| grpc(200, &[], &[("grpc-status", "8"), ("grpc-status-details-bin", details)]);
    for details in ["", "%", "AAAA", "GgA", "GgA="] {
        assert!(matches!(with(details), Verdict::Never { .. }), "{details}");
    }
}

#[test]
fn what_is_said_is_shown_in_part_and_in_one_line() {
    assert_eq!(words(b" a\nb "), Some("a b".to_owned()));
    assert_eq!(words(&[0xff]), None);
    assert_eq!(words("x".repeat(1000).as_bytes()).map(|words| words.len()), Some(MAX_WORDS));
}
