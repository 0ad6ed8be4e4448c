//! Where this proxy is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What a proxy knows of its own place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its availability zone; `None`: not known.
    pub zone: Option<String>,
    /// The address that stands for its app where nobody has said whom the app calls for.
    pub address: IpAddr,
}

impl Here {
    /// With what is known from flags or from ECS. Without an address it is the one that packets to others leave from.
    pub fn new(zone: Option<String>, address: Option<IpAddr>) -> Self {
        Here { zone, address: address.or_else(outgoing).unwrap_or(Ipv4Addr::LOCALHOST.into()) }
    }
}

/// Connecting a UDP socket sends nothing: the kernel only chooses the address.
fn outgoing() -> Option<IpAddr> {
    // Addresses that are for documentation, and so nobody's.
    let v4 = (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), SocketAddr::from(([192, 0, 2, 1], 9)));
    let v6_target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), SocketAddr::from((v6_target, 9)));
    [v4, v6].into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}
