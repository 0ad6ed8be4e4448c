//! Running the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bowline_api::Mesh;
use serde_json::Value;
use tempfile::TempDir;

/// Where the sample files are.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// `bowline import` in the folder of the samples.
pub(crate) fn import(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bowline"))
        .arg("import")
        .args(args)
        .current_dir(samples())
        .output()
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// What it prints where it must succeed, read by whom it is made for.
pub(crate) fn imported(args: &[&str]) -> (Mesh, String) {
    let output = import(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    let text = stdout(&output);
    let mesh = bowline_api::parse("made.yaml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    (mesh, stderr(&output))
}

/// A sample that is JSON.
pub(crate) fn sample(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(samples().join(name)).unwrap()).unwrap()
}

/// All of App Mesh's samples, as one list.
pub(crate) fn apps() -> Value {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(samples().join("apps")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| sample(file.to_str().unwrap())).collect()
}

/// A file with this text, gone with the folder.
pub(crate) fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
