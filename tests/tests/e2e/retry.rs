//! The retry table of the design, row by row, over HTTP/1.1 (HTTP/2 and gRPC: `retry_h2`): what is tried again, for whom, where, and how often.

use std::time::{Duration, Instant};

use bowline_tests::sockets::refusing;
use bowline_tests::{Answer, Backend, Proxy, Received, Reply, service};
use serde_json::{Value, json};

const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];
const NOT_IDEMPOTENT: [&str; 2] = ["POST", "PATCH"];

/// A proxy before two backends of which the first in turn misbehaves and the second answers. Which one the balancer
/// takes first is its own affair: so both share the script, and the backends as a whole misbehave once.
struct Pair {
    proxy: Proxy,
    backends: [Backend; 2],
}

/// The first request of all gets `bad`, all others 200. `when` is the moment: at the head, or after the body.
#[derive(Clone, Copy)]
enum Moment {
    Head,
    Whole,
}

async fn pair(bad: Reply, moment: Moment, retry: Value) -> Pair {
    let spent = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let first = move || !spent.swap(true, std::sync::atomic::Ordering::SeqCst);
    let mut backends = Vec::new();
    for _ in 0..2 {
        let (first, bad) = (first.clone(), bad.clone());
        let backend = match moment {
            Moment::Head => {
                Backend::builder()
                    .on_head(move |_| first().then(|| bad.clone()))
                    .start(|_| Reply::ok("well"))
                    .await
            }
            Moment::Whole => {
                Backend::start(move |_: &Received| if first() { bad.clone() } else { Reply::ok("well") })
                    .await
            }
        };
        backends.push(backend);
    }
    let backends: [Backend; 2] = backends.try_into().unwrap_or_else(|_| unreachable!("two"));
    let proxy =
        crate::proxy().mesh(service("server").at_all(&backends).no_ejections().retry(retry)).start().await;
    Pair { proxy, backends }
}

impl Pair {
    fn attempts(&self) -> [usize; 2] {
        [self.backends[0].count(), self.backends[1].count()]
    }

    async fn send(&self, method: &str) -> Answer {
        let body = if matches!(method, "PUT" | "POST" | "PATCH") { "some body" } else { "" };
        self.proxy.request(method, "server", "/x", "", body).await
    }

    /// Both got it once: the second time it went elsewhere.
    async fn assert_tried_again(&self, method: &str) {
        self.send(method).await.expect(200);
        assert_eq!(self.attempts(), [1, 1], "{method}: each endpoint once");
        if matches!(method, "PUT" | "POST" | "PATCH") {
            for backend in &self.backends {
                let request = backend.only_request();
                // Who broke off before the body was read has none.
                assert!(matches!(request.body(), b"" | b"some body"), "{request:?}");
            }
            assert!(self.backends.iter().any(|backend| backend.only_request().body() == b"some body"));
        }
    }

    async fn assert_not_tried_again(&self, method: &str, status: u16, reason: Option<&str>) {
        let answer = self.send(method).await;
        answer.expect(status);
        assert_eq!(answer.header("x-bowline-error"), reason, "{method}");
        assert_eq!(self.attempts().iter().sum::<usize>(), 1, "{method}");
    }
}

/// Row "reset, closed without a response" and row "502, 503, 504": these are the same for the same methods.
async fn only_idempotent_again(bad: impl Fn() -> Reply, moment: Moment, status: u16, reason: Option<&str>) {
    for method in IDEMPOTENT {
        pair(bad(), moment, json!({})).await.assert_tried_again(method).await;
    }
    for method in NOT_IDEMPOTENT {
        pair(bad(), moment, json!({})).await.assert_not_tried_again(method, status, reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_are_tried_again_whatever_the_method() {
    for method in IDEMPOTENT.into_iter().chain(NOT_IDEMPOTENT) {
        let backend = Backend::start(|_| Reply::ok("well")).await;
        // Two that refuse: with two retries the third attempt must be at the one that lives.
        let server = service("server")
            .at_all([refusing(), refusing(), backend.addr()])
            .no_ejections()
            .retry(json!({}));
        let proxy = crate::proxy().mesh(server).start().await;
        for _ in 0..5 {
            let body = if method == "POST" { "some body" } else { "" };
            proxy.request(method, "server", "/", "", body).await.expect(200);
        }
        assert!(
            backend
                .requests()
                .iter()
                .all(|request| request.body() == if method == "POST" { "some body".as_bytes() } else { b"" })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_reset_before_the_request_was_read_is_tried_again_for_idempotent_methods() {
    only_idempotent_again(Reply::reset, Moment::Head, 502, Some("reset")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_reset_after_the_request_was_read_is_tried_again_for_idempotent_methods() {
    only_idempotent_again(Reply::reset, Moment::Whole, 502, Some("reset")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_without_a_response_is_tried_again_for_idempotent_methods() {
    only_idempotent_again(Reply::close, Moment::Whole, 502, Some("closed_without_response")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_response_head_is_tried_again_for_idempotent_methods() {
    let half = || Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").then_close();
    only_idempotent_again(half, Moment::Whole, 502, Some("closed_without_response")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_response_is_tried_again_for_idempotent_methods() {
    let garbage = || Reply::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n").then(Reply::hang());
    only_idempotent_again(garbage, Moment::Whole, 502, Some("invalid_response")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_502_503_504_are_tried_again_for_idempotent_methods() {
    for status in [502, 503, 504] {
        for method in ["GET", "PUT"] {
            pair(Reply::status(status), Moment::Whole, json!({})).await.assert_tried_again(method).await;
        }
        // The endpoint's own answer is passed on, not one of the proxy's.
        pair(Reply::status(status), Moment::Whole, json!({}))
            .await
            .assert_not_tried_again("POST", status, None)
            .await;
    }
    only_idempotent_again(|| Reply::status(503), Moment::Whole, 503, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statuses_are_not_tried_again() {
    for status in [400, 404, 408, 429, 500, 501] {
        pair(Reply::status(status), Moment::Whole, json!({}))
            .await
            .assert_not_tried_again("GET", status, None)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_after_its_head_is_not_tried_again() {
    let close = Reply::close().after(Duration::from_millis(300));
    let half = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").then(close);
    let pair = pair(half, Moment::Whole, json!({})).await;
    let mut raw = bowline_tests::Raw::connect(pair.proxy.outbound).await;
    raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", bowline_tests::url("server", "/"))).await;
    // What came is passed on, and the end is an end in the middle, never a whole response.
    let all = String::from_utf8(raw.rest().await).expect("text");
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("\r\n\r\nhalf"), "{all}");
    assert_eq!(pair.attempts().iter().sum::<usize>(), 1);
    pair.proxy.metric_is("bowline_broken_bodies_total", &[], 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_timeout_is_tried_again_for_idempotent_methods() {
    for (method, again) in [("GET", true), ("PUT", true), ("POST", false)] {
        let spent = std::sync::atomic::AtomicBool::new(false);
        let slow = Backend::start(move |_| match spent.swap(true, std::sync::atomic::Ordering::SeqCst) {
            false => Reply::hang(),
            true => Reply::ok("well"),
        })
        .await;
        let server =
            service("server").at(&slow).retry(json!({})).with("timeout", json!({ "perAttemptSeconds": 0.3 }));
        let proxy = crate::proxy().mesh(server).start().await;
        let answer = proxy.request(method, "server", "/", "", if again { "" } else { "body" }).await;
        if again {
            answer.expect(200);
            assert_eq!(slow.count(), 2);
        } else {
            assert_eq!(answer.expect(504).header("x-bowline-error"), Some("attempt_timeout"));
            assert_eq!(slow.count(), 1);
        }
        // The attempt that was given up is called off at the endpoint.
        slow.was_left(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_on_holds_for_every_method_and_for_nothing_beside_it() {
    let on = json!({ "on": ["reset", { "status": [500] }] });
    for method in ["GET", "POST", "PATCH"] {
        pair(Reply::reset(), Moment::Whole, on.clone()).await.assert_tried_again(method).await;
        pair(Reply::status(500), Moment::Whole, on.clone()).await.assert_tried_again(method).await;
        pair(Reply::status(503), Moment::Whole, on.clone())
            .await
            .assert_not_tried_again(method, 503, None)
            .await;
    }
    let server = service("server").at(refusing()).retry(on);
    let proxy = crate::proxy().mesh(server).start().await;
    proxy.get("server", "/").await.expect(503);
    assert_eq!(proxy.metric("bowline_retries_total", &[]).await, 0.0);
    assert_eq!(proxy.metric("bowline_retries_refused_total", &[("reason", "not_in_policy")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_0_means_none() {
    for bad in [Reply::reset(), Reply::close(), Reply::status(503)] {
        let pair = pair(bad, Moment::Whole, json!({ "retries": 0 })).await;
        assert_ne!(pair.send("GET").await.status, 200);
        assert_eq!(pair.attempts().iter().sum::<usize>(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_attempts_are_all_and_each_is_elsewhere() {
    let backends: [Backend; 5] = Backend::several(|_, _| Reply::status(503)).await;
    let proxy = crate::proxy()
        .mesh(service("server").at_all(&backends).no_ejections().retry(json!({})))
        .start()
        .await;
    for n in 1..=5 {
        let answer = proxy.get("server", "/").await;
        // The last endpoint's own words.
        assert_eq!(answer.expect(503).text(), "status");
        assert_eq!(answer.header("x-bowline-error"), None);
        assert_eq!(backends.iter().map(Backend::count).sum::<usize>(), 3 * n);
    }
    assert_eq!(proxy.metric("bowline_retries_total", &[("reason", "status_503")]).await, 10.0);
    assert_eq!(proxy.metric("bowline_retries_refused_total", &[("reason", "no_retries_left")]).await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_endpoint_is_asked_twice_while_there_is_another() {
    // Always the same three of three, never one of them twice in one request.
    let backends: [Backend; 3] = Backend::several(|_, _| Reply::status(503)).await;
    let proxy = crate::proxy()
        .mesh(service("server").at_all(&backends).no_ejections().retry(json!({})))
        .start()
        .await;
    for n in 1..=5 {
        proxy.get("server", "/").await.expect(503);
        assert!(backends.iter().all(|backend| backend.count() == n));
    }
}

/// With one endpoint there is no other place: the same one is asked again, on a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_endpoint_is_asked_again() {
    let spent = std::sync::atomic::AtomicUsize::new(0);
    let backend = Backend::start(move |_| match spent.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => Reply::close(),
        _ => Reply::ok("well"),
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).retry(json!({}))).start().await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!((backend.count(), backend.accepts()), (3, 3));
}

/// The endpoint closes kept-alive connections just when they are used again: the app must not notice, also with POST
/// where nothing of the request can have been acted on.
#[tokio::test(flavor = "multi_thread")]
async fn a_keep_alive_connection_closed_by_the_endpoint_costs_no_request() {
    let backend = Backend::start(|_| Reply::ok("well").then_close()).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend).retry(json!({}))).start().await;
    for n in 0..50 {
        let method = if n % 2 == 0 { "GET" } else { "DELETE" };
        proxy.request(method, "server", "/", "", "").await.expect(200);
    }
    assert_eq!(proxy.metric("bowline_local_responses_total", &[]).await, 0.0);
    let endpoint = proxy.endpoint(backend.addr()).await.expect("it is there");
    assert_eq!(endpoint["state"], "active", "a keep-alive race is no failure of the endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_within_max_body_bytes_is_sent_again_whole() {
    for size in [1, 1000, 65_536] {
        let pair = pair(Reply::reset(), Moment::Whole, json!({})).await;
        let body = "b".repeat(size);
        pair.proxy.request("PUT", "server", "/", "", &body).await.expect(200);
        assert!(
            pair.backends.iter().all(|backend| backend.only_request().body() == body.as_bytes()),
            "{size}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_sent_again_whole_with_its_trailers() {
    let pair = pair(Reply::reset(), Moment::Whole, json!({})).await;
    let mut raw = bowline_tests::Raw::connect(pair.proxy.outbound).await;
    let target = bowline_tests::url("server", "/");
    let answer = raw
        .call(format!(
            "PUT {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             4\r\nfour\r\n5\r\nfive!\r\n0\r\nx-sum: 9\r\n\r\n"
        ))
        .await;
    answer.expect(200);
    for backend in &pair.backends {
        let request = backend.only_request();
        assert_eq!(request.body(), b"fourfive!");
        assert_eq!(request.payload.trailers, [("x-sum".to_owned(), "9".to_owned())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_max_body_bytes_goes_once() {
    for limit in [0, 9, 65_536] {
        let pair = pair(Reply::reset(), Moment::Whole, json!({ "maxBodyBytes": limit })).await;
        let body = "b".repeat(limit + 1);
        let answer = pair.proxy.request("PUT", "server", "/", "", &body).await;
        assert_eq!(answer.expect(502).header("x-bowline-error"), Some("reset"));
        assert_eq!(pair.attempts().iter().sum::<usize>(), 1);
        assert_eq!(
            pair.proxy.metric("bowline_retries_refused_total", &[("reason", "body_too_large")]).await,
            1.0
        );
    }
}

/// A connection that was refused has read nothing of the body, so its size does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_goes_elsewhere_when_the_connection_is_refused() {
    let backend = Backend::start(|_| Reply::ok("well")).await;
    let server = service("server").at_all([refusing(), backend.addr()]).no_ejections().retry(json!({}));
    let proxy = crate::proxy().mesh(server).start().await;
    let body = "b".repeat(1 << 20);
    for _ in 0..4 {
        proxy.request("POST", "server", "/", "", &body).await.expect(200);
    }
    assert!(backend.requests().iter().all(|request| request.body() == body.as_bytes()));
}

/// Everything fails: retries add no more than the budget to the load.
#[tokio::test(flavor = "multi_thread")]
async fn the_budget_holds_when_everything_fails() {
    let backends: [Backend; 3] = Backend::several(|_, _| Reply::status(503)).await;
    let retry = json!({ "budget": { "percent": 20, "minPerSecond": 1, "windowSeconds": 60 } });
    let proxy =
        crate::proxy().mesh(service("server").at_all(&backends).no_ejections().retry(retry)).start().await;
    let requests = 600;
    let begun = Instant::now();
    let mut raw = bowline_tests::Raw::connect(proxy.outbound).await;
    let target = bowline_tests::url("server", "/");
    for _ in 0..requests {
        raw.call(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await.expect(503);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(54),
        "the window has moved on: the machine is too slow for this test"
    );
    let attempts: usize = backends.iter().map(Backend::count).sum();
    let most = requests + requests / 5 + 60;
    assert!(attempts <= most, "{attempts} attempts, at most {most} were in the budget");
    // And the budget is used, not refused outright.
    assert!(attempts >= requests + requests / 10, "{attempts}");
    assert!(proxy.metric("bowline_retries_refused_total", &[("reason", "budget_exhausted")]).await > 0.0);
}
