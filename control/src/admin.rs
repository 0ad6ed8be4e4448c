//! The admin pages: what is pushed, to whom, and how it is. GET reads, POST changes; JSON with stable keys.

mod ui;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bowline_api::control_admin::Clients;
use bowline_api::mesh_file::Options;
use bowline_api::vip::VipRange;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::hub::Hub;
use crate::mind::Command;
use crate::picture::board::Board;
use crate::query;
use crate::telemetry::metrics::Metrics;

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// A client that says nothing for this long is in the way of others.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The largest mesh file that can be compared.
const MAX_MESH_BYTES: usize = 16 * 1024 * 1024;

const INDEX: &str = "\
bowline-control admin. GET reads, POST changes.
  GET  /health/live            the process runs
  GET  /health/ready           200 when clients are served
  GET  /metrics                Prometheus text
  GET  /snapshot               services, endpoints and VIPs as they are pushed; sources in trouble
  GET  /clients                who is connected, what each has acknowledged, and how quickly
  GET  /ui                     the live picture, for a browser (so is / when a browser asks)
  GET  /picture                the same as JSON: services, endpoints, callers, calls, proxies, failures
  GET  /history?service=NAME   the last hour in steps of ten seconds; without a name, of all services together
  GET  /explain?url=URL        where a request would go, and why not elsewhere
  POST /diff                   a mesh file as the body: what it would change
  POST /allow-empty?service=NAME   a service that has lost all its endpoints may be pushed without any
";

/// What the pages look at.
#[derive(Debug)]
pub struct Admin {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// What they report.
    pub board: Arc<Board>,
    /// To where it is decided.
    pub commands: mpsc::Sender<Command>,
    /// The process's counts.
    pub metrics: Arc<Metrics>,
    /// Where a mesh file's pins must lie.
    pub vip_range: VipRange,
}

type Page = Response<Full<Bytes>>;

/// Serves the pages for ever.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
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
                async move { Ok::<_, Infallible>(answer(&admin, request).await) }
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

async fn answer(admin: &Admin, request: Request<Incoming>) -> Page {
    let path = request.uri().path().to_owned();
    let changes = matches!(path.as_str(), "/diff" | "/allow-empty");
    match (changes, request.method()) {
        (true, &Method::POST) | (false, &Method::GET | &Method::HEAD) => {}
        (true, _) => return not_allowed("POST"),
        (false, _) => return not_allowed("GET"),
    }
    match path.as_str() {
        "/" if !ui::wants_page(request.headers()) => text(StatusCode::OK, INDEX),
        "/" => ui::page("/ui").unwrap_or_else(|| no_such_page(&path)),
        "/health/live" => text(StatusCode::OK, "live\n"),
        "/health/ready" => text(StatusCode::OK, "ready\n"),
        "/metrics" => match ask(admin, Command::Now).await {
            Some(now) => text(StatusCode::OK, &admin.metrics.render(&now)),
            None => ending(),
        },
        "/snapshot" => match ask(admin, Command::Snapshot).await {
            Some(snapshot) => json(&snapshot),
            None => ending(),
        },
        "/clients" => {
            let (revision, clients) = admin.hub.clients();
            json(&Clients { revision, clients })
        }
        "/picture" => match ask(admin, Command::Snapshot).await {
            Some(snapshot) => json(&admin.board.page(&snapshot)),
            None => ending(),
        },
        "/history" => {
            let service = query::value(request.uri().query().unwrap_or_default(), "service");
            match admin.board.history(service.as_deref()) {
                Ok(history) => json(&history),
                Err(why) => text(StatusCode::NOT_FOUND, &format!("{why}\n")),
            }
        }
        "/explain" => explain(admin, request.uri().query().unwrap_or_default()).await,
        "/allow-empty" => allow_empty(admin, request.uri().query().unwrap_or_default()).await,
        "/diff" => diff(admin, request).await,
        _ => ui::page(&path).unwrap_or_else(|| no_such_page(&path)),
    }
}

fn no_such_page(path: &str) -> Page {
    text(StatusCode::NOT_FOUND, &format!("no such page: {path}\n\n{INDEX}"))
}

async fn ask<T>(admin: &Admin, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    admin.commands.send(command(answer)).await.ok()?;
    answered.await.ok()
}

async fn allow_empty(admin: &Admin, query: &str) -> Page {
    let Some(service) = query.split('&').find_map(|pair| pair.strip_prefix("service=")) else {
        return text(StatusCode::BAD_REQUEST, "say which: POST /allow-empty?service=NAME\n");
    };
    let service = service.to_owned();
    let name = service.clone();
    match ask(admin, |done| Command::Confirm(name, done)).await {
        Some(true) => text(StatusCode::OK, &format!("{service} is pushed without endpoints\n")),
        Some(false) => {
            text(StatusCode::NOT_FOUND, &format!("nothing of {service:?} is held: see `held` in /snapshot\n"))
        }
        None => ending(),
    }
}

async fn explain(admin: &Admin, query: &str) -> Page {
    let Some(url) = query::value(query, "url") else {
        let usage = "say which: /explain?url=http://server.hello-world.com:5000/\n";
        return text(StatusCode::BAD_REQUEST, usage);
    };
    match ask(admin, Command::Snapshot).await {
        Some(snapshot) => match admin.board.explain(&url, &snapshot) {
            Ok(explanation) => json(&explanation),
            Err(no_url) => text(StatusCode::BAD_REQUEST, &format!("{no_url}\n")),
        },
        None => ending(),
    }
}

async fn diff(admin: &Admin, request: Request<Incoming>) -> Page {
    let body = match Limited::new(request.into_body(), MAX_MESH_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return text(StatusCode::BAD_REQUEST, &format!("the mesh file could not be read: {error}\n"));
        }
    };
    let Ok(mesh) = std::str::from_utf8(&body) else {
        return text(StatusCode::BAD_REQUEST, "the mesh file is not UTF-8\n");
    };
    let options = Options { vip_range: admin.vip_range };
    match bowline_api::mesh_file::parse_with("mesh", mesh, &options) {
        Ok(mesh) => match ask(admin, |done| Command::Diff(Box::new(mesh), done)).await {
            Some(diff) => json(&diff),
            None => ending(),
        },
        Err(problems) => text(StatusCode::UNPROCESSABLE_ENTITY, &format!("{problems}\n")),
    }
}

fn ending() -> Page {
    text(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n")
}

fn text(status: StatusCode, body: &str) -> Page {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json(value: &impl serde::Serialize) -> Page {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            let mut response = Response::new(Full::new(Bytes::from(body)));
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
