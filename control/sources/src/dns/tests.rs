use std::net::IpAddr;
use std::time::{Duration, Instant};

use bowline_api::model::Endpoint;
use bowline_api::vip::VipRange;

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn name() -> Name {
    Name::new(VipRange::DEFAULT)
}

fn host(name: &str, weight: u16, addresses: &[&str]) -> Host {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Host { name: name.to_owned(), port: 80, weight, addresses: Ok(addresses) }
}

fn a(addresses: &[&str], ttl: Duration) -> Outcome {
    Outcome::Found(Found { hosts: vec![host("a", 1, addresses)], ttl })
}

fn servfail() -> Outcome {
    Outcome::Failed(Failure::other("SERVFAIL"))
}

fn shown(name: &Name) -> Vec<String> {
    name.endpoints().iter().map(|e| format!("{}*{}", e.address, e.weight)).collect()
}

#[test]
fn an_answer_is_a_set() {
    let (mut name, now) = (name(), Instant::now());
    let learned = name.learn(a(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], TTL), now, 0.0);
    assert_eq!((learned.result, learned.changed, learned.news), ("ok", true, News::None));
    assert_eq!(shown(&name), ["10.0.0.1:80*1", "10.0.0.2:80*1"]);
    assert!(!name.learn(a(&["10.0.0.1", "10.0.0.2"], TTL), now, 0.0).changed);
    assert!(name.learn(a(&["10.0.0.1"], TTL), now, 0.0).changed);
    assert_eq!(name.last_good(), Some(now));
}

#[test]
fn the_ttl_is_kept_to_within_bounds() {
    let (mut name, now) = (name(), Instant::now());
    let mut wait = |seconds, spread| {
        let learned = name.learn(a(&["10.0.0.1"], Duration::from_secs(seconds)), now, spread);
        (learned.next - now).as_secs_f64()
    };
    assert_eq!(wait(30, 0.0), 30.0);
    assert_eq!(wait(0, 0.0), 1.0);
    assert_eq!(wait(u32::MAX.into(), 0.0), 300.0);
    // Jitter never asks too early: a cache on the way would have the old answer still.
    assert_eq!(wait(100, 1.0), 105.0);
}

#[test]
fn the_last_good_answer_stays_while_look_ups_fail() {
    let (mut name, now) = (name(), Instant::now());
    name.learn(a(&["10.0.0.1"], TTL), now, 0.0);
    let failures = [
        (servfail(), "failed", "SERVFAIL"),
        (Outcome::Failed(Failure::timeout()), "timeout", "no answer in time"),
        (Outcome::NoSuchName, "nxdomain", "NXDOMAIN"),
        (Outcome::Empty, "empty", "no record"),
        (a(&[], TTL), "empty", "no record"),
    ];
    for (n, (outcome, result, why)) in failures.into_iter().enumerate() {
        let learned = name.learn(outcome, now + TTL, 0.0);
        assert_eq!(learned.result, result);
        assert!(name.trouble().unwrap().contains(why), "{:?}", name.trouble());
        // Said once: the empty answer comes twice.
        assert_eq!(learned.news, if n == 4 { News::None } else { News::Trouble });
        assert_eq!(shown(&name), ["10.0.0.1:80*1"]);
    }
    assert_eq!(name.last_good(), Some(now));
    assert_eq!(name.learn(a(&["10.0.0.1"], TTL), now, 0.0).news, News::Recovered);
    assert_eq!(name.trouble(), None);
}

#[test]
fn a_name_that_was_never_there_has_no_endpoints() {
    let mut name = name();
    assert!(!name.was_asked());
    assert_eq!(name.learn(Outcome::NoSuchName, Instant::now(), 0.0).news, News::Trouble);
    assert!(name.was_asked());
    assert_eq!(name.endpoints().len(), 0);
    let learned = name.learn(a(&["10.0.0.1"], TTL), Instant::now(), 0.0);
    assert_eq!((learned.changed, learned.news), (true, News::Recovered));
}

#[test]
fn failures_in_a_row_back_off_and_a_success_starts_anew() {
    let (mut name, now) = (name(), Instant::now());
    let waits = |name: &mut Name, n| -> Vec<u64> {
        (0..n).map(|_| (name.learn(servfail(), now, 0.0).next - now).as_secs()).collect()
    };
    assert_eq!(waits(&mut name, 7), [1, 2, 4, 8, 10, 10, 10]);
    name.learn(a(&["10.0.0.1"], TTL), now, 0.0);
    assert_eq!(waits(&mut name, 2), [1, 2]);
    // For ever, without an overflow.
    for _ in 0..100 {
        assert!(name.learn(servfail(), now, 1.0).next - now <= MAX_BACKOFF.mul_f64(1.25));
    }
}

#[test]
fn what_nobody_can_be_called_at_is_left_out() {
    let (mut name, now) = (name(), Instant::now());
    name.learn(a(&["0.0.0.0", "224.0.0.1", "127.255.1.1", "::", "10.0.0.1"], TTL), now, 0.0);
    assert_eq!(shown(&name), ["10.0.0.1:80*1"]);
    assert!(name.trouble().unwrap().contains("is no endpoint"), "{:?}", name.trouble());
    // A sinkhole's answer is none.
    let learned = name.learn(a(&["0.0.0.0"], TTL), now, 0.0);
    assert_eq!((learned.result, learned.news), ("empty", News::Trouble));
    assert!(name.trouble().unwrap().starts_with("0.0.0.0:80 is no endpoint"), "{:?}", name.trouble());
    assert_eq!(shown(&name), ["10.0.0.1:80*1"]);
}

#[test]
fn an_answer_without_end_is_cut_to_the_same_endpoints_each_time() {
    let (mut name, now) = (name(), Instant::now());
    let mut many: Vec<IpAddr> = (0..3000_u32).map(|n| IpAddr::V4((0x0a00_0000 + n).into())).collect();
    let mut learn = |many: &[IpAddr]| {
        let hosts = vec![Host { addresses: Ok(many.to_vec()), ..host("a", 1, &[]) }];
        name.learn(Outcome::Found(Found { hosts, ttl: TTL }), now, 0.0).changed
    };
    assert!(learn(&many));
    many.reverse();
    assert!(!learn(&many));
    assert_eq!(name.endpoints().len(), MAX_ENDPOINTS);
    assert!(name.trouble().unwrap().contains("2000 addresses more"), "{:?}", name.trouble());
}

#[test]
fn srv_weights_keep_their_proportions() {
    let (mut name, now) = (name(), Instant::now());
    let mut weights = |given: [u16; 3]| {
        let address = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
        let hosts = (0..3).map(|n| host(address[n], given[n], &address[n..=n])).collect();
        name.learn(Outcome::Found(Found { hosts, ttl: TTL }), now, 0.0);
        name.endpoints().iter().map(|e| e.weight).collect::<Vec<_>>()
    };
    assert_eq!(weights([10, 20, 30]), [10, 20, 30]);
    assert_eq!(weights([0, 0, 0]), [1, 1, 1]);
    assert_eq!(weights([0, 5, 5]), [1, 5, 5]);
    assert_eq!(weights([60_000, 30_000, 1]), [1000, 500, 1]);
}

#[test]
fn an_srv_host_that_fails_to_resolve_keeps_its_addresses() {
    let (mut name, now) = (name(), Instant::now());
    let found =
        |second: Host| Outcome::Found(Found { hosts: vec![host("one", 1, &["10.0.0.1"]), second], ttl: TTL });
    name.learn(found(host("two", 1, &["10.0.0.2"])), now, 0.0);
    let failed = || Host { addresses: Err(Failure::timeout()), ..host("two", 1, &[]) };
    for _ in 0..2 {
        name.learn(found(failed()), now, 0.0);
        assert_eq!(shown(&name), ["10.0.0.1:80*1", "10.0.0.2:80*1"]);
        assert_eq!(name.trouble(), Some("two: no answer in time"));
    }
    // One that is gone is gone.
    let learned = name.learn(found(host("two", 1, &[])), now, 0.0);
    assert_eq!((learned.changed, learned.news), (true, News::Recovered));
    assert_eq!(shown(&name), ["10.0.0.1:80*1"]);
    // When none can be resolved, that is a failure, and all stay.
    let none = Outcome::Found(Found { hosts: vec![failed()], ttl: TTL });
    assert_eq!(name.learn(none, now, 0.0).result, "timeout");
    assert_eq!(shown(&name), ["10.0.0.1:80*1"]);
}

/// Whatever comes in whatever order: look-ups are a second apart, there are at most so many endpoints, each usable.
#[test]
fn nothing_that_a_server_says_breaks_the_bounds() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut name, now) = (name(), Instant::now());
    for _ in 0..2_000 {
        let outcome = match rng.u8(..6) {
            0 => Outcome::NoSuchName,
            1 => Outcome::Empty,
            2 => servfail(),
            _ => {
                let host = |rng: &mut fastrand::Rng| Host {
                    name: rng.u8(..3).to_string(),
                    port: rng.u16(..3),
                    weight: rng.u16(..),
                    addresses: match rng.bool() {
                        true => Ok((0..rng.usize(..400)).map(|_| IpAddr::V4(rng.u32(..).into())).collect()),
                        false => Err(Failure::timeout()),
                    },
                };
                let hosts = (0..rng.usize(..8)).map(|_| host(&mut rng)).collect();
                Outcome::Found(Found { hosts, ttl: Duration::from_secs(rng.u64(..1 << 32)) })
            }
        };
        let had = name.endpoints();
        let learned = name.learn(outcome, now, rng.f64());
        assert!(learned.next - now >= MIN_TTL && learned.next - now <= MAX_TTL.mul_f64(1.05));
        let has = name.endpoints();
        assert!(has.len() <= MAX_ENDPOINTS && has.len() >= usize::from(!had.is_empty()));
        assert_eq!(learned.changed, had != has);
        assert!(has.iter().all(|e| Endpoint::why_not(e.address, VipRange::DEFAULT).is_none()));
        assert!(has.iter().all(|e| (1..=1000).contains(&e.weight)));
    }
}
