//! Against moto, a stand-in for AWS, with registrations by boto3. `tests/run` sees to it that both are there, and says by
//! `BOWLINE_REQUIRE_INTEROP` that they must be; without it the test is left out, aloud.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_servicediscovery::config::{Credentials, SharedCredentialsProvider};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::*;

const PATIENCE: Duration = Duration::from_secs(120);

fn python() -> Option<PathBuf> {
    let beside = || {
        let target = std::env::current_exe().ok()?.ancestors().nth(3)?.to_owned();
        Some(target.join("python/bin/python3"))
    };
    let found = std::env::var_os("BOWLINE_TEST_PYTHON").map(PathBuf::from).or_else(beside);
    let found = found.filter(|python| {
        let has = std::process::Command::new(python).args(["-c", "import boto3, moto.server"]).output();
        has.is_ok_and(|ended| ended.status.success())
    });
    if found.is_none() {
        assert!(
            std::env::var_os("BOWLINE_REQUIRE_INTEROP").is_none(),
            "python3 with moto and boto3 is missing"
        );
        eprintln!("SKIPPED: python3 with moto and boto3 is missing; tests/run installs it");
    }
    found
}

/// The stand-in, and what registers instances with it.
struct Aws {
    endpoint: String,
    _child: Child,
    say: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Aws {
    async fn start(python: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloudmap.py");
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Nothing of the machine's own.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        let (say, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut aws = Aws { endpoint: String::new(), _child: child, say, said: BufReader::new(out).lines() };
        aws.endpoint = aws.line().await;
        aws
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.said.next_line()).await.expect("a line");
        line.unwrap().expect("a line")
    }

    /// Lets boto3 do something.
    async fn does(&mut self, what: &str) {
        self.say.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        assert_eq!(self.line().await, "ok", "{what}");
    }

    fn client(&self) -> CloudMap {
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(crate::aws::http_client())
            .build();
        CloudMap::from_config(&config)
    }
}

const MESH: &str = "
namespace: hello-world.com
services:
  - { discoveryName: server, endpoints: { cloudMap: {} } }
  - { discoveryName: there, endpoints: { cloudMap: { namespace: other.com, service: backend } } }
  - { discoveryName: here, endpoints: { static: [] } }
";

fn mesh(text: &str) -> Arc<Mesh> {
    Arc::new(bowline_api::parse("mesh.yaml", text).unwrap())
}

struct Running {
    changes: mpsc::Receiver<Change>,
    mesh: watch::Sender<Arc<Mesh>>,
}

impl Running {
    fn start(source: CloudMapSource) -> Self {
        let (mesh, follow) = watch::channel(mesh(MESH));
        let (report, changes) = mpsc::channel(64);
        tokio::spawn(source.run(follow, report));
        Running { changes, mesh }
    }

    async fn next(&mut self) -> Change {
        tokio::time::timeout(PATIENCE, self.changes.recv()).await.expect("a change").expect("a change")
    }

    /// The next list of a service.
    async fn list(&mut self, of: &str) -> Vec<Endpoint> {
        loop {
            if let Change::Endpoints { service, endpoints, settled } = self.next().await
                && service == of
            {
                assert!(settled);
                return endpoints;
            }
        }
    }

    async fn addresses(&mut self, of: &str) -> Vec<String> {
        self.list(of).await.iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    /// The next trouble of a service; no list of it may come first.
    async fn trouble(&mut self, of: &str) -> Option<String> {
        loop {
            match self.next().await {
                Change::Trouble { service, source: "cloudMap", why } if service.as_deref() == Some(of) => {
                    return why;
                }
                Change::Endpoints { service, endpoints, .. } if service == of => {
                    panic!("trouble was expected, and not {endpoints:?}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn where_a_service_is_looked_for() {
    let wanted: Vec<_> =
        wanted(&mesh(MESH)).into_iter().map(|(s, w)| format!("{s}: {} {}", w.namespace, w.service)).collect();
    assert_eq!(wanted, ["server: hello-world.com server", "there: other.com backend"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_change_and_go() {
    let Some(python) = python() else { return };
    let mut aws = Aws::start(&python).await;
    let mut running = Running::start(CloudMapSource::with_client(aws.client(), VipRange::DEFAULT));
    // There is no such service yet: trouble, and not an empty list.
    let why = running.trouble("server").await.expect("trouble");
    assert!(why.contains("NamespaceNotFound") && why.contains("the last good endpoints stay (0)"), "{why}");
    aws.does("service hello-world.com server").await;
    aws.does("service other.com backend").await;
    assert!(running.addresses("server").await.is_empty());

    aws.does(
        "register server one AWS_INSTANCE_IPV4=10.0.0.1 AWS_INSTANCE_PORT=9001 AVAILABILITY_ZONE=eu-west-1a weight=7 version=v1",
    )
    .await;
    let [one] = &running.list("server").await[..] else { panic!("one endpoint was expected") };
    assert_eq!((one.address.to_string().as_str(), one.weight), ("10.0.0.1:9001", 7));
    assert_eq!((one.zone.as_deref(), one.metadata["version"].as_str()), (Some("eu-west-1a"), "v1"));
    aws.does("register server two AWS_INSTANCE_IPV6=fd00::2 AWS_INSTANCE_PORT=9002").await;
    assert_eq!(running.addresses("server").await, ["10.0.0.1:9001", "[fd00::2]:9002"]);
    aws.does("register server three AWS_INSTANCE_IPV4=10.0.0.3").await;
    let why = running.trouble("server").await.expect("trouble");
    assert!(why.contains("instance \"three\" is no endpoint: it has no AWS_INSTANCE_PORT"), "{why}");
    aws.does("deregister server three").await;
    assert_eq!(running.trouble("server").await, None);

    // Health does not move the revision.
    aws.does("health server one UNHEALTHY").await;
    assert_eq!(running.addresses("server").await, ["[fd00::2]:9002"]);
    aws.does("health server two UNHEALTHY").await;
    assert_eq!(running.addresses("server").await.len(), 2);
    aws.does("health server one HEALTHY").await;
    assert_eq!(running.addresses("server").await, ["10.0.0.1:9001"]);
    aws.does("health server two HEALTHY").await;
    assert_eq!(running.addresses("server").await.len(), 2);

    aws.does("deregister server one").await;
    assert_eq!(running.addresses("server").await, ["[fd00::2]:9002"]);
    // Another namespace and name than the mesh's own, and so for a service that changes over to it.
    aws.does("register backend four AWS_INSTANCE_IPV4=10.0.0.4 AWS_INSTANCE_PORT=9004").await;
    assert_eq!(running.addresses("there").await, ["10.0.0.4:9004"]);
    let moved = MESH.replace("cloudMap: {} }", "cloudMap: { namespace: other.com, service: backend } }");
    running.mesh.send(mesh(&moved)).unwrap();
    assert_eq!(running.addresses("server").await, ["10.0.0.4:9004"]);

    // AWS is away: trouble, and no list.
    drop(aws);
    let why = running.trouble("server").await.expect("trouble");
    assert!(why.contains("Cloud Map does not answer") && why.contains("stay (1)"), "{why}");
    drop(running.mesh);
    while tokio::time::timeout(PATIENCE, running.changes.recv()).await.expect("an end").is_some() {}
}
