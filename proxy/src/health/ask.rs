//! One question to one endpoint.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bowline_api::model::{AppProtocol, HealthCheck};
use bowline_core::health::HealthConfig;
use http::HeaderValue;
use http::uri::PathAndQuery;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{grpc, http1, http2};

/// What calls itself this when it asks.
pub(super) const USER_AGENT: &str = concat!("bowline-health-check/", env!("CARGO_PKG_VERSION"));
/// So much of a body is looked at.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How endpoints of a service are asked, as its mesh file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) way: Way,
    /// Asked in place of the endpoint's own port.
    pub(super) port: Option<u16>,
    pub(super) config: HealthConfig,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// For a page.
    Http(Page),
    /// By gRPC's health protocol, about this gRPC service.
    Grpc(String),
    /// For a connection.
    Tcp,
}

/// A page, and how it is when the endpoint is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) path: PathAndQuery,
    pub(super) status: Vec<u16>,
    pub(super) host: Option<HeaderValue>,
    pub(super) body: Option<String>,
    /// The service speaks HTTP/2.
    pub(super) http2: bool,
}

/// Why an endpoint is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It has not answered in this time.
    Late(Duration),
    /// In words.
    Because(String),
}

impl Bad {
    /// From the error of a connection or an exchange.
    pub(super) fn from(error: impl fmt::Display) -> Self {
        Bad::Because(error.to_string())
    }

    /// The word in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Bad::Late(_) => "timeout",
            Bad::Because(_) => "failed",
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Late(within) => write!(f, "no answer within {} s", within.as_secs_f64()),
            Bad::Because(why) => f.write_str(why),
        }
    }
}

impl Question {
    /// `None`: a path or host that can't be asked for, which is refused when the mesh file is checked.
    pub(super) fn new(check: &HealthCheck, protocol: Option<AppProtocol>) -> Option<Self> {
        let way = match (&check.http, &check.grpc) {
            (Some(http), _) => Way::Http(Page {
                path: http.path.parse().ok()?,
                status: http.status.clone(),
                host: http.host.as_deref().map(HeaderValue::from_str).transpose().ok()?,
                body: http.body.clone(),
                http2: matches!(protocol, Some(AppProtocol::Http2 | AppProtocol::Grpc)),
            }),
            (None, Some(grpc)) => Way::Grpc(grpc.service.clone()),
            (None, None) => Way::Tcp,
        };
        let config = HealthConfig {
            interval: check.interval_seconds.get(),
            jitter_percent: check.jitter_percent,
            timeout: check.timeout_seconds.get(),
            healthy_threshold: check.healthy_threshold,
            unhealthy_threshold: check.unhealthy_threshold,
        };
        Some(Question { way, port: check.port, config })
    }

    /// Asks on a connection of its own, which is closed afterwards.
    pub(super) async fn ask(&self, endpoint: SocketAddr, deadline: Instant) -> Result<(), Bad> {
        let addr = SocketAddr::new(endpoint.ip(), self.port.unwrap_or(endpoint.port()));
        match tokio::time::timeout_at(deadline, self.asked(addr)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Bad::Late(self.config.timeout)),
        }
    }

    async fn asked(&self, addr: SocketAddr) -> Result<(), Bad> {
        let stream =
            TcpStream::connect(addr).await.map_err(|error| Bad::Because(format!("{addr}: {error}")))?;
        let answer = match &self.way {
            Way::Tcp => return Ok(()),
            Way::Grpc(service) => return grpc::ask(stream, addr, service).await,
            Way::Http(page) if page.http2 => http2::get(stream, addr, page).await?,
            Way::Http(page) => http1::get(stream, addr, page).await?,
        };
        answer.judge(match &self.way {
            Way::Http(page) => page,
            Way::Grpc(_) | Way::Tcp => return Ok(()),
        })
    }
}

/// What came back for a page.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: http::StatusCode,
    /// As much of the body as matters.
    pub(super) body: Vec<u8>,
}

impl Answer {
    fn judge(&self, page: &Page) -> Result<(), Bad> {
        if !page.status.contains(&self.status.as_u16()) {
            return Err(Bad::Because(format!("{} answers {}", page.path, self.status)));
        }
        match &page.body {
            Some(wanted) if !contains(&self.body, wanted) => {
                Err(Bad::Because(format!("{} answers without {wanted:?} in its body", page.path)))
            }
            _ => Ok(()),
        }
    }
}

/// Whether enough of the body is there to tell.
pub(super) fn is_enough(page: &Page, body: &[u8]) -> bool {
    page.body.as_ref().is_none_or(|wanted| body.len() >= MAX_BODY || contains(body, wanted))
}

fn contains(body: &[u8], wanted: &str) -> bool {
    let body = &body[..body.len().min(MAX_BODY)];
    body.windows(wanted.len().max(1)).any(|window| window == wanted.as_bytes())
}
