//! The watch, on real files. Waiting is bounded by far more than the watch should need.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Watch;

/// A folder of its own for one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bowline-watch-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn soon(watch: &mut Watch) {
    tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("the change was not seen");
}

#[tokio::test]
async fn a_rewritten_file_is_seen() {
    let folder = Folder::new("rewritten");
    let file = folder.0.join("mesh.yaml");
    fs::write(&file, "a").unwrap();
    let mut watch = Watch::new(&file);
    fs::write(&file, "bb").unwrap();
    soon(&mut watch).await;
}

#[tokio::test]
async fn a_file_renamed_over_the_old_one_is_seen() {
    let folder = Folder::new("renamed");
    let file = folder.0.join("mesh.yaml");
    fs::write(&file, "a").unwrap();
    let mut watch = Watch::new(&file);
    // The same length, and quite likely the same modification time: the inode tells.
    fs::write(folder.0.join("new"), "b").unwrap();
    fs::rename(folder.0.join("new"), &file).unwrap();
    soon(&mut watch).await;
}

#[tokio::test]
async fn a_link_switched_over_is_seen() {
    let folder = Folder::new("link");
    fs::write(folder.0.join("one"), "a").unwrap();
    fs::write(folder.0.join("two"), "b").unwrap();
    let link = folder.0.join("mesh.yaml");
    std::os::unix::fs::symlink("one", &link).unwrap();
    let mut watch = Watch::new(&link);
    std::os::unix::fs::symlink("two", folder.0.join("next")).unwrap();
    fs::rename(folder.0.join("next"), &link).unwrap();
    soon(&mut watch).await;
}

#[tokio::test]
async fn files_of_a_folder_come_and_go() {
    let folder = Folder::new("folder");
    let mut watch = Watch::new(&folder.0);
    fs::write(folder.0.join("team.yaml"), "a").unwrap();
    soon(&mut watch).await;
    fs::remove_file(folder.0.join("team.yaml")).unwrap();
    soon(&mut watch).await;
}

#[tokio::test]
async fn a_file_left_alone_is_not_seen() {
    let folder = Folder::new("alone");
    let file = folder.0.join("mesh.yaml");
    fs::write(&file, "a").unwrap();
    let mut watch = Watch::new(&file);
    let seen = tokio::time::timeout(Duration::from_millis(500), watch.changed()).await;
    assert!(seen.is_err(), "a change was seen where there was none");
}

#[tokio::test]
async fn a_vanished_file_is_seen_and_its_return_too() {
    let folder = Folder::new("vanished");
    let file = folder.0.join("mesh.yaml");
    fs::write(&file, "a").unwrap();
    let mut watch = Watch::new(&file);
    fs::remove_file(&file).unwrap();
    soon(&mut watch).await;
    fs::write(&file, "a").unwrap();
    soon(&mut watch).await;
}
