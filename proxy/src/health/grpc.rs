//! gRPC's health protocol: `grpc.health.v1.Health/Check`. SERVING alone is well.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use tokio::net::TcpStream;

use super::ask::{Bad, MAX_BODY, USER_AGENT};
use super::http2;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// A frame begins with a flag and a length of four bytes.
const FRAME: usize = 5;
/// Of `HealthCheckResponse`.
const SERVING: u64 = 1;

pub(super) async fn ask(stream: TcpStream, addr: SocketAddr, service: &str) -> Result<(), Bad> {
    let request = Request::post(http2::uri(None, addr, PATH)?)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(())
        .map_err(Bad::from)?;
    http2::exchange(stream, request, Some(question(service)), async |response| {
        if response.status() != StatusCode::OK {
            return Err(Bad::Because(format!("{PATH} answers {}", response.status())));
        }
        if let Some(status) = grpc_status(response.headers()) {
            return Err(refused(status, response.headers()));
        }
        let mut incoming = response.into_body();
        let body = http2::read(&mut incoming, |body| body.len() >= MAX_BODY).await?;
        let trailers = http2::trailers(&mut incoming).await?;
        match grpc_status(&trailers) {
            Some(0) => {}
            Some(status) => return Err(refused(status, &trailers)),
            None => return Err(Bad::Because(format!("{PATH} answers without a grpc-status"))),
        }
        match serving(&body) {
            Some(SERVING) => Ok(()),
            Some(2) => Err(Bad::Because("it says NOT_SERVING".to_owned())),
            Some(3) => Err(Bad::Because("it says SERVICE_UNKNOWN".to_owned())),
            Some(other) => Err(Bad::Because(format!("it says {other}, which is not SERVING"))),
            None => Err(Bad::Because(format!("what {PATH} answers is no HealthCheckResponse"))),
        }
    })
    .await
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn refused(status: u32, headers: &HeaderMap) -> Bad {
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    let name = match status {
        5 => " NOT_FOUND, the server does not know the service",
        12 => " UNIMPLEMENTED, the server does not speak grpc.health.v1",
        14 => " UNAVAILABLE",
        _ => "",
    };
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    Bad::Because(format!("gRPC status {status}{name}{message}"))
}

/// A `HealthCheckRequest`: field 1 is the service's name.
fn question(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// The `status` of a `HealthCheckResponse` in a frame; 0 (UNKNOWN) where it is left out. `None`: it is none.
fn serving(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(FRAME)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    if head[0] != 0 {
        return None;
    }
    let mut message = rest.get(..length)?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let skip = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(skip..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_whatever_else_there_is() {
        let frame = |message: &[u8]| [&[0, 0, 0, 0, message.len() as u8], message].concat();
        assert_eq!(serving(&frame(&[8, 1])), Some(1));
        assert_eq!(serving(&frame(&[])), Some(0));
        assert_eq!(serving(&frame(&[18, 2, 8, 9, 29, 1, 2, 3, 4, 8, 2])), Some(2));
        for broken in [&[][..], &[0, 0, 0, 0, 3, 8, 1], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 8]] {
            assert_eq!(serving(broken), None, "{broken:?}");
        }
        assert_eq!(serving(&frame(&[255; 11])), None);
    }

    #[test]
    fn a_question_names_its_service() {
        assert_eq!(&*question(""), [0; 5]);
        assert_eq!(&*question("a.B"), [0, 0, 0, 0, 5, 10, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(300));
        assert_eq!((&long[5..8], long.len()), (&[10, 0xac, 2][..], 5 + 3 + 300));
    }
}
