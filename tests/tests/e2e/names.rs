//! How apps find the mesh's names: the proxy's DNS server, and a hosts file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bowline_tests::dns::{DnsServer, Says, many};
use bowline_tests::mesh::NAMESPACE;
use bowline_tests::proxy::Builder;
use bowline_tests::{Mesh, Proxy, eventually, service};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use rustix::process::Signal;

/// The kinds of connection that a client can ask over.
const OVER: [fn() -> ConnectionConfig; 2] = [ConnectionConfig::udp, ConnectionConfig::tcp];

/// An endpoint that nobody calls here.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What a client that keeps nothing is told: addresses and the lowest TTL, or the code of the answer without records.
async fn ask(
    server: SocketAddr,
    over: &[fn() -> ConnectionConfig],
    name: &str,
    record_type: RecordType,
) -> Result<(Vec<IpAddr>, u32), ResponseCode> {
    let connections = over.iter().map(|over| {
        let mut connection = over();
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.collect());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.options_mut().attempts = 0;
    let resolver = builder.build().expect("a resolver");
    match resolver.lookup(format!("{name}."), record_type).await {
        Ok(found) => {
            let ttl = found.answers().iter().map(|record| record.ttl).min().expect("a record");
            Ok((found.answers().iter().filter_map(|record| record.data.ip_addr()).collect(), ttl))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => Err(nothing.response_code),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(code),
        Err(other) => panic!("{name}: {other}"),
    }
}

async fn address(server: SocketAddr, name: &str) -> Result<IpAddr, ResponseCode> {
    ask(server, &OVER[..1], name, RecordType::A).await.map(|(found, _)| found[0])
}

fn serving_dns(upstream: &DnsServer) -> Builder {
    crate::proxy().arg("--dns").arg("127.0.0.1:0").arg("--dns-upstream").arg(upstream.addr().to_string())
}

fn dns(proxy: &Proxy) -> SocketAddr {
    proxy.dns.expect("it is a DNS server")
}

fn name(service: &str) -> String {
    format!("{service}.{NAMESPACE}")
}

#[tokio::test]
async fn names_of_the_mesh_are_answered_with_their_vips_and_others_by_the_upstream() {
    let upstream = DnsServer::start().await;
    upstream.addresses("elsewhere.test", ["10.1.2.3"], 60);
    let proxy = serving_dns(&upstream).mesh(service("server").at(NOBODY)).start().await;
    let server = dns(&proxy);
    let vip = proxy.vip("server").await.ip();
    for over in &OVER {
        let (found, ttl) = ask(server, &[*over], &name("server"), RecordType::A).await.expect("an answer");
        assert_eq!(found, [vip]);
        assert!((1..=30).contains(&ttl), "a name may go: {ttl} s");
        // No error, or clients that ask for IPv6 first take the name for missing.
        let v6 = ask(server, &[*over], &name("server"), RecordType::AAAA).await;
        assert_eq!(v6, Err(ResponseCode::NoError));
        let shouted = name("SERVER").to_uppercase();
        assert_eq!(ask(server, &[*over], &shouted, RecordType::A).await.expect("an answer").0, [vip]);
        let other = ask(server, &[*over], "elsewhere.test", RecordType::A).await.expect("an answer");
        assert_eq!(other.0, [IpAddr::from([10, 1, 2, 3])]);
    }
    assert_eq!(upstream.asked("elsewhere.test"), 1, "the answer is kept for its TTL");
    assert_eq!(upstream.asked(&name("server")), 0, "nobody else needs to know of the mesh's names");
    assert_eq!(address(server, "missing.test").await, Err(ResponseCode::NXDomain));
}

#[tokio::test]
async fn a_name_is_answered_as_soon_as_it_is_declared() {
    let upstream = DnsServer::start().await;
    let proxy = serving_dns(&upstream).mesh(service("server").at(NOBODY)).start().await;
    let server = dns(&proxy);
    let new = name("new");
    assert_eq!(address(server, &new).await, Err(ResponseCode::NXDomain));
    proxy.apply(Mesh::of([service("server").at(NOBODY), service("new").at(NOBODY)])).await;
    let vip = proxy.vip("new").await.ip();
    assert_eq!(address(server, &new).await, Ok(vip));
    proxy.apply(service("server").at(NOBODY)).await;
    assert_eq!(address(server, &new).await, Err(ResponseCode::NXDomain), "and no more when it has gone");
}

#[tokio::test]
async fn the_mesh_is_there_whatever_becomes_of_other_servers() {
    let upstream = DnsServer::start().await;
    upstream.set("silent.test", Says::Silence);
    upstream.set("broken.test", Says::ServFail);
    let proxy = serving_dns(&upstream).mesh(service("server").at(NOBODY)).start().await;
    let server = dns(&proxy);
    let vip = proxy.vip("server").await.ip();
    assert_eq!(address(server, "broken.test").await, Err(ResponseCode::ServFail));
    // More questions that nobody answers than may be under way.
    let questions = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    for id in 0..400_u16 {
        let mut question = id.to_be_bytes().to_vec();
        question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        question.extend(b"\x06silent\x04test\x00\x00\x01\x00\x01");
        questions.send_to(&question, server).await.expect("a question");
    }
    eventually("the upstream is asked", async || (upstream.asked("silent.test") > 0).then_some(())).await;
    assert_eq!(address(server, &name("server")).await, Ok(vip));
}

#[tokio::test]
async fn without_a_control_plane_the_names_of_others_are_there_and_the_mesh_s_are_asked_again() {
    let upstream = DnsServer::start().await;
    upstream.addresses("elsewhere.test", ["10.1.2.3"], 60);
    // A port that nobody listens on: reserved, and never bound.
    let builder = serving_dns(&upstream).control(&["http://127.0.0.1:1".to_owned()]);
    let proxy = builder.start().await;
    let server = dns(&proxy);
    assert_eq!(address(server, "elsewhere.test").await, Ok(IpAddr::from([10, 1, 2, 3])));
    // NXDOMAIN would be kept for minutes.
    assert_eq!(address(server, &name("server")).await, Err(ResponseCode::ServFail));
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_over_tcp() {
    let upstream = DnsServer::start().await;
    upstream.set("many.test", Says::Records(many(200), 60));
    let proxy = serving_dns(&upstream).start().await;
    let (found, _) = ask(dns(&proxy), &OVER, "many.test", RecordType::A).await.expect("an answer");
    assert_eq!(found.len(), 200);
}

#[tokio::test]
async fn a_server_that_would_ask_itself_is_not_started() {
    // Taken, which is not what is wrong here: the proxy never comes to binding it.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("its address").to_string();
    let ended = crate::proxy().arg("--dns").arg(&addr).arg("--dns-upstream").arg(&addr).run_to_end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("is the DNS server of this proxy itself"), "{}", ended.err);
}

#[tokio::test]
async fn a_hosts_file_follows_the_mesh_and_is_as_it_was_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let hosts = folder.path().join("hosts");
    let theirs = "127.0.0.1 localhost\n10.0.0.9 db\n";
    std::fs::write(&hosts, theirs).expect("a file");
    let text = || std::fs::read_to_string(&hosts).expect("the file");
    let builder = crate::proxy().arg("--write-hosts").arg(hosts.display().to_string());
    let mut proxy = builder.mesh(service("server").at(NOBODY)).start().await;
    let line = |vip: IpAddr, service: &str| format!("{vip}\t{}\n", name(service));
    let server = line(proxy.vip("server").await.ip(), "server");
    eventually("the name is in the file", async || text().contains(&server).then_some(())).await;
    proxy.apply(Mesh::of([service("server").at(NOBODY), service("new").at(NOBODY)])).await;
    let new = line(proxy.vip("new").await.ip(), "new");
    eventually("the new name is there too", async || {
        let text = text();
        (text.contains(&new) && text.contains(&server) && text.starts_with(theirs)).then_some(())
    })
    .await;
    proxy.signal(Signal::TERM);
    assert!(proxy.ended().await.success());
    assert_eq!(text(), theirs);
}
