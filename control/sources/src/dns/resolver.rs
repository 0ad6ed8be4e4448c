//! A resolver of DNS servers that were named, or of those that the system is configured with, which may change.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;

/// How long a server that was named has for an answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the system's configuration is looked at for change, at most.
const CONFIG_EVERY: Duration = Duration::from_secs(2);
/// The port of the servers in `/etc/resolv.conf`.
const DNS_PORT: u16 = 53;

/// Which DNS servers are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// These, over UDP and TCP. None: those in `/etc/resolv.conf`, and `/etc/hosts`; both are read again when they change.
    pub named: Vec<SocketAddr>,
    /// Our own server, which is passed over where the system names it: it would ask itself for ever.
    pub ours: Option<SocketAddr>,
}

impl From<Option<SocketAddr>> for Servers {
    fn from(server: Option<SocketAddr>) -> Self {
        Servers { named: server.into_iter().collect(), ours: None }
    }
}

/// A resolver, and what it was made from.
pub struct Resolver {
    servers: Servers,
    tune: fn(&mut ResolverOpts),
    current: Mutex<Option<Current>>,
}

struct Current {
    resolver: TokioResolver,
    files: Vec<Option<Vec<u8>>>,
    looked: Instant,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks these servers; `tune` sets the options of each resolver that is made.
    #[must_use]
    pub fn new(servers: Servers, tune: fn(&mut ResolverOpts)) -> Self {
        Resolver { servers, tune, current: Mutex::new(None) }
    }

    /// The resolver of the configuration as of now.
    ///
    /// # Errors
    /// There has never been a configuration that could be used: says why.
    pub fn current(&self) -> Result<TokioResolver, String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_fixed = !self.servers.named.is_empty();
        if let Some(known) = &mut *current {
            if is_fixed || now.duration_since(known.looked) < CONFIG_EVERY {
                return Ok(known.resolver.clone());
            }
            known.looked = now;
            // One that can't be read, or is empty while it is rewritten, is no reason to forget the last one.
            if files() == known.files {
                return Ok(known.resolver.clone());
            }
        }
        let files = if is_fixed { Vec::new() } else { files() };
        match (self.make(), &mut *current) {
            (Ok(resolver), current) => {
                *current = Some(Current { resolver: resolver.clone(), files, looked: now });
                Ok(resolver)
            }
            (Err(error), Some(known)) => {
                tracing::debug!(%error, "the system's DNS configuration can't be used: the last one stays");
                Ok(known.resolver.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn make(&self) -> Result<TokioResolver, String> {
        let (config, mut options) = if self.servers.named.is_empty() {
            let (mut config, options) = read_system_conf().map_err(|error| error.to_string())?;
            if let Some(ours) = self.servers.ours {
                config.name_servers.retain(|server| !is_ours(ours, SocketAddr::new(server.ip, DNS_PORT)));
                if config.name_servers.is_empty() {
                    return Err("/etc/resolv.conf names no server but this proxy itself".to_owned());
                }
            }
            (config, options)
        } else {
            let servers = self.servers.named.iter().copied().map(name_server).collect();
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            options.timeout = SERVER_TIMEOUT;
            (ResolverConfig::from_name_servers(servers), options)
        };
        (self.tune)(&mut options);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.build().map_err(|error| error.to_string())
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// Whether a question to `server` comes out at our own listener.
#[must_use]
pub fn is_ours(ours: SocketAddr, server: SocketAddr) -> bool {
    let (at, asked) = (ours.ip().to_canonical(), server.ip().to_canonical());
    let same = at == asked || at.is_unspecified() && (asked.is_loopback() || asked.is_unspecified());
    same && ours.port() == server.port()
}

/// What the system's resolver is made from.
fn files() -> Vec<Option<Vec<u8>>> {
    ["/etc/resolv.conf", "/etc/hosts"].into_iter().map(|path| fs::read(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_ours_is_known_under_each_of_its_addresses() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_ours(at("127.0.0.1:53"), at("127.0.0.1:53")));
        assert!(is_ours(at("127.0.0.1:53"), at("[::ffff:127.0.0.1]:53")));
        assert!(is_ours(at("0.0.0.0:53"), at("127.0.0.1:53")));
        assert!(!is_ours(at("127.0.0.1:15053"), at("127.0.0.1:53")));
        assert!(!is_ours(at("127.0.0.1:53"), at("127.0.0.11:53")), "Docker's own server");
        assert!(!is_ours(at("0.0.0.0:53"), at("10.0.0.2:53")), "the server of a VPC");
    }
}
