//! The endpoints: small services that name themselves in each answer and can be told to misbehave.

mod grpc;
mod http;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpListener;

/// The header in which an endpoint names itself.
pub(crate) const NAME_HEADER: &str = "x-endpoint";

/// What an endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// How an endpoint behaves at the moment.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    slow_millis: AtomicU64,
    /// The status it answers everything with; 0: none, it works.
    fail: AtomicU16,
}

impl Behaviour {
    /// Takes an order: `slow MILLISECONDS`, `fail STATUS` or `ok`. False: it is none.
    pub(crate) fn order(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        match (words.next(), words.next().map(str::parse::<u16>), words.next()) {
            (Some("slow"), Some(Ok(millis)), None) => self.slow_millis.store(millis.into(), Relaxed),
            (Some("fail"), Some(Ok(status @ 400..=599)), None) => self.fail.store(status, Relaxed),
            (Some("ok"), None, None) => {
                self.slow_millis.store(0, Relaxed);
                self.fail.store(0, Relaxed);
            }
            _ => return false,
        }
        true
    }

    fn fails_with(&self) -> Option<u16> {
        Some(self.fail.load(Relaxed)).filter(|status| *status != 0)
    }

    /// Works for a moment. The one or two milliseconds are make-believe, so that there is a latency to look at.
    async fn work(&self) {
        let usual = Duration::from_micros(fastrand::u64(800..2200));
        tokio::time::sleep(usual + Duration::from_millis(self.slow_millis.load(Relaxed))).await;
    }
}

/// Where an endpoint listens.
#[derive(Debug)]
pub(crate) struct Place {
    ports: RangeInclusive<u16>,
    seed: u64,
}

impl Place {
    /// Reads `FIRST-LAST SEED`.
    pub(crate) fn parse(args: &[OsString]) -> io::Result<Self> {
        let parsed = || {
            let (first, last) = args.first()?.to_str()?.split_once('-')?;
            let seed = args.get(1)?.to_str()?.parse().ok()?;
            Some(Place { ports: first.parse().ok()?..=last.parse().ok()?, seed })
        };
        parsed().ok_or_else(|| io::Error::other("expected FIRST-LAST SEED"))
    }

    /// The first free port. Not one that the system chooses: those are the ones that outgoing connections get too, and
    /// a killed endpoint's port must be free when it comes back.
    async fn bind(&self) -> io::Result<TcpListener> {
        let mut last = io::Error::other("no port to try");
        for port in self.ports.clone() {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        let (first, end) = (self.ports.start(), self.ports.end());
        Err(io::Error::new(last.kind(), format!("no port from {first} to {end} can be bound: {last}")))
    }
}

/// Serves for ever. The first line on stdout is the address, for the demo to read.
pub(crate) fn serve(service: Service, place: &Place, behaviour: &Arc<Behaviour>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = place.bind().await?;
        let own = listener.local_addr()?;
        fastrand::seed(place.seed ^ u64::from(own.port()));
        {
            let mut out = io::stdout().lock();
            writeln!(out, "{own}")?;
            out.flush()?;
        }
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let behaviour = behaviour.clone();
            match service {
                Service::Http => tokio::spawn(http::connection(stream, own, behaviour)),
                Service::Grpc => tokio::spawn(grpc::connection(stream, own, behaviour)),
            };
        }
    })
}

/// The address as a header value.
fn name(own: SocketAddr) -> ::http::HeaderValue {
    ::http::HeaderValue::try_from(own.to_string()).expect("an address is printable")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::{Behaviour, Place};

    #[test]
    fn orders() {
        let behaviour = Behaviour::default();
        assert!(behaviour.order("slow 200"));
        assert!(behaviour.order("fail 503\n"));
        assert_eq!((behaviour.slow_millis.load(Relaxed), behaviour.fails_with()), (200, Some(503)));
        assert!(behaviour.order("ok"));
        assert_eq!((behaviour.slow_millis.load(Relaxed), behaviour.fails_with()), (0, None));
        for wrong in ["", "slow", "slow much", "fail 200", "ok then", "fast"] {
            assert!(!behaviour.order(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn places() {
        let place = Place::parse(&["9001-9009".into(), "7".into()]).expect("a place");
        assert_eq!((place.ports, place.seed), (9001..=9009, 7));
        assert!(Place::parse(&["9001".into(), "7".into()]).is_err());
    }
}
