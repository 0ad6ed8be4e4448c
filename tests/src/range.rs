//! A range of loopback addresses that no other proxy of any test on this machine uses.

use std::net::{Ipv4Addr, UdpSocket};

/// A /24 inside 127.0.0.0/8, ours while this lives.
#[derive(Debug)]
pub struct Range {
    network: Ipv4Addr,
    /// Other processes find this address taken, and look further: the kernel is the referee.
    _claim: UdpSocket,
}

impl Range {
    /// Takes a free one.
    ///
    /// # Panics
    /// None of a thousand is free.
    #[must_use]
    pub fn claim() -> Self {
        for _ in 0..1000 {
            // Away from 127.0/16, where everything lives, and from 127.255/16, the proxy's default.
            let network = Ipv4Addr::new(127, fastrand::u8(16..240), fastrand::u8(..), 0);
            let [a, b, c, _] = network.octets();
            if let Ok(claim) = UdpSocket::bind((Ipv4Addr::new(a, b, c, 254), 47)) {
                return Range { network, _claim: claim };
            }
        }
        panic!("no free range of loopback addresses");
    }

    /// For `--vip-range`.
    #[must_use]
    pub fn cidr(&self) -> String {
        format!("{}/24", self.network)
    }

    /// The nth address of it, 1 to 253.
    #[must_use]
    pub fn address(&self, n: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.network.octets();
        Ipv4Addr::new(a, b, c, n)
    }
}
