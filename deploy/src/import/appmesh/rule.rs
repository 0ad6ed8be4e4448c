//! Routes: which requests go to which nodes, how long they may take, and what is tried again.

use std::cmp::Reverse;

use super::super::draft::{Draft, Entry};
use super::super::listing::Listing;
use super::super::timeouts::{self, Bounds};
use super::super::value::Value;
use super::find::Item;
use super::matches::{self, Matches};
use super::node::Listener;
use super::retry::{self, Retries};
use super::units::{bounds, longer, shorter};

/// The kinds of routes, and the protocol of each.
const KINDS: [(&str, &str); 4] =
    [("httpRoute", "http"), ("http2Route", "http2"), ("grpcRoute", "grpc"), ("tcpRoute", "tcp")];

/// A route.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    /// What it was made from.
    pub(crate) item: &'a Item<'a>,
    /// Which requests.
    pub(crate) matches: Matches,
    /// The port of the router that it is for; `None`: all.
    pub(crate) port: Option<u16>,
    /// Where they go.
    pub(crate) targets: Vec<Target<'a>>,
    /// What is tried again; `None`: App Mesh's default.
    pub(crate) retries: Option<Retries>,
    bounds: Bounds,
    priority: u64,
}

/// A node that gets a share of a route's requests.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The virtual node.
    pub(crate) node: &'a str,
    /// Its share.
    pub(crate) weight: u64,
    /// The node's port; `None`: its only one.
    pub(crate) port: Option<u16>,
    /// Where it is written.
    pub(crate) value: &'a Value,
}

impl<'a> Rule<'a> {
    /// Reads a route; `None` where it can't be imported, which is listed.
    pub(crate) fn read(item: &'a Item<'a>, listing: &mut Listing) -> Option<Self> {
        let resource = &item.resource;
        let found = KINDS.iter().find_map(|(key, protocol)| Some((resource.value.get(key)?, *protocol)));
        let Some((route, protocol)) = found else {
            resource.list(
                resource.value,
                listing,
                "has no http, http2, grpc or tcp route that could be worked out",
            );
            return None;
        };
        let written = route.get("match");
        let port = written.and_then(|written| written.get("port")).and_then(Value::port);
        let matches = match written.filter(|_| protocol != "tcp") {
            Some(written) => matches::read(written, resource, listing)?,
            None => Matches::default(),
        };
        let mut targets = Vec::new();
        for value in route.at(&["action", "weightedTargets"]).into_iter().flat_map(Value::elements) {
            let Some(node) = value.get("virtualNode").and_then(Value::text) else {
                listing.list(resource.place_of(value), "its virtual node can't be worked out: left out");
                continue;
            };
            let weight = value.get("weight").and_then(Value::number).unwrap_or(1);
            let port = value.get("port").and_then(Value::port);
            targets.push(Target { node, weight: weight.min(1_000_000), port, value });
        }
        let retries = route.get("retryPolicy").map(|policy| retry::read(policy, resource, listing));
        let bounds = bounds(route.get("timeout"), resource, listing);
        // Without a priority it comes after those that have one.
        let priority = resource.value.get("priority").and_then(Value::number).unwrap_or(u64::MAX);
        Some(Self { item, matches, port, targets, retries, bounds, priority })
    }

    /// In the order in which App Mesh asked them.
    pub(crate) fn order(&self) -> (u64, Reverse<(u8, usize, usize)>) {
        (self.priority, Reverse(self.matches.weight))
    }

    /// Whether it takes every request.
    pub(crate) fn takes_all(&self) -> bool {
        self.matches.keys.is_empty()
    }

    /// The node that gets most.
    pub(crate) fn heaviest(&self) -> Option<&Target<'a>> {
        // The first of equals.
        self.targets.iter().rev().max_by_key(|target| target.weight)
    }

    /// Its own times and those of the listener together.
    fn both(&self, listener: &Listener<'_>) -> Bounds {
        let (ours, theirs) = (self.bounds, listener.bounds);
        Bounds {
            idle: shorter(ours.idle, theirs.idle),
            per_request: shorter(ours.per_request, theirs.per_request),
        }
    }

    /// The keys of `timeout` for requests that go to this listener by this route.
    pub(crate) fn timeout(&self, listener: &Listener<'_>, listing: &mut Listing) -> Entry {
        let (ours, theirs, both) = (self.bounds, listener.bounds, self.both(listener));
        let more = |bound: Option<u64>| bound.is_some_and(|bound| bound == 0 || bound > 15_000);
        if ours.per_request.is_some() != theirs.per_request.is_some() && more(both.per_request) {
            let (this, other) =
                if ours.per_request.is_some() { ("route", "listener") } else { ("listener", "route") };
            let message = format!(
                "only the {this} sets a time per request, and App Mesh's default at the {other} still ended requests after \
                 15 s: here the {this}'s holds"
            );
            listing.list(self.item.resource.place(), message);
        }
        let (mut draft, comments) = timeouts::draft(both, Some(listener.protocol), "App Mesh");
        if let Some(attempt) = self.retries.as_ref().and_then(|retries| retries.per_attempt) {
            self.attempt(attempt, both.per_request, listener, &mut draft, listing);
        }
        let mut entry = Entry::new("timeout", draft);
        entry.above = comments;
        entry
    }

    /// One attempt can't take longer than all of them.
    fn attempt(
        &self,
        attempt: u64,
        whole: Option<u64>,
        listener: &Listener<'_>,
        draft: &mut Draft,
        listing: &mut Listing,
    ) {
        if listener.protocol == "tcp" {
            return;
        }
        let bound =
            whole.or_else(|| (listener.protocol == "grpc").then_some(15_000)).filter(|bound| *bound > 0);
        if bound.is_some_and(|bound| attempt > bound) {
            let message = "perRetryTimeout is longer than a request may take at all: left out";
            return listing.list(self.item.resource.place(), message);
        }
        draft.push(Entry::new("perAttemptSeconds", Draft::seconds(attempt)));
    }
}

/// The keys of `timeout` for a service whose routes are not asked: the longest of theirs, so that none is cut short.
pub(crate) fn longest(rules: &[(&Rule<'_>, &Listener<'_>)], protocol: &str) -> Entry {
    let bounds = rules.iter().map(|(rule, listener)| rule.both(listener));
    let both = bounds.reduce(|a, b| Bounds {
        idle: longer(a.idle, b.idle, 300_000),
        per_request: longer(a.per_request, b.per_request, 15_000),
    });
    let (draft, mut comments) = timeouts::draft(both.unwrap_or_default(), Some(protocol), "App Mesh");
    if rules.len() > 1 && !draft.is_empty() {
        comments.insert(0, "the longest of its routes".to_owned());
    }
    let mut entry = Entry::new("timeout", draft);
    entry.above = comments;
    entry
}

/// The keys of `timeout` for a node that is called without a router.
pub(crate) fn timeout_of(listener: &Listener<'_>) -> Entry {
    let (draft, comments) = timeouts::draft(listener.bounds, Some(listener.protocol), "App Mesh");
    let mut entry = Entry::new("timeout", draft);
    entry.above = comments;
    entry
}
