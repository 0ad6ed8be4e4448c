//! On real files.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const ONE: &str =
    "namespace: a\nservices: [{ discoveryName: one, endpoints: { static: [{ address: '10.0.0.1:1' }] } }]\n";
const TWO: &str = "namespace: a\nservices: [{ discoveryName: two, endpoints: { registered: {} } }]\n";
const WRONG: &str = "namespace: a\nservices: [{ discoveryName: two, endpionts: {} }, { discoveryName: '', endpoints: { static: [] } }]\n";

struct Running {
    file: PathBuf,
    changes: mpsc::Receiver<Change>,
    _folder: TempDir,
    _mesh: watch::Sender<Arc<Mesh>>,
}

impl Running {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.yaml");
        fs::write(&file, text).unwrap();
        let (source, mesh) = MeshFileSource::open(&file, VipRange::DEFAULT).unwrap();
        let (mesh, follow) = watch::channel(mesh);
        let (report, changes) = mpsc::channel(8);
        tokio::spawn(source.run(follow, report));
        Running { file, changes, _folder: folder, _mesh: mesh }
    }

    async fn next(&mut self) -> Change {
        tokio::time::timeout(Duration::from_secs(20), self.changes.recv()).await.expect("a change").unwrap()
    }
}

fn trouble(change: &Change) -> Option<&str> {
    match change {
        Change::Trouble { service: None, source: "mesh", why } => why.as_deref(),
        other => panic!("{other:?}"),
    }
}

fn names(change: &Change) -> Vec<String> {
    match change {
        Change::Mesh(mesh) => mesh.services.iter().map(|s| s.discovery_name.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_mesh_is_there_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), ONE).unwrap();
    fs::write(folder.path().join("b.yaml"), TWO).unwrap();
    let (_, mesh) = MeshFileSource::open(folder.path(), VipRange::DEFAULT).unwrap();
    assert_eq!(mesh.services.len(), 2);
}

#[test]
fn an_invalid_file_is_refused_with_all_problems() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    fs::write(&file, WRONG).unwrap();
    let why = MeshFileSource::open(&file, VipRange::DEFAULT).unwrap_err();
    assert!(why.contains("did you mean \"endpoints\"") && why.contains("services[1].discoveryName"), "{why}");
    let missing = MeshFileSource::open(&folder.path().join("no"), VipRange::DEFAULT).unwrap_err();
    assert!(missing.contains("can't read it"), "{missing}");
}

#[tokio::test]
async fn a_change_is_reported_and_a_mistake_leaves_the_last_good_mesh() {
    let mut running = Running::start(ONE);
    fs::write(&running.file, WRONG).unwrap();
    let why = running.next().await;
    let why = trouble(&why).expect("trouble");
    assert!(why.contains("endpionts") && why.contains("services[1]"), "{why}");
    // Put right: the trouble ends, and the mesh follows.
    fs::write(&running.file, TWO).unwrap();
    assert_eq!(trouble(&running.next().await), None);
    assert_eq!(names(&running.next().await), ["two"]);
    // The same again under another text is no new mesh: the next one that is reported is the first.
    fs::write(&running.file, format!("# the same\n{TWO}")).unwrap();
    assert_eq!(trouble(&running.next().await), None);
    fs::write(&running.file, ONE).unwrap();
    assert_eq!(trouble(&running.next().await), None);
    assert_eq!(names(&running.next().await), ["one"]);
}
