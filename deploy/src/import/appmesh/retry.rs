//! Retry policies.

use super::super::draft::{Draft, Entry};
use super::super::listing::Listing;
use super::super::value::{Resource, Value};
use super::units::milliseconds;

/// The most retries that a mesh file takes.
const MAX_RETRIES: u64 = 10;

/// A retry policy in our words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retries {
    /// `retry`.
    pub(crate) entry: Entry,
    /// How long one attempt may take, in milliseconds; 0: as long as it likes.
    pub(crate) per_attempt: Option<u64>,
}

/// Reads one. What can't be kept is listed.
pub(crate) fn read(policy: &Value, resource: &Resource<'_>, listing: &mut Listing) -> Retries {
    let mut statuses: Vec<u16> = Vec::new();
    let (mut connect, mut refused, mut reset, mut unavailable) = (false, false, false, false);
    let mut named = false;
    for key in ["httpRetryEvents", "tcpRetryEvents", "grpcRetryEvents"] {
        for event in policy.get(key).into_iter().flat_map(Value::elements) {
            named = true;
            match event.text().unwrap_or_default() {
                "server-error" => {
                    statuses.extend((500..=508).chain(510..=511));
                    reset = true;
                }
                "gateway-error" => {
                    statuses.extend(502..=504);
                    reset = true;
                }
                "client-error" => statuses.push(409),
                "stream-error" => refused = true,
                "connection-error" => connect = true,
                "unavailable" => unavailable = true,
                "" => {}
                other => {
                    let message = format!("responses of gRPC status {other} can't be tried again: left out");
                    resource.list(event, listing, message);
                }
            }
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    let per_attempt =
        policy.get("perRetryTimeout").and_then(|written| milliseconds(written, resource, listing));
    let mut on: Vec<Draft> = Vec::new();
    let words = [
        (connect, "connectFailure"),
        (refused, "refusedStream"),
        (reset, "reset"),
        (unavailable, "unavailable"),
    ];
    on.extend(words.into_iter().filter(|(wanted, _)| *wanted).map(|(_, word)| word.into()));
    // To Envoy an attempt that takes too long is a 504.
    if per_attempt.is_some_and(|span| span > 0) && statuses.contains(&504) {
        on.push("timeout".into());
    }
    if !statuses.is_empty() {
        on.push(Draft::of([("status", Draft::list(statuses.into_iter().map(Draft::from)))]));
    }
    let mut keys = Draft::map();
    let written = policy.get("maxRetries");
    let asked = written.and_then(Value::number);
    if let Some(written) = written
        && asked.is_some_and(|asked| asked > MAX_RETRIES)
    {
        listing
            .list(resource.place_of(written), format!("{MAX_RETRIES} retries are the most: they are taken"));
    }
    // Where nothing of what was named can be kept, our defaults would try more again than was asked for.
    let retries = if named && on.is_empty() { Some(0) } else { asked.map(|asked| asked.min(MAX_RETRIES)) };
    if let Some(retries) = retries {
        keys.push(Entry::new("retries", retries));
    }
    let mut entry = Entry::new("retry", Draft::map());
    if !on.is_empty() {
        entry = entry
            .above("`on` holds for every method, as it did: without it only what is safe is tried again");
        keys.push(Entry::new("on", Draft::list(on)));
    }
    entry.value = keys;
    Retries { entry: entry.from(resource.place_of(policy)), per_attempt }
}
