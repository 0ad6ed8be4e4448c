//! Endpoints from DNS: names are looked up again as their TTLs run out, and a change of the answer is told.
//!
//! [`Name`] is the rule, without I/O: from an answer and the moment it came to the endpoints and the next look-up.
//! [`Dns`] keeps all names at it; the questions themselves are asked in `ask`. Whatever a DNS server says, a name is
//! looked up at most once a second ([`MIN_TTL`]) and has at most [`MAX_ENDPOINTS`] endpoints.

mod ask;
mod name;
mod resolver;

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_api::model::{DnsSource, Endpoint};
use bowline_api::vip::VipRange;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::ask::Asker;
pub use self::name::{
    Failure, Found, Host, Learned, MAX_BACKOFF, MAX_ENDPOINTS, MAX_TTL, MIN_TTL, Name, News, Outcome,
};
pub use self::resolver::{Resolver, Servers, is_ours};

/// The names of all services whose endpoints come from DNS.
#[derive(Debug)]
pub struct Dns {
    asker: Arc<Asker>,
    vips: VipRange,
    services: BTreeMap<String, Entry>,
    answers: JoinSet<(String, Outcome)>,
}

#[derive(Debug)]
struct Entry {
    source: DnsSource,
    name: Name,
    /// When it is to be looked up next.
    due: Instant,
    /// The look-up under way.
    under_way: Option<AbortHandle>,
}

/// What has become of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The service whose name it was.
    pub service: String,
    /// How it went.
    pub learned: Learned,
}

impl Dns {
    /// Without any name. Addresses in `vips` are never endpoints.
    pub fn new(servers: Servers, vips: VipRange) -> Self {
        Dns { asker: Arc::new(Asker::new(servers)), vips, services: BTreeMap::new(), answers: JoinSet::new() }
    }

    /// From now on these services' names are looked up, and no others. Those that stay keep what is known of them; new
    /// ones are looked up at once.
    pub fn want<'a>(&mut self, wanted: impl IntoIterator<Item = (&'a str, &'a DnsSource)>) {
        let mut before = std::mem::take(&mut self.services);
        let now = Instant::now();
        for (service, source) in wanted {
            let known = before.remove(service).filter(|entry| entry.source == *source);
            let entry = known.unwrap_or_else(|| Entry {
                source: source.clone(),
                name: Name::new(self.vips),
                due: now,
                under_way: None,
            });
            self.services.insert(service.to_owned(), entry);
        }
    }

    /// What is known of a service's name.
    pub fn name(&self, service: &str) -> Option<&Name> {
        self.services.get(service).map(|entry| &entry.name)
    }

    /// The endpoints of a service: those of the last good answer.
    pub fn endpoints(&self, service: &str) -> Option<Arc<[Endpoint]>> {
        self.name(service).map(Name::endpoints)
    }

    /// True when each name has been looked up, with whatever result.
    pub fn all_asked(&self) -> bool {
        self.services.values().all(|entry| entry.name.was_asked())
    }

    /// Looks names up as they fall due; returns after each look-up. Waits for ever where there is no name. Safe to
    /// cancel: look-ups under way go on.
    pub async fn next(&mut self) -> Update {
        loop {
            self.ask_what_is_due();
            let idle = self.services.values().filter(|entry| entry.under_way.is_none());
            let due = idle.map(|entry| entry.due).min();
            let wait = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answer) = self.answers.join_next_with_id() => {
                    let answered = match answer {
                        Ok((id, (service, outcome))) => Some((id, service, outcome)),
                        // Aborted look-ups belong to nobody; one that has panicked must not leave its name without any.
                        Err(error) => self.service_of(error.id()).map(|service| {
                            (error.id(), service, Outcome::Failed(Failure::other("the look-up broke down")))
                        }),
                    };
                    if let Some((id, service, outcome)) = answered
                        && let Some(update) = self.learn(id, service, outcome)
                    {
                        return update;
                    }
                }
                () = wait => {}
            }
        }
    }

    fn ask_what_is_due(&mut self) {
        let now = Instant::now();
        for (service, entry) in &mut self.services {
            if entry.under_way.is_none() && entry.due <= now {
                let (asker, service, source) = (self.asker.clone(), service.clone(), entry.source.clone());
                let ask = async move {
                    let outcome = asker.ask(&source).await;
                    (service, outcome)
                };
                entry.under_way = Some(self.answers.spawn(ask));
            }
        }
    }

    fn service_of(&self, id: tokio::task::Id) -> Option<String> {
        let has = |entry: &Entry| entry.under_way.as_ref().is_some_and(|task| task.id() == id);
        self.services.iter().find(|(_, entry)| has(entry)).map(|(service, _)| service.clone())
    }

    fn learn(&mut self, id: tokio::task::Id, service: String, outcome: Outcome) -> Option<Update> {
        // The answer to a question that a change of the mesh has made void is no answer to the new one.
        let entry = self.services.get_mut(&service)?;
        entry.under_way.take_if(|task| task.id() == id)?;
        let learned = entry.name.learn(outcome, Instant::now().into_std(), fastrand::f64());
        entry.due = Instant::from_std(learned.next);
        Some(Update { service, learned })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.under_way {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
