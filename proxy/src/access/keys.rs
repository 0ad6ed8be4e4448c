//! A set of keys as it is now, wherever it comes from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_api::model::Jwks;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::jwk::Keys;

/// How often a set is asked for because of keys that it has not.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How long a request waits for a set that is asked for on its behalf.
const WAIT: Duration = Duration::from_secs(5);

/// One set.
#[derive(Debug)]
pub struct KeySet {
    /// Where it comes from.
    pub source: Jwks,
    state: Mutex<State>,
    /// Rung when it is to be fetched, and when nobody wants it any more.
    pub(super) bell: Arc<Notify>,
    /// How often somebody has tried to get it.
    tries: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    now: Option<Current>,
    text: Vec<u8>,
    trouble: Option<String>,
    changes: u64,
    asked: Option<Instant>,
}

/// What it holds.
#[derive(Clone, Debug)]
pub struct Current {
    /// The keys.
    pub keys: Arc<Keys>,
    /// Another number for other keys.
    pub version: u64,
}

impl KeySet {
    /// The set from there. One in a file is read at once.
    pub fn new(source: &Jwks) -> Arc<Self> {
        let set = KeySet {
            source: source.clone(),
            state: Mutex::default(),
            bell: Arc::default(),
            tries: watch::channel(0).0,
        };
        if let Jwks::File(path) = source {
            set.put(super::file::read(path));
        }
        Arc::new(set)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys.
    ///
    /// # Errors
    /// There are none yet, and why.
    pub fn current(&self) -> Result<Current, String> {
        let state = self.state();
        let why = || state.trouble.clone().unwrap_or_else(|| "they have not come yet".to_owned());
        state.now.clone().ok_or_else(why)
    }

    /// What was found there. On a failure the last good set stays.
    pub(super) fn put(&self, found: Result<Vec<u8>, String>) {
        let mut state = self.state();
        let read = found.and_then(|text| match state.now.is_some() && state.text == text {
            true => Ok(None),
            false => Keys::parse(&text).map(|keys| Some((keys, text))),
        });
        let from = match &self.source {
            Jwks::File(path) => path,
            Jwks::Url(url) => url,
        };
        match read {
            Ok(None) => state.trouble = None,
            Ok(Some((keys, text))) => {
                tracing::info!(from, keys = keys.len(), "keys for tokens were taken up");
                state.changes += 1;
                state.now = Some(Current { keys: Arc::new(keys), version: state.changes });
                state.text = text;
                state.trouble = None;
            }
            Err(why) => {
                if state.trouble.as_ref() != Some(&why) {
                    tracing::warn!(from, why, kept = state.now.is_some(), "no keys for tokens");
                }
                state.trouble = Some(why);
            }
        }
        drop(state);
        self.tries.send_modify(|tries| *tries += 1);
    }

    /// A token has come whose key is not in the set: it may be a new one. Waits until that has been asked for; false: it
    /// was a moment ago.
    pub async fn ask_again(&self) -> bool {
        if matches!(self.source, Jwks::File(_)) {
            return false;
        }
        let mut tries = self.tries.subscribe();
        let seen = *tries.borrow_and_update();
        {
            let mut state = self.state();
            let now = Instant::now();
            if state.asked.is_some_and(|asked| now - asked < ASKED_EVERY) {
                return false;
            }
            state.asked = Some(now);
        }
        self.bell.notify_one();
        tokio::time::timeout(WAIT, tries.wait_for(|tries| *tries > seen)).await.is_ok()
    }
}

impl Drop for KeySet {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}
