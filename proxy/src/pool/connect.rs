//! Opening a TCP connection to an endpoint.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::Upstream;
use super::socket::Metered;
use crate::descriptors;
use crate::error::{Fault, Reason};
use crate::limiter::Place;

/// Bytes that the peer has not acknowledged for this long mean that it is gone. The kernel counts a closed receive window
/// too, so less would cut off uploads to an endpoint that pauses before it reads. Requests do not wait for this: an
/// attempt has its own timeout, and HTTP/2 connections are pinged.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to the endpoint, in this place, and counts the result.
pub(super) async fn tcp(upstream: &Upstream, timeout: Duration, place: &mut Place) -> Result<Metered, Fault> {
    if !descriptors::has_room() {
        return Err(Fault::unsent(Reason::OutOfResources, descriptors::ADVICE));
    }
    let result = match tokio::time::timeout(timeout, TcpStream::connect(upstream.addr)).await {
        Ok(Ok(stream)) => match prepare(&stream) {
            Ok(()) => {
                place.is_of(&stream);
                Ok(Metered::new(stream, upstream.counters.clone()))
            }
            Err(error) => {
                Err(Fault::unsent(Reason::ConnectFailure, format_args!("{}: {error}", upstream.addr)))
            }
        },
        Ok(Err(error)) if descriptors::is_exhaustion(&error) => {
            Err(Fault::unsent(Reason::OutOfResources, exhausted(upstream, &error)))
        }
        Ok(Err(error)) => {
            Err(Fault::unsent(Reason::ConnectFailure, format_args!("{}: {error}", upstream.addr)))
        }
        Err(_elapsed) => Err(Fault::unsent(
            Reason::ConnectTimeout,
            format_args!("{} did not accept a connection within {timeout:?}", upstream.addr),
        )),
    };
    match &result {
        Ok(_) => upstream.counters.connects.inc(),
        Err(_) => upstream.counters.connect_failures.inc(),
    }
    result
}

fn exhausted(upstream: &Upstream, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::AddrNotAvailable {
        return format!(
            "no local port is left for another connection to {}: raise net.ipv4.ip_local_port_range, or give the \
             service more endpoints",
            upstream.addr
        );
    }
    format!("{error}: {}", descriptors::ADVICE)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}
