//! Real programs on both sides: curl, grpcio, websockets, nginx. `tests/run` sees to it that they are there, and says by
//! `BOWLINE_REQUIRE_INTEROP` that they must be; without it, what is missing is left out, aloud.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bowline_tests::proxy::run_to_end;
use bowline_tests::sockets::refusing;
use bowline_tests::wait::within;
use bowline_tests::{Backend, H2Backend, Proxy, Reply, eventually, service, url};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where a program is, if it is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    needed(found, name)
}

/// The Python that `tests/run` has given its packages to.
fn python() -> Option<PathBuf> {
    let found = std::env::var_os("BOWLINE_TEST_PYTHON").map(PathBuf::from).or_else(|| {
        let beside = Path::new(crate::PROGRAM).ancestors().nth(2)?.join("python/bin/python3");
        beside.is_file().then_some(beside)
    });
    needed(found, "python3 with grpcio and websockets")
}

fn needed(found: Option<PathBuf>, what: &str) -> Option<PathBuf> {
    if found.is_none() {
        assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "{what} is missing");
        eprintln!("SKIPPED: {what} is missing; tests/run installs it");
    }
    found
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name)
}

async fn curl(args: &[&str]) -> Option<(i32, String)> {
    let mut command = Command::new(program("curl")?);
    // Nothing of the machine's own: no configuration file, no proxy from the environment.
    command.args(["-q", "-sS", "--max-time", "60"]).args(args).kill_on_drop(true);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    let ended = run_to_end(&mut command).await;
    assert!(ended.err.is_empty(), "curl {args:?}: {}", ended.err);
    Some((ended.code.unwrap_or(-1), ended.out))
}

async fn resolve(proxy: &Proxy) -> String {
    let vip = proxy.vip("server").await;
    format!("server.mesh.test:{}:{}", vip.port(), vip.ip())
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_over_http1() {
    let backend =
        Backend::start(|request| Reply::ok(format!("{} {}", request.method, request.body().len()))).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let (via, target) = (format!("http://{}", proxy.outbound), url("server", "/x?y"));
    let Some(answer) = curl(&["-x", &via, &target]).await else { return };
    assert_eq!(answer, (0, "GET 0".to_owned()));
    let resolve = resolve(&proxy).await;
    let vip = ["--resolve", resolve.as_str(), target.as_str()];
    assert_eq!(curl(&vip).await, Some((0, "GET 0".to_owned())));
    assert_eq!(curl(&[&["--http1.0"], &vip[..]].concat()).await, Some((0, "GET 0".to_owned())));
    assert_eq!(curl(&[&["-X", "DELETE"], &vip[..]].concat()).await, Some((0, "DELETE 0".to_owned())));
    // Above 1 MiB curl asks with Expect: 100-continue first.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![b'x'; 5_000_000]).expect("a file");
    let path = file.path().to_str().expect("text");
    for more in
        [&["-T", path][..], &["-T", path, "-H", "Transfer-Encoding: chunked"], &["-x", &via, "-T", path]]
    {
        let answer = curl(&[more, &vip[..]].concat()).await;
        assert_eq!(answer, Some((0, "PUT 5000000".to_owned())), "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_through_connect() {
    let backend = Backend::start(|request| Reply::ok(&request.target)).await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let (via, target) = (format!("http://{}", proxy.outbound), url("server", "/x?y"));
    let Some(answer) = curl(&["-p", "-x", &via, &target]).await else { return };
    assert_eq!(answer, (0, "/x?y".to_owned()));
    // Outside of the mesh, with CONNECT and without.
    let target = format!("http://localhost:{}/z", backend.addr().port());
    assert_eq!(curl(&["-p", "-x", &via, &target]).await, Some((0, "/z".to_owned())));
    assert_eq!(curl(&["-x", &via, &target]).await, Some((0, "/z".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_on_both_sides() {
    let Some(python) = python() else { return };
    let (_server, addr) = server(&python, &["websocket.py", "serve"]).await;
    let proxy = crate::proxy().mesh(service("server").at(addr)).start().await;
    let (vip, via) = (proxy.vip("server").await.to_string(), format!("http://{}", proxy.outbound));
    let target = format!("ws://{}/chat", bowline_tests::authority("server"));
    for more in [&[][..], &[via.as_str()]] {
        let mut command = Command::new(&python);
        command.arg(script("websocket.py")).args(["call", &vip, &target]).args(more);
        let ended = run_to_end(command.stderr(Stdio::piped())).await;
        assert_eq!((ended.code, ended.out.trim()), (Some(0), "ok"), "{}", ended.err);
    }
    proxy.metric_is("bowline_tunnels_ended_total", &[("end", "closed")], 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_over_http2() {
    let backend = H2Backend::start(|mut stream| async move {
        let (body, _) = stream.read().await;
        let text = format!("{:?} {}", stream.head.version, body.len());
        stream.answer(200, &[], text.as_bytes());
    })
    .await;
    let proxy = crate::proxy().mesh(service("server").at(&backend)).start().await;
    let (resolve, target) = (resolve(&proxy).await, url("server", "/"));
    let args = ["--http2-prior-knowledge", "--resolve", &resolve, &target];
    let Some(answer) = curl(&args).await else { return };
    assert_eq!(answer, (0, "HTTP/2.0 0".to_owned()));
    let body = "x".repeat(100_000);
    assert_eq!(curl(&[&["-d", &body], &args[..]].concat()).await, Some((0, "HTTP/2.0 100000".to_owned())));
}

/// Starts a script that prints its address first.
async fn server(python: &Path, arguments: &[&str]) -> (Child, SocketAddr) {
    let mut command = Command::new(python);
    command.arg(script(arguments[0])).args(&arguments[1..]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("python");
    let stdout = child.stdout.take().expect("its stdout");
    let line =
        within("the server's address", BufReader::new(stdout).lines().next_line()).await.expect("a line");
    (child, line.expect("a line").parse().expect("an address"))
}

async fn client(python: &Path, addr: SocketAddr, what: &str) {
    let mut command = Command::new(python);
    let ended = run_to_end(
        command.arg(script("grpc_client.py")).arg(addr.to_string()).arg(what).stderr(Stdio::piped()),
    )
    .await;
    assert_eq!((ended.code, ended.out.trim()), (Some(0), "ok"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_on_both_sides() {
    let Some(python) = python() else { return };
    let (_server, addr) = server(&python, &["grpc_server.py"]).await;
    for declared in [true, false] {
        let mut server = service("server").at(addr);
        if declared {
            server = server.with("appProtocol", json!("grpc"));
        }
        let proxy = crate::proxy().mesh(server).start().await;
        client(&python, proxy.vip("server").await, "all").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcio_is_told_why_there_is_no_answer() {
    let Some(python) = python() else { return };
    let proxy = crate::proxy()
        .mesh(service("server").at(refusing()).with("appProtocol", json!("grpc")))
        .start()
        .await;
    client(&python, proxy.vip("server").await, "unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_behind_the_proxy() {
    let Some(nginx) = program("nginx") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().display();
    let addr = refusing();
    std::fs::write(dir.path().join("file"), (0..5_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>())
        .expect("a file");
    let config = format!(
        "daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {root}/a; proxy_temp_path {root}/b; fastcgi_temp_path {root}/c;\n\
                 uwsgi_temp_path {root}/d; scgi_temp_path {root}/e; keepalive_requests 7;\n\
                 server {{ listen {addr}; root {root}; }} }}\n"
    );
    let conf = dir.path().join("nginx.conf");
    std::fs::write(&conf, config).expect("a file");
    let mut command = Command::new(nginx);
    let _nginx = command
        .args(["-e", "stderr", "-c"])
        .arg(&conf)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nginx");
    let proxy = crate::proxy().mesh(service("server").at(addr)).start().await;
    let whole = eventually("nginx answers", async || {
        Some(proxy.get("server", "/file").await).filter(|a| a.status == 200)
    })
    .await;
    assert!(
        whole.body.len() == 5_000_000
            && whole.body.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8)
    );
    // nginx ends a connection after seven requests: no request is lost to that.
    for _ in 0..50 {
        let part = proxy.request("GET", "server", "/file", "Range: bytes=100-109\r\n", "").await;
        assert_eq!(part.expect(206).body.len(), 10);
    }
    let head = proxy.request("HEAD", "server", "/file", "", "").await;
    assert_eq!(head.expect(200).header("content-length"), Some("5000000"));
    let etag = format!("If-None-Match: {}\r\n", head.header("etag").expect("an ETag"));
    proxy.request("GET", "server", "/file", &etag, "").await.expect(304);
    proxy.get("server", "/nothing").await.expect(404);
    assert_eq!(
        proxy.metric("bowline_local_responses_total", &[("reason", "closed_without_response")]).await,
        0.0
    );
}
