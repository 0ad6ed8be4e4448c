//! The end of a proxy's life. First the app's callers are sent away, as soon as the task is to stop; then the app is
//! served until it has gone; then what is left is closed, and cut.

use std::process::ExitCode;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Running, Signals};
use crate::drain::{Drain, Phase};
use crate::ecs;
use crate::hosts::HostsFile;
use crate::listen::inbound::Apps;
use crate::net;
use crate::register::Withdrawn;

/// How long no connection must have been open for the app to count as gone.
const QUIET: Duration = Duration::from_secs(2);
/// How long callers are still accepted: until those who have not heard of it yet can have.
const STILL_ACCEPTING: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often it is seen whether the app still listens. That reads a file of the kernel, line by line.
const LOOK_AT_APP_EVERY: Duration = Duration::from_millis(250);

/// What stands in front of the app.
pub(super) struct InFront {
    pub(super) drain: Drain,
    pub(super) accepting: Vec<JoinHandle<()>>,
    pub(super) apps: std::sync::Arc<Apps>,
    pub(super) withdrawn: Option<Withdrawn>,
}

impl InFront {
    /// Nobody is to be sent here any more, and those who come are asked to leave.
    fn leave(&self) {
        self.drain.advance(Phase::Leaving);
    }

    /// Waits until callers can have heard of it, and takes no more of them.
    async fn close(&self) {
        if let Some(mut withdrawn) = self.withdrawn.clone() {
            withdrawn.wait().await;
        }
        if !self.accepting.is_empty() {
            sleep(STILL_ACCEPTING).await;
        }
        for accepting in &self.accepting {
            accepting.abort();
        }
        self.drain.advance(Phase::Closing);
    }

    /// Whether the app is seen to listen on a port that callers come for.
    fn sees_app(&self) -> bool {
        !self.accepting.is_empty()
            && self.apps.ports().into_iter().any(|port| net::is_listening(port).unwrap_or(false))
    }
}

impl Running {
    /// Serves until somebody wants the proxy to end, then ends it in good order.
    pub(super) async fn until_drained(mut self, mut signals: Signals, grace: Duration) -> ExitCode {
        let told = tokio::select! {
            at_a_terminal = self.asked_to_end(&mut signals) => Err(at_a_terminal),
            () = ecs::until_stopped() => Ok(()),
        };
        let (told, at_a_terminal) = match told {
            Err(at_a_terminal) => (false, at_a_terminal),
            Ok(()) => {
                tracing::info!("the task is to stop: callers are sent away, and the app is served on");
                self.in_front.leave();
                // ECS stops the app first. Our own signal comes when it has gone.
                (true, tokio::join!(self.in_front.close(), self.asked_to_end(&mut signals)).1)
            }
        };
        tracing::info!(connections = self.connections(), "draining");
        self.in_front.leave();
        self.drain.advance(Phase::Leaving);
        let ended = self.end(at_a_terminal, told, grace);
        tokio::select! {
            () = ended => {}
            _ = signals.next() => tracing::warn!("second signal: ending at once"),
        }
        self.seen.end(&self.workers).await;
        if let Some(Err(error)) = self.names.hosts.as_ref().map(HostsFile::clear) {
            tracing::warn!(%error, "the mesh's names stay in the hosts file");
        }
        tracing::info!("bye");
        ExitCode::SUCCESS
    }

    /// Waits for a signal, or for POST /drain: whether somebody at a terminal has asked.
    async fn asked_to_end(&self, signals: &mut Signals) -> bool {
        tokio::select! {
            at_a_terminal = signals.next() => at_a_terminal,
            () = self.begin_drain.notified() => false,
        }
    }

    async fn end(&self, at_a_terminal: bool, told: bool, grace: Duration) {
        let deadline = Instant::now() + grace;
        let callers_have_gone = async {
            if !told {
                let _ = tokio::time::timeout_at(deadline, self.in_front.close()).await;
            }
        };
        let app_has_gone = async {
            if !at_a_terminal {
                self.app_has_gone(deadline).await;
            } else if self.connections() > 0 {
                // Whoever pressed Ctrl-C waits for nothing but requests.
                sleep(QUIET.min(grace)).await;
            }
        };
        tokio::join!(callers_have_gone, app_has_gone);
        self.in_front.drain.advance(Phase::Closing);
        self.drain.advance(Phase::Closing);
        while self.connections() > 0 && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        if self.connections() > 0 {
            tracing::warn!(connections = self.connections(), "connections are cut: the drain time is over");
        }
        self.in_front.drain.advance(Phase::Ended);
        self.drain.advance(Phase::Ended);
    }

    /// Waits until no connection has been open for a while, and the app doesn't listen any more, where that can be seen.
    /// An orchestrator may have stopped the app in the same moment, and while the app finishes its work it must reach
    /// others. A connection that it keeps, idle or not, tells that it is there: its kernel closes them when it has gone.
    async fn app_has_gone(&self, deadline: Instant) {
        let mut last_seen = Instant::now();
        let mut next_look = last_seen;
        while last_seen.elapsed() < QUIET && Instant::now() < deadline {
            if self.connections() > 0 {
                last_seen = Instant::now();
            } else if Instant::now() >= next_look {
                next_look = Instant::now() + LOOK_AT_APP_EVERY;
                if self.in_front.sees_app() {
                    last_seen = Instant::now();
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn connections(&self) -> i64 {
        self.workers.iter().map(|worker| worker.counters.connections.get()).sum()
    }
}
