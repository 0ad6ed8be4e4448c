//! Who may call: API keys and tokens, made by openssl.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_tests::client::Raw;
use bowline_tests::grpc::{CALL, message};
use bowline_tests::mesh::Service;
use bowline_tests::sockets::reserved;
use bowline_tests::{Answer, Backend, H2Client, Mesh, Proxy, Reply, eventually, service};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::ingress::{at_edge, call, edge};

const REFUSED: &str = "bowline_access_refused_total";

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().expect("openssl");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A key that somebody signs tokens with.
struct Signer {
    dir: TempDir,
    id: &'static str,
    rsa: bool,
}

impl Signer {
    fn new(id: &'static str, rsa: bool) -> Self {
        let signer = Signer { dir: tempfile::tempdir().expect("a folder"), id, rsa };
        let option = if rsa { "rsa_keygen_bits:2048" } else { "ec_paramgen_curve:P-256" };
        let algorithm = if rsa { "RSA" } else { "EC" };
        openssl(&["genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out", &signer.path("key.pem")]);
        signer
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    /// Its public half, as a key set has it.
    fn public(&self) -> Value {
        let key = self.path("key.pem");
        if self.rsa {
            let text = String::from_utf8(openssl(&["rsa", "-in", &key, "-modulus", "-noout"])).expect("text");
            let hex = text.trim().trim_start_matches("Modulus=").to_owned();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            let n: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            return json!({ "kty": "RSA", "kid": self.id, "use": "sig", "n": base64url(&n), "e": "AQAB" });
        }
        let der = openssl(&["pkey", "-in", &key, "-pubout", "-outform", "DER"]);
        let (x, y) = der[der.len() - 64..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": base64url(x), "y": base64url(y) })
    }

    fn sign(&self, claims: &Value) -> String {
        let algorithm = if self.rsa { "RS256" } else { "ES256" };
        let head = json!({ "alg": algorithm, "kid": self.id });
        let text = format!(
            "{}.{}",
            base64url(head.to_string().as_bytes()),
            base64url(claims.to_string().as_bytes())
        );
        std::fs::write(self.path("text"), &text).expect("a file");
        let signature = openssl(&["dgst", "-sha256", "-sign", &self.path("key.pem"), &self.path("text")]);
        let signature = if self.rsa { signature } else { fixed(&signature) };
        format!("{text}.{}", base64url(&signature))
    }
}

/// The two numbers of an ECDSA signature, out of DER.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(usize::from(rest[1]));
        rest = after;
        let number = &number[number.len().saturating_sub(32)..];
        fixed.resize(fixed.len() + 32 - number.len(), 0);
        fixed.extend_from_slice(number);
    }
    fixed
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("before the end of time") + seconds
}

fn good_for(seconds: i64) -> Value {
    json!({ "exp": in_seconds(seconds), "iss": "https://id.test/", "aud": "shop", "sub": "ann", "admin": false })
}

fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.public()).collect::<Vec<_>>() }).to_string()
}

fn to_web() -> Service {
    let health =
        json!({ "match": { "path": { "exact": "/health" } }, "public": true, "to": [{ "service": "web" }] });
    edge(json!([health, { "match": {}, "to": [{ "service": "web" }] }]), &[])
}

async fn bearer(proxy: &Proxy, token: &str) -> Answer {
    call(proxy, "x", "/", &format!("Authorization: Bearer {token}\r\n")).await
}

fn is_refused(answer: &Answer, challenge: &str) {
    answer.expect(401);
    assert_eq!(answer.header("x-bowline-error"), Some("unauthorized"));
    assert_eq!(answer.header("www-authenticate"), Some(challenge));
}

/// printf %s KEY | sha256sum
fn hash(key: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("key");
    std::fs::write(&file, key).expect("a file");
    let text = openssl(&["dgst", "-sha256", "-r", &file.to_string_lossy()]);
    String::from_utf8_lossy(&text[..64]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_opens_the_door_and_stays_there() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "apiKey": { "sha256": { "ann": hash("s3cret") } } });
    let limit = json!([{ "requestsPerMinute": 4 }]);
    let mesh = Mesh::of([to_web().with("access", access).with("rateLimit", limit), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    for _ in 0..5 {
        // Who has no key takes nothing from the limit of those who have.
        is_refused(&call(&proxy, "x", "/", "").await, "ApiKey");
    }
    is_refused(&call(&proxy, "x", "/", "X-API-Key: wrong\r\n").await, "ApiKey");
    is_refused(&call(&proxy, "x", "/", "X-API-Key: s3cret\r\nX-API-Key: s3cret\r\n").await, "ApiKey");
    assert_eq!(web.count(), 0);
    call(&proxy, "x", "/", "X-API-Key: s3cret\r\n").await.expect(200);
    assert_eq!(web.only_request().header("x-api-key"), None);
    call(&proxy, "x", "/health", "X-API-Key: s3cret\r\n").await.expect(200);
    call(&proxy, "x", "/health", "").await.expect(200);
    assert!(web.requests().iter().all(|request| request.header("x-api-key").is_none()));
    let client = H2Client::connect(proxy.ingress[0]).await;
    let post = bowline_tests::h2_client::request("POST", "x", "/pkg.A/B", CALL);
    let answer = client.call(post, &message(b"")).await;
    assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("16")));
    assert_eq!(proxy.metric(REFUSED, &[("service", "edge"), ("why", "no_key")]).await, 6.0);
    assert_eq!(proxy.metric(REFUSED, &[("service", "edge"), ("why", "wrong_key")]).await, 2.0);
    assert!(proxy.log().iter().all(|line| !line.contains("s3cret")), "a key was logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_a_rate_limit_of_its_own() {
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "apiKey": { "sha256": { "ann": hash("one"), "bob": hash("two") } } });
    let limit = json!([{ "requestsPerMinute": 1, "key": { "header": "x-api-key" } }]);
    let mesh = Mesh::of([to_web().with("access", access).with("rateLimit", limit), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    for (key, status) in [("one", 200), ("one", 429), ("two", 200), ("two", 429)] {
        call(&proxy, "x", "/", &format!("X-API-Key: {key}\r\n")).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_verified_and_their_claims_passed_on() {
    let (rsa, ec, other) = (Signer::new("r", true), Signer::new("e", false), Signer::new("e", false));
    let keys = rsa.path("keys.json");
    std::fs::write(&keys, set(&[&rsa, &ec])).expect("a key set");
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "jwt": {
        "jwks": { "file": keys }, "issuer": "https://id.test/", "audiences": ["shop"],
        "claimsToHeaders": { "sub": "x-user", "admin": "x-admin", "missing": "x-missing" },
    } });
    let mesh = Mesh::of([to_web().with("access", access), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    for signer in [&rsa, &ec] {
        let token = signer.sign(&good_for(600));
        let spoofed = format!(
            "Authorization: bearer {token}\r\nX-User: root\r\nx-user: root\r\nX-Admin: true\r\nX-Missing: 1\r\n\
             Connection: x-user\r\n"
        );
        for _ in 0..2 {
            call(&proxy, "x", "/", &spoofed).await.expect(200);
            let seen = web.requests().pop().expect("a request");
            assert_eq!((seen.header("x-user"), seen.header("x-admin")), (Some("ann"), Some("false")));
            assert_eq!(seen.header("x-missing"), None);
        }
    }
    let count = web.count();
    is_refused(&call(&proxy, "x", "/", "").await, "Bearer");
    is_refused(&call(&proxy, "x", "/", "Authorization: Basic YTpi\r\n").await, "Bearer");
    let with = |name: &str, value: Value| {
        let mut claims = good_for(600);
        claims[name] = value;
        claims
    };
    let good = rsa.sign(&good_for(600));
    let unsigned =
        format!("{}.{}.", base64url(br#"{"alg":"none"}"#), good.split('.').nth(1).expect("claims"));
    for (token, why) in [
        (rsa.sign(&good_for(-61)), "expired"),
        (rsa.sign(&with("nbf", json!(in_seconds(3600)))), "not_yet"),
        (rsa.sign(&with("iss", json!("https://evil.test/"))), "issuer"),
        (rsa.sign(&with("aud", json!(["other"]))), "audience"),
        (rsa.sign(&with("sub", json!("ann\r\nx-admin: true"))), "claim"),
        (other.sign(&good_for(600)), "signature"),
        (unsigned, "algorithm"),
        ("x".to_owned(), "malformed"),
    ] {
        is_refused(&bearer(&proxy, &token).await, "Bearer error=\"invalid_token\"");
        assert_eq!(proxy.metric(REFUSED, &[("why", why)]).await, 1.0, "{why}");
    }
    assert_eq!(web.count(), count, "nothing was sent");
    call(&proxy, "x", "/health", "X-User: root\r\n").await.expect(200);
    assert_eq!(web.requests().pop().expect("a request").header("x-user"), None, "public, and still nobody");
    assert!(proxy.log().iter().all(|line| !line.contains(&good)), "a token was logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_without_a_scope_is_forbidden() {
    let signer = Signer::new("e", false);
    let keys = signer.path("keys.json");
    std::fs::write(&keys, set(&[&signer])).expect("a key set");
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "jwt": { "jwks": { "file": keys }, "scopes": ["read", "write"] } });
    let mesh = Mesh::of([to_web().with("access", access), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    let with = |scope: &str| {
        let mut claims = good_for(600);
        claims["scope"] = json!(scope);
        signer.sign(&claims)
    };
    let answer = bearer(&proxy, &with("read")).await;
    answer.expect(403);
    assert_eq!(answer.header("x-bowline-error"), Some("forbidden"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"insufficient_scope\""));
    assert_eq!(web.count(), 0);
    bearer(&proxy, &with("write other read")).await.expect(200);
    assert_eq!(proxy.metric(REFUSED, &[("service", "edge"), ("why", "scope")]).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_file_are_followed() {
    let (old, new) = (Signer::new("old", false), Signer::new("new", false));
    let keys = old.path("keys.json");
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "jwt": { "jwks": { "file": keys } } });
    let mesh = Mesh::of([to_web().with("access", access), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    let (by_old, by_new) = (old.sign(&good_for(600)), new.sign(&good_for(600)));
    let answer = bearer(&proxy, &by_old).await;
    assert_eq!(answer.expect(503).header("x-bowline-error"), Some("no_key_set"));
    let put = |text: &str| {
        let draft = Path::new(&keys).with_extension("new");
        std::fs::write(&draft, text).expect("a key set");
        std::fs::rename(draft, &keys).expect("a key set");
    };
    let becomes = async |token: &str, status: u16| {
        eventually("the keys are followed", async || {
            (bearer(&proxy, token).await.status == status).then_some(())
        })
        .await;
    };
    put(&set(&[&old]));
    becomes(&by_old, 200).await;
    bearer(&proxy, &by_new).await.expect(401);
    put(&set(&[&new]));
    becomes(&by_new, 200).await;
    bearer(&proxy, &by_old).await.expect(401);
    put("broken");
    proxy.logged("no keys for tokens").await;
    bearer(&proxy, &by_new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_behind_a_url_are_asked_for_again_and_kept_when_nobody_answers() {
    let (old, new) = (Signer::new("old", true), Signer::new("new", false));
    let served = Arc::new(Mutex::new((200, set(&[&old]))));
    let now = served.clone();
    let id = Backend::start(move |request| {
        assert_eq!(request.target, "/keys?x=1");
        let (status, text) = now.lock().expect("a lock").clone();
        Reply::new(status, &[("content-type", "application/json")], text)
    })
    .await;
    let web = Backend::start(|_| Reply::ok("web")).await;
    let url = format!("http://{}/keys?x=1", id.addr());
    let access = json!({ "jwt": { "jwks": { "url": url } } });
    let mesh = Mesh::of([to_web().with("access", access), service("web").at(&web)]);
    let proxy = at_edge().mesh(mesh).start().await;
    let (by_old, by_new) = (old.sign(&good_for(600)), new.sign(&good_for(600)));
    eventually("the keys are there", async || (bearer(&proxy, &by_old).await.status == 200).then_some(()))
        .await;
    assert_eq!(id.count(), 1);
    // A key that is not known is asked for at once, and then not for a while, whoever wants it.
    *served.lock().expect("a lock") = (200, set(&[&new]));
    bearer(&proxy, &by_new).await.expect(200);
    bearer(&proxy, &by_old).await.expect(401);
    for _ in 0..20 {
        bearer(&proxy, &by_old).await.expect(401);
    }
    assert_eq!(id.count(), 2);
    // It is away: what is known stays.
    *served.lock().expect("a lock") = (500, String::new());
    eventually("it is asked again", async || {
        bearer(&proxy, &by_old).await.expect(401);
        (id.count() == 3).then_some(())
    })
    .await;
    bearer(&proxy, &by_new).await.expect(200);
}

/// The server is openssl's own, with a certificate that no public authority knows.
#[tokio::test(flavor = "multi_thread")]
async fn keys_behind_https_come_from_whom_an_authority_vouches_for() {
    let signer = Signer::new("one", false);
    let (key, certificate) = (signer.path("tls.key"), signer.path("tls.pem"));
    openssl(
        &[
            &["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
                [..],
            &["-subj", "/CN=id", "-addext", "subjectAltName=IP:127.0.0.1"],
            &["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate],
        ]
        .concat(),
    );
    let response = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}", set(&[&signer]));
    std::fs::write(signer.path("keys"), response).expect("a file");
    let at = reserved();
    let _server = tokio::process::Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-HTTP",
            "-accept",
            &at.to_string(),
            "-key",
            &key,
            "-cert",
            &certificate,
        ])
        .current_dir(signer.dir.path())
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl");
    eventually("it listens", async || TcpStream::connect(at).await.ok()).await;
    let web = Backend::start(|_| Reply::ok("web")).await;
    let access = json!({ "jwt": { "jwks": { "url": format!("https://{at}/keys") } } });
    let mesh = || Mesh::of([to_web().with("access", access.clone()), service("web").at(&web)]);
    let token = signer.sign(&good_for(600));

    let strict = at_edge().mesh(mesh()).start().await;
    let line = strict.logged("no keys for tokens").await;
    assert!(line.contains("UnknownIssuer"), "{line}");
    bearer(&strict, &token).await.expect(503);

    let proxy = at_edge().arg("--jwks-ca").arg(&certificate).mesh(mesh()).start().await;
    proxy.logged("keys for tokens were taken up").await;
    bearer(&proxy, &token).await.expect(200);

    let ended = at_edge().arg("--jwks-ca").arg(&key).mesh(mesh()).run_to_end().await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("tls.key: there is no certificate in it"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_the_app_the_same_is_asked() {
    let app = Backend::start(|_| Reply::ok("app")).await;
    let access = json!({ "apiKey": { "header": "x-key", "sha256": { "ann": hash("s3cret") } } });
    let public = json!([{ "match": { "path": { "exact": "/health" } }, "public": true }]);
    let server = service("server").at(&app).with("access", access).with("routes", public);
    let flag = format!("127.0.0.1:0={},service=server", app.addr());
    let proxy = crate::proxy().arg("--inbound").arg(flag).mesh(server).start().await;
    let ask = async |path: &str, more: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
        Raw::connect(proxy.inbound[0]).await.call(text).await
    };
    is_refused(&ask("/", "").await, "ApiKey");
    ask("/", "X-Key: s3cret\r\n").await.expect(200);
    assert_eq!(app.only_request().header("x-key"), None);
    ask("/health", "").await.expect(200);
    // A caller's own proxy doesn't ask.
    proxy.get("server", "/").await.expect(200);
    // An operator who wants the proxy out of the way has not opened the door.
    proxy.admin("POST", "/bypass?service=server&on=true").await.expect(200);
    is_refused(&ask("/", "").await, "ApiKey");
    // Without the service nobody can say who may come in.
    proxy.apply(service("other").at(&app)).await;
    let shut = ask("/", "X-Key: s3cret\r\n").await;
    shut.expect(503);
    assert!(shut.text().contains("says who may call the app"), "{}", shut.text());
}
