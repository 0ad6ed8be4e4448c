//! Endpoints from AWS Cloud Map.
//!
//! For each service its revision is asked for every two seconds, which is cheap and moves when instances come and go; the
//! instances when it has moved, and every ten seconds besides, because their health does not move it. The call has no
//! pages: a service with a thousand instances may have more of them, which is said.
//!
//! Credentials, region and endpoint are found as any AWS SDK finds them. The SDK's own retries are off: what fails is asked
//! again with waits that grow, and meanwhile the last good endpoints stay.

#[cfg_attr(not(feature = "aws"), path = "cloudmap/without.rs")]
mod client;
mod instance;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use bowline_api::Mesh;
use bowline_api::model::{Endpoint, Endpoints};
use bowline_api::vip::VipRange;
use tokio::sync::{OnceCell, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

pub use self::client::CloudMap;
use self::client::Failure;
use self::instance::endpoints;
use self::schedule::{Ask, Schedule};
use super::{Change, Source};

const SOURCE: &str = "cloudMap";
/// Calls that are under way at a time.
const AT_A_TIME: usize = 32;

/// The services whose endpoints come from Cloud Map.
#[derive(Debug)]
pub struct CloudMapSource {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: OnceCell<CloudMap>,
    places: Semaphore,
    vips: VipRange,
}

/// What is asked for, for a service of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    namespace: String,
    service: String,
}

impl CloudMapSource {
    /// With the region, credentials and endpoint of the environment, which are looked for when the mesh first has a service
    /// that needs them. Addresses in `vips` are never endpoints.
    pub fn new(vips: VipRange) -> Self {
        let shared = Shared { client: OnceCell::new(), places: Semaphore::new(AT_A_TIME), vips };
        CloudMapSource { shared: Arc::new(shared) }
    }

    /// With a client that is there already.
    pub fn with_client(client: CloudMap, vips: VipRange) -> Self {
        let shared =
            Shared { client: OnceCell::new_with(Some(client)), places: Semaphore::new(AT_A_TIME), vips };
        CloudMapSource { shared: Arc::new(shared) }
    }
}

/// The services of a mesh whose endpoints are in Cloud Map, and where there.
fn wanted(mesh: &Mesh) -> BTreeMap<String, Wanted> {
    mesh.services
        .iter()
        .filter_map(|service| match &service.endpoints {
            Endpoints::CloudMap(source) => {
                let namespace = source.namespace.clone().unwrap_or_else(|| mesh.namespace.clone());
                let name = source.service.clone().unwrap_or_else(|| service.discovery_name.clone());
                Some((service.discovery_name.clone(), Wanted { namespace, service: name }))
            }
            _ => None,
        })
        .collect()
}

impl Source for CloudMapSource {
    async fn run(self, mut mesh: watch::Receiver<Arc<Mesh>>, changes: mpsc::Sender<Change>) {
        let mut asking: BTreeMap<String, (Wanted, AbortHandle)> = BTreeMap::new();
        // When this ends, all that ask end with it.
        let mut tasks = JoinSet::new();
        loop {
            let mut wanted = wanted(&mesh.borrow_and_update());
            let gone: Vec<String> = asking
                .iter()
                .filter(|(service, (now, _))| wanted.get(*service) != Some(now))
                .map(|(service, _)| service.clone())
                .collect();
            for service in gone {
                if let Some((_, task)) = asking.remove(&service) {
                    task.abort();
                }
                let over = Change::Trouble { service: Some(service), source: SOURCE, why: None };
                if changes.send(over).await.is_err() {
                    return;
                }
            }
            wanted.retain(|service, _| !asking.contains_key(service));
            for (service, place) in wanted {
                let asker = Asker {
                    shared: self.shared.clone(),
                    changes: changes.clone(),
                    service: service.clone(),
                    place: place.clone(),
                    last: None,
                    trouble: None,
                };
                asking.insert(service, (place, tasks.spawn(asker.run())));
            }
            loop {
                tokio::select! {
                    more = mesh.changed() => match more {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    // Whoever was aborted is put away.
                    Some(_) = tasks.join_next() => {}
                    () = changes.closed() => return,
                }
            }
        }
    }
}

/// Asks for one service.
struct Asker {
    shared: Arc<Shared>,
    changes: mpsc::Sender<Change>,
    service: String,
    place: Wanted,
    /// What was reported last.
    last: Option<Vec<Endpoint>>,
    trouble: Option<String>,
}

impl Asker {
    /// Until nobody listens any more.
    async fn run(mut self) {
        let began = Instant::now();
        // Many services that begin together are not asked for together.
        let mut schedule = Schedule::new(began.elapsed(), fastrand::f64());
        loop {
            let (due, ask) = schedule.next();
            sleep_until(began + due).await;
            let answer = self.ask(ask).await;
            let now = began.elapsed();
            let reported = match answer {
                Ok(Answer::Revision(revision)) => {
                    schedule.revision(revision, now);
                    Ok(())
                }
                Ok(Answer::Instances { revision, endpoints, notes }) => {
                    schedule.listed(revision, now);
                    self.found(endpoints, notes).await
                }
                Err(failure) => {
                    schedule.failed(now, fastrand::f64());
                    let kept = self.last.as_ref().map_or(0, Vec::len);
                    self.says(Some(format!("{failure}; the last good endpoints stay ({kept})"))).await
                }
            };
            if reported.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        // Never closed.
        let _place = self.shared.places.acquire().await.ok();
        let client = self.shared.client.get_or_init(CloudMap::from_env).await;
        let Wanted { namespace, service } = &self.place;
        match ask {
            Ask::Revision => client.revision(namespace, service).await.map(Answer::Revision),
            Ask::Instances => {
                let (instances, revision) = client.instances(namespace, service).await?;
                let (endpoints, notes) = endpoints(instances, self.shared.vips);
                Ok(Answer::Instances { revision, endpoints, notes })
            }
        }
    }

    async fn found(&mut self, endpoints: Vec<Endpoint>, notes: Vec<String>) -> Result<(), Gone> {
        if self.last.as_ref() != Some(&endpoints) {
            self.last = Some(endpoints.clone());
            let change = Change::Endpoints { service: self.service.clone(), endpoints, settled: true };
            self.changes.send(change).await.map_err(|_| Gone)?;
        }
        self.says((!notes.is_empty()).then(|| notes.join("; "))).await
    }

    async fn says(&mut self, trouble: Option<String>) -> Result<(), Gone> {
        if trouble == self.trouble {
            return Ok(());
        }
        self.trouble.clone_from(&trouble);
        let change = Change::Trouble { service: Some(self.service.clone()), source: SOURCE, why: trouble };
        self.changes.send(change).await.map_err(|_| Gone)
    }
}

/// Nobody listens any more.
struct Gone;

enum Answer {
    Revision(Option<i64>),
    Instances { revision: Option<i64>, endpoints: Vec<Endpoint>, notes: Vec<String> },
}

#[cfg(all(test, feature = "aws"))]
mod tests;
