//! The reference pages in docs are those that the code makes. `UPDATE_DOCS=1 cargo test --test reference` writes them.

use std::path::Path;

fn check(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/reference/{page} is not what the code makes: run the tests with UPDATE_DOCS=1"
    );
}

#[test]
fn pages_are_true() {
    check("control-metrics.md", &bowline_control::reference::metrics());
    check("control-flags.md", &bowline_control::reference::flags());
    check("control-log.md", &bowline_control::reference::log());
}
