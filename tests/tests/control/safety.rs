//! No client can hurt another, and no stranger gets in.

use std::path::Path;

use bowline_tests::proxy::{bare, run_to_end};
use bowline_tests::{Backend, Reply, eventually, service};

use crate::{CONTROL, client, control, has_mesh, registered};

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_listen_to_other_hosts_without_a_secret() {
    let ended = control().listen("0.0.0.0:0").run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("--token-file") && ended.err.contains("--tls-cert"), "{}", ended.err);
    let builder = control().listen("0.0.0.0:0");
    let token = builder.file("token", "a secret of ours\n");
    builder.arg("--token-file").arg(token.to_str().expect("a path")).start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_come_without_a_file() {
    let control = control().arg("--token").arg("a-secret-of-ours").start().await;
    let stranger = client(&[&control]).start().await;
    assert!(stranger.logged("no stream to the control plane").await.contains("wants a token"));
    has_mesh(&client(&[&control]).arg("--control-token").arg("a-secret-of-ours").start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_health_is_an_exit_code() {
    let health = async |admin: &str| {
        let mut command = bare(Path::new(CONTROL));
        run_to_end(command.args(["health", "--admin", admin])).await
    };
    let control = control().start().await;
    assert_eq!(health(&control.admin.to_string()).await.code, Some(0));
    let ended = health("127.0.0.1:1").await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("no control plane answers at 127.0.0.1:1"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_none_is_wrong_usage() {
    let ended = control().arg("--store").arg("redis://127.0.0.1:1/x").run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(
        ended.err.contains("--store") && ended.err.contains("expected memory, or etcd://"),
        "{}",
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_token_is_served() {
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let builder = control().mesh(service("server").at(&backend));
    let token = builder.file("token", "a-secret-of-ours\n").to_str().expect("a path").to_owned();
    let wrong = builder.file("wrong", "another-secret\n").to_str().expect("a path").to_owned();
    let control = builder.arg("--token-file").arg(&token).start().await;
    let stranger = client(&[&control]).start().await;
    let line = stranger.logged("no stream to the control plane").await;
    assert!(line.contains("wants a token"), "{line}");
    let liar = client(&[&control]).arg("--control-token-file").arg(&wrong).start().await;
    let line = liar.logged("no stream to the control plane").await;
    assert!(line.contains("not the token"), "{line}");
    let friend = client(&[&control]).arg("--control-token-file").arg(&token).start().await;
    has_mesh(&friend).await;
    let other = client(&[&control]).arg("--control-token").arg("a-secret-of-ours").start().await;
    has_mesh(&other).await;
    assert_eq!(friend.get("server", "/").await.expect(200).text(), "served");
    assert!(control.metrics().await.sum("bowline_control_clients_refused_total", &[]) >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_register_what_is_said_by_tokens() {
    let builder = control().mesh(bowline_tests::Mesh::of([registered("server"), registered("other")]));
    let tokens = builder.file("tokens", "server: secret-of-server\n").to_str().expect("a path").to_owned();
    let mine = builder.file("mine", "secret-of-server\n").to_str().expect("a path").to_owned();
    let control = builder.arg("--registration-tokens").arg(&tokens).start().await;
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let with = |service: &str| {
        client(&[&control]).register(service, backend.addr()).arg("--register-token-file").arg(&mine)
    };
    let line = client(&[&control]).register("server", backend.addr()).start().await;
    let line = line.logged("not registered").await;
    assert!(line.contains("needs a token"), "{line}");
    let other = with("other").start().await;
    assert!(other.logged("not registered").await.contains("no token for"));
    let _server = with("server").start().await;
    control.has_endpoints("server", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_another_namespace_is_told() {
    let control = control().mesh(registered("server")).start().await;
    let lost = client(&[&control]).namespace("elsewhere.test").start().await;
    let line = lost.logged("no stream to the control plane").await;
    assert!(line.contains("mesh.test"), "{line}");
}

/// Wrong usage is told before anything is started.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_are_told() {
    for (flags, words) in [
        (vec!["--control", "ftp://x"], "neither http nor https"),
        (vec!["--control", "https://127.0.0.1:1"], "--control-ca"),
        (vec!["--register", "server"], "NAME=PORT"),
    ] {
        let mut builder = bowline_tests::proxy::Builder::new(crate::PROXY);
        builder = match flags[0] {
            "--control" => builder.control(&[flags[1].to_owned()]),
            _ => flags.iter().fold(builder.control(&["127.0.0.1:1".to_owned()]), |b, flag| b.arg(*flag)),
        };
        let ended = builder.run_to_end().await;
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.err);
        assert!(ended.err.contains(words), "{flags:?}: {}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_clients_as_may_be_and_no_more() {
    let control = control().mesh(registered("server")).arg("--max-clients").arg("1").start().await;
    let first = client(&[&control]).start().await;
    has_mesh(&first).await;
    let second = client(&[&control]).start().await;
    let line = second.logged("no stream to the control plane").await;
    assert!(line.contains("as many as may be"), "{line}");
    drop(first);
    eventually("there is room", async || {
        (second.page("/config").await["controlPlane"]["connected"] == true).then_some(())
    })
    .await;
}

/// A certificate for 127.0.0.1 that is its own authority, and its key; `None`, aloud, without openssl.
fn certificate(folder: &std::path::Path) -> Option<(String, String)> {
    let path = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    let (cert, key, config) = (path("cert.pem"), path("key.pem"), path("openssl.cnf"));
    // An authority's own certificate is refused as a server's: rustls insists on CA:FALSE.
    let settings = "[req]\ndistinguished_name = dn\nx509_extensions = v3\nprompt = no\n[dn]\nCN = control\n\
                    [v3]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical,CA:FALSE\n";
    std::fs::write(&config, settings).expect("a file");
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-config", &config, "-keyout", &key, "-out", &cert])
        .output();
    match made {
        Ok(made) if made.status.success() => Some((cert, key)),
        Ok(made) => panic!("openssl: {}", String::from_utf8_lossy(&made.stderr)),
        Err(_) => {
            assert!(std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(), "openssl is missing");
            eprintln!("SKIPPED: openssl is missing");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_a_known_authority_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((cert, key)) = certificate(folder.path()) else { return };
    let backend = Backend::start(|_| Reply::ok("served")).await;
    let control =
        control().mesh(service("server").at(&backend)).arg("--tls-cert").arg(&cert).arg("--tls-key");
    let control = control.arg(&key).start().await;
    let https = vec![control.url().replace("http://", "https://")];
    let on = |urls: &[String]| bowline_tests::proxy::Builder::new(crate::PROXY).control(urls);
    let friend = on(&https).arg("--control-ca").arg(&cert).start().await;
    has_mesh(&friend).await;
    assert_eq!(friend.get("server", "/").await.expect(200).text(), "served");
    // Another authority, and no TLS at all.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let Some((other, _)) = certificate(elsewhere.path()) else { return };
    let doubter = on(&https).arg("--control-ca").arg(&other).start().await;
    let line = doubter.logged("no stream to the control plane").await;
    assert!(line.contains("certificate"), "{line}");
    let plain = client(&[&control]).start().await;
    plain.logged("no stream to the control plane").await;
}
