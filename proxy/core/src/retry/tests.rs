use super::*;

/// What the design's table says about a request.
#[derive(Copy, Clone, Debug, PartialEq)]
enum Row {
    Unprocessed,
    Broken,
    Status,
    Grpc,
}

const STATUSES: [u16; 3] = [502, 503, 504];

fn failures() -> Vec<(Row, Failure)> {
    use Failure::*;
    let mut all = vec![
        (Row::Unprocessed, Connect),
        (Row::Unprocessed, RefusedStream),
        (Row::Unprocessed, GoAwayUnprocessed),
        (Row::Unprocessed, NothingWritten),
        (Row::Broken, Reset),
        (Row::Broken, ClosedWithoutResponse),
        (Row::Broken, AttemptTimeout),
        (Row::Grpc, GrpcUnavailable { response_started: false }),
        (Row::Grpc, GrpcUnavailable { response_started: true }),
    ];
    all.extend(STATUSES.map(|status| (Row::Status, Status(status))));
    all
}

fn first(failure: Failure) -> Attempt {
    Attempt {
        number: 1,
        failure,
        idempotent: true,
        grpc: false,
        body: Body::Unread,
        another_endpoint: true,
        time_left: None,
    }
}

fn decide(policy: &RetryPolicy, attempt: &Attempt) -> Verdict {
    policy.decide(attempt, &mut fastrand::Rng::with_seed(1), || true)
}

fn is_retry(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Retry(_))
}

/// The whole table: each failure × idempotent or not × gRPC or not × `on` named or default.
#[test]
fn follows_the_table_row_by_row() {
    for (row, failure) in failures() {
        for idempotent in [true, false] {
            for grpc in [true, false] {
                for on_is_explicit in [true, false] {
                    let policy = RetryPolicy { on_is_explicit, ..RetryPolicy::default() };
                    let attempt = Attempt { idempotent, grpc, ..first(failure) };
                    let left_column = idempotent && !grpc;
                    let stop = match (row, failure) {
                        (Row::Unprocessed, _) => None,
                        (Row::Broken | Row::Status, _) if left_column || on_is_explicit => None,
                        (Row::Broken | Row::Status, _) => Some(StopReason::NotIdempotent),
                        (Row::Grpc, _) if !grpc => Some(StopReason::NotInPolicy),
                        (Row::Grpc, Failure::GrpcUnavailable { response_started: true }) => {
                            Some(StopReason::ResponseStarted)
                        }
                        (Row::Grpc, _) => None,
                    };
                    match (stop, decide(&policy, &attempt)) {
                        (None, Verdict::Retry(_)) => {}
                        (Some(reason), Verdict::Stop(got)) if reason == got => {}
                        (_, got) => panic!("{attempt:?}, explicit {on_is_explicit}: {got:?}, want {stop:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn each_failure_needs_its_word_in_on() {
    let word = |failure| match failure {
        Failure::Connect => RetryOn::CONNECT_FAILURE,
        Failure::NothingWritten => RetryOn::CONNECT_FAILURE | RetryOn::RESET,
        Failure::RefusedStream | Failure::GoAwayUnprocessed => RetryOn::REFUSED_STREAM,
        Failure::Reset | Failure::ClosedWithoutResponse => RetryOn::RESET,
        Failure::AttemptTimeout => RetryOn::TIMEOUT,
        Failure::GrpcUnavailable { .. } => RetryOn::UNAVAILABLE,
        Failure::Status(_) => 0,
    };
    for (_, failure) in failures() {
        if failure == (Failure::GrpcUnavailable { response_started: true }) {
            continue;
        }
        let grpc = matches!(failure, Failure::GrpcUnavailable { .. });
        let attempt = Attempt { grpc, ..first(failure) };
        for bit in 0..5 {
            let on = RetryOn::NONE.with(1 << bit);
            let policy = RetryPolicy { on, ..RetryPolicy::default() };
            assert_eq!(is_retry(decide(&policy, &attempt)), on.has(word(failure)), "{failure:?}, bit {bit}");
        }
        for status in STATUSES {
            let policy = RetryPolicy { on: RetryOn::NONE.with_status(status), ..RetryPolicy::default() };
            let expected = failure == Failure::Status(status);
            assert_eq!(is_retry(decide(&policy, &attempt)), expected, "{failure:?}, {status}");
        }
    }
}

#[test]
fn statuses_are_a_set_from_100_to_599() {
    for named in [100, 163, 164, 429, 503, 599] {
        let on = RetryOn::NONE.with_status(named);
        for status in 0..=u16::MAX {
            assert_eq!(on.has_status(status), status == named, "{named}: {status}");
        }
    }
    assert_eq!(RetryOn::NONE.with_status(99).with_status(600), RetryOn::NONE);
    let default = RetryOn::default();
    let named: Vec<u16> = (0..=u16::MAX).filter(|status| default.has_status(*status)).collect();
    assert_eq!(named, STATUSES);
    assert!(!default.has_status(500), "500 isn't tried again unless it's named");
}

#[test]
fn a_status_that_is_named_holds_for_post_too() {
    let on = RetryOn::NONE.with_status(429);
    let policy = RetryPolicy { on, on_is_explicit: true, ..RetryPolicy::default() };
    let attempt = Attempt { idempotent: false, ..first(Failure::Status(429)) };
    assert!(is_retry(decide(&policy, &attempt)));
    assert_eq!(decide(&RetryPolicy::default(), &attempt), Verdict::Stop(StopReason::NotInPolicy));
}

#[test]
fn attempts_are_one_more_than_retries() {
    for retries in 0..5 {
        let policy = RetryPolicy { retries, ..RetryPolicy::default() };
        for number in 1..8 {
            let verdict = decide(&policy, &Attempt { number, ..first(Failure::Reset) });
            if number <= retries {
                assert!(is_retry(verdict), "{number} of {retries}");
            } else {
                assert_eq!(verdict, Verdict::Stop(StopReason::NoRetriesLeft), "{number} of {retries}");
            }
        }
    }
}

#[test]
fn body_must_be_there_to_be_sent_again() {
    for (_, failure) in failures().into_iter().filter(|(row, _)| *row != Row::Grpc) {
        let policy = RetryPolicy::default();
        let with = |body| decide(&policy, &Attempt { body, ..first(failure) });
        assert!(is_retry(with(Body::Unread)) && is_retry(with(Body::Kept)), "{failure:?}");
        assert_eq!(with(Body::TooLarge), Verdict::Stop(StopReason::BodyTooLarge), "{failure:?}");
    }
}

#[test]
fn budget_is_asked_last_and_only_for_a_retry_that_would_be_made() {
    let rng = &mut fastrand::Rng::with_seed(1);
    let policy = RetryPolicy::default();
    let verdict = policy.decide(&first(Failure::Reset), rng, || false);
    assert_eq!(verdict, Verdict::Stop(StopReason::BudgetExhausted));
    let hopeless = [
        Attempt { number: 3, ..first(Failure::Reset) },
        Attempt { idempotent: false, ..first(Failure::Reset) },
        Attempt { body: Body::TooLarge, ..first(Failure::Reset) },
        Attempt { time_left: Some(Duration::ZERO), ..first(Failure::Reset) },
        first(Failure::Status(500)),
    ];
    for attempt in hopeless {
        let verdict = policy.decide(&attempt, rng, || panic!("withdrawn for {attempt:?}"));
        assert!(matches!(verdict, Verdict::Stop(_)));
    }
}

#[test]
fn no_retry_without_time() {
    let policy = RetryPolicy::default();
    let with = |time_left| decide(&policy, &Attempt { time_left, number: 2, ..first(Failure::Reset) });
    assert_eq!(with(Some(Duration::ZERO)), Verdict::Stop(StopReason::DeadlineExceeded));
    let Verdict::Retry(wait) = with(Some(Duration::from_nanos(5))) else { panic!("there's time left") };
    assert!(wait <= Duration::from_nanos(5), "{wait:?}");
}

#[test]
fn first_retry_elsewhere_is_immediate_when_nothing_was_done() {
    // Each with the number of the attempt and whether there's another endpoint → immediate?
    for (row, failure) in failures() {
        let grpc = row == Row::Grpc;
        if failure == (Failure::GrpcUnavailable { response_started: true }) {
            continue;
        }
        for (number, another_endpoint) in [(1, true), (1, false), (2, true)] {
            let attempt = Attempt { number, another_endpoint, grpc, ..first(failure) };
            let all_zero = (0..50).all(|seed| {
                let mut rng = fastrand::Rng::with_seed(seed);
                RetryPolicy::default().decide(&attempt, &mut rng, || true) == Verdict::Retry(Duration::ZERO)
            });
            let connection = matches!(failure, Failure::GoAwayUnprocessed | Failure::NothingWritten);
            let expected = number == 1 && row == Row::Unprocessed && (another_endpoint || connection);
            assert_eq!(all_zero, expected, "{attempt:?}");
        }
    }
}

#[test]
fn backoff_is_between_nothing_and_its_doubling_limit() {
    let (base, max) = (Duration::from_millis(25), Duration::from_millis(250));
    let mut rng = fastrand::Rng::with_seed(5);
    for (number, limit) in
        [(0, 25), (1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (6, 250), (u32::MAX, 250)]
    {
        let limit = Duration::from_millis(limit);
        let waits: Vec<_> = (0..4000).map(|_| backoff(base, max, number, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= limit), "attempt {number}");
        let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
        assert!(least < limit / 100 && most > limit * 99 / 100, "attempt {number}: {least:?}..{most:?}");
        let mean = waits.iter().sum::<Duration>() / waits.len() as u32;
        assert!(mean > limit * 47 / 100 && mean < limit * 53 / 100, "attempt {number}: mean {mean:?}");
    }
    assert_eq!(backoff(Duration::ZERO, max, 3, &mut rng), Duration::ZERO);
    assert!(backoff(Duration::MAX, Duration::MAX, 60, &mut rng) > Duration::ZERO);
}

#[test]
fn idempotent_methods_are_those_of_the_rfc() {
    use Method as M;
    for method in [M::GET, M::HEAD, M::PUT, M::DELETE, M::OPTIONS, M::TRACE] {
        assert!(is_idempotent(&method), "{method}");
    }
    let custom = M::from_bytes(b"PURGE").unwrap();
    for method in [M::POST, M::PATCH, M::CONNECT, custom] {
        assert!(!is_idempotent(&method), "{method}");
    }
}

#[test]
fn attempt_timeout_is_eight_times_p99_within_bounds() {
    let auto = AttemptTimeout::Auto;
    let millis = Duration::from_millis;
    for (p99, limit) in [(1, 250), (31, 250), (32, 256), (100, 800), (624, 4992), (626, 5000), (60_000, 5000)]
    {
        assert_eq!(auto.of(true, false, Some(millis(p99))), Some(millis(limit)), "{p99} ms");
    }
    assert_eq!(auto.of(true, false, Some(Duration::MAX)), Some(millis(5000)));
    assert_eq!(auto.of(true, false, None), Some(millis(5000)));
    assert_eq!(auto.of(true, true, Some(millis(1))), None, "not on the last attempt");
    assert_eq!(auto.of(false, false, Some(millis(1))), None, "idempotent requests only");
    for (idempotent, last) in [(true, true), (true, false), (false, true), (false, false)] {
        assert_eq!(AttemptTimeout::Fixed(millis(7)).of(idempotent, last, None), Some(millis(7)));
        assert_eq!(AttemptTimeout::Off.of(idempotent, last, Some(millis(7))), None);
    }
}

#[test]
fn names_of_reasons_are_stable() {
    use StopReason::*;
    let names = [
        (NotInPolicy, "not_in_policy"),
        (NotIdempotent, "not_idempotent"),
        (ResponseStarted, "response_started"),
        (BodyTooLarge, "body_too_large"),
        (NoRetriesLeft, "no_retries_left"),
        (DeadlineExceeded, "deadline_exceeded"),
        (BudgetExhausted, "budget_exhausted"),
    ];
    for (reason, name) in names {
        assert_eq!(reason.as_str(), name);
    }
}
