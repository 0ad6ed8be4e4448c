//! Where a redirected connection was going: the kernel keeps it beside the address that it was led to.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The address that the app dialled, if a REDIRECT or DNAT rule of this network namespace has led the connection here.
/// `None`: it was dialled to where it has arrived. IPv4 addresses are never in their IPv6 form.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let local = canonical(stream.local_addr().ok()?);
    let socket = SockRef::from(stream);
    // A listener on [::] accepts IPv4 connections too, of which the kernel keeps the address as an IPv4 one.
    let original = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    // Without connection tracking there is no such option, and nothing can have been redirected.
    let original = canonical(original.ok()?.as_socket()?);
    // Where connections are tracked, one that was not redirected was going to where it is.
    ((original.ip(), original.port()) != (local.ip(), local.port())).then_some(original)
}

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What it says of connections that were redirected takes rules in the kernel: the end to end tests have them.
    #[tokio::test]
    async fn a_connection_that_nobody_redirected_has_none() {
        for (listen, dial) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let Ok(listener) = TcpListener::bind(listen).await else {
                assert!(listen.contains("::"), "there is no IPv4 on this host");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((dial, port)).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            assert_eq!(original_destination(&accepted), None, "{listen}");
            assert_eq!(original_destination(&client), None, "{listen}");
        }
    }
}
