//! The PROXY protocol, version 2 (HAProxy's `proxy-protocol.txt`): who a connection really comes from, in front of its
//! first byte.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::watch::Activity;
use crate::drain::{Phase, Signal};
use crate::net;
use crate::telemetry::metrics::DownstreamCounters;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const FIXED: usize = 16;
/// Most that may follow: addresses of 36 bytes, and whatever a load balancer adds.
const MOST: usize = 2048;
/// How long a header may take: whoever sends one does so at once.
const WITHIN: Duration = Duration::from_secs(5);

/// The header of a connection from `client` that was dialled at `to`.
pub fn header(client: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (client_ip, to_ip) = (client.ip().to_canonical(), to.ip().to_canonical());
    let mut header = SIGNATURE.to_vec();
    // Version 2, command PROXY.
    header.push(0x21);
    match (client_ip, to_ip) {
        (IpAddr::V4(client), IpAddr::V4(to)) => {
            header.extend([0x11, 0, 12]);
            header.extend(client.octets());
            header.extend(to.octets());
        }
        (client, to) => {
            header.extend([0x21, 0, 36]);
            header.extend(in_v6(client).octets());
            header.extend(in_v6(to).octets());
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}

fn in_v6(ip: IpAddr) -> std::net::Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Who a connection that begins with a header is from; `None`: it has none, and is turned away, or it is over.
pub async fn client(
    stream: &mut TcpStream,
    peer: SocketAddr,
    counters: &DownstreamCounters,
    activity: &Activity,
    drain: &mut Signal,
) -> Option<SocketAddr> {
    let accepted = tokio::select! {
        accepted = accept(stream) => accepted,
        () = activity.close_wanted() => return None,
        () = drain.reached(Phase::Closing) => return None,
    };
    match accepted {
        Ok(named) => Some(named.unwrap_or(peer)),
        Err(error) => {
            counters.protocol_errors.inc();
            tracing::debug!(%peer, %error, "a caller without a PROXY header was turned away");
            net::reset_on_close(stream);
            None
        }
    }
}

/// Takes the header off a connection. `None`: the load balancer speaks for itself (a health check).
///
/// # Errors
/// There is none, or a broken one: what follows can't be trusted.
pub async fn accept(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let reading = async {
        let mut fixed = [0; FIXED];
        stream.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if fixed[..12] != SIGNATURE || fixed[12] >> 4 != 2 || length > MOST {
            return Err(invalid("it does not begin with a header of the PROXY protocol, version 2"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        source(fixed[12] & 0xf, fixed[13], &rest)
    };
    match tokio::time::timeout(WITHIN, reading).await {
        Ok(read) => read,
        Err(_elapsed) => Err(invalid("no header of the PROXY protocol came within 5 s")),
    }
}

fn source(command: u8, family: u8, addresses: &[u8]) -> io::Result<Option<SocketAddr>> {
    match (command, family) {
        (0, _) => Ok(None),
        (1, 0x11) => match addresses {
            [a, b, c, d, _, _, _, _, high, low, ..] => {
                let port = u16::from_be_bytes([*high, *low]);
                Ok(Some(SocketAddr::from(([*a, *b, *c, *d], port))))
            }
            _ => Err(invalid("its PROXY header is too short for its addresses")),
        },
        (1, 0x21) => match (addresses.first_chunk::<16>(), addresses.get(32..34)) {
            (Some(ip), Some(&[high, low])) => {
                let port = u16::from_be_bytes([high, low]);
                let ip = IpAddr::from(*ip).to_canonical();
                Ok(Some(SocketAddr::new(ip, port)))
            }
            _ => Err(invalid("its PROXY header is too short for its addresses")),
        },
        // UDP, a socket of the file system, or unspecified: nobody that could be named.
        (1, _) => Ok(None),
        _ => Err(invalid("its PROXY header has an unknown command")),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_behind_it() {
        for (from, to) in [
            ("192.0.2.1:4711", "10.0.0.1:80"),
            ("[2001:db8::1]:4711", "[2001:db8::2]:80"),
            ("192.0.2.1:4711", "[2001:db8::2]:80"),
        ] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let (mut client, mut accepted) = pair().await;
            client.write_all(&header(from, to)).await.unwrap();
            client.write_all(b"hello").await.unwrap();
            assert_eq!(accept(&mut accepted).await.unwrap(), Some(from));
            let mut rest = [0; 5];
            accepted.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"hello");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let whole = header("192.0.2.1:1".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        let mut version_1 = whole.clone();
        version_1[12] = 0x11;
        let mut too_long = whole.clone();
        too_long[14] = 0xff;
        let mut too_short = whole[..FIXED].to_vec();
        too_short[15] = 0;
        for bytes in
            [b"GET / HTTP/1.1\r\n\r\n".to_vec(), version_1, too_long, too_short, whole[..20].to_vec()]
        {
            let (mut client, mut accepted) = pair().await;
            client.write_all(&bytes).await.unwrap();
            client.shutdown().await.unwrap();
            assert!(accept(&mut accepted).await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_health_check_of_the_load_balancer_names_nobody() {
        let (mut client, mut accepted) = pair().await;
        let mut local = SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        client.write_all(&local).await.unwrap();
        assert_eq!(accept(&mut accepted).await.unwrap(), None);
    }
}
