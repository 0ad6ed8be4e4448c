//! `bowline-control unpublish-zone`: takes the names of a namespace out of a zone, before the zone is destroyed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Names;
use super::check::Facts;
use super::desk::{Fault, GAP};
use super::name::plain;
use super::plan::{Group, Place, fitting, plan};
use super::record::{Contents, Kind};
use super::route53::{Failure, Route53};
use crate::backoff::Backoff;

/// How long it goes on trying.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// The zone's name.
    pub zone: String,
    /// Names whose mark is gone.
    pub names: usize,
    /// Those of them of which only the mark was taken away, because somebody has put another record in the place of ours.
    pub kept: Vec<String>,
}

/// Takes away each record that is marked as this namespace's, and the marks. All others stay.
///
/// # Errors
/// What Route 53 has said in the end, in words.
pub async fn unpublish(route53: &Route53, namespace: &str) -> Result<Done, String> {
    let mut caller = Caller { until: Instant::now() + PATIENCE, backoff: backoff() };
    let Facts { name, .. } = caller.call(async || route53.facts().await).await?;
    let mut done = Done { zone: plain(&name), ..Done::default() };
    let place = Place { zone: done.zone.clone(), namespace: namespace.to_owned() };
    loop {
        let contents = contents(route53, &mut caller).await?;
        let mut groups = plan(&place, &Names::new(), &BTreeSet::new(), &contents).groups;
        if groups.is_empty() {
            return Ok(done);
        }
        let mut most = usize::MAX;
        while !groups.is_empty() {
            let batch: Vec<Group> = groups.drain(..fitting(&groups, most)).collect();
            match caller.once(route53.change(&batch).await, true).await? {
                Ok(()) => done.count(&batch, &contents),
                // Somebody has changed something meanwhile: it is looked at again.
                Err(Fault::Refused) => break,
                Err(_) => {
                    most = (batch.len() / 2).max(1);
                    groups.splice(..0, batch);
                }
            }
        }
    }
}

impl Done {
    fn count(&mut self, batch: &[Group], contents: &Contents) {
        for group in batch {
            self.names += 1;
            let goes = group.changes.iter().any(|change| change.record.kind == Kind::A);
            let there = [Kind::A, Kind::Cname].iter().any(|kind| contents.get(&group.name, *kind).is_some());
            if there && !goes {
                self.kept.push(group.name.clone());
            }
        }
    }
}

async fn contents(route53: &Route53, caller: &mut Caller) -> Result<Contents, String> {
    let (mut records, mut next) = (Vec::new(), None);
    loop {
        let page = caller.call(async || route53.page(next.clone()).await).await?;
        records.extend(page.records);
        next = page.next;
        if next.is_none() {
            return Ok(Contents::new(records));
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(10))
}

/// Keeps to the rate of requests, and tries again what may go better.
struct Caller {
    until: Instant,
    backoff: Backoff,
}

impl Caller {
    async fn call<T>(&mut self, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, String> {
        loop {
            if let Ok(answer) = self.once(ask().await, false).await? {
                return Ok(answer);
            }
        }
    }

    /// The answer, or that it may go better after the pause that has been made; what was refused too, if it is `changed`.
    async fn once<T>(
        &mut self,
        answer: Result<T, Failure>,
        changed: bool,
    ) -> Result<Result<T, Fault>, String> {
        let failure = match answer {
            Ok(answer) => {
                self.backoff.succeeded();
                sleep(GAP).await;
                return Ok(Ok(answer));
            }
            Err(failure) => failure,
        };
        let wait = self.backoff.failed(fastrand::f64()).max(GAP);
        let again = failure.fault == Fault::Throttled || failure.fault == Fault::Refused && changed;
        if !again || Instant::now() + wait > self.until {
            return Err(failure.to_string());
        }
        sleep(wait).await;
        Ok(Err(failure.fault))
    }
}
