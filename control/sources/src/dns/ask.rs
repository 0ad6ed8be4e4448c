//! Asking DNS servers, by way of hickory-resolver.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bowline_api::model::{DnsRecordType, DnsSource};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverOpts;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::name::{Failure, Found, Host, MAX_ENDPOINTS, MAX_TTL, MIN_TTL, Outcome};
use super::resolver::{Resolver, Servers};

/// Names that are looked up at a time; the others wait.
const AT_A_TIME: usize = 32;
/// Hosts of one SRV answer that are looked up at a time.
const HOSTS_AT_A_TIME: usize = 8;
/// A look-up that takes longer has failed; the timeouts and attempts in `/etc/resolv.conf` apply within.
const WITHIN: Duration = Duration::from_secs(20);
/// When an SRV answer is looked up again of which a host could not be resolved.
const FAILED_HOST_AGAIN: Duration = Duration::from_secs(5);
/// Answers that are kept for other services with the same name, and for hosts that several SRV records name.
const CACHED: u64 = 1024;

/// Whoever answers our questions.
#[derive(Debug)]
pub(super) struct Asker {
    resolver: Resolver,
    places: Semaphore,
}

impl Asker {
    /// Asks these servers.
    pub(super) fn new(servers: Servers) -> Self {
        Asker { resolver: Resolver::new(servers, bounded), places: Semaphore::new(AT_A_TIME) }
    }

    /// One look-up.
    pub(super) async fn ask(&self, source: &DnsSource) -> Outcome {
        let Ok(_place) = self.places.acquire().await else {
            return Outcome::Failed(Failure::other("nobody asks any more"));
        };
        let resolver = match self.resolver.current() {
            Ok(resolver) => resolver,
            Err(error) => return Outcome::Failed(Failure::other(format!("no resolver: {error}"))),
        };
        tokio::time::timeout(WITHIN, look_up(&resolver, source))
            .await
            .unwrap_or_else(|_| Outcome::Failed(Failure::timeout()))
    }
}

/// The cache must agree with the schedule of the names: kept at least and at most as long as they are.
fn bounded(options: &mut ResolverOpts) {
    options.cache_size = CACHED;
    options.positive_min_ttl = Some(MIN_TTL);
    options.positive_max_ttl = Some(MAX_TTL);
    // Shorter than the shortest backoff, so that each look-up of a name that was missing is a real one.
    options.negative_max_ttl = Some(MIN_TTL / 2);
}

async fn look_up(resolver: &TokioResolver, source: &DnsSource) -> Outcome {
    let record_type = match source.record_type {
        DnsRecordType::A => RecordType::A,
        DnsRecordType::Aaaa => RecordType::AAAA,
        DnsRecordType::Srv => return srv(resolver, &source.name).await,
    };
    match resolver.lookup(source.name.as_str(), record_type).await {
        Ok(answer) => {
            let host = Host {
                name: source.name.clone(),
                port: source.port.unwrap_or_default(),
                weight: 1,
                addresses: Ok(addresses(&answer)),
            };
            Outcome::Found(Found { hosts: vec![host], ttl: ttl(&answer) })
        }
        Err(error) => outcome(&error),
    }
}

async fn srv(resolver: &TokioResolver, name: &str) -> Outcome {
    let answer = match resolver.lookup(name, RecordType::SRV).await {
        Ok(answer) => answer,
        Err(error) => return outcome(&error),
    };
    let records: Vec<&SRV> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // The root as the target says that the service is decidedly not there.
            RData::SRV(srv) if !srv.target.is_root() => Some(srv),
            _ => None,
        })
        .collect();
    let Some(lowest) = records.iter().map(|srv| srv.priority).min() else { return Outcome::Empty };
    let mut lookups = JoinSet::new();
    let mut ttl = ttl(&answer);
    let mut hosts = Vec::new();
    for srv in records.into_iter().filter(|srv| srv.priority == lowest).take(MAX_ENDPOINTS) {
        if lookups.len() >= HOSTS_AT_A_TIME {
            take(lookups.join_next().await, &mut hosts, &mut ttl);
        }
        let (resolver, srv, given) = (resolver.clone(), srv.clone(), additional(&answer, srv));
        lookups.spawn(async move {
            let (addresses, ttl) = match given {
                Some((given, ttl)) => (Ok(given), ttl),
                None => host(&resolver, &srv).await,
            };
            let name = srv.target.to_ascii();
            (Host { name, port: srv.port, weight: srv.weight, addresses }, ttl)
        });
    }
    while let Some(looked_up) = lookups.join_next().await {
        take(Some(looked_up), &mut hosts, &mut ttl);
    }
    Outcome::Found(Found { hosts, ttl })
}

fn take(
    looked_up: Option<Result<(Host, Duration), tokio::task::JoinError>>,
    hosts: &mut Vec<Host>,
    ttl: &mut Duration,
) {
    if let Some(Ok((host, its_ttl))) = looked_up {
        *ttl = its_ttl.min(*ttl);
        hosts.push(host);
    }
}

/// A target's addresses that came with the answer: IPv4 ones, and IPv6 ones only where there are none.
fn additional(answer: &Lookup, srv: &SRV) -> Option<(Vec<IpAddr>, Duration)> {
    let of = || answer.additionals().iter().filter(|record| record.name == srv.target);
    let v4: Vec<_> = of().filter(|record| record.record_type() == RecordType::A).collect();
    let records = match v4.is_empty() {
        true => of().filter(|record| record.record_type() == RecordType::AAAA).collect(),
        false => v4,
    };
    let seconds = records.iter().map(|record| record.ttl).min()?;
    let addresses = records.iter().filter_map(|record| record.data.ip_addr()).collect();
    Some((addresses, Duration::from_secs(seconds.into())))
}

/// Looks a target's addresses up: IPv6 ones only where there are no IPv4 ones.
async fn host(resolver: &TokioResolver, srv: &SRV) -> (Result<Vec<IpAddr>, Failure>, Duration) {
    for record_type in [RecordType::A, RecordType::AAAA] {
        match resolver.lookup(srv.target.clone(), record_type).await {
            Ok(answer) => return (Ok(addresses(&answer)), ttl(&answer)),
            Err(error) => match outcome(&error) {
                Outcome::Failed(failure) => return (Err(failure), FAILED_HOST_AGAIN),
                Outcome::NoSuchName => break,
                _ => {}
            },
        }
    }
    // A host that is missing is looked up again with the SRV record that names it.
    (Ok(Vec::new()), MAX_TTL)
}

fn addresses(answer: &Lookup) -> Vec<IpAddr> {
    answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// What is left of the answer's TTL.
fn ttl(answer: &Lookup) -> Duration {
    answer.valid_until().saturating_duration_since(Instant::now())
}

fn outcome(error: &NetError) -> Outcome {
    match error {
        error if error.is_nx_domain() => Outcome::NoSuchName,
        error if error.is_no_records_found() => Outcome::Empty,
        NetError::Timeout => Outcome::Failed(Failure::timeout()),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Outcome::Failed(Failure::other(format!("the DNS server answers {code}")))
        }
        other => Outcome::Failed(Failure::other(other.to_string())),
    }
}
