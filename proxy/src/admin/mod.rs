//! The admin pages: how the proxy is, what it knows, what it would do. GET reads, POST changes; JSON with stable keys.
//! They run on a thread of their own, so that a heavy scrape can't delay a request.

mod body;
mod guards;
mod pages;
mod routing;
mod spread;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use bowline_otlp::ExportCounts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};

use self::body::PageBody;
use crate::ask;
use crate::clock::Clock;
use crate::discovery::Command;
use crate::drain::{Phase, Signal};
use crate::listen::accept::Workers;
use crate::listen::inbound::Apps;
use crate::listen::ingress::Ingress;
use crate::observe::tap::Taps;
use crate::record::Observers;
use crate::register::AppStates;
use crate::snapshot::{Here, Published};
use crate::telemetry::control::ControlStatus;
use crate::telemetry::log::LogControl;
use crate::telemetry::metrics::ProxyCounters;
use crate::telemetry::scrape::{Sources, text as scraped};

/// Connections at a time; more wait to be accepted. Enough for several scrapers and a person.
const MAX_CONNECTIONS: usize = 32;
/// A client that says nothing for this long is in the way of others.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// What the pages look at.
#[derive(Debug)]
pub struct Admin {
    /// The mesh in force.
    pub published: Arc<Published>,
    /// Where this proxy is.
    pub here: Arc<Here>,
    /// The workers.
    pub workers: Workers,
    /// The process's counts.
    pub counters: Arc<ProxyCounters>,
    /// The app behind this proxy, as far as it has callers.
    pub apps: Arc<Apps>,
    /// The entries into the mesh from outside.
    pub ingress: Vec<Arc<Ingress>>,
    /// How the app is, by its own checks.
    pub app_states: Arc<AppStates>,
    /// To where the mesh is made.
    pub commands: mpsc::Sender<Command>,
    /// How it gets along with the control plane; `None`: it runs without one.
    pub control: Option<Arc<ControlStatus>>,
    /// How far the end has come.
    pub drain: Signal,
    /// Begins the end.
    pub begin_drain: Arc<Notify>,
    /// Changes the log level.
    pub log: LogControl,
    /// When the process started.
    pub started: SystemTime,
    /// The clock.
    pub clock: Clock,
    /// Who looks at requests.
    pub taps: Arc<Taps>,
    /// To whom requests are told.
    pub observers: Arc<Observers>,
    /// What has become of spans, where they are exported.
    pub spans: Option<Arc<ExportCounts>>,
    /// What has become of metrics, where they are pushed.
    pub points: Option<Arc<ExportCounts>>,
}

/// Which pages a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// All of them.
    Full,
    /// Health and metrics, reading only.
    ReadOnly,
}

type Page = Response<PageBody>;

/// Serves the pages for ever.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, access: Access) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the admin listener can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(answer(&admin, access, &request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended in an error");
            }
            drop(place);
        });
    }
}

async fn answer(admin: &Admin, access: Access, request: &Request<Incoming>) -> Page {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let read_only_page = matches!(path, "/health" | "/health/live" | "/health/ready" | "/metrics");
    if access == Access::ReadOnly && !read_only_page {
        return text(
            StatusCode::NOT_FOUND,
            "only /metrics, /health, /health/live and /health/ready are served here\n",
        );
    }
    let changes = matches!(path, "/drain" | "/logging");
    let method = request.method();
    match (changes, method) {
        // What is bypassed may be asked as well.
        (_, &Method::GET | &Method::POST | &Method::HEAD) if path == "/bypass" => {}
        (true, &Method::POST) | (false, &Method::GET | &Method::HEAD) => {}
        (true, _) => return not_allowed("POST"),
        (false, _) => return not_allowed("GET"),
    }
    match path {
        "/" => text(StatusCode::OK, pages::INDEX),
        "/health" => pages::health(admin),
        "/health/live" => text(StatusCode::OK, "live\n"),
        "/health/ready" => pages::ready(admin),
        "/metrics" => metrics(admin, request.headers()),
        "/services" => pages::services(admin),
        "/endpoints" => pages::endpoints(admin).await,
        "/config" => pages::config(admin),
        "/explain" => pages::explain(admin, query),
        "/tap" => pages::tap(admin, query),
        "/logging" => pages::logging(admin, query),
        "/bypass" if method == Method::POST => pages::set_bypass(admin, query).await,
        "/bypass" => pages::bypass(admin),
        "/drain" => {
            admin.begin_drain.notify_one();
            text(StatusCode::OK, "draining\n")
        }
        _ => text(StatusCode::NOT_FOUND, &format!("no such page: {path}\n\n{}", pages::INDEX)),
    }
}

impl Admin {
    /// Shows all there is to be told in metrics.
    pub fn look<R>(&self, see: impl FnOnce(&Sources<'_>) -> R) -> R {
        let snapshot = self.published.current().beside(self.apps.services());
        see(&Sources {
            snapshot: &snapshot,
            downstream: self.workers.iter().map(|worker| &*worker.counters).collect(),
            proxy: &self.counters,
            control: self.control.as_deref(),
            spans: self.spans.as_deref(),
            points: self.points.as_deref(),
            records_dropped: self.observers.dropped.load(Relaxed),
            draining: self.drain.phase() > Phase::Serving,
            started: self.started,
            now: self.clock.now(),
        })
    }
}

fn metrics(admin: &Admin, asked: &HeaderMap) -> Page {
    let format = scraped::Format::wanted(asked);
    let page = admin.look(|sources| scraped::page(sources, format));
    let mut response = Response::new(PageBody::from(page.into_bytes()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn text(status: StatusCode, body: &str) -> Page {
    let mut response = Response::new(PageBody::from(body.as_bytes().to_vec()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Page {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            let mut response = Response::new(PageBody::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Page {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// What `bowline-proxy health` does: asks a proxy's admin port whether it is ready.
///
/// # Errors
/// Why it is not, in words.
pub async fn ask_ready(admin: SocketAddr, timeout: Duration) -> Result<(), String> {
    match ask::get(admin, &admin.to_string(), "/health/ready", timeout).await {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((_, body)) => Err(pages::not_ready_because(&body)),
        Err(why) => Err(format!("no proxy answers at {admin}: {why}")),
    }
}
