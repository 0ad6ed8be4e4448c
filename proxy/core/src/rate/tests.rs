use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(nanos: u64) -> Tick {
    Tick(1_000 * SECOND + nanos)
}

fn passes(bucket: &Bucket, rate: &Rate, now: Tick, asked: usize) -> usize {
    (0..asked).filter(|_| bucket.take(rate, now).verdict == Verdict::Go).count()
}

#[test]
fn a_burst_goes_at_once_and_the_rate_after_it() {
    let (bucket, rate) = (Bucket::new(), Rate::per_second(100, 10));
    assert_eq!(passes(&bucket, &rate, at(0), 50), 10);
    assert_eq!(passes(&bucket, &rate, at(9_999_999), 50), 0);
    assert_eq!(passes(&bucket, &rate, at(10_000_000), 50), 1);
    assert_eq!(passes(&bucket, &rate, at(60_000_000), 50), 5);
    assert_eq!(passes(&bucket, &rate, at(3_600 * SECOND), 50), 10, "no more than full");
}

#[test]
fn headers_tell_the_truth() {
    let (bucket, rate) = (Bucket::new(), Rate::per_second(2, 3));
    let halves = |n: u64| Duration::from_millis(500 * n);
    assert_eq!(bucket.take(&rate, at(0)), Taken { verdict: Verdict::Go, remaining: 2, reset: halves(1) });
    assert_eq!(bucket.take(&rate, at(0)).remaining, 1);
    assert_eq!(bucket.take(&rate, at(0)), Taken { verdict: Verdict::Go, remaining: 0, reset: halves(3) });
    let refused = Taken { verdict: Verdict::Refused(halves(1)), remaining: 0, reset: halves(3) };
    assert_eq!(bucket.take(&rate, at(0)), refused);
    assert_eq!(bucket.take(&rate, at(0)), refused, "being refused costs nothing");
    assert_eq!(bucket.take(&rate, at(SECOND / 2)).verdict, Verdict::Go, "as told");
}

/// nginx: `limit_req zone=one rate=10r/s burst=4`, and with `delay=2`.
#[test]
fn queued_requests_are_spaced_evenly_and_bounded() {
    let wait = |millis| Verdict::Wait(Duration::from_millis(millis));
    for (at_once, expected) in [
        (1, [Verdict::Go, wait(100), wait(200), wait(300), wait(400)]),
        (3, [Verdict::Go, Verdict::Go, Verdict::Go, wait(100), wait(200)]),
    ] {
        let (bucket, rate) = (Bucket::new(), Rate::per_second(10, 5).queued(at_once));
        let verdicts: Vec<_> = (0..5).map(|_| bucket.take(&rate, at(0)).verdict).collect();
        assert_eq!(verdicts, expected);
        assert_eq!(expected[4], Verdict::Wait(rate.longest_wait()));
        assert_eq!(bucket.take(&rate, at(0)).verdict, Verdict::Refused(Duration::from_millis(100)));
    }
}

#[test]
fn a_new_rate_holds_at_once() {
    let (bucket, slow, fast) =
        (Bucket::new(), Rate::new(10, Duration::from_secs(60), 10), Rate::per_second(1_000, 5));
    assert_eq!(passes(&bucket, &slow, at(0), 20), 10);
    assert_eq!(passes(&bucket, &fast, at(0), 20), 0);
    assert_eq!(bucket.take(&fast, at(0)).verdict, Verdict::Refused(Duration::from_millis(1)));
    assert_eq!(passes(&bucket, &fast, at(60 * SECOND), 20), 5);
}

/// In each stretch of time: not more than burst + rate × time, and under pressure not less than that but for one.
#[test]
fn keeps_the_rate_in_every_stretch() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (per_second, burst) = (rng.u32(1..5_000), rng.u32(1..200));
        let (bucket, rate) = (Bucket::new(), Rate::per_second(per_second, burst));
        let (mut now, mut passed) = (0_u64, VecDeque::<u64>::new());
        for _ in 0..20_000 {
            now += rng.u64(0..SECOND / u64::from(per_second));
            if bucket.take(&rate, at(now)).verdict == Verdict::Go {
                passed.push_back(now);
            }
        }
        let all = passed.len() as f64;
        let evenly = now as f64 / 1e9 * f64::from(per_second);
        assert!(all + 2.0 >= evenly, "{all} of {evenly}");
        for (i, first) in passed.iter().enumerate().step_by(7) {
            for j in [i + 1, i + 10, i + 100, i + 1_000, i + 5_000] {
                let Some(last) = passed.get(j) else { break };
                let most = f64::from(burst) + (last - first) as f64 / 1e9 * f64::from(per_second);
                assert!((j - i + 1) as f64 <= most + 1.0, "{} in {} ns", j - i + 1, last - first);
            }
        }
    }
}

#[test]
fn threads_together_get_no_more() {
    let (bucket, rate) = (Bucket::new(), Rate::per_second(1, 10_000));
    let (passed, together) = (AtomicUsize::new(0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                passed.fetch_add(passes(&bucket, &rate, at(0), 5_000), Relaxed);
            });
        }
    });
    assert_eq!(passed.into_inner(), 10_000);
}

#[test]
fn each_key_has_its_own_bucket() {
    let mut rng = fastrand::Rng::with_seed(7);
    let (table, hasher, rate) = (Keyed::new(4_096), Hasher::new(&mut rng), Rate::per_second(1, 3));
    for round in 0..5 {
        for client in 0..500_u32 {
            let hash = hasher.address(IpAddr::from(client.to_be_bytes()));
            let verdict = table.take(hash, &rate, at(0)).verdict;
            assert_eq!(verdict == Verdict::Go, round < 3, "client {client} in round {round}");
        }
    }
    assert_eq!(table.in_use(at(0)), 500);
    assert_eq!(table.in_use(at(3 * SECOND)), 0);
}

#[test]
fn addresses_are_what_a_subscriber_has() {
    let hasher = Hasher::new(&mut fastrand::Rng::with_seed(1));
    let hash = |text: &str| hasher.address(text.parse().expect("an address"));
    assert_eq!(hash("2001:db8:1:2::1"), hash("2001:db8:1:2:ffff::2"));
    assert_ne!(hash("2001:db8:1:2::1"), hash("2001:db8:1:3::1"));
    assert_eq!(hash("::ffff:10.0.0.1"), hash("10.0.0.1"));
    assert_ne!(hash("10.0.0.1"), hash("10.0.0.2"));
    let other = Hasher::new(&mut fastrand::Rng::with_seed(2));
    assert_ne!(hasher.bytes(b"key"), other.bytes(b"key"), "not to be foreseen");
}

/// A flood of keys that are never seen again doesn't give one that is being limited a new bucket, as long as the flood
/// is no more than what full buckets have room for.
#[test]
fn idle_keys_go_first() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (table, rate) = (Keyed::new(1_024), Rate::per_second(10, 10));
        let greedy = rng.u64(..);
        let mut passed = 0;
        for tick in 0..100_000_u64 {
            // A thousand keys a second, each of which is idle again after 100 ms.
            let now = at(tick * SECOND / 1_000);
            table.take(rng.u64(..), &rate, now);
            passed += u32::from(table.take(greedy, &rate, now).verdict == Verdict::Go);
        }
        assert!((1_000..=1_012).contains(&passed), "{passed} in 100 s at 10 a second");
    }
}

/// Against a plain map: no key gets more than its rate, while the table has room.
#[test]
fn agrees_with_a_plain_map() {
    for seed in 0..10 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let (table, rate) = (Keyed::new(8_192), Rate::per_second(rng.u32(1..20), rng.u32(1..10)));
        let hashes: Vec<u64> = (0..1_000).map(|_| rng.u64(..)).collect();
        let mut map: HashMap<u64, Bucket> = HashMap::new();
        let mut now = 0;
        for _ in 0..50_000 {
            now += rng.u64(0..200_000);
            let hash = hashes[rng.usize(0..hashes.len())];
            let expected = map.entry(hash).or_default().take(&rate, at(now));
            assert_eq!(table.take(hash, &rate, at(now)), expected);
        }
    }
}

/// Full of keys that are all in use: still bounded, and the one forgotten had the most left.
#[test]
fn a_full_table_forgets_the_fullest_bucket() {
    let (table, rate) = (Keyed::new(8), Rate::per_second(1, 100));
    assert_eq!(table.capacity(), 8);
    for key in 1..=8_u64 {
        for _ in 0..key * 5 {
            table.take(key, &rate, at(0));
        }
    }
    assert_eq!(table.take(9, &rate, at(0)).remaining, 99, "a new one is full");
    for key in 2..=8 {
        assert_eq!(u64::from(table.take(key, &rate, at(0)).remaining), 99 - key * 5, "kept");
    }
    assert_eq!(table.in_use(at(0)), 8);
}

#[test]
fn threads_on_few_keys_get_no_more() {
    let (table, rate) = (Keyed::new(256), Rate::per_second(1, 1_000));
    let hashes: Vec<u64> = (0..16).map(|i: u64| (i + 1) << 32 | i).collect();
    for hash in &hashes {
        table.take(*hash, &rate, at(0));
    }
    let (passed, together) = (AtomicUsize::new(0), Barrier::new(4));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                for hash in hashes.iter().cycle().take(16 * 500) {
                    let go = table.take(*hash, &rate, at(0)).verdict == Verdict::Go;
                    passed.fetch_add(usize::from(go), Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 16 * 999);
}
