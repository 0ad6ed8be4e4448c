//! Rate limits of a service or a route, in one proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bowline_api::model::{self, RateLimitKey, Side};
use bowline_core::Tick;
use bowline_core::rate::{Bucket, Hasher, Keyed, Rate, Taken, Verdict};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Several of them, all of which hold.
#[derive(Clone, Debug, Default)]
pub struct RateLimits(Vec<RateLimit>);

/// One rate limit.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// What the mesh says.
    pub model: model::RateLimit,
    rate: Rate,
    header: Option<HeaderName>,
    state: Arc<State>,
}

/// What goes on when the mesh changes.
#[derive(Debug)]
struct State {
    buckets: Buckets,
    refused: AtomicU64,
    waited: AtomicU64,
}

#[derive(Debug)]
enum Buckets {
    One(Bucket),
    Keyed(Box<Keyed>, Hasher),
}

impl RateLimits {
    /// Those that hold on this side. Buckets of `before` go on where a limit still counts the same.
    pub fn new(models: &[model::RateLimit], side: Side, before: Option<&RateLimits>) -> Self {
        let mut limits: Vec<RateLimit> = Vec::new();
        for model in models.iter().filter(|model| model.side == side) {
            // One that was written twice is two.
            let state = before
                .iter()
                .flat_map(|before| &before.0)
                .filter(|before| before.model.key == model.key && before.model.max_keys == model.max_keys)
                .find(|before| limits.iter().all(|taken| !Arc::ptr_eq(&taken.state, &before.state)))
                .map_or_else(|| State::new(model), |before| before.state.clone());
            limits.push(RateLimit::new(model.clone(), state));
        }
        RateLimits(limits)
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RateLimit> {
        self.0.iter()
    }

    /// Takes one out of each for a request. `None`: it may go on at once. `Err`: it is refused, by the first that does; what
    /// it has taken from those before is gone, as a caller over its limit may find.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn take(
        &self,
        headers: &HeaderMap,
        client: Option<IpAddr>,
        now: Tick,
    ) -> Result<Option<Duration>, Refused> {
        let mut wait = None;
        for limit in &self.0 {
            let taken = limit.take(headers, client, now);
            match taken.verdict {
                Verdict::Go => {}
                Verdict::Wait(time) => {
                    limit.state.waited.fetch_add(1, Relaxed);
                    wait = wait.max(Some(time));
                }
                Verdict::Refused(after) => {
                    limit.state.refused.fetch_add(1, Relaxed);
                    return Err(Refused {
                        after,
                        limit: limit.rate.burst(),
                        remaining: taken.remaining,
                        reset: taken.reset,
                        words: limit.words(),
                    });
                }
            }
        }
        Ok(wait)
    }
}

impl RateLimit {
    fn new(model: model::RateLimit, state: Arc<State>) -> Self {
        let (requests, per) = match (model.requests_per_second, model.requests_per_minute) {
            (Some(requests), _) => (requests, Duration::from_secs(1)),
            (None, Some(requests)) => (requests, Duration::from_secs(60)),
            // Refused when the mesh file is checked.
            (None, None) => (u32::MAX, Duration::from_secs(1)),
        };
        let mut rate = Rate::new(requests, per, model.burst.unwrap_or(requests));
        if let Some(at_once) = model.at_once {
            rate = rate.queued(at_once);
        }
        let header = match &model.key {
            Some(RateLimitKey::Header(name)) => HeaderName::from_bytes(name.as_bytes()).ok(),
            _ => None,
        };
        RateLimit { model, rate, header, state }
    }

    fn take(&self, headers: &HeaderMap, client: Option<IpAddr>, now: Tick) -> Taken {
        match &self.state.buckets {
            Buckets::One(bucket) => bucket.take(&self.rate, now),
            Buckets::Keyed(buckets, hasher) => {
                let key = match &self.header {
                    // Who doesn't say has a bucket with all others who don't.
                    Some(name) => hasher.bytes(headers.get(name).map_or(b"", HeaderValue::as_bytes)),
                    None => client.map_or(0, |client| hasher.address(client)),
                };
                buckets.take(key, &self.rate, now)
            }
        }
    }

    /// Requests that it has refused, and those that it let wait.
    pub fn counts(&self) -> (u64, u64) {
        (self.state.refused.load(Relaxed), self.state.waited.load(Relaxed))
    }

    /// What it says, for a person.
    pub fn words(&self) -> String {
        let rate = match (self.model.requests_per_second, self.model.requests_per_minute) {
            (Some(requests), _) => format!("{requests} requests a second"),
            (None, requests) => format!("{} requests a minute", requests.unwrap_or_default()),
        };
        let per = match &self.model.key {
            None => String::new(),
            Some(RateLimitKey::ClientAddress) => " for each client address".to_owned(),
            Some(RateLimitKey::Header(name)) => format!(" for each {name}"),
        };
        format!("{rate}{per}, {} at once", self.rate.burst())
    }
}

impl State {
    fn new(model: &model::RateLimit) -> Arc<Self> {
        let buckets = match model.key {
            None => Buckets::One(Bucket::new()),
            // The secret keeps callers from choosing keys that share a bucket: it must differ from start to start.
            Some(_) => Buckets::Keyed(
                Box::new(Keyed::new(model.max_keys as usize)),
                Hasher::new(&mut fastrand::Rng::new()),
            ),
        };
        Arc::new(State { buckets, refused: AtomicU64::new(0), waited: AtomicU64::new(0) })
    }
}

/// What a caller over its limit is told.
#[derive(Debug)]
pub struct Refused {
    after: Duration,
    limit: u32,
    remaining: u32,
    reset: Duration,
    words: String,
}

impl Refused {
    /// Which limit, for a person.
    pub fn text(&self) -> String {
        format!(
            "its limit of {} is reached: the next one may pass in {:.3} s",
            self.words,
            self.after.as_secs_f64()
        )
    }

    /// Writes `Retry-After` and the rate-limit headers, in whole seconds, rounded up.
    pub fn write(&self, headers: &mut HeaderMap) {
        let seconds = |time: Duration| time.as_nanos().div_ceil(1_000_000_000).max(1) as u64;
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(self.after)));
        headers.insert("x-ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(seconds(self.reset)));
    }
}

#[cfg(test)]
mod tests;
