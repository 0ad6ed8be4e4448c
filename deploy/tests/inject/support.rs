//! Running the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What most calls say.
pub(crate) const CONTROL: [&str; 6] = [
    "--control",
    "http://control.internal:18000",
    "--namespace",
    "hello-world.com",
    "--image",
    "registry.internal/bowline-proxy:0.1.0",
];

/// Where the sample files are.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject")
}

/// A sample's text.
pub(crate) fn sample(name: &str) -> String {
    std::fs::read_to_string(samples().join(name)).unwrap()
}

/// `bowline inject` in the folder of the samples.
pub(crate) fn inject(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bowline"))
        .arg("inject")
        .args(args)
        .env_remove("BOWLINE_IMAGE")
        .env_remove("BOWLINE_INIT_IMAGE")
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

/// What it prints where it must succeed.
pub(crate) fn injected(args: &[&str]) -> String {
    let output = inject(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// A file with this text, gone with the folder.
pub(crate) fn file(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
