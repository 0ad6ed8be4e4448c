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
    check("metrics.md", &bowline_proxy::reference::metrics());
    check("errors.md", &bowline_proxy::reference::errors());
    check("flags.md", &bowline_proxy::reference::flags());
    check("otel.md", &bowline_proxy::reference::otel());
    check("access-log.md", &bowline_proxy::reference::access_log());
    check("log.md", &bowline_proxy::reference::log());
}
