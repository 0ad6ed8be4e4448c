//! TLS to the collector.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::uri::Scheme;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::env::{Protocol, Target};

/// Why an exporter can't be started.
#[derive(Debug)]
pub enum StartError {
    /// A certificate or key can't be read from this file, and why.
    File(PathBuf, String),
    /// TLS can't be set up, and why.
    Tls(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::File(path, why) => write!(f, "{}: {why}", path.display()),
            StartError::Tls(why) => write!(f, "TLS with the collector can't be set up: {why}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What TLS takes, if the address is one of https.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

/// The host of an address, as it is looked up and as certificates name it.
pub(super) fn host(target: &Target) -> &str {
    target.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

pub(super) fn of(target: &Target) -> Result<Option<Tls>, StartError> {
    if target.url.scheme() != Some(&Scheme::HTTPS) {
        return Ok(None);
    }
    let broken = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &target.certificate {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| StartError::File(path.clone(), error.to_string()))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .with_root_certificates(roots);
    let mut config = match &target.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key_path)) => {
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| StartError::File(key_path.clone(), error.to_string()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| StartError::File(certificate.clone(), error.to_string()))?
        }
    };
    config.alpn_protocols = match target.protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
    };
    let name = ServerName::try_from(host(target).to_owned()).map_err(|error| broken(&error))?;
    Ok(Some(Tls { connector: TlsConnector::from(Arc::new(config)), name }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let wrong = |why: String| StartError::File(path.to_owned(), why);
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(error.to_string()))?;
    match found.is_empty() {
        true => Err(wrong("no certificate in it".to_owned())),
        false => Ok(found),
    }
}
