//! Tokens that were found good, so that a signature is paid for once and not with each request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Granted;

/// How many are remembered.
const MOST: usize = 4096;

/// The SHA-256 of a token: the token itself is kept nowhere.
pub(super) type Hash = [u8; 32];

/// The table of one service, for all workers.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// The keys that they were verified with: with others they may be good no more.
    version: u64,
    tokens: HashMap<Hash, (f64, Arc<Granted>)>,
}

impl Remembered {
    /// What this one was good for, if it still is.
    pub(super) fn get(&self, hash: &Hash, version: u64, now: f64) -> Option<Arc<Granted>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, granted) = table.tokens.get(hash).filter(|_| table.version == version)?;
        (now < *until).then(|| granted.clone())
    }

    /// Remembers one until it expires.
    pub(super) fn put(&self, hash: Hash, version: u64, until: f64, granted: Arc<Granted>, now: f64) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever began with keys that are gone by now has nothing to add.
        if version < table.version {
            return;
        }
        if version > table.version {
            table.version = version;
            table.tokens.clear();
        }
        if table.tokens.len() >= MOST {
            table.tokens.retain(|_, (until, _)| now < *until);
        }
        if table.tokens.len() >= MOST {
            table.tokens.clear();
        }
        table.tokens.insert(hash, (until, granted));
    }
}
