//! Redirected connections: into the mesh, or past it, byte for byte. Each test has a task of its own, in a network
//! namespace beside that of the world, and all that leaves it is redirected by the rules that `setup-redirect` installs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline_tests::mesh::Service;
use bowline_tests::proxy::{Builder, Ended, bare, run_to_end};
use bowline_tests::sockets::reset_on_close;
use bowline_tests::wait::within;
use bowline_tests::{
    Backend, H2Backend, H2Client, Mesh, PORT, Proxy, Raw, Reply, Task, TcpBackend, authority, service,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// As whom the proxy runs where the rules must leave it alone.
const PROXY: u32 = 20_000;

/// Runs `setup-redirect` in the namespace that this is called in.
pub(crate) async fn setup(flags: &[&str]) -> Ended {
    let mut command = bare(crate::PROGRAM.as_ref());
    run_to_end(command.arg("setup-redirect").args(flags)).await
}

/// Installs rules for this proxy.
pub(crate) async fn install(proxy: &Proxy, flags: &[&str]) {
    let (outbound, range) = (proxy.outbound.to_string(), proxy.vip_range());
    let ended = setup(&[&["--outbound", &outbound, "--vip-range", &range], flags].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

fn proxy() -> Builder {
    crate::proxy().user(PROXY).arg("--no-vip-listeners")
}

/// All outbound TCP, as App Mesh had it.
async fn install_all(proxy: &Proxy, flags: &[&str]) {
    install(proxy, &[&["--backend", "nft", "--all-outbound", "--uid", "20000"], flags].concat()).await;
}

fn at(port: u16) -> SocketAddr {
    (Task::WORLD, port).into()
}

fn tcp(name: &str) -> Service {
    service(name).with("appProtocol", json!("tcp")).retry(json!({}))
}

/// Sends everything back when the other side has ended its own.
async fn mirror(addr: SocketAddr) -> TcpBackend {
    TcpBackend::start_at(addr, |_, mut wire| async move {
        let all = wire.rest().await?;
        wire.send(all).await
    })
    .await
}

/// Says whom it talks to.
async fn who(addr: SocketAddr) -> TcpBackend {
    TcpBackend::start_at(addr, |_, mut wire| async move {
        let peer = wire.tcp.peer_addr()?;
        wire.send(peer.to_string()).await
    })
    .await
}

/// Whether a connection to this address of [`who`] passes the proxy: then it comes from a socket of the proxy's.
pub(crate) async fn is_captured(addr: SocketAddr) -> bool {
    let mut raw = Raw::connect(addr).await;
    let own = raw.wire.tcp.local_addr().expect("an address").to_string();
    let seen = String::from_utf8(raw.rest().await).expect("an address");
    assert!(seen.parse::<SocketAddr>().is_ok(), "{addr} says {seen:?}");
    seen != own
}

/// A connection to this address is reset: at once, or when it has begun.
pub(crate) async fn is_reset(addr: SocketAddr, first: &str) {
    was_reset(Raw::try_connect(addr).await, first).await;
}

/// The kernel may tell of it at any call.
async fn was_reset(connected: std::io::Result<Raw>, first: &str) {
    let outcome = async {
        let mut raw = connected?;
        raw.wire.send(first).await?;
        within("a reset", raw.wire.tcp.read_u8()).await
    };
    let error = outcome.await.expect_err("a reset");
    assert!(
        matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe),
        "{error}"
    );
}

async fn ended(proxy: &Proxy, end: &str, count: f64) {
    proxy.metric_is("bowline_passthrough_ended_total", &[("end", end)], count).await;
}

/// What TLS looks like, and much more of it than all buffers on the way hold: it must come out as it went in, and each
/// side must hear of the other's end at its own time.
#[test]
fn bytes_pass_untouched_and_half_closes_too() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let _mirrors =
        task.world.host(async || [mirror(at(443)).await, mirror((Task::WORLD6, 443).into()).await]);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        install_all(&proxy, &[]).await;
        let mut rng = bowline_tests::seeded();
        let mut sent = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
        sent.extend(std::iter::repeat_with(|| rng.u8(..)).take(8 << 20));
        for (n, addr) in [at(443), (Task::WORLD6, 443).into()].into_iter().enumerate() {
            let (mut read, mut write) = Raw::connect(addr).await.wire.tcp.into_split();
            let (out, mut back) = (sent.clone(), Vec::new());
            let writing = tokio::spawn(async move {
                write.write_all(&out).await.expect("sent");
                write.shutdown().await.expect("ended");
                write
            });
            within("the echo", read.read_to_end(&mut back)).await.expect("the echo");
            within("all is written", writing).await.expect("written");
            assert!(back == sent, "{addr}: {} bytes of {} came back, or others", back.len(), sent.len());
            let count = (n + 1) as f64;
            ended(&proxy, "closed", count).await;
            for direction in ["sent", "received"] {
                let passed =
                    proxy.metric("bowline_passthrough_bytes_total", &[("direction", direction)]).await;
                assert_eq!(passed, sent.len() as f64 * count, "{direction}");
            }
        }
        assert_eq!(proxy.metric("bowline_passthrough_connections", &[]).await, 0.0);
        assert_eq!(
            proxy.metric("bowline_downstream_accepts_total", &[("listener", "redirected")]).await,
            2.0
        );
    });
}

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let greet = async || {
        TcpBackend::start_at(at(25), |_, mut wire| async move {
            wire.send("220 mail\r\n").await?;
            wire.rest().await.map(drop)
        })
        .await
    };
    let _server = task.world.host(greet);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        install_all(&proxy, &[]).await;
        let mut fastest = Duration::MAX;
        // A loaded machine may be slow now and then; a proxy that waits for the app's first bytes always is.
        for _ in 0..20 {
            let begun = Instant::now();
            let mut raw = Raw::connect(at(25)).await;
            assert_eq!(
                within("a greeting", raw.wire.exactly(10)).await.expect("a greeting"),
                b"220 mail\r\n"
            );
            fastest = fastest.min(begun.elapsed());
        }
        assert!(fastest < Duration::from_millis(150), "the fastest greeting took {fastest:?}");
        ended(&proxy, "closed", 20.0).await;
    });
}

#[test]
fn refusals_and_resets_arrive_as_resets() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let reset = async || {
        TcpBackend::start_at(at(81), |_, mut wire| async move {
            wire.exactly(1).await?;
            reset_on_close(&wire.tcp);
            Ok(())
        })
        .await
    };
    let _server = task.world.host(reset);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        install_all(&proxy, &[]).await;
        is_reset(at(80), "").await;
        ended(&proxy, "failed", 1.0).await;
        is_reset(at(81), "x").await;
        ended(&proxy, "broken", 1.0).await;
    });
}

/// A pool may open connections before it has a request. Behind a made-up address nobody else can be the first to speak.
#[test]
fn an_app_that_takes_its_time_is_waited_for() {
    let Some(task) = Task::or_skip(&[]) else { return };
    task.inside.run(async || {
        let inside = Backend::start(|_| Reply::ok("inside")).await;
        let proxy = proxy().mesh(service("server").at(&inside)).start().await;
        install_all(&proxy, &[]).await;
        let mut raw = Raw::connect(([10, 10, 10, 10], PORT).into()).await;
        proxy.logged("waiting for the app alone").await;
        let host = authority("server");
        raw.call(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.expect(200);
        // Where somebody says no, it is told.
        is_reset(at(PORT), "").await;
        ended(&proxy, "failed", 1.0).await;
    });
}

/// On the port of an HTTP service of the mesh a connection to anywhere may be meant for it: the first bytes tell.
#[test]
fn http_to_any_address_goes_to_the_mesh_by_its_authority() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let outside =
        task.world.host(async || Backend::builder().at(at(PORT)).start(|_| Reply::ok("outside")).await);
    task.inside.run(async || {
        let inside = Backend::start(|_| Reply::ok("inside")).await;
        let proxy = proxy().mesh(service("server").at(&inside)).start().await;
        install_all(&proxy, &[]).await;
        let get = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\nX-Kept: As IS\r\n\r\n");
        // Nobody has this address: App Mesh's users let their names point to such ones.
        let nowhere = SocketAddr::from(([10, 10, 10, 10], PORT));
        let mut raw = Raw::connect(nowhere).await;
        for host in [&authority("server"), "Server.Mesh.Test", &authority("server")] {
            assert_eq!(raw.call(get(host)).await.expect(200).text(), "inside");
        }
        assert_eq!(outside.accepts(), 0);
        assert_eq!(proxy.metric("bowline_requests_total", &[("service", "server")]).await, 3.0);

        // A connection that begins with somebody else is theirs, to the last byte.
        let mut raw = Raw::connect(at(PORT)).await;
        let other = format!("other.example:{PORT}");
        assert_eq!(raw.call(get(&other)).await.expect(200).text(), "outside");
        assert_eq!(outside.only_request().head.raw, get(&other).as_bytes(), "not a byte is changed");
        drop(raw);
        ended(&proxy, "closed", 1.0).await;

        // One that begins with the mesh is served request by request.
        let mut raw = Raw::connect(at(PORT)).await;
        assert_eq!(raw.call(get(&authority("server"))).await.expect(200).text(), "inside");
        assert_eq!(raw.call(get(&other)).await.expect(200).text(), "outside");
        assert_eq!(raw.call(get(&authority("server"))).await.expect(200).text(), "inside");
        let seen = outside.requests();
        assert_eq!(seen[1].header("host"), Some(other.as_str()));
        assert_eq!(seen[1].header("x-kept"), Some("As IS"));
        assert_eq!(inside.count(), 5);
    });
}

#[test]
fn what_is_no_http_on_such_a_port_passes_through() {
    let Some(task) = Task::or_skip(&[]) else { return };
    task.also("192.0.2.1/32");
    let servers = async || {
        let greeting = TcpBackend::start_at(([192, 0, 2, 1], PORT).into(), |_, mut wire| async move {
            wire.send("220 mail\r\n").await?;
            wire.rest().await.map(drop)
        });
        (mirror(at(PORT)).await, greeting.await)
    };
    let _servers = task.world.host(servers);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        install_all(&proxy, &[]).await;
        for bytes in [&b"\x16\x03\x01\x00\xa5\x01"[..], b"HELO x\r\n", b"GET", b""] {
            let mut raw = Raw::connect(at(PORT)).await;
            raw.send(bytes).await;
            raw.wire.tcp.shutdown().await.expect("a half-close");
            assert_eq!(raw.rest().await, bytes);
        }
        let mut raw = Raw::connect(([192, 0, 2, 1], PORT).into()).await;
        assert_eq!(within("a greeting", raw.wire.exactly(10)).await.expect("a greeting"), b"220 mail\r\n");
        drop(raw);
        ended(&proxy, "closed", 5.0).await;
    });
}

#[test]
fn http2_goes_where_each_request_wants_to() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let answering = |addr: SocketAddr, word: &'static [u8]| {
        H2Backend::start_at(addr, move |mut stream| async move { stream.answer(200, &[], word) })
    };
    let outside = task.world.host(async move || answering(at(PORT), b"outside").await);
    task.inside.run(async || {
        let inside = answering(([127, 0, 0, 1], 0).into(), b"inside").await;
        let proxy = proxy().mesh(service("server").at(&inside).http2()).start().await;
        install_all(&proxy, &[]).await;
        let client = H2Client::connect(at(PORT)).await;
        let get =
            |authority: &str| http::Request::get(format!("http://{authority}/")).body(()).expect("a request");
        let other = format!("other.example:{PORT}");
        for (authority, word) in [
            (&other, "outside"),
            (&authority("server"), "inside"),
            (&other, "outside"),
            (&authority("server"), "inside"),
        ] {
            let answer = client.call(get(authority), b"").await;
            assert_eq!((answer.status, &answer.body[..]), (200, word.as_bytes()), "{authority}");
        }
        assert_eq!((outside.count(), outside.accepts()), (2, 1), "one connection for all of the app's");
        assert_eq!(outside.heads()[0].uri.authority().map(|a| a.as_str()), Some(other.as_str()));
        assert_eq!(inside.count(), 2);
    });
}

#[test]
fn an_endpoint_of_a_tcp_service_is_that_service() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let _db = task.world.host(async || mirror(at(5432)).await);
    task.inside.run(async || {
        let proxy = proxy().mesh(Mesh::of([tcp("db").at(at(5432)), service("server")])).start().await;
        install_all(&proxy, &[]).await;
        let mut raw = Raw::connect(at(5432)).await;
        raw.send("hello").await;
        raw.wire.tcp.shutdown().await.expect("a half-close");
        assert_eq!(raw.rest().await, b"hello");
        proxy.metric_is("bowline_tunnels_ended_total", &[("service", "db"), ("end", "closed")], 1.0).await;
        assert_eq!(proxy.metric("bowline_passthrough_ended_total", &[]).await, 0.0);
    });
}

/// Credentials and metadata of the task, what the flags exclude, and the proxy's own: nothing of it comes near the proxy.
#[test]
fn some_destinations_are_left_alone() {
    const ALONE: [&str; 6] = [
        "169.254.169.254:80",
        "169.254.170.2:80",
        "[fd00:ec2::254]:80",
        "198.51.100.7:80",
        "[fd88::7]:80",
        "10.77.0.1:2222",
    ];
    let Some(task) = Task::or_skip(&[]) else { return };
    for ip in
        ["169.254.169.254/32", "169.254.170.2/32", "fd00:ec2::254/128", "198.51.100.7/32", "fd88::7/128"]
    {
        task.also(ip);
    }
    let servers = async || {
        let mut servers = vec![who(at(80)).await, who((Task::WORLD6, 80).into()).await];
        for addr in ALONE {
            servers.push(who(addr.parse().expect("an address")).await);
        }
        servers
    };
    let _servers = task.world.host(servers);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        let local = who(([127, 0, 0, 1], 0).into()).await;
        let own = who((Task::IP, 0).into()).await;
        for addr in [at(80), (Task::WORLD6, 80).into()] {
            assert!(!is_captured(addr).await, "{addr}: there is no rule yet");
        }
        let excluded = ["--exclude-cidrs", "198.51.100.0/24,fd88::/16", "--exclude-ports", "22,2222"];
        install_all(&proxy, &excluded).await;
        for addr in [at(80), (Task::WORLD6, 80).into()] {
            assert!(is_captured(addr).await, "{addr}");
        }
        let alone = ALONE.map(|addr| addr.parse().expect("an address"));
        for addr in alone.into_iter().chain([local.addr(), own.addr()]) {
            assert!(!is_captured(addr).await, "{addr}");
        }
        assert_eq!(
            proxy.metric("bowline_downstream_accepts_total", &[("listener", "redirected")]).await,
            2.0
        );
    });
}

/// Rules that forget the proxy's own connections: each would beget another one for ever.
#[test]
fn a_loop_is_cut() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let _servers = task.world.host(async || [mirror(at(7)).await, mirror(at(PORT)).await]);
    task.inside.run(async || {
        let mesh = Mesh::of([
            service("server").at(at(PORT)).no_ejections(),
            tcp("db").at(at(9)).no_ejections().alias("db.mesh.test", 9),
        ]);
        let proxy =
            crate::proxy().mesh(mesh).arg("--no-vip-listeners").arg("--workers").arg("2").start().await;
        // Nobody is user 4242.
        install(&proxy, &["--backend", "nft", "--all-outbound", "--uid", "4242"]).await;
        let accepts =
            async || proxy.metric("bowline_downstream_accepts_total", &[("listener", "redirected")]).await;
        let loops = async || proxy.metric("bowline_redirect_refused_total", &[("reason", "loop")]).await;
        is_reset(at(7), "").await;
        assert!(loops().await >= 1.0);
        is_reset(at(9), "").await;
        // Nobody speaks: the destination is dialled after a while.
        is_reset(at(PORT), "").await;
        // A request is answered: its endpoint can't be reached.
        let mut raw = Raw::connect(at(PORT)).await;
        let host = authority("server");
        raw.call(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")).await.expect(502);
        assert!(loops().await >= 4.0);
        proxy.logged("leads to this proxy itself, or comes from it").await;
        assert!(accepts().await < 100.0, "{} rounds", accepts().await);
        proxy.metric_is("bowline_downstream_connections", &[], 1.0).await;
    });
}

#[test]
fn a_connection_to_the_proxys_own_listener_is_refused() {
    let Some(task) = Task::or_skip(&[]) else { return };
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        // Only what comes from this address is led astray.
        let rules = format!(
            "table ip astray {{
               chain out {{
                 type nat hook output priority -100;
                 ip saddr 127.0.0.9 tcp dport {} redirect to :{}
               }}
             }}",
            proxy.admin.port(),
            proxy.outbound.port()
        );
        let done = run_to_end(bare("nft".as_ref()).arg(rules)).await;
        assert_eq!(done.code, Some(0), "{}", done.err);
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 9], 0).into()).expect("an address of its own");
        let connected = within("connecting", socket.connect(proxy.admin)).await;
        was_reset(connected.map(|tcp| Raw { wire: bowline_tests::wire::Wire::new(tcp) }), "").await;
        assert_eq!(proxy.metric("bowline_redirect_refused_total", &[("reason", "loop")]).await, 1.0);
        // The others are as ever.
        proxy.get("nobody", "/").await.expect(502);
    });
}

/// App and proxy share an address, and the kernel gives both their ports. A port that was the proxy's may be the app's in
/// the next moment, for a connection to the same place: that is no loop.
#[test]
fn a_port_that_was_the_proxys_can_be_the_apps() {
    let Some(task) = Task::or_skip(&[]) else { return };
    let _server = task.world.host(async || who(at(7000)).await);
    task.inside.run(async || {
        let proxy = proxy().mesh(service("server")).start().await;
        install_all(&proxy, &[]).await;
        for n in 1..4 {
            let seen = Raw::connect(at(7000)).await.rest().await;
            let proxys: SocketAddr = String::from_utf8(seen).expect("text").parse().expect("an address");
            ended(&proxy, "closed", f64::from(2 * n - 1)).await;
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("an option");
            socket.bind(proxys).expect("the port is free");
            let mut again = socket.connect(at(7000)).await.expect("a connection");
            let mut heard = String::new();
            within("an answer", again.read_to_string(&mut heard)).await.expect("no reset");
            assert!(heard.parse::<SocketAddr>().is_ok(), "{heard:?}");
            drop(again);
            ended(&proxy, "closed", f64::from(2 * n)).await;
        }
    });
}
