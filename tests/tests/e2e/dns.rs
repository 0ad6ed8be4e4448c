//! Endpoints that come from DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bowline_tests::dns::{DnsServer, Forgery, Record, Says, address, many};
use bowline_tests::mesh::Service;
use bowline_tests::proxy::Builder;
use bowline_tests::{Backend, Mesh, Proxy, Reply, eventually, service};
use serde_json::json;

const NAME: &str = "server.internal.test";
const SRV: &str = "_http._tcp.server.internal.test";

fn from_dns(name: &str, port: u16) -> Service {
    service("server").with("endpoints", json!({ "dns": { "name": name, "port": port, "type": "A" } }))
}

fn from_srv() -> Service {
    service("server").with("endpoints", json!({ "dns": { "name": SRV, "type": "SRV" } }))
}

fn proxy(dns: &DnsServer) -> Builder {
    crate::proxy().arg("--resolver").arg(dns.addr().to_string())
}

/// Backends at one port of 127.0.0.2 and so on, which answer with their address.
async fn backends<const N: usize>() -> ([Backend; N], u16) {
    'port: loop {
        let mut all: Vec<Backend> = Vec::new();
        for n in 0..N {
            let ip = format!("127.0.0.{}", n + 2).parse().expect("an address");
            let at = SocketAddr::new(ip, all.first().map_or(0, |first| first.addr().port()));
            let backend = Backend::builder().at(at).try_start(move |_| Reply::ok(ip.to_string())).await;
            let Ok(backend) = backend else { continue 'port };
            all.push(backend);
        }
        let port = all[0].addr().port();
        return (all.try_into().unwrap_or_else(|_| unreachable!("N of them")), port);
    }
}

async fn endpoints(proxy: &Proxy) -> Vec<String> {
    let page = proxy.page("/endpoints").await;
    let text = |e: &serde_json::Value| e["address"].as_str().expect("an address").to_owned();
    page["endpoints"].as_array().expect("a list").iter().map(text).collect()
}

async fn has_endpoints(proxy: &Proxy, wanted: &[SocketAddr]) {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    eventually(&format!("the endpoints are {wanted:?}"), async || {
        (endpoints(proxy).await == wanted).then_some(())
    })
    .await;
}

async fn trouble(proxy: &Proxy, is: f64) {
    proxy.metric_is("bowline_dns_trouble", &[("service", "server")], is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_stands_for_all_its_addresses_and_follows_them() {
    let ([a, b, c], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.3", "127.0.0.2", "127.0.0.3"], 1);
    let server = from_dns(NAME, port).with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = proxy(&dns).mesh(server).start().await;
    // They are there from the first request on.
    for _ in 0..4 {
        proxy.get("server", "/").await.expect(200);
    }
    assert_eq!((a.count(), b.count()), (2, 2));
    assert_eq!(proxy.generation().await, 1);
    let page = proxy.endpoint(a.addr()).await.expect("it is there");
    assert_eq!(page["source"], format!("dns {NAME} A"));

    // The order means nothing.
    dns.addresses(NAME, ["127.0.0.2", "127.0.0.3"], 1);
    dns.is_asked_again(NAME, 2).await;
    assert_eq!(proxy.generation().await, 1);

    dns.addresses(NAME, ["127.0.0.2", "127.0.0.4"], 1);
    has_endpoints(&proxy, &[a.addr(), c.addr()]).await;
    assert_eq!(proxy.generation().await, 2);
    for _ in 0..4 {
        proxy.get("server", "/").await.expect(200);
    }
    assert_eq!((a.count(), b.count(), c.count()), (4, 2, 2));
    // What stays keeps its state.
    assert_eq!(proxy.endpoint(a.addr()).await.expect("it is there")["attempts"], 4);
    let explained = proxy.page("/explain?url=http://server.mesh.test:21500/").await;
    assert!(explained["steps"].to_string().contains("the last good answer came"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ttl_is_kept_to() {
    let ([a], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.2"], 3600);
    let proxy = proxy(&dns).mesh(from_dns(NAME, port)).start().await;
    has_endpoints(&proxy, &[a.addr()]).await;
    // A change of the mesh file is no reason to ask again.
    proxy.apply(from_dns(NAME, port).with("timeout", json!({ "connectSeconds": 2 }))).await;
    has_endpoints(&proxy, &[a.addr()]).await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(dns.asked(NAME), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_answer_is_served_while_dns_fails() {
    let ([a, b], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.2"], 1);
    let proxy = proxy(&dns).mesh(from_dns(NAME, port)).start().await;
    for (says, result) in [
        (Says::ServFail, "failed"),
        (Says::NxDomain, "nxdomain"),
        (Says::Records(Vec::new(), 1), "empty"),
        (Says::Records(vec![address([0, 0, 0, 0])], 1), "empty"),
        (Says::Silence, "timeout"),
    ] {
        dns.set(NAME, says);
        trouble(&proxy, 1.0).await;
        let labels = [("service", "server"), ("result", result)];
        assert!(proxy.metric("bowline_dns_lookups_total", &labels).await >= 1.0, "{result}");
        assert_eq!(proxy.get("server", "/").await.expect(200).text(), "127.0.0.2");
        dns.addresses(NAME, ["127.0.0.2"], 1);
        trouble(&proxy, 0.0).await;
    }
    proxy.logged("the last good endpoints stay").await;
    proxy.logged("a DNS name resolves again").await;
    assert_eq!(proxy.generation().await, 1);
    assert!(proxy.metric("bowline_dns_last_good_age_seconds", &[("service", "server")]).await < 30.0);
    assert_eq!(a.count(), 5);
    // What it says next counts.
    dns.addresses(NAME, ["127.0.0.3"], 1);
    has_endpoints(&proxy, &[b.addr()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_may_appear_after_its_clients() {
    let ([a], port) = backends().await;
    let dns = DnsServer::start().await;
    let proxy = proxy(&dns).mesh(from_dns(NAME, port)).start().await;
    proxy.admin("GET", "/health/ready").await.expect(200);
    let refused = proxy.get("server", "/").await;
    refused.expect(503);
    assert_eq!(refused.header("x-bowline-error"), Some("no_endpoints"));
    let text = refused.text();
    assert!(text.contains(&format!("its DNS name {NAME} A did not resolve")), "{text}");
    assert!(text.contains("NXDOMAIN"), "{text}");
    dns.addresses(NAME, ["127.0.0.2"], 60);
    has_endpoints(&proxy, &[a.addr()]).await;
    proxy.get("server", "/").await.expect(200);
}

/// Ready even if DNS is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_starts_without_dns() {
    let ([a], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.set(NAME, Says::Silence);
    let begun = Instant::now();
    let mesh = Mesh::of([from_dns(NAME, port), service("other").at(&a)]);
    let proxy = proxy(&dns).mesh(mesh).start().await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    proxy.admin("GET", "/health/ready").await.expect(200);
    proxy.get("other", "/").await.expect(200);
    let text = proxy.get("server", "/").await.expect(503).text();
    assert!(text.contains(NAME), "{text}");
    dns.addresses(NAME, ["127.0.0.2"], 60);
    has_endpoints(&proxy, &[a.addr()]).await;
}

/// Case 23: a TTL of 0 is a look-up a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_of_zero_is_no_storm() {
    let ([a], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.2"], 0);
    let proxy = proxy(&dns).mesh(from_dns(NAME, port)).start().await;
    has_endpoints(&proxy, &[a.addr()]).await;
    let begun = Instant::now();
    dns.is_asked_again(NAME, 3).await;
    // Three more take between two and three seconds at least; the one before may have been asked just now.
    assert!(begun.elapsed().as_millis() >= 1_900, "{:?}", begun.elapsed());
}

/// Case 23: a name that is never there costs less and less, however many ask for it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_cause_no_lookups() {
    let dns = DnsServer::start().await;
    let begun = Instant::now();
    let proxy = proxy(&dns).mesh(from_dns(NAME, 80)).start().await;
    for _ in 0..200 {
        proxy.get("server", "/").await.expect(503);
    }
    // Backoff: 1, 2, 4 s and so on apart.
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(dns.asked(NAME) <= seconds + 2, "{} questions in {seconds} s", dns.asked(NAME));
}

/// The answer doesn't fit into a datagram: it is fetched over TCP.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_addresses_come_over_tcp() {
    let dns = DnsServer::start().await;
    dns.set(NAME, Says::Records(many(200), 1));
    let proxy = proxy(&dns).mesh(from_dns(NAME, 80)).start().await;
    assert_eq!(endpoints(&proxy).await.len(), 200);
    assert!(dns.asked_over_tcp() > 0);
    // More than anyone needs: bounded, and said.
    dns.set(NAME, Says::Records(many(1_500), 1));
    eventually("there are 1000", async || (endpoints(&proxy).await.len() == 1_000).then_some(())).await;
    proxy.logged("500 addresses more than").await;
    assert_eq!(proxy.generation().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_records_bring_ports_weights_and_priorities() {
    let [heavy, light, spare] = Backend::several(|n, _| Reply::ok(n.to_string())).await;
    let dns = DnsServer::start().await;
    let port = |backend: &Backend| backend.addr().port();
    let host = "one.internal.test";
    dns.addresses(host, ["127.0.0.1"], 60);
    let records = |first: &Backend| {
        vec![
            Record::Srv(1, 9, port(first), host),
            Record::Srv(1, 1, port(&light), "ONE.internal.test"),
            Record::Srv(2, 100, port(&spare), host),
        ]
    };
    dns.set(SRV, Says::Records(records(&heavy), 1));
    let server = from_srv().with("loadBalancing", json!({ "policy": "roundRobin" }));
    let proxy = proxy(&dns).mesh(server).start().await;
    for _ in 0..100 {
        proxy.get("server", "/").await.expect(200);
    }
    assert_eq!((heavy.count(), light.count(), spare.count()), (90, 10, 0));
    // The host's own TTL has not run out.
    assert_eq!(dns.asked(host), 1);
    // Another port is another endpoint.
    dns.set(SRV, Says::Records(records(&spare), 1));
    eventually("the spare one serves", async || {
        (proxy.get("server", "/").await.expect(200).text() == "2").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_takes_addresses_that_come_along() {
    let backend = Backend::start(|_| Reply::ok("")).await;
    let dns = DnsServer::start().await;
    let records = vec![Record::Srv(0, 0, backend.addr().port(), "one.internal.test")];
    let ip: IpAddr = backend.addr().ip();
    dns.set(SRV, Says::WithAdditional(records, vec![("one.internal.test", address(ip))], 60));
    let proxy = proxy(&dns).mesh(from_srv()).start().await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(dns.asked("one.internal.test"), 0);
}

/// One host of two can't be resolved any more: it keeps its address.
#[tokio::test(flavor = "multi_thread")]
async fn srv_hosts_keep_their_last_good_address() {
    let [a, b] = Backend::several(|_, _| Reply::ok("")).await;
    let dns = DnsServer::start().await;
    let record = |backend: &Backend, host| Record::Srv(0, 1, backend.addr().port(), host);
    let mut both = [a.addr(), b.addr()];
    both.sort();
    for host in ["a.internal.test", "b.internal.test"] {
        dns.addresses(host, ["127.0.0.1"], 1);
    }
    dns.set(SRV, Says::Records(vec![record(&a, "a.internal.test"), record(&b, "b.internal.test")], 1));
    let proxy = proxy(&dns).mesh(from_srv()).start().await;
    has_endpoints(&proxy, &both).await;
    dns.set("b.internal.test", Says::ServFail);
    trouble(&proxy, 1.0).await;
    has_endpoints(&proxy, &both).await;
    assert_eq!(proxy.generation().await, 1);
    dns.set("b.internal.test", Says::NxDomain);
    has_endpoints(&proxy, &[a.addr()]).await;
}

/// Services come and go while names are looked up, and each answer goes to the service that asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_file_may_change_at_any_time() {
    let ([a, b], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.2"], 0);
    dns.addresses("other.internal.test", ["127.0.0.3"], 0);
    // Static first, and from the change on from DNS: without a moment in between that has no endpoint.
    let proxy = proxy(&dns).mesh(service("server").at(&a)).start().await;
    proxy.get("server", "/").await.expect(200);
    proxy.apply(from_dns(NAME, port)).await;
    proxy.get("server", "/").await.expect(200);
    assert_eq!(proxy.endpoint(a.addr()).await.expect("it stays")["attempts"], 2);
    proxy.apply(from_dns("other.internal.test", port)).await;
    assert_eq!(proxy.get("server", "/").await.expect(200).text(), "127.0.0.3");
    proxy.apply(service("server").at(&b)).await;
    let asked = dns.asked("other.internal.test");
    let third = service("third").with("endpoints", json!({ "dns": { "name": NAME, "port": port } }));
    proxy.get("server", "/").await.expect(200);
    proxy.apply(Mesh::of([service("server").at(&b), third])).await;
    dns.is_asked_again(NAME, 2).await;
    assert!(dns.asked("other.internal.test") <= asked + 1, "nobody wants it any more");
}

/// Case 23: what a liar says counts as no answer. The last good endpoints stay, and it is not asked again and again.
async fn is_not_fooled_by(forgery: Forgery) {
    let ([a], port) = backends().await;
    let dns = DnsServer::start().await;
    dns.addresses(NAME, ["127.0.0.2"], 1);
    let proxy = proxy(&dns).mesh(from_dns(NAME, port)).start().await;
    dns.set(NAME, Says::Forged(forgery));
    trouble(&proxy, 1.0).await;
    has_endpoints(&proxy, &[a.addr()]).await;
    assert_eq!(proxy.get("server", "/").await.expect(200).text(), "127.0.0.2");
    let asked = dns.asked(NAME);
    assert!(asked < 30, "asked {asked} times");
    dns.addresses(NAME, ["127.0.0.2"], 1);
    trouble(&proxy, 0.0).await;
    assert_eq!(proxy.generation().await, 1);
}

/// A test each, since most of the time is spent waiting for a better answer.
macro_rules! forged {
    ($($name:ident: $forgery:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            is_not_fooled_by(Forgery::$forgery).await;
        }
    )*};
}

forged! {
    garbage_is_no_answer: Garbage,
    an_answer_with_another_id_is_none: AnotherId,
    an_answer_to_another_question_is_none: AnotherQuestion,
    a_name_that_points_to_itself_is_no_answer: PointerLoop,
    an_answer_that_promises_more_than_it_has_is_none: CountTooHigh,
    a_record_beyond_the_end_is_no_answer: LengthTooHigh,
    an_alias_of_itself_is_no_answer: CnameLoop,
    an_address_of_three_bytes_is_no_answer: ShortAddress,
}

/// Many names that don't exist, asked for again and again by nobody but the clock.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_do_not_exist_are_no_storm() {
    let dns = DnsServer::start().await;
    let names: Vec<String> = (0..50).map(|n| format!("none{n}.internal.test")).collect();
    let services = names.iter().enumerate().map(|(n, name)| {
        let endpoints = json!({ "dns": { "name": name, "port": 1, "type": "A" } });
        service(&format!("s{n}")).with("endpoints", endpoints)
    });
    let proxy = proxy(&dns).mesh(Mesh::of(services)).start().await;
    for _ in 0..5 {
        for n in 0..50 {
            assert_eq!(
                proxy.get(&format!("s{n}"), "/").await.header("x-bowline-error"),
                Some("no_endpoints")
            );
        }
    }
    let asked: usize = names.iter().map(|name| dns.asked(name)).sum();
    assert!((50..500).contains(&asked), "{asked} questions for 50 names");
}
