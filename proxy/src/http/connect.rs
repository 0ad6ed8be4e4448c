//! CONNECT, at the forward proxy only: a tunnel to an endpoint of a service, or to where the name points outside of the
//! mesh. The app hears 200 when the connection stands. What it sends before that is held, and is never taken for a
//! request.

use http::{HeaderValue, Response, header, request};

use super::body::Body;
use super::headers::{self, BadHead, Scan};
use super::{outside, respond};
use crate::error::Reason;
use crate::listen::Downstream;
use crate::tcp;

/// Opens the tunnel that the app asks for.
pub async fn connect(app: &Downstream, head: &request::Parts, scan: &Scan, has_body: bool) -> Response<Body> {
    let target = match target(head, scan, has_body) {
        Ok(target) => target,
        Err(BadHead(why)) => return refused(Reason::BadRequest, why),
    };
    let worker = app.worker();
    worker.generation();
    let opened = match worker.cluster(target) {
        Ok(cluster) => tcp::open(worker, &cluster).await,
        Err(refusal) if refusal.outside => outside::open(worker, target).await,
        Err(refusal) => return refused(refusal.reason, &refusal.text),
    };
    match opened {
        Ok(tunnel) => {
            app.set_tunnel(tunnel);
            Response::new(Body::empty())
        }
        Err(fault) => refused(fault.reason, &format!("no tunnel to {target}: {fault}")),
    }
}

/// Host and port, both needed (RFC 9110 9.3.6).
fn target<'a>(head: &'a request::Parts, scan: &Scan, has_body: bool) -> Result<&'a str, BadHead> {
    if has_body {
        return Err(BadHead("CONNECT with a body"));
    }
    match (headers::authority(head, scan)?, head.uri.authority().and_then(http::uri::Authority::port_u16)) {
        (Some(target), Some(1..)) => Ok(target),
        _ => Err(BadHead("CONNECT needs a host and a port")),
    }
}

fn refused(reason: Reason, text: &str) -> Response<Body> {
    let mut response = respond::failure(reason, text, false);
    // What follows was meant for the tunnel.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
