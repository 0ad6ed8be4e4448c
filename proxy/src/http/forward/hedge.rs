//! A second attempt beside a slow first one: the first good answer wins, the other attempt is called off.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bowline_core::hedge::{Candidate, decide};
use bowline_core::retry::Body;
use http::request;
use tokio::time::Instant;

use super::{Call, HEAD};
use crate::cluster::Flight;
use crate::error::Fault;
use crate::http::attempt::{self, Answer, Head};
use crate::http::outcome::{class, grpc_status, penalised, tells_against};
use crate::listen::Downstream;

/// The word in `bowline.retry.reason` and in retries' wait for what was slow.
const HEDGE: &str = "hedge";

impl Call<'_> {
    /// After how long a second attempt goes off; `None`: none does.
    #[inline]
    pub(super) fn hedge_delay(&self) -> Option<Duration> {
        self.policy().hedge_after?;
        let hopeless = self.upgrade || self.candidate().is_hopeless();
        if hopeless { None } else { self.cluster.hedge_delay(self.started) }
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            idempotent: self.idempotent,
            grpc: self.grpc,
            attempts: self.attempts,
            body: self.body.kept(),
            another_endpoint: self.cluster.has_untried(&self.tried),
            time_left: self.until.map(|until| until.saturating_duration_since(Instant::now())),
        }
    }

    /// Waits for the first attempt, and from some time on for a second one too. What is returned is the one that counts; the
    /// other has been booked.
    pub(super) async fn hedged(
        &mut self,
        app: &Downstream,
        delay: Duration,
        first: Flight,
        head: &request::Parts,
    ) -> (Flight, Result<Answer, Fault>) {
        let (body, protocol, fresh) = (self.body.share(), self.protocol, self.fresh_connection);
        let (upstream, mut limits) = (first.upstream().clone(), self.limits(&first));
        let (following, head_of_one) = (self.following(), Head::Copy(head));
        let mut one =
            pin!(attempt::run(&upstream, protocol, head_of_one, &body, &mut limits, following, fresh));
        tokio::select! {
            biased;
            outcome = &mut one => return (first, outcome),
            () = tokio::time::sleep(delay) => {}
        }
        // A body that is still under way can't be read by two.
        let sent = body.is_empty() || (body.completed_at().is_some() && body.kept() == Body::Kept);
        let now = self.worker.clock.now();
        if !sent || decide(&self.candidate(), || self.service.budget.withdraw(now)).is_err() {
            return (first, one.await);
        }
        let Some(mut second) = self.pick_beside() else { return (first, one.await) };
        self.service.shared.hedges.sent.fetch_add(1, Relaxed);
        if let Some(recording) = &mut self.recording {
            recording.retried(HEDGE, delay);
        }
        let mut second_head = Some(head.clone());
        self.mark_attempt(&second, app, second_head.as_mut().expect(HEAD));
        let (upstream, mut limits) = (second.upstream().clone(), self.limits(&second));
        second.sent(second.started());
        let (following, head_of_two) = (self.following(), Head::Last(&mut second_head));
        let mut two =
            pin!(attempt::run(&upstream, protocol, head_of_two, &body, &mut limits, following, fresh));
        tokio::select! {
            biased;
            outcome = &mut one => match is_good(&outcome) {
                true => {
                    second.outrun(self.worker.clock.now(), false);
                    self.first_counts();
                    (first, outcome)
                }
                false => {
                    self.book(first, outcome);
                    (second, two.await)
                }
            },
            outcome = &mut two => match is_good(&outcome) {
                true => {
                    first.outrun(self.worker.clock.now(), true);
                    self.service.shared.hedges.won.fetch_add(1, Relaxed);
                    (second, outcome)
                }
                false => {
                    self.book(second, outcome);
                    self.first_counts();
                    (first, one.await)
                }
            },
        }
    }

    /// An endpoint for the second attempt, another one than the first one's.
    fn pick_beside(&mut self) -> Option<Flight> {
        let now = self.worker.clock.now();
        let picked = self.cluster.pick(now, &mut self.worker.rng(), &self.tried, self.key())?;
        let flight = self.cluster.start(picked, now);
        flight.mark(&mut self.tried);
        self.attempts += 1;
        Some(flight)
    }

    /// What is known of the attempt to come belongs to the first one.
    fn first_counts(&mut self) {
        if let Some(recording) = &mut self.recording {
            recording.first_counts(self.worker.clock.now());
        }
    }

    /// Books an attempt that failed while the other one goes on.
    fn book(&self, mut flight: Flight, outcome: Result<Answer, Fault>) {
        let now = self.worker.clock.now();
        match outcome {
            Ok(answer) => {
                let grpc = if self.grpc { grpc_status(answer.headers()) } else { None };
                let status = answer.status();
                flight.answered(
                    now,
                    class(status, grpc),
                    tells_against(status, grpc),
                    penalised(status, grpc),
                );
                answer.discard();
                flight.complete();
            }
            Err(fault) => {
                self.service.shared.attempt_failures.inc(fault.reason.as_str());
                flight.note(fault.reason.as_str(), false, &fault.detail);
                flight.failed(now, fault.blames_endpoint(), fault.is_timeout());
            }
        }
    }
}

/// An answer that nobody would try again for.
fn is_good(outcome: &Result<Answer, Fault>) -> bool {
    outcome.as_ref().is_ok_and(|answer| !answer.status().is_server_error())
}
