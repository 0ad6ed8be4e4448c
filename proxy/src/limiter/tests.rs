//! What the pure parts can't show: threads, channels, and those who go away at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use bowline_api::model::Limits;
use tokio::time::Instant;

use super::{Grant, Kind, Limiter, Place};

fn limiter(requests: u32, connections: u32, pending: u32) -> Arc<Limiter> {
    let limiter = Arc::new(Limiter::default());
    limiter.set(Some(&limits(requests, connections, pending)));
    limiter
}

fn limits(requests: u32, connections: u32, pending: u32) -> Limits {
    Limits {
        max_requests: requests,
        max_connections: connections,
        max_pending_requests: pending,
        ..Limits::default()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn enter(limiter: &Arc<Limiter>) -> Option<Place> {
    if limiter.try_enter() {
        return Some(Place::new(limiter, Kind::Request));
    }
    match limiter.queue(Kind::Request, 0).ok()?.until(soon()).await {
        Ok(Grant::Place(place)) => Some(place),
        _ => None,
    }
}

/// Three threads with a runtime each, as the workers are, and callers who hang up while they wait.
#[test]
fn threads_keep_to_the_limit_and_lose_nothing() {
    let limiter = limiter(4, 1, 64);
    let (inside, most, served) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (limiter, inside, most, served) = (&limiter, &inside, &most, &served);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    for round in 0..300 {
                        let callers = (0..12).map(|_| {
                            let (patience, work) = (rng.u64(1..40), rng.u32(0..4));
                            async move {
                                let call = async {
                                    let Some(place) = enter(limiter).await else { return };
                                    most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                                    for _ in 0..work {
                                        tokio::task::yield_now().await;
                                    }
                                    inside.fetch_sub(1, SeqCst);
                                    served.fetch_add(1, SeqCst);
                                    drop(place);
                                };
                                match round % 3 {
                                    // Nobody gives up half-way through its work: that would not be counted here.
                                    0 => drop(enter_or_leave(limiter, patience).await),
                                    _ => call.await,
                                }
                            }
                        });
                        join_all(callers).await;
                    }
                });
            });
        }
    });
    assert!(most.load(SeqCst) <= 4, "{} at once", most.load(SeqCst));
    assert!(served.load(SeqCst) > 1_000);
    assert_eq!((limiter.taken(Kind::Request), limiter.waiting(Kind::Request)), (0, 0));
}

async fn enter_or_leave(limiter: &Arc<Limiter>, micros: u64) -> Option<Place> {
    tokio::time::timeout(Duration::from_micros(micros), enter(limiter)).await.ok().flatten()
}

async fn join_all(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.map(|future| Some(Box::pin(future))).collect();
    std::future::poll_fn(|cx| {
        for slot in &mut futures {
            if slot.as_mut().is_some_and(|future| future.as_mut().poll(cx).is_ready()) {
                *slot = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn both_queues_together_hold_max_pending() {
    let limiter = limiter(1, 1, 2);
    let _request = enter(&limiter).await.expect("room");
    let _connection = limiter.try_connect().expect("room");
    let first = limiter.queue(Kind::Request, 0).expect("one waits");
    let _second = limiter.queue(Kind::Connection, 0).expect("two wait");
    let refused = limiter.queue(Kind::Request, 0).expect_err("three would wait");
    assert!(
        refused.detail.contains("maxRequests") && refused.detail.contains("maxPendingRequests"),
        "{refused}"
    );
    assert_eq!(limiter.shed.get(), [("queue_full", 1)]);
    drop(first);
    limiter.queue(Kind::Connection, 0).expect("there is room again");
}

#[tokio::test]
async fn a_place_that_nobody_fetches_goes_to_the_next() {
    let limiter = limiter(1, 1, 10);
    let place = enter(&limiter).await.expect("room");
    let first = limiter.queue(Kind::Request, 0).expect("it waits");
    let mut second = limiter.queue(Kind::Request, 0).expect("it waits");
    // The first is woken, and goes away before it looks.
    drop(place);
    drop(first);
    assert!(matches!(second.until(soon()).await, Ok(Grant::Place(_))));
    drop(second);
    assert_eq!(limiter.taken(Kind::Request), 0);
}

#[tokio::test]
async fn new_limits_hold_at_once() {
    let limiter = limiter(1, 1, 10);
    let held = enter(&limiter).await.expect("room");
    let mut waiting: Vec<_> = (0..3).map(|_| limiter.queue(Kind::Request, 0).expect("it waits")).collect();
    limiter.set(Some(&limits(3, 1, 0)));
    let mut places = vec![held];
    for wait in &mut waiting[..2] {
        let Ok(Grant::Place(place)) = wait.until(soon()).await else { panic!("there is room for it") };
        places.push(place);
    }
    assert_eq!((limiter.taken(Kind::Request), limiter.waiting(Kind::Request)), (3, 1));
    limiter.set(None);
    assert!(matches!(waiting[2].until(soon()).await, Ok(Grant::Place(_))));
    assert!(!limiter.counts_requests());
    drop(places);
    assert_eq!(limiter.taken(Kind::Request), 0);
}

#[tokio::test]
async fn an_idle_connection_goes_to_whom_it_is_of_use() {
    let limiter = limiter(9, 1, 10);
    let place = limiter.try_connect().expect("room");
    let mut elsewhere = limiter.queue(Kind::Connection, 7).expect("it waits");
    let mut here = limiter.queue(Kind::Connection, 8).expect("it waits");
    assert!(limiter.offer_idle(8));
    assert!(matches!(here.until(soon()).await, Ok(Grant::Idle)));
    assert!(!limiter.offer_idle(8), "nobody else is here");
    drop(place);
    assert!(matches!(elsewhere.until(soon()).await, Ok(Grant::Place(_))));
}

#[tokio::test]
async fn who_waits_too_long_is_told_how_long_it_was() {
    let limiter = limiter(1, 1, 10);
    let _held = enter(&limiter).await.expect("room");
    let mut wait = limiter.queue(Kind::Request, 0).expect("it waits");
    let refused = wait.until(Instant::now() + Duration::from_millis(20)).await.expect_err("too long");
    assert!(refused.detail.contains("has waited for 0.0"), "{refused}");
    drop(wait);
    assert_eq!(limiter.waiting(Kind::Request), 0);
}
