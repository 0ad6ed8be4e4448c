//! The flags of `setup-redirect`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use bowline_api::vip::VipRange;
use clap::{Args, ValueEnum};

/// Flags of `bowline-proxy setup-redirect`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HELP)]
pub struct SetupRedirect {
    /// TCP connections to this range are redirected to the proxy. The same as `run` has.
    #[arg(long, env = "BOWLINE_VIP_RANGE", value_name = "CIDR", default_value = "127.255.0.0/16")]
    pub vip_range: VipRange,

    /// Where the proxy takes redirected connections: the same as `run` has. Only the port counts: the kernel redirects to
    /// 127.0.0.1 and [::1].
    #[arg(long, env = "BOWLINE_OUTBOUND", value_name = "ADDR", default_value = "127.0.0.1:15001")]
    pub outbound: SocketAddr,

    /// Redirect every TCP connection that leaves the host or task, IPv4 and IPv6, and not only those to the VIP range.
    /// Needs `--uid` or `--gid`. 169.254.169.254, 169.254.170.2 and fd00:ec2::254 are never redirected.
    #[arg(long, env = "BOWLINE_ALL_OUTBOUND")]
    pub all_outbound: bool,

    /// What this user sends is left alone: the proxy's own. No app may run as the same user.
    #[arg(long, env = "BOWLINE_REDIRECT_UID", value_name = "UID")]
    pub uid: Option<u32>,

    /// What this group sends is left alone.
    #[arg(long, env = "BOWLINE_REDIRECT_GID", value_name = "GID")]
    pub gid: Option<u32>,

    /// With `--all-outbound`: destinations that are left alone, with commas between them, such as 10.1.0.0/16.
    #[arg(
        long,
        env = "BOWLINE_EXCLUDE_CIDRS",
        value_name = "A,B",
        value_delimiter = ',',
        requires = "all_outbound"
    )]
    pub exclude_cidrs: Vec<Cidr>,

    /// With `--all-outbound`: destination ports that are left alone, with commas between them.
    #[arg(long, env = "BOWLINE_EXCLUDE_PORTS", value_name = "A,B", value_delimiter = ',', requires = "all_outbound",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub exclude_ports: Vec<u16>,

    /// Redirect connections that come from other hosts to these ports of the app, with commas between them, to
    /// `--inbound-port`.
    #[arg(long, env = "BOWLINE_INBOUND_PORTS", value_name = "A,B", value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(1..))]
    pub inbound_ports: Vec<u16>,

    /// The port on which the proxy takes inbound connections, on all addresses.
    #[arg(long, env = "BOWLINE_INBOUND_PORT", value_name = "PORT", default_value_t = 15006,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub inbound_port: u16,

    /// Redirect DNS queries (port 53, UDP and TCP) to `--dns-port`, whomever they ask. Needs `--uid`: the proxy's own
    /// queries must get out.
    #[arg(long, env = "BOWLINE_REDIRECT_DNS")]
    pub dns: bool,

    /// The port of the proxy's DNS server on 127.0.0.1 and [::1].
    #[arg(long, env = "BOWLINE_DNS_PORT", value_name = "PORT", default_value_t = 15053,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub dns_port: u16,

    /// Which program installs the rules. `auto`: nft where there is one that works, else iptables.
    #[arg(long, env = "BOWLINE_REDIRECT_BACKEND", value_name = "BACKEND", default_value = "auto")]
    pub backend: Backend,

    /// Print the rules and change nothing.
    #[arg(long)]
    pub print: bool,

    /// Remove the rules, all that a setup-redirect has installed with whatever flags. Where there are none, that is well
    /// too.
    #[arg(long)]
    pub remove: bool,
}

const HELP: &str = "\
The rules are those of one network namespace: run it where the app runs, as root or with the capability NET_ADMIN, for
instance in an init container that shares the task's network. Doing it again replaces the rules. nft has them in the tables
`ip bowline` and `ip6 bowline`, iptables in the chains BOWLINE_OUTBOUND and BOWLINE_INBOUND of the nat table.

Examples:
  bowline-proxy setup-redirect                             the VIP range only: nothing else passes the proxy
  bowline-proxy setup-redirect --all-outbound --uid 20000  all TCP connections but those of user 20000, the proxy
  bowline-proxy setup-redirect --dns --uid 20000           the VIP range, and DNS queries to 127.0.0.1:15053
  bowline-proxy setup-redirect --inbound-ports 9001        the VIP range, and what comes in for port 9001
  bowline-proxy setup-redirect --remove

Exit codes: 0 done, 1 it failed, 2 wrong usage.";

/// Which program installs the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// nft where there is one that works, else iptables.
    Auto,
    /// `nft -f -`.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`.
    Iptables,
}

impl SetupRedirect {
    /// Checks what clap can't.
    ///
    /// # Errors
    /// Flags that don't go together, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.remove {
            return Ok(());
        }
        if self.all_outbound && self.uid.is_none() && self.gid.is_none() {
            return Err(
                "--all-outbound needs --uid (or --gid): without it the proxy's own connections would be \
                        redirected to itself, without end"
                    .to_owned(),
            );
        }
        if self.dns && self.uid.is_none() {
            return Err(
                "--dns needs --uid: without it the proxy's own queries would be redirected to itself, \
                        without end"
                    .to_owned(),
            );
        }
        if self.outbound.port() == 0 {
            return Err("--outbound needs the port that the proxy really has, not 0".to_owned());
        }
        let ip = self.outbound.ip();
        if ip != IpAddr::from([127, 0, 0, 1]) && !ip.is_unspecified() {
            return Err(format!(
                "--outbound {}: the kernel redirects connections of this host to 127.0.0.1 and [::1], so the proxy has \
                 to listen there",
                self.outbound
            ));
        }
        Ok(())
    }
}

/// A network: an address and how many of its bits count. An address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network of one address.
    #[must_use]
    pub const fn one(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Cidr { address, prefix }
    }

    /// Whether it is a network of IPv4 addresses.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

impl From<VipRange> for Cidr {
    fn from(range: VipRange) -> Self {
        Cidr { address: range.network().into(), prefix: range.prefix() }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no IP address; expected one such as 10.1.0.0/16"))?;
        let whole = Cidr::one(address);
        let Some(prefix) = prefix else { return Ok(whole) };
        let prefix = prefix.parse().ok().filter(|prefix: &u8| *prefix <= whole.prefix);
        let prefix =
            prefix.ok_or_else(|| format!("{text:?}: the prefix is no number from 0 to {}", whole.prefix))?;
        let host_bits = u32::from(whole.prefix - prefix);
        let below = match address {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        if below & 1u128.checked_shl(host_bits).map_or(u128::MAX, |bit| bit - 1) != 0 {
            return Err(format!("{text:?}: the address has bits set beyond the prefix"));
        }
        Ok(Cidr { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        for (text, written) in [
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|cidr| cidr.to_string()), Ok(written.to_owned()));
        }
        for wrong in ["", "10.1", "10.1.0.1/16", "10.0.0.0/33", "10.0.0.0/", "fd00::1/64", "::/129", "a/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
