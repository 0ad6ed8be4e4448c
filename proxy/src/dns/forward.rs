//! Names outside of the mesh, asked of the servers that would be asked without us.

use std::time::Duration;

use bowline_sources::dns::{Resolver, Servers};
use hickory_resolver::config::{ResolveHosts, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::{Name, Record, RecordType};
use tokio::sync::Semaphore;

/// Questions under way at a time; one more is answered with SERVFAIL at once. It bounds what comes of servers that do not
/// answer, and of a loop through another server back to us.
const AT_A_TIME: usize = 256;
/// How long an answer may take; the timeouts and attempts in `/etc/resolv.conf` apply within.
const WITHIN: Duration = Duration::from_secs(10);
/// Answers that are kept.
const CACHED: u64 = 4096;
/// How long it is kept that there is no such name or record, at most.
const NEGATIVE: Duration = Duration::from_secs(30);

/// What is said to a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) records: Vec<Record>,
    /// Says for how long it may be kept that there is nothing.
    pub(super) authority: Vec<Record>,
    /// It is the mesh's own.
    pub(super) ours: bool,
}

/// Asks others.
#[derive(Debug)]
pub(super) struct Forwarder {
    resolver: Resolver,
    places: Semaphore,
}

impl Forwarder {
    pub(super) fn new(servers: Servers) -> Self {
        Forwarder { resolver: Resolver::new(servers, tune), places: Semaphore::new(AT_A_TIME) }
    }

    /// Whether there is anybody to ask.
    pub(super) fn check(&self) -> Result<(), String> {
        self.resolver.current().map(drop)
    }

    pub(super) async fn ask(&self, name: &Name, record_type: RecordType) -> Answer {
        let failed = Answer { code: ResponseCode::ServFail, ..Answer::default() };
        let Ok(_place) = self.places.try_acquire() else { return failed };
        let resolver = match self.resolver.current() {
            Ok(resolver) => resolver,
            Err(error) => {
                tracing::debug!(%error, "nobody can be asked for names outside of the mesh");
                return failed;
            }
        };
        // As it stands: search domains are the app's own business.
        let mut name = name.clone();
        name.set_fqdn(true);
        match tokio::time::timeout(WITHIN, resolver.lookup(name, record_type)).await {
            Ok(Ok(found)) => Answer { records: found.answers().to_vec(), ..Answer::default() },
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(nothing)))) => Answer {
                code: nothing.response_code,
                authority: nothing.soa.map(|soa| soa.into_record_of_rdata()).into_iter().collect(),
                ..Answer::default()
            },
            Ok(Err(NetError::Dns(DnsError::ResponseCode(code)))) => Answer { code, ..Answer::default() },
            Ok(Err(error)) => {
                tracing::debug!(%error, "a name outside of the mesh can't be looked up");
                failed
            }
            Err(_elapsed) => failed,
        }
    }
}

fn tune(options: &mut ResolverOpts) {
    options.cache_size = CACHED;
    options.negative_max_ttl = Some(NEGATIVE);
    // The app reads its own hosts file before it asks anybody.
    options.use_hosts_file = ResolveHosts::Never;
    // An alias is part of the answer.
    options.preserve_intermediates = true;
}
