//! The task that keeps the zone.
//!
//! Nothing else waits for it: when Route 53 is away, the names stay in the zone as they are, and it is tried again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Names;
use super::check::{negative_warning, verdict};
use super::desk::{Ask, Desk, Fault, Step};
use super::plan::{Group, Plan};
use super::record::{Action, Contents, Record};
use super::route53::{Cursor, Failure, Route53};
use crate::source::Change;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::zone::{Call, NameCounts, Outcome};

/// How it is called where sources in trouble are shown.
pub const SOURCE: &str = "zone";
/// How long the look at the zone may hold up the start.
const AT_START: Duration = Duration::from_secs(3);
/// Most records that are taken in: ten times as many as a zone may have unless AWS allows more.
const MOST_RECORDS: usize = 100_000;
/// How long pages may take to come together: what they say is old then.
const MOST_LISTING: Duration = Duration::from_secs(240);
/// Names that are told of in one line.
const TOLD: usize = 5;

/// Which zone is kept, and how.
#[derive(Debug)]
pub struct Kept {
    /// The zone.
    pub route53: Route53,
    /// Its name, where it has been looked at already.
    pub found: Option<String>,
    /// Whose names are published.
    pub namespace: String,
    /// How long a name that has left the mesh stays.
    pub grace: Duration,
}

/// Keeps a zone.
#[derive(Debug)]
pub struct Keeper {
    route53: Route53,
    desk: Desk,
    names: watch::Receiver<Arc<Names>>,
    report: mpsc::Sender<Change>,
    metrics: Arc<Metrics>,
    began: Instant,
    /// Pages that have come, while more are to be asked for.
    pages: Option<Pages>,
    /// Why the last request has failed.
    failure: Option<String>,
    /// What was reported last.
    trouble: Option<String>,
    /// Names outside of the zone that have been told of.
    outside: BTreeSet<String>,
    told_negative: bool,
}

#[derive(Debug)]
struct Pages {
    records: Vec<Record>,
    next: Option<Cursor>,
    began: Instant,
}

/// A look at the zone before anything is started: its name, or `None` when Route 53 has not answered in time, which is no
/// reason not to start.
///
/// # Errors
/// The zone is none to publish in; why, and what to do.
pub async fn look(route53: &Route53) -> Result<Option<String>, String> {
    let id = route53.id();
    match tokio::time::timeout(AT_START, route53.facts()).await {
        Ok(Ok(facts)) => verdict(id, &facts).map(Some),
        Ok(Err(failure)) if failure.no_zone || failure.fault == Fault::Refused => Err(format!(
            "there is no zone {id}: {failure}. Its id is in the output of `aws route53 list-hosted-zones`"
        )),
        Ok(Err(failure)) => {
            tracing::warn!(zone = id, %failure, "the zone can't be looked at: tried again");
            Ok(None)
        }
        Err(_elapsed) => {
            tracing::warn!(zone = id, "Route 53 has not answered within 3 seconds: tried again");
            Ok(None)
        }
    }
}

impl Keeper {
    /// What is wrong is reported as a source's trouble.
    pub fn new(
        kept: Kept,
        names: watch::Receiver<Arc<Names>>,
        report: mpsc::Sender<Change>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let Kept { route53, found, namespace, grace } = kept;
        let mut desk = Desk::new(namespace, names.borrow().clone(), grace);
        if let Some(zone) = found {
            desk.checked(zone, Duration::ZERO);
        }
        metrics.zone.kept();
        Keeper {
            route53,
            desk,
            names,
            report,
            metrics,
            began: Instant::now(),
            pages: None,
            failure: None,
            trouble: None,
            outside: BTreeSet::new(),
            told_negative: false,
        }
    }

    /// Until nobody follows the mesh any more.
    pub async fn run(mut self) {
        loop {
            let (due, ask) = self.desk.next();
            tokio::select! {
                biased;
                () = self.report.closed() => return,
                changed = self.names.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let names = self.names.borrow_and_update().clone();
                    self.desk.want(names, self.began.elapsed());
                    continue;
                }
                () = sleep_until(self.began + due) => {}
            }
            match ask {
                Ask::Check => self.check().await,
                Ask::List => self.list().await,
                Ask::Change => self.change().await,
            }
            self.says().await;
        }
    }

    async fn check(&mut self) {
        let answer = self.route53.facts().await;
        self.metrics.zone.called(Call::Get, outcome(&answer));
        match answer {
            Ok(facts) => match verdict(self.route53.id(), &facts) {
                Ok(zone) => {
                    self.failure = None;
                    self.desk.checked(zone, self.began.elapsed());
                }
                Err(why) => self.failed(Fault::Other, &[], why),
            },
            Err(failure) => self.failed(failure.fault, &[], failure.to_string()),
        }
    }

    async fn list(&mut self) {
        let pages = self.pages.take().filter(|pages| pages.began.elapsed() < MOST_LISTING);
        let mut pages =
            pages.unwrap_or_else(|| Pages { records: Vec::new(), next: None, began: Instant::now() });
        let answer = self.route53.page(pages.next.clone()).await;
        self.metrics.zone.called(Call::List, outcome(&answer));
        let page = match answer {
            Ok(page) => page,
            Err(failure) => {
                self.failed(failure.fault, &[], failure.to_string());
                // What has come stays; the same page is asked for again.
                self.pages = Some(pages);
                return;
            }
        };
        pages.records.extend(page.records);
        pages.next = page.next;
        if pages.records.len() > MOST_RECORDS {
            self.failure = Some(format!("the zone has more than {MOST_RECORDS} records"));
            self.desk.gave_up(self.began.elapsed());
            return;
        }
        if pages.next.is_some() {
            self.desk.page(self.began.elapsed());
            self.pages = Some(pages);
            return;
        }
        self.failure = None;
        self.listed(Contents::new(pages.records));
    }

    fn listed(&mut self, contents: Contents) {
        if let (false, Some(zone)) = (self.told_negative, self.desk.zone()) {
            self.told_negative = true;
            if let Some(warning) = negative_warning(self.route53.id(), zone, contents.negative_ttl(zone)) {
                tracing::warn!("{warning}");
            }
        }
        let disturbed = self.desk.listed(contents, self.began.elapsed());
        if !disturbed.is_empty() {
            tracing::warn!(
                names = some(disturbed.iter().map(String::as_str)),
                "somebody else has changed our records"
            );
            self.metrics.zone.disturbed(disturbed.len());
        }
    }

    async fn change(&mut self) {
        let Step::Batch(batch) = self.desk.step(self.began.elapsed()) else { return };
        let answer = self.route53.change(&batch).await;
        self.metrics.zone.called(Call::Change, outcome(&answer));
        match answer {
            Ok(()) => {
                self.failure = None;
                self.desk.changed(&batch, self.began.elapsed());
                self.tell(&batch);
            }
            Err(failure) => self.failed(failure.fault, &batch, failure.to_string()),
        }
    }

    fn failed(&mut self, fault: Fault, batch: &[Group], why: String) {
        self.desk.failed(fault, batch, self.began.elapsed(), fastrand::f64());
        self.failure = Some(why);
    }

    /// One line a batch, and the counts.
    fn tell(&self, batch: &[Group]) {
        let with = |action| {
            let changes = |group: &&Group| group.changes.iter().any(|change| change.action == action);
            batch.iter().filter(changes).map(|group| group.name.as_str()).collect::<Vec<_>>()
        };
        let (created, replaced, deleted) = (with(Action::Create), with(Action::Upsert), with(Action::Delete));
        self.metrics.zone.changed(created.len(), replaced.len(), deleted.len());
        for (names, what) in [
            (created, "names published in the zone"),
            (replaced, "names put right in the zone"),
            (deleted, "names taken out of the zone"),
        ] {
            if !names.is_empty() {
                tracing::info!(count = names.len(), names = some(names.into_iter()), "{what}");
            }
        }
    }

    /// Reports what is wrong, if that is something else than before.
    async fn says(&mut self) {
        let plan = self.desk.plan();
        self.metrics.zone.names(NameCounts {
            published: plan.published,
            pending: plan.pending,
            taken: plan.taken.len(),
            outside: plan.outside.len(),
            leaving: self.desk.leaving(),
        });
        if !plan.outside.is_subset(&self.outside) {
            let names = some(plan.outside.iter().map(String::as_str));
            tracing::warn!(
                count = plan.outside.len(),
                names,
                "names outside of the zone are not published in it"
            );
        }
        self.outside.clone_from(&plan.outside);
        let failure = self.failure.as_ref().map(|why| format!("{why}; the zone's records stay as they are"));
        let trouble =
            failure.into_iter().chain(taken(plan)).chain(self.refused()).collect::<Vec<_>>().join("; ");
        let trouble = (!trouble.is_empty()).then_some(trouble);
        if trouble != self.trouble {
            self.trouble.clone_from(&trouble);
            // Nobody may listen any more: then this ends as well.
            let _ = self.report.send(Change::Trouble { service: None, source: SOURCE, why: trouble }).await;
        }
    }

    fn refused(&self) -> Option<String> {
        let names: Vec<&str> = self.desk.refused().collect();
        (!names.is_empty()).then(|| format!("Route 53 does not take {}", some(names.into_iter())))
    }
}

/// Names that are somebody else's, in words.
fn taken(plan: &Plan) -> Option<String> {
    let words = plan.taken.iter().map(|(name, why)| format!("{name} is left alone: {why}"));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| some(words.iter().map(String::as_str)))
}

/// A few of them, and how many more there are.
fn some<'a>(all: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = all.len().saturating_sub(TOLD);
    let told = all.take(TOLD).collect::<Vec<_>>().join(", ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

fn outcome<T>(answer: &Result<T, Failure>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(failure) if failure.fault == Fault::Throttled => Outcome::Throttled,
        Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_few_of_many() {
        let all = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(some(all[..1].iter().copied()), "a");
        assert_eq!(some(all[..5].iter().copied()), "a, b, c, d, e");
        assert_eq!(some(all.iter().copied()), "a, b, c, d, e and 2 more");
    }
}
