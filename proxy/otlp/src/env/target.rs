//! Where one signal goes, and how.

use std::path::PathBuf;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};

use super::Signal;
use super::read::Reader;

/// What is spoken with the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// POST over HTTP/1.1.
    HttpProtobuf,
}

/// Where one signal goes, and how.
#[derive(Clone, PartialEq)]
pub struct Target {
    /// The whole address: with http or https, a host, and the path of the signal.
    pub url: Uri,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Sent along with each request. Values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For one request.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// A file with certificates of authorities that the collector's may be signed by, besides the well-known ones.
    pub certificate: Option<PathBuf>,
    /// Files with our own certificate and its key, for collectors that ask for one.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

/// Without the headers, which hold passwords.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Target")
            .field("url", &self.url)
            .field("protocol", &self.protocol)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}

/// The paths of gRPC, and those that are appended to a general endpoint of HTTP.
impl Signal {
    fn grpc_path(self) -> &'static str {
        match self {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    fn http_path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
        }
    }
}

/// Reads all of one signal's; `None`: it is off.
pub(super) fn read(reader: &mut Reader<'_>, signal: Signal) -> Option<Target> {
    let own = |what: &str| format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.word());
    let both = |what: &str| [own(what), format!("OTEL_EXPORTER_OTLP_{what}")];
    let endpoint = reader.first(&both("ENDPOINT"));
    if !is_on(reader, signal, endpoint.is_some()) {
        return None;
    }

    let port = endpoint.as_ref().and_then(|(_, text)| with_scheme(text, true)?.port_u16());
    let otherwise = if port == Some(4317) { "grpc" } else { "http/protobuf" };
    let word = match reader.first(&both("PROTOCOL")) {
        Some((name, _)) => reader.word(&name, &["grpc", "http/protobuf"], otherwise),
        None => otherwise,
    };
    let protocol = if word == "grpc" { Protocol::Grpc } else { Protocol::HttpProtobuf };
    let insecure = match reader.first(&both("INSECURE")) {
        Some((name, _)) => reader.yes_or_no(&name),
        None => false,
    };
    let url = url(reader, signal, protocol, endpoint, insecure)?;

    let headers = match reader.first(&both("HEADERS")) {
        Some((name, _)) => headers(reader, &name),
        None => Vec::new(),
    };
    let timeout = match reader.first(&both("TIMEOUT")) {
        Some((name, _)) => reader.timeout(&name, 10_000),
        None => Duration::from_secs(10),
    };
    let gzip = match reader.first(&both("COMPRESSION")) {
        Some((name, _)) => reader.word(&name, &["gzip", "none"], "none") == "gzip",
        None => false,
    };
    let path = |what| reader.first(&both(what)).map(|(_, path)| PathBuf::from(path));
    let certificate = path("CERTIFICATE");
    let client_certificate = match (path("CLIENT_CERTIFICATE"), path("CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let name = both("CLIENT_CERTIFICATE")[1].clone();
            reader.problem(&name, "a certificate needs its key in ..._CLIENT_KEY and the other way round");
            None
        }
    };
    Some(Target { url, protocol, headers, timeout, gzip, certificate, client_certificate })
}

fn is_on(reader: &mut Reader<'_>, signal: Signal, has_endpoint: bool) -> bool {
    let name = format!("OTEL_{}_EXPORTER", signal.word());
    let Some(list) = reader.get(&name) else { return has_endpoint };
    let mut on = false;
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "otlp" => on = true,
            "none" => {}
            _ => reader.unknown(&name, word, &["otlp", "none"], "none"),
        }
    }
    on
}

fn url(
    reader: &mut Reader<'_>,
    signal: Signal,
    protocol: Protocol,
    endpoint: Option<(String, String)>,
    insecure: bool,
) -> Option<Uri> {
    let general = || "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned();
    let (name, text) = endpoint.unwrap_or_else(|| {
        let port = if protocol == Protocol::Grpc { 4317 } else { 4318 };
        (general(), format!("http://localhost:{port}"))
    });
    // gRPC's endpoints may have no scheme. Then TLS is spoken, unless INSECURE says otherwise.
    let plain = protocol == Protocol::HttpProtobuf || insecure;
    let Some(base) = with_scheme(&text, plain) else {
        reader.problem(
            &name,
            &format!("{text:?} is no address such as http://collector:4318; nothing is exported there"),
        );
        return None;
    };
    let path = match protocol {
        Protocol::Grpc => signal.grpc_path().to_owned(),
        // A signal's own endpoint is taken as it is; below a general one each signal has its path.
        Protocol::HttpProtobuf if name != general() => {
            base.path_and_query().map_or("/", |path| path.as_str()).to_owned()
        }
        Protocol::HttpProtobuf => format!("{}/{}", base.path().trim_end_matches('/'), signal.http_path()),
    };
    let mut parts = base.into_parts();
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).ok()
}

fn with_scheme(text: &str, plain: bool) -> Option<Uri> {
    let uri: Uri = match text.contains("://") {
        true => text.parse().ok()?,
        false => format!("{}://{text}", if plain { "http" } else { "https" }).parse().ok()?,
    };
    let known = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn headers(reader: &mut Reader<'_>, name: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (key, value) in reader.pairs(name) {
        match (HeaderName::try_from(&key), HeaderValue::try_from(value)) {
            (Ok(key), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.push((key, value));
            }
            _ => reader.problem(name, &format!("{key:?} with its value is no header; left out")),
        }
    }
    headers
}
