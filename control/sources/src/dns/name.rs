//! One name over time: which endpoints it stands for, and when it is looked up again. No I/O, no clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_api::model::{Endpoint, MAX_WEIGHT};
use bowline_api::vip::VipRange;

/// A record that may be kept for less time is looked up again after this: a TTL of 0 must not become a storm.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// A record that may be kept for longer is looked up again after this.
pub const MAX_TTL: Duration = Duration::from_secs(300);
/// Look-ups that fail in a row are 1 s, 2 s, 4 s and so on apart, but no more than this: a name that appears, or a
/// server that comes back, is to be seen soon.
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// More endpoints than this in one answer are left out.
pub const MAX_ENDPOINTS: usize = 1000;

/// What a look-up came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Records.
    Found(Found),
    /// The server says that there is no such name.
    NoSuchName,
    /// The name has no record of the type.
    Empty,
    /// There was no usable answer: nothing is known of the name.
    Failed(Failure),
}

/// Records that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// For A and AAAA one; for SRV one for each record of the lowest priority.
    pub hosts: Vec<Host>,
    /// How long the answer may be kept: the shortest TTL in it.
    pub ttl: Duration,
}

/// One host that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    /// Its weight, as in the SRV record; each of its addresses has it.
    pub weight: u16,
    /// Its addresses; none: there is no such host.
    pub addresses: Result<Vec<IpAddr>, Failure>,
}

/// A look-up that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// No answer came in time.
    pub timeout: bool,
    /// What went wrong, in words.
    pub why: String,
}

impl Failure {
    /// No answer came in time.
    pub fn timeout() -> Self {
        Failure { timeout: true, why: "no answer in time".to_owned() }
    }

    /// Anything else, in these words.
    pub fn other(why: impl Into<String>) -> Self {
        Failure { timeout: false, why: why.into() }
    }
}

/// What a look-up has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// `ok`, `nxdomain`, `empty`, `timeout` or `failed`: what metrics call it.
    pub result: &'static str,
    /// The endpoints are others than before.
    pub changed: bool,
    /// Whether it is worth a line in the log, and which.
    pub news: News,
    /// When the name is to be looked up again.
    pub next: Instant,
}

/// Whether the name resolves as it did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It does, or fails as it did before.
    None,
    /// There is something wrong that was not wrong before: [`Name::trouble`] says what.
    Trouble,
    /// All is well again.
    Recovered,
}

/// What is known of one name.
#[derive(Clone, Debug)]
pub struct Name {
    vips: VipRange,
    endpoints: Arc<[Endpoint]>,
    /// The addresses of each host in the last good answer: a host that fails to resolve keeps them.
    hosts: BTreeMap<String, Vec<IpAddr>>,
    last_good: Option<Instant>,
    /// Look-ups in a row that brought nothing.
    failures: u32,
    trouble: Option<String>,
}

impl Name {
    /// A name that has never been looked up. Addresses in `vips` are no endpoints.
    pub fn new(vips: VipRange) -> Self {
        Name {
            vips,
            endpoints: Arc::default(),
            hosts: BTreeMap::new(),
            last_good: None,
            failures: 0,
            trouble: None,
        }
    }

    /// The endpoints of the last good answer, by address.
    pub fn endpoints(&self) -> Arc<[Endpoint]> {
        self.endpoints.clone()
    }

    /// When the last good answer came.
    pub fn last_good(&self) -> Option<Instant> {
        self.last_good
    }

    /// Why the last look-up brought nothing, or not everything; `None` when it went well.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether it has been looked up, with whatever result.
    pub fn was_asked(&self) -> bool {
        self.last_good.is_some() || self.failures > 0
    }

    /// Takes the outcome of a look-up up. `spread`, 0 to 1 and by chance, keeps the next look-ups of many proxies apart.
    pub fn learn(&mut self, outcome: Outcome, now: Instant, spread: f64) -> Learned {
        match outcome {
            Outcome::Found(found) => self.found(found, now, spread),
            Outcome::NoSuchName => self.failed("nxdomain", "there is no such name (NXDOMAIN)", now, spread),
            Outcome::Empty => self.failed("empty", "it has no record of this type", now, spread),
            Outcome::Failed(Failure { timeout, why }) => {
                self.failed(if timeout { "timeout" } else { "failed" }, &why, now, spread)
            }
        }
    }

    fn found(&mut self, found: Found, now: Instant, spread: f64) -> Learned {
        let Found { hosts, ttl } = found;
        let (mut known, mut weights) = (BTreeMap::new(), BTreeMap::new());
        let (mut failure, mut unusable) = (None, None);
        let heaviest = hosts.iter().map(|host| host.weight).max().unwrap_or(0);
        for host in hosts {
            let addresses = match host.addresses {
                Ok(addresses) => addresses,
                Err(why) => {
                    let kept = self.hosts.get(&host.name).cloned().unwrap_or_default();
                    failure.get_or_insert((host.name.clone(), why));
                    kept
                }
            };
            for ip in &addresses {
                let address = SocketAddr::new(*ip, host.port);
                match Endpoint::why_not(address, self.vips) {
                    // Found under two names it counts once.
                    None => {
                        let weight = weights.entry(address).or_default();
                        *weight = scaled(host.weight, heaviest).max(*weight);
                    }
                    Some(why) => unusable = Some(format!("{address} is no endpoint: {why}")),
                }
            }
            known.insert(host.name, addresses);
        }
        if weights.is_empty() {
            return match (failure, unusable) {
                (Some((_, failure)), _) => self.learn(Outcome::Failed(failure), now, spread),
                (None, Some(why)) => self.failed("empty", &why, now, spread),
                (None, None) => self.learn(Outcome::Empty, now, spread),
            };
        }
        // By address, so that the order of the records means nothing, and the same ones are left out each time.
        let left_out = weights.len().saturating_sub(MAX_ENDPOINTS);
        let endpoints: Arc<[Endpoint]> = weights
            .into_iter()
            .take(MAX_ENDPOINTS)
            .map(|(address, weight)| Endpoint { weight, ..Endpoint::new(address) })
            .collect();
        let had_trouble = self.trouble.is_some();
        let trouble = match failure {
            Some((host, failure)) => Some(format!("{host}: {}", failure.why)),
            None if left_out > 0 => {
                Some(format!("it has {left_out} addresses more than the {MAX_ENDPOINTS} that are used"))
            }
            None => unusable,
        };
        let changed = endpoints != self.endpoints;
        let news = match () {
            () if trouble.is_some() && trouble != self.trouble => News::Trouble,
            () if trouble.is_none() && had_trouble => News::Recovered,
            () => News::None,
        };
        self.endpoints = endpoints;
        self.hosts = known;
        self.last_good = Some(now);
        self.failures = 0;
        self.trouble = trouble;
        let ttl = ttl.clamp(MIN_TTL, MAX_TTL);
        // Never before the TTL has run out, or a cache on the way would give the old answer.
        Learned { result: "ok", changed, news, next: now + ttl.mul_f64(1.0 + 0.05 * spread) }
    }

    fn failed(&mut self, result: &'static str, why: &str, now: Instant, spread: f64) -> Learned {
        let news = if self.trouble.as_deref() == Some(why) { News::None } else { News::Trouble };
        self.trouble = Some(why.to_owned());
        let wait = MIN_TTL.saturating_mul(1 << self.failures.min(16)).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        Learned { result, changed: false, news, next: now + wait.mul_f64(1.0 + 0.25 * spread) }
    }
}

/// An SRV record's weight, 0 to 65535, as one of ours, 1 to 1000. 0 means "seldom" there and "never" here.
fn scaled(weight: u16, heaviest: u16) -> u32 {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    let scaled = if heaviest > MAX_WEIGHT { weight * MAX_WEIGHT / heaviest } else { weight };
    scaled.max(1)
}
