//! Connections that were redirected here. Those for the mesh go its ways; all others are passed through to where they
//! were going, byte for byte: nothing is read of them, they have no idle timeout, and what one side does (an end, a
//! half-close, a reset) the other side sees.
//!
//! The app is connected as soon as the kernel has taken its connection here. So one to a destination that refuses is
//! reset after it has begun, which is the nearest thing that can still be said.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::dialled;
use crate::drain::{Phase, Signal};
use crate::error::{Fault, Reason};
use crate::limiter::Place;
use crate::listen::first::{First, look};
use crate::listen::redirect::Way;
use crate::listen::watch::Activity;
use crate::listen::{Arrival, Downstream};
use crate::tcp;
use crate::telemetry::metrics::{RedirectRefused, TunnelEnd};
use crate::tunnel::Tunnel;
use crate::worker::Worker;
use crate::{descriptors, net};

/// How long the destination may take to accept: it may be far away (as for names outside of the mesh).
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an app that may mean the mesh has to say something before its destination is dialled as well. Clients that
/// speak first do so within a round trip to the proxy, some microseconds, but a busy one may be late; a client whose
/// server speaks first waits this much longer, once a connection, and only on ports that an HTTP service of the mesh has.
const FIRST_BYTES_WITHIN: Duration = Duration::from_millis(300);

/// Carries a redirected connection to its end, or gives it back for the mesh, with how it counts as having arrived.
pub async fn carry(
    worker: &Rc<Worker>,
    original: SocketAddr,
    app: TcpStream,
    activity: &Arc<Activity>,
    mut drain: Signal,
) -> Option<(Arrival, TcpStream)> {
    let Ok(from) = app.peer_addr() else { return None };
    let through = Through { worker, from, original };
    if dialled::is_ours(from, original) {
        through.refuse(&app, RedirectRefused::Loop);
        return None;
    }
    match worker.way(original) {
        Way::Alias(alias) => return Some((Arrival::Vip(alias), app)),
        Way::Service(name) => {
            if let Some(cluster) = worker.cluster_by_name(&name) {
                let arrival = Arrival::Redirected(original);
                let downstream = Rc::new(Downstream::new(worker.clone(), arrival, activity.clone()));
                tcp::serve(downstream, cluster, app, drain).await;
                return None;
            }
        }
        Way::Refused(why) => {
            through.refuse(&app, why);
            return None;
        }
        Way::Through => {}
        Way::Look => {
            let looked = tokio::select! {
                first = look(&app) => first.map(Looked::First),
                upstream = through.unless_app_speaks() => Ok(Looked::Upstream(upstream)),
                () = activity.close_wanted() => return None,
                () = drain.reached(Phase::Closing) => return None,
            };
            // One of our own that was not known yet when it came is by now.
            if dialled::is_ours(from, original) {
                through.refuse(&app, RedirectRefused::Loop);
                return None;
            }
            match looked {
                Ok(Looked::First(first)) if through.is_for_mesh(&first) => {
                    return Some((Arrival::Redirected(original), app));
                }
                Ok(Looked::First(_)) => {}
                Ok(Looked::Upstream(upstream)) => {
                    through.tunnel(app, upstream, activity, drain).await;
                    return None;
                }
                // It has gone without a word, or in the middle of its first one.
                Err(_) => return None,
            }
        }
    }
    let upstream = through.connect().await;
    through.tunnel(app, upstream, activity, drain).await;
    None
}

/// What came first.
enum Looked {
    /// The app spoke.
    First(First),
    /// Its destination did, or could not be reached.
    Upstream(Result<(TcpStream, Place), Failed>),
}

/// Why a connection is not passed through.
enum Failed {
    /// It could not be opened.
    Fault(Fault),
    /// It would come back.
    Loop,
}

/// One connection on its way.
struct Through<'a> {
    worker: &'a Rc<Worker>,
    from: SocketAddr,
    original: SocketAddr,
}

impl Through<'_> {
    /// HTTP/2 is always served: who its requests are for is seen one by one, and those that are not for the mesh go on
    /// to where the connection was going.
    fn is_for_mesh(&self, first: &First) -> bool {
        match first {
            First::Http2 => true,
            First::Http1(Some(authority)) => self.worker.http_cluster_at(authority, self.original).is_some(),
            First::Http1(None) | First::Other => false,
        }
    }

    /// When the app has said nothing for a while, its destination may be the one to begin. Whichever of the two speaks
    /// first decides what the connection is. Where there is no destination, as behind the made-up addresses that names of
    /// a mesh may have, the app is the only one who can speak, and is waited for.
    async fn unless_app_speaks(&self) -> Result<(TcpStream, Place), Failed> {
        tokio::time::sleep(FIRST_BYTES_WITHIN).await;
        let connected = match self.connect().await {
            Err(Failed::Fault(fault)) if fault.reason == Reason::ConnectTimeout => {
                tracing::debug!(to = %self.original, %fault, "waiting for the app alone");
                std::future::pending().await
            }
            connected => connected?,
        };
        match connected.0.peek(&mut [0]).await {
            Ok(_) => Ok(connected),
            // The kernel tells of a reset once: a tunnel would see an orderly end.
            Err(error) => {
                let why = format_args!("{}: {error}", self.original);
                Err(Failed::Fault(Fault::unsent(Reason::Reset, why)))
            }
        }
    }

    async fn connect(&self) -> Result<(TcpStream, Place), Failed> {
        let mut place = self.worker.unlimited_place().map_err(Failed::Fault)?;
        let upstream = self.dial().await.map_err(Failed::Fault)?;
        place.is_of(&upstream);
        // By now a connection of our own that had come back is sure to be known.
        if dialled::is_ours(self.from, self.original) || self.is_to_itself(&upstream) {
            return Err(Failed::Loop);
        }
        Ok((upstream, place))
    }

    async fn dial(&self) -> Result<TcpStream, Fault> {
        let to = self.original;
        let failed = |error: std::io::Error| {
            let reason = match error.kind() {
                _ if descriptors::is_exhaustion(&error) => Reason::OutOfResources,
                // Nobody has said no.
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
                    Reason::ConnectTimeout
                }
                _ => Reason::ConnectFailure,
            };
            Fault::unsent(reason, format_args!("{to}: {error}"))
        };
        if !descriptors::has_room() {
            return Err(Fault::unsent(Reason::OutOfResources, descriptors::ADVICE));
        }
        let upstream = match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_elapsed) => {
                let why = format_args!("{to} did not accept a connection within {CONNECT_WITHIN:?}");
                return Err(Fault::unsent(Reason::ConnectTimeout, why));
            }
        };
        upstream.set_nodelay(true).map_err(failed)?;
        Ok(upstream)
    }

    /// Whether it leads to an address of this host and a port that we have on all of them.
    fn is_to_itself(&self, upstream: &TcpStream) -> bool {
        self.worker.listens_everywhere(self.original.port())
            && upstream.local_addr().is_ok_and(|own| own.ip().to_canonical() == self.original.ip())
    }

    async fn tunnel(
        &self,
        app: TcpStream,
        upstream: Result<(TcpStream, Place), Failed>,
        activity: &Activity,
        drain: Signal,
    ) {
        let counters = &self.worker.counters().passthrough;
        match upstream {
            Ok((upstream, place)) => {
                // Two hosts that have nothing to say to each other are no business of ours: no idle timeout.
                let tunnel = Tunnel::new(upstream, Bytes::new(), place, None, None, counters.clone());
                tunnel.run(app, Bytes::new(), activity, drain).await;
            }
            Err(Failed::Fault(fault)) => {
                counters.ended[TunnelEnd::Failed as usize].inc();
                tracing::debug!(from = %self.from, to = %self.original, %fault, "a connection can't be passed through");
                net::reset_on_close(&app);
            }
            Err(Failed::Loop) => self.refuse(&app, RedirectRefused::Loop),
        }
    }

    /// Resets it, counts it, and says so in the log: the first time, and then ever less often.
    #[cold]
    fn refuse(&self, app: &TcpStream, why: RedirectRefused) {
        net::reset_on_close(app);
        let times = self.worker.counters().redirect_refused.inc(why.as_str());
        if !times.is_power_of_two() {
            return;
        }
        let (from, to) = (self.from, self.original);
        match why {
            RedirectRefused::Loop => tracing::warn!(
                %from, %to, times,
                "a redirected connection leads to this proxy itself, or comes from it, and was reset: the rules that \
                 redirect must leave this proxy's own connections alone (setup-redirect --uid, IgnoredUID)"
            ),
            RedirectRefused::UnknownVip => tracing::warn!(
                %from, %to, times,
                "an app dialled an address of the VIP range that no alias of the mesh has, or not with this port; it was \
                 reset: the name may have left the mesh"
            ),
        }
    }
}
