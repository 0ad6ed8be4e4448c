//! `setup-redirect`: what it installs, by nft and by iptables, and what it leaves behind; and the rules that ECS and its
//! predecessors install by themselves.

use std::net::SocketAddr;

use bowline_tests::proxy::{bare, run_to_end};
use bowline_tests::wait::within;
use bowline_tests::{
    Backend, H2Backend, H2Client, Mesh, PORT, Proxy, Raw, Reply, Task, TcpBackend, authority, service,
};
use http::Request;
use serde_json::json;
use tokio::net::{TcpListener, UdpSocket};

use crate::redirect::{install, is_captured, is_reset, setup};

/// All rules there are, without the counters and remarks that iptables adds.
async fn ruleset() -> String {
    let listed = run_to_end(bare("nft".as_ref()).args(["list", "ruleset"])).await;
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let lines = listed.out.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(" counter ").next().unwrap_or_default().to_owned() + "\n").collect()
}

async fn remove(backend: &str) {
    let ended = setup(&["--backend", backend, "--remove"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

async fn sh(script: &str) {
    let ended = run_to_end(bare("sh".as_ref()).args(["-ec", script])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

/// The VIP of a service, which the proxy itself has not bound.
async fn vip(proxy: &Proxy, service: &str) -> SocketAddr {
    let vip = proxy.vip(service).await;
    let error = Raw::try_connect(vip).await.expect_err("nobody listens there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{vip}");
    vip
}

/// HTTP/1.1, HTTP/2 and a server that speaks first, by their VIPs alone; then the rules are gone as if they had never been.
fn vip_range_by(backend: &'static str, programs: &[&str]) {
    let Some(task) = Task::or_skip(programs) else { return };
    task.inside.run(async || {
        let web = Backend::start(|request| Reply::ok(&request.target)).await;
        let h2 = H2Backend::start(|mut stream| async move { stream.answer(200, &[], b"h2") }).await;
        let db = TcpBackend::start(|_, mut wire| async move {
            wire.send("220 db\r\n").await?;
            let rest = wire.rest().await?;
            wire.send(rest).await
        })
        .await;
        let tcp = service("db").with("appProtocol", json!("tcp")).at(&db);
        let mesh = Mesh::of([service("web").at(&web), service("h2").http2().at(&h2), tcp]);
        // It is the same user as the app: the proxy never dials a VIP.
        let proxy = crate::proxy().mesh(mesh.clone()).arg("--no-vip-listeners").start().await;
        let [web_vip, h2_vip, db_vip] =
            [vip(&proxy, "web").await, vip(&proxy, "h2").await, vip(&proxy, "db").await];
        // Its own base chains are something that iptables leaves behind, as ever.
        let all = ["--backend", backend, "--all-outbound", "--gid", "4242", "--inbound-ports", "9001"];
        install(&proxy, &all).await;
        remove(backend).await;
        let before = ruleset().await;
        install(&proxy, &["--backend", backend]).await;
        let installed = ruleset().await;
        assert!(installed != before && installed.contains(&proxy.vip_range()), "{installed}");
        install(&proxy, &all).await;
        assert!(ruleset().await.contains("9001"));
        install(&proxy, &["--backend", backend]).await;
        assert_eq!(ruleset().await, installed, "the last call alone counts");

        let mut raw = Raw::connect(web_vip).await;
        for target in ["/one", "/two"] {
            let answer = raw.call(format!("GET {target} HTTP/1.1\r\nHost: anybody.example\r\n\r\n")).await;
            assert_eq!(answer.expect(200).text(), target);
        }
        let client = H2Client::connect(h2_vip).await;
        let request = Request::get("http://anybody.example/").body(()).expect("a request");
        assert_eq!(&client.call(request, b"").await.body[..], b"h2");
        let mut raw = Raw::connect(db_vip).await;
        assert_eq!(within("a greeting", raw.wire.exactly(8)).await.expect("a greeting"), b"220 db\r\n");
        let accepts = [("listener", "redirected")];
        assert_eq!(proxy.metric("bowline_downstream_accepts_total", &accepts).await, 3.0);

        // The forward proxy is behind the same port.
        assert_eq!(proxy.get("web", "/proxied").await.expect(200).text(), "/proxied");
        assert_eq!(proxy.metric("bowline_downstream_accepts_total", &accepts).await, 3.0);

        // What stands for nothing is reset, and told.
        for stranger in [(proxy.vip_address(253), PORT).into(), SocketAddr::new(web_vip.ip(), 1)] {
            is_reset(stranger, "").await;
            proxy.logged(&format!("\"to\":\"{stranger}\"")).await;
        }
        let refused = [("reason", "unknown_vip")];
        assert_eq!(proxy.metric("bowline_redirect_refused_total", &refused).await, 2.0);
        // A name that comes is served without another rule.
        proxy.apply(Mesh::of([service("late").at(&web)])).await;
        let mut raw = Raw::connect(proxy.vip("late").await).await;
        raw.call("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect(200);

        remove("auto").await;
        assert_eq!(ruleset().await, before);
        remove(backend).await;
        assert_eq!(ruleset().await, before);
        let error = Raw::try_connect(web_vip).await.expect_err("nobody listens there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_vip_range_is_redirected_by_nft() {
    vip_range_by("nft", &[]);
}

#[test]
fn the_vip_range_is_redirected_by_iptables() {
    vip_range_by("iptables", &["iptables", "ip6tables"]);
}

/// Rules of others are none of our business, whatever they are called.
#[test]
fn rules_of_others_stay() {
    let Some(task) = Task::or_skip(&["iptables"]) else { return };
    task.inside.run(async || {
        sh("iptables -t nat -N BOWLINE_OUTBOUNDS
            iptables -t nat -A BOWLINE_OUTBOUNDS -p tcp -d 192.0.2.0/24 -j REDIRECT --to-port 9
            iptables -t nat -A OUTPUT -p tcp -j BOWLINE_OUTBOUNDS
            ip6tables -t nat -A OUTPUT -p tcp -d fd99::/16 -j REDIRECT --to-port 9
            nft add table ip bowlines")
        .await;
        let before = ruleset().await;
        for backend in ["nft", "iptables", "auto"] {
            let ended =
                setup(&["--backend", backend, "--all-outbound", "--uid", "1", "--inbound-ports", "9001"])
                    .await;
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert_ne!(ruleset().await, before);
            remove("auto").await;
            // iptables has an empty chain more from the first time on.
            let now = ruleset().await;
            for line in before.lines().filter(|line| !line.trim().is_empty()) {
                assert!(now.contains(line), "{backend}: {line:?} is gone:\n{now}");
            }
            assert!(!now.contains("BOWLINE_OUTBOUND ") && !now.contains("BOWLINE_INBOUND"), "{now}");
            assert!(!now.contains("table ip bowline ") && !now.contains("table ip6 bowline "), "{now}");
        }
    });
}

/// What ECS's CNI plugin writes for a proxyConfiguration of type APPMESH, rule by rule, and nothing of ours.
#[test]
fn the_rules_of_ecs_for_app_mesh_will_do() {
    let Some(task) = Task::or_skip(&["iptables", "ip6tables"]) else { return };
    for ip in ["169.254.170.2/32", "192.0.2.7/32"] {
        task.also(ip);
    }
    let who = async |addr: SocketAddr| {
        TcpBackend::start_at(addr, |_, mut wire| async move {
            let peer = wire.tcp.peer_addr()?;
            wire.send(peer.to_string()).await
        })
        .await
    };
    let _servers = task.world.host(async move || {
        [
            who(([169, 254, 170, 2], 80).into()).await,
            who(([192, 0, 2, 7], 443).into()).await,
            who(([192, 0, 2, 7], 22).into()).await,
            who((Task::WORLD6, 443).into()).await,
        ]
    });
    task.inside.run(async || {
        let web = Backend::start(|_| Reply::ok("mesh")).await;
        let proxy = crate::proxy().user(20_000).mesh(service("web").at(&web)).start().await;
        for iptables in ["iptables", "ip6tables"] {
            let (egress, ingress) = (proxy.outbound.port(), 15006);
            let ignored = if iptables == "iptables" { "169.254.170.2,169.254.169.254" } else { "fd00:ec2::254" };
            sh(&format!(
                "{iptables} -t nat -N APPMESH_INGRESS
                 {iptables} -t nat -A APPMESH_INGRESS -p tcp -m multiport --dports 9001 -j REDIRECT --to-port {ingress}
                 {iptables} -t nat -A PREROUTING -p tcp -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS
                 {iptables} -t nat -N APPMESH_EGRESS
                 {iptables} -t nat -A APPMESH_EGRESS -m owner --uid-owner 20000 -j RETURN
                 {iptables} -t nat -A APPMESH_EGRESS -p tcp -m multiport --dports 22 -j RETURN
                 {iptables} -t nat -A APPMESH_EGRESS -p tcp -d {ignored} -j RETURN
                 {iptables} -t nat -A APPMESH_EGRESS -p tcp -j REDIRECT --to {egress}
                 {iptables} -t nat -A OUTPUT -p tcp -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS"
            ))
            .await;
        }
        // The name resolves to whatever it likes: App Mesh's users take an address that nobody has.
        let host = authority("web");
        let mut raw = Raw::connect(([10, 10, 10, 10], PORT).into()).await;
        let answer = raw.call(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.expect(200).text(), "mesh");
        assert!(is_captured(([192, 0, 2, 7], 443).into()).await);
        assert!(is_captured((Task::WORLD6, 443).into()).await);
        assert!(!is_captured(([192, 0, 2, 7], 22).into()).await, "a port that is ignored");
        assert!(!is_captured(([169, 254, 170, 2], 80).into()).await, "credentials of the task");
        proxy.metric_is("bowline_passthrough_ended_total", &[("end", "closed")], 2.0).await;
    });
}

/// Both ways for what others have built: DNS queries of everybody but the proxy, and what comes in for the app.
fn dns_and_inbound_by(backend: &'static str, programs: &[&str]) {
    let Some(task) = Task::or_skip(programs) else { return };
    task.inside.run(async || {
        let udp = UdpSocket::bind("127.0.0.1:15053").await.expect("a port");
        let udp6 = UdpSocket::bind("[::1]:15053").await.expect("a port");
        let tcp = TcpListener::bind("127.0.0.1:15053").await.expect("a port");
        // IPv4 connections have IPv6 addresses there.
        let inbound = TcpListener::bind("[::]:15006").await.expect("a port");
        let app = TcpListener::bind("0.0.0.0:9001").await.expect("a port");
        let flags = ["--backend", backend, "--dns", "--uid", "4242", "--inbound-ports", "9001"];
        assert_eq!(setup(&flags).await.code, Some(0));

        for (server, own, socket) in [
            ("10.77.0.1:53", "0.0.0.0:0", &udp),
            ("127.0.0.53:53", "127.0.0.1:0", &udp),
            ("[fd77::1]:53", "[::]:0", &udp6),
        ] {
            let app = UdpSocket::bind(own).await.expect("a socket");
            app.connect(server).await.expect("a way");
            app.send(b"query").await.expect("sent");
            let mut buffer = [0; 16];
            let (n, from) = within("a query", socket.recv_from(&mut buffer)).await.expect("a query");
            assert_eq!(&buffer[..n], b"query");
            socket.send_to(b"answer", from).await.expect("sent");
            let n = within("an answer", app.recv(&mut buffer)).await.expect("from whom it was asked");
            assert_eq!(&buffer[..n], b"answer");
        }
        let _app = Raw::connect("10.77.0.1:53".parse().expect("an address")).await;
        within("a query over TCP", tcp.accept()).await.expect("a connection");

        // From elsewhere to the proxy, from here to the app itself.
        let dial = |addr: &'static str| {
            std::thread::spawn(move || std::net::TcpStream::connect(addr).expect("a connection"))
        };
        let _remote =
            task.world.host(async || tokio::net::TcpStream::connect("10.77.0.2:9001").await.expect("a way"));
        let (redirected, _) = within("from elsewhere", inbound.accept()).await.expect("a connection");
        let original = bowline_proxy::listen::original::original_destination(&redirected);
        assert_eq!(original, Some(([10, 77, 0, 2], 9001).into()));
        for addr in ["127.0.0.1:9001", "10.77.0.2:9001"] {
            let _local = dial(addr);
            let (direct, _) = within("from here", app.accept()).await.expect("a connection");
            assert_eq!(bowline_proxy::listen::original::original_destination(&direct), None);
        }
        remove(backend).await;
    });
}

#[test]
fn dns_and_inbound_are_redirected_by_nft() {
    dns_and_inbound_by("nft", &[]);
}

#[test]
fn dns_and_inbound_are_redirected_by_iptables() {
    dns_and_inbound_by("iptables", &["iptables", "ip6tables"]);
}

/// A kernel may know nothing of nf_tables.
#[test]
fn where_nft_does_not_work_iptables_does() {
    let Some(task) = Task::or_skip(&["iptables"]) else { return };
    task.inside.run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let nft = folder.path().join("nft");
        std::fs::write(&nft, "#!/bin/sh\necho 'Error: Could not process rule: Not supported' >&2; exit 1\n")
            .expect("a script");
        std::fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("a program");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = bare(crate::PROGRAM.as_ref());
        let ended = run_to_end(command.arg("setup-redirect").env("PATH", path)).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.err.contains("Not supported; iptables was used instead"), "{}", ended.err);
        assert!(ruleset().await.contains("chain BOWLINE_OUTBOUND"));
    });
}

#[test]
fn without_the_right_it_says_what_to_do() {
    let Some(task) = Task::or_skip(&["iptables"]) else { return };
    task.inside.run(async || {
        let before = ruleset().await;
        for backend in ["auto", "nft", "iptables"] {
            // As root, but with no capability that counts.
            let mut command = bare("setpriv".as_ref());
            command.args(["--bounding-set=-all,+dac_override", "--inh-caps=-all", crate::PROGRAM]);
            let ended = run_to_end(command.args(["setup-redirect", "--backend", backend])).await;
            assert_eq!(ended.code, Some(1), "{backend}: {}", ended.err);
            assert!(
                ended.err.contains("NET_ADMIN") && ended.err.contains("Fargate"),
                "{backend}: {}",
                ended.err
            );
        }
        let wrong = setup(&["--all-outbound"]).await;
        assert_eq!(wrong.code, Some(2));
        assert!(wrong.err.contains("--uid"), "{}", wrong.err);
        assert_eq!(setup(&["--inbound-ports", "x"]).await.code, Some(2));
        let printed = setup(&["--print", "--backend", "nft"]).await;
        assert_eq!(printed.code, Some(0));
        assert!(printed.out.contains("redirect to :15001"), "{}", printed.out);
        assert_eq!(ruleset().await, before, "nothing was changed");
    });
}
