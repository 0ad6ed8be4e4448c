//! What a route does beside matching: the mesh file's words, checked and made ready.

use std::time::Duration;

use bowline_api::model;
use bowline_core::route::{PathRewrite, PathRule, Rewrite};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, StatusCode};

use super::edits::{header_name, header_value};

/// The host that takes the place of a request's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// For `Host`.
    pub value: HeaderValue,
    /// For `:authority`.
    pub authority: Authority,
}

impl Host {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a host");
        if text.contains('@') {
            return Err(wrong());
        }
        let authority: Authority = text.parse().map_err(|_| wrong())?;
        let value = HeaderValue::from_str(text).map_err(|_| wrong())?;
        Ok(Self { value, authority })
    }
}

/// Who gets a copy of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The service.
    pub service: Box<str>,
    /// The share of requests that are copied, in percent.
    pub percent: u32,
}

impl Mirror {
    pub(super) fn new(model: &model::Mirror) -> Self {
        Self { service: model.service.as_str().into(), percent: model.percent }
    }
}

/// Trouble made on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A wait.
    pub delay: Option<Delay>,
    /// An error.
    pub abort: Option<Abort>,
    /// Only for requests that have this header.
    pub only_with: Option<HeaderName>,
}

/// A wait made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub time: Duration,
    /// The share of requests, in percent.
    pub percent: u32,
}

/// An error made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The status.
    pub status: StatusCode,
    /// The share of requests, in percent.
    pub percent: u32,
}

impl Fault {
    pub(super) fn new(model: &model::Fault) -> Result<Self, String> {
        let any = |name: &String| name.parse().map_err(|_| format!("{name:?} is not the name of a header"));
        let abort = |abort: &model::Abort| {
            Ok::<_, String>(Abort { status: status(abort.status)?, percent: abort.percent })
        };
        Ok(Self {
            delay: model.delay.as_ref().map(|d| Delay { time: d.seconds.get(), percent: d.percent }),
            abort: model.abort.as_ref().map(abort).transpose()?,
            only_with: model.only_with_header.as_ref().map(any).transpose()?,
        })
    }
}

fn status(code: u16) -> Result<StatusCode, String> {
    StatusCode::from_u16(code).map_err(|_| format!("{code} is not a status"))
}

/// A redirect; what is `None` stays as it was in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The status.
    pub status: StatusCode,
    /// The scheme.
    pub scheme: Option<Box<str>>,
    /// The host.
    pub host: Option<Box<str>>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<Rewrite>,
}

impl Redirect {
    pub(super) fn new(model: &model::Redirect, path: &PathRule) -> Result<Self, String> {
        let host = model.host.as_deref();
        if let Some(host) = host {
            Host::new(host)?;
        }
        let change = |to: &String| Rewrite::new(path, &PathRewrite::Path(to.clone()));
        Ok(Self {
            status: status(model.status)?,
            scheme: model.scheme.as_deref().map(Into::into),
            host: host.map(Into::into),
            port: model.port,
            path: model.path.as_ref().map(change).transpose().map_err(|error| error.to_string())?,
        })
    }

    /// Where a request is sent to. `scheme` and `authority` are its own; `path` is too, but for what a `rewrite` beside the
    /// redirect has made of it, and `query` is what comes after the `?`.
    #[must_use]
    pub fn location(&self, scheme: &str, authority: &str, path: &str, query: Option<&str>) -> String {
        let (old_host, old_port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse::<u16>().ok())
            }
            _ => (authority, None),
        };
        let new_scheme = self.scheme.as_deref().unwrap_or(scheme);
        // Where the scheme changes, its port goes with it: http://a:80/ becomes https://a/.
        let stays = |port: &u16| new_scheme == scheme || *port != default_port(scheme);
        let port = self.port.or(old_port.filter(stays)).filter(|port| *port != default_port(new_scheme));
        let mut location = format!("{new_scheme}://{}", self.host.as_deref().unwrap_or(old_host));
        if let Some(port) = port {
            location.push_str(&format!(":{port}"));
        }
        match self.path.as_ref().and_then(|rewrite| rewrite.apply(path, query)) {
            Some(target) => location.push_str(&target),
            None => {
                location.push_str(path);
                if let Some(query) = query {
                    location.push('?');
                    location.push_str(query);
                }
            }
        }
        location
    }
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
    /// The headers.
    pub headers: HeaderMap,
}

impl Respond {
    pub(super) fn new(model: &model::Respond) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        if !model.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        for (name, value) in &model.headers {
            headers.insert(header_name(name)?, header_value(name, value)?);
        }
        Ok(Self { status: status(model.status)?, body: Bytes::from(model.body.clone()), headers })
    }
}
