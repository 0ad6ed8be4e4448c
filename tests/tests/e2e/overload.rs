//! Three times the load that a service bears: what it can do, it does for callers who are still there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bowline_tests::{Backend, Crowd, Raw, Reply, authority, service, url};
use tokio::task::JoinSet;

/// What the endpoint can do: so many at a time, each for so long. Some 400 a second.
const DESKS: u32 = 8;
const WORK: Duration = Duration::from_millis(20);
/// Rounds of measuring, in which capacity and goodput take turns: what else goes on on the machine hits both.
const ROUNDS: u32 = 4;

fn get() -> String {
    format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", url("server", "/"), authority("server"))
}

/// Clients who send their next request when the last one is answered: GETs a second.
async fn capacity(proxy: SocketAddr, time: Duration) -> f64 {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..DESKS + 4 {
        clients.spawn(async move {
            let mut raw = Raw::connect(proxy).await;
            let mut count = 0;
            while begun.elapsed() < time {
                raw.call(get()).await.expect(200);
                count += 1;
            }
            count
        });
    }
    let count: u32 = clients.join_all().await.into_iter().sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// What came of open-loop load.
#[derive(Default)]
struct Outcome {
    good: u32,
    shed: Vec<Duration>,
    gone: u32,
    other: Vec<u16>,
}

/// Callers who come at a steady rate, whatever becomes of the others, and hang up when their patience is over.
async fn overload(proxy: SocketAddr, per_second: f64, time: Duration, patience: Duration) -> (Outcome, f64) {
    let idle = Arc::new(Mutex::new(Vec::<Raw>::new()));
    let mut callers = JoinSet::new();
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < time {
        // Sleeping is not exact: as many as are due by now.
        while f64::from(sent) < begun.elapsed().as_secs_f64() * per_second {
            sent += 1;
            let idle = idle.clone();
            callers.spawn(async move {
                let mine = || idle.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = mine().pop();
                let begun = Instant::now();
                let call = async {
                    let mut raw = match kept {
                        Some(raw) => raw,
                        None => Raw::connect(proxy).await,
                    };
                    let answer = raw.call(get()).await;
                    mine().push(raw);
                    answer.status
                };
                // Whoever hangs up takes the connection along.
                let status = tokio::time::timeout(patience, call).await.ok();
                (status, begun.elapsed())
            });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let mut outcome = Outcome::default();
    for (status, elapsed) in callers.join_all().await {
        match status {
            Some(200) => outcome.good += 1,
            Some(503) => outcome.shed.push(elapsed),
            Some(other) => outcome.other.push(other),
            None => outcome.gone += 1,
        }
    }
    let goodput = f64::from(outcome.good) / took;
    (outcome, goodput)
}

async fn holds(pending: u32, patience: Duration, most_of_the_shed_within: Option<Duration>) {
    let crowd = Crowd::with_desks(DESKS as usize);
    let inside = crowd.clone();
    let backend = Backend::start(move |_| Reply::ok("well").through(&inside, WORK)).await;
    let server = service("server").at(&backend).limits(1_000, pending, DESKS);
    let proxy = crate::proxy().mesh(server).start().await;
    let mut ratios = VecDeque::new();
    let mut shed = Vec::new();
    for _ in 0..ROUNDS {
        let capacity = capacity(proxy.outbound, Duration::from_millis(800)).await;
        let (outcome, goodput) =
            overload(proxy.outbound, 3.0 * capacity, Duration::from_secs(2), patience).await;
        assert!(outcome.other.is_empty(), "nothing else happens: {:?}", outcome.other);
        eprintln!(
            "capacity {capacity:.0} a second, goodput {goodput:.0}, {} shed, {} hung up",
            outcome.shed.len(),
            outcome.gone
        );
        shed.extend(outcome.shed);
        ratios.push_back(goodput / capacity);
    }
    let mut ratios: Vec<_> = ratios.into();
    ratios.sort_by(f64::total_cmp);
    // The machine may be busy with something else in one of them.
    let median = (ratios[1] + ratios[2]) / 2.0;
    assert!(median >= 0.9, "{ratios:.2?} of the capacity");
    shed.sort_unstable();
    if let Some(within) = most_of_the_shed_within {
        let median = shed[shed.len() / 2];
        assert!(median <= within, "half of those turned away knew it only after {median:?}");
    }
    proxy.metric_is("bowline_limit_in_use", &[("limit", "requests")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_short_queue_the_rest_is_turned_away_at_once() {
    holds(16, Duration::from_secs(1), Some(Duration::from_millis(50))).await;
}

/// In a queue of a thousand, order alone would let everybody wait for two seconds and a half.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_long_queue_the_work_goes_to_callers_who_are_still_there() {
    holds(1_000, Duration::from_millis(400), None).await;
}
