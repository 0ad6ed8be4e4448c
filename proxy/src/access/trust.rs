//! Whom the proxy believes that it talks to the host of a URL.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// The public authorities (Mozilla's), and those in this file (PEM).
///
/// # Errors
/// What is wrong with the file, in words.
pub fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let Some(file) = file else { return Ok(roots) };
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let found: Vec<_> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| wrong(&error))?;
    if found.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    for certificate in found {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(roots)
}
