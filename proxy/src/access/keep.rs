//! Keeps the key sets of all services up to date, off the threads that carry requests.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bowline_api::model::Jwks;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::keys::KeySet;
use super::{fetch, file};
use crate::snapshot::{Published, Snapshot};

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long what a URL said is kept.
const KEPT: Duration = Duration::from_secs(600);
/// How soon a URL is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Keeps them, for ever. `changes` tells of new snapshots. `authorities`: the file with those that are trusted beside the
/// public ones where keys come over https.
pub async fn keep(
    published: Arc<Published>,
    mut changes: watch::Receiver<()>,
    authorities: Option<Arc<Path>>,
) {
    let mut known: HashMap<usize, Weak<KeySet>> = HashMap::new();
    loop {
        changes.mark_unchanged();
        take_up(&published.current(), &mut known, authorities.as_ref());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn take_up(snapshot: &Snapshot, known: &mut HashMap<usize, Weak<KeySet>>, authorities: Option<&Arc<Path>>) {
    // As long as a weak one is here its address is nobody else's.
    known.retain(|_, set| set.strong_count() > 0);
    let sets = snapshot.services.iter().filter_map(|service| service.access.as_ref()?.key_set());
    for set in sets {
        known.entry(Arc::as_ptr(set) as usize).or_insert_with(|| {
            tokio::spawn(follow(Arc::downgrade(set), authorities.cloned()));
            Arc::downgrade(set)
        });
    }
}

/// Keeps one set, until nobody has it any more.
async fn follow(set: Weak<KeySet>, authorities: Option<Arc<Path>>) {
    let Some(first) = set.upgrade() else { return };
    let (source, bell) = (first.source.clone(), first.bell.clone());
    drop(first);
    match &source {
        Jwks::File(path) => loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = bell.notified() => {}
            }
            let Some(set) = set.upgrade() else { return };
            set.put(file::read(path));
        },
        Jwks::Url(url) => loop {
            let got = match timeout(WITHIN, fetch::get(url, authorities.as_deref())).await {
                Ok(got) => got,
                Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
            };
            let pause = if got.is_ok() { KEPT } else { AGAIN };
            {
                let Some(set) = set.upgrade() else { return };
                set.put(got);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = bell.notified() => {}
            }
        },
    }
}
