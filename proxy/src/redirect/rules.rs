//! What is redirected, as a list of rules that nft and iptables can both be told: pure. The first rule that fits a packet
//! decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::redirect::{Cidr, SetupRedirect};

/// An address family; each has rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which packets it fits.
    pub what: Match,
    /// The port of this host to which they are redirected; `None`: they are left alone.
    pub to: Option<u16>,
}

/// Which packets a rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Sent by this user.
    Uid(u32),
    /// Sent by this group.
    Gid(u32),
    /// To this network, whatever the protocol.
    To(Cidr),
    /// To an address of this host.
    ToLocal,
    /// TCP, to this network.
    TcpTo(Cidr),
    /// TCP, to one of these ports.
    TcpPorts(Vec<u16>),
    /// UDP, to this port.
    UdpPort(u16),
    /// TCP, to one of these ports, from an address that is none of this host.
    TcpPortsFromElsewhere(Vec<u16>),
    /// TCP.
    Tcp,
}

/// All rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For packets that this host sends.
    pub outbound: Vec<Rule>,
    /// For packets that come from elsewhere.
    pub inbound: Vec<Rule>,
}

/// Where a cloud host or a task asks for its credentials and what it is: an app that can't must not be made to ask
/// through a proxy, which may not be there yet.
const METADATA: [IpAddr; 3] = [
    // ECS: credentials and metadata of the task.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    // EC2, IPv4 and IPv6.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];
/// Where DNS servers listen.
const DNS: u16 = 53;

impl Rules {
    /// What these flags ask for.
    #[must_use]
    pub fn new(config: &SetupRedirect, family: Family) -> Self {
        let of_family = |cidr: &Cidr| cidr.is_ipv4() == (family == Family::V4);
        let outbound = config.outbound.port();
        let mut redirects = Vec::new();
        if config.dns {
            redirects.push(redirect(Match::UdpPort(DNS), config.dns_port));
            redirects.push(redirect(Match::TcpPorts(vec![DNS]), config.dns_port));
        }
        if family == Family::V4 {
            redirects.push(redirect(Match::TcpTo(config.vip_range.into()), outbound));
        }
        if config.all_outbound {
            redirects
                .extend(config.exclude_cidrs.iter().copied().filter(of_family).map(Match::To).map(leave));
            if !config.exclude_ports.is_empty() {
                redirects.push(leave(Match::TcpPorts(config.exclude_ports.clone())));
            }
            redirects.push(leave(Match::ToLocal));
            redirects.push(redirect(Match::Tcp, outbound));
        }
        let mut rules = Rules::default();
        if !redirects.is_empty() {
            let metadata = METADATA.into_iter().map(Cidr::one).filter(of_family).map(Match::To);
            let own = [config.uid.map(Match::Uid), config.gid.map(Match::Gid)].into_iter().flatten();
            rules.outbound.extend(metadata.chain(own).map(leave));
            rules.outbound.extend(redirects);
        }
        if !config.inbound_ports.is_empty() {
            let what = Match::TcpPortsFromElsewhere(config.inbound_ports.clone());
            rules.inbound.push(redirect(what, config.inbound_port));
        }
        rules
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.outbound.is_empty() && self.inbound.is_empty()
    }
}

const fn leave(what: Match) -> Rule {
    Rule { what, to: None }
}

const fn redirect(what: Match, to: u16) -> Rule {
    Rule { what, to: Some(to) }
}
