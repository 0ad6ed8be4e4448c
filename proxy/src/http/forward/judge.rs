//! What follows from an attempt: what it tells of the endpoint, and the retry table's verdict.

use std::time::Duration;

use bowline_core::Tick;
use bowline_core::retry::{Attempt, Failure, Verdict};
use http::StatusCode;
use tokio::time::Instant;

use super::Call;
use crate::cluster::Flight;
use crate::error::{Fault, Reason};
use crate::http::attempt::Answer;
use crate::http::headers;
use crate::http::outcome::{Words, answer_name, class, failure_name, grpc_status, penalised, tells_against};

/// What follows from an attempt.
#[expect(
    clippy::large_enum_variant,
    reason = "made once an attempt and taken apart at once: boxing would cost more"
)]
pub(super) enum Judgement {
    /// The response goes on to the app.
    Pass(Answer, Flight),
    /// Another attempt, when so much time has passed.
    Again(Duration),
    /// The app is told what went wrong.
    GiveUp(Fault),
}

impl Call<'_> {
    /// What the outcome of an attempt tells of its endpoint, and whether another attempt follows.
    pub(super) fn judge(&mut self, mut flight: Flight, outcome: Result<Answer, Fault>) -> Judgement {
        let now = self.worker.clock.now();
        if let Some(completed) = self.body.completed_at() {
            flight.sent(self.worker.clock.tick(completed));
        }
        match outcome {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !self.upgrade => {
                let fault = Fault::new(Reason::InvalidResponse, "101 to a request that asked for no upgrade");
                self.judge_fault(now, flight, fault)
            }
            Ok(answer) => {
                let status = answer.status();
                let grpc_status = if self.grpc { grpc_status(answer.headers()) } else { None };
                let against = tells_against(status, grpc_status);
                let ejected =
                    flight.answered(now, class(status, grpc_status), against, penalised(status, grpc_status));
                if !against {
                    self.learn(flight.sent_at().unwrap_or(flight.started()), now);
                }
                if let Some(recording) = &mut self.recording {
                    recording.attempt_answered(status, grpc_status, ejected, now);
                }
                let failure = match grpc_status {
                    Some(14) => Failure::GrpcUnavailable { response_started: false },
                    // By the proxy in front of the endpoint, which knows.
                    None if status == StatusCode::SERVICE_UNAVAILABLE
                        && headers::is_unprocessed(answer.headers()) =>
                    {
                        Failure::NothingWritten
                    }
                    _ => Failure::Status(status.as_u16()),
                };
                let verdict = if self.may_retry_on(failure) { self.verdict(failure, now) } else { None };
                if against {
                    let told = verdict.is_none();
                    flight.note(answer_name(status, grpc_status), told, Words { status, grpc_status });
                }
                match verdict {
                    Some(wait) => {
                        tracing::debug!(
                            service = self.service.name,
                            endpoint = %flight.upstream().addr,
                            status = status.as_u16(),
                            "answer not passed on: another attempt follows"
                        );
                        answer.discard();
                        flight.complete();
                        Judgement::Again(wait)
                    }
                    None => Judgement::Pass(answer, flight),
                }
            }
            Err(fault) => self.judge_fault(now, flight, fault),
        }
    }

    fn judge_fault(&mut self, now: Tick, flight: Flight, fault: Fault) -> Judgement {
        tracing::debug!(
            service = self.service.name,
            endpoint = %flight.upstream().addr,
            attempt = self.attempts,
            %fault,
            "attempt failed"
        );
        self.service.shared.attempt_failures.inc(fault.reason.as_str());
        let verdict = fault.failure().and_then(|failure| self.verdict(failure, now));
        flight.note(fault.reason.as_str(), verdict.is_none(), &fault.detail);
        if let (true, Some(sent)) = (fault.is_timeout(), flight.sent_at()) {
            self.learn(sent, now);
        }
        let ejected = match fault.reason {
            // The endpoint was not asked.
            Reason::Overloaded => {
                drop(flight);
                false
            }
            _ => flight.failed(now, fault.blames_endpoint(), fault.is_timeout()),
        };
        if let Some(recording) = &mut self.recording {
            recording.attempt_failed(&fault, ejected, now);
        }
        self.fresh_connection |= fault.reason == Reason::ClosedWithoutResponse;
        match verdict {
            Some(wait) => Judgement::Again(wait),
            None => Judgement::GiveUp(fault),
        }
    }

    /// A cheap look before the whole decision: most answers are nothing that anyone retries.
    fn may_retry_on(&self, failure: Failure) -> bool {
        match failure {
            Failure::Status(status) => status >= 400 && self.policy().retry.on.has_status(status),
            _ => true,
        }
    }

    /// How long to wait before the next attempt; `None`: there is none.
    fn verdict(&mut self, failure: Failure, now: Tick) -> Option<Duration> {
        let attempt = Attempt {
            number: self.attempts,
            failure,
            idempotent: self.idempotent,
            grpc: self.grpc,
            body: self.body.kept(),
            another_endpoint: self.cluster.has_untried(&self.tried),
            time_left: self.until.map(|until| until.saturating_duration_since(Instant::now())),
        };
        let withdraw = || self.service.budget.withdraw(now);
        match self.policy().retry.decide(&attempt, &mut self.worker.rng(), withdraw) {
            Verdict::Retry(wait) => {
                self.service.shared.retries.inc(failure_name(failure));
                if let Some(recording) = &mut self.recording {
                    recording.retried(failure_name(failure), wait);
                }
                Some(wait)
            }
            Verdict::Stop(reason) => {
                self.service.shared.retries_refused.inc(reason.as_str());
                None
            }
        }
    }
}
