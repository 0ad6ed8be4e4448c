//! Which endpoint gets the next request.
//!
//! One [`Balancer`] per worker and service; nothing in it is shared. A request goes through it like this:
//!
//! ```text
//! pick ──► started ──► sent ──► answered ──► finished
//!                       │          │            └ the body has ended, or anything else has ended the attempt
//!                       │          └ response headers: the latency is taken here
//!                       └ the request is written whole; at once for one without a body
//! ```
//!
//! `sent` and `answered` may be left out: a TCP connection that is only started and finished is balanced by its
//! connections in flight. The [`Ticket`] ties them together, and stays valid when the endpoint set changes.
//!
//! Which endpoints may be picked is decided beforehand, by [`active()`], and told by [`Balancer::set_active`]: a pick
//! checks no flags.
//!
//! # Probes
//! An endpoint that was slow gets no traffic, so nobody would see that it's well again. Every two seconds, and with one
//! request in 250 at the most, peak EWMA sends one to the endpoint that hasn't been heard of for the longest time. Those
//! that fail or owe answers aren't probed: they're tried again as their score fades, or when they speak.
//!
//! # P2C
//! Peak EWMA and least request use the power of two choices (Mitzenmacher): two endpoints are drawn, and the better
//! one is taken, the first one in doubt.
//!
//! * Least request: the one with fewer requests in flight.
//! * Peak EWMA: the one with the lower latency × (requests in flight + 1). Where the two latencies are about the same
//!   (within a quarter), the requests in flight decide alone: without that margin differences without meaning would
//!   decide every pick on a calm service.
//!
//! Weights work twice: the two are drawn in proportion to their weights, and their requests in flight count by
//! weight. The margin is a factor of two then, because what the draw gives to a heavy endpoint must not be taken away
//! for the few more peaks that come with more requests.
//!
//! Both multiply an endpoint's requests by a penalty for recent failures; the module `penalty` tells why and how.
//!
//! # Who gets how much
//! Zones, priorities, localities and slow start are settled beforehand, too, as weights: [`zone::shares`] and
//! [`priority::loads`] say what each group gets, [`priority::scale_weights`] and [`SlowStart::weights`] make weights of it
//! for [`Balancer::rebuild`]. [`SubsetIndex`] finds the endpoints that have certain labels. [`Ring`] and [`Maglev`] name
//! an endpoint for a key instead, the same in all proxies, and [`Balancer::pick_for`] picks it if it's active and not
//! fuller than [`BoundedLoad`] allows.

mod active;
mod bounded;
mod decay;
mod draw;
mod ewma;
mod keyed;
mod maglev;
mod member;
mod penalty;
pub mod priority;
mod ring;
mod slow_start;
mod subset;
mod tried;
mod turns;
pub mod zone;

pub use active::active;
pub use bounded::BoundedLoad;
pub use keyed::HashTable;
pub use maglev::Maglev;
pub use ring::Ring;
pub use slow_start::SlowStart;
pub use subset::SubsetIndex;
pub use tried::Tried;

use draw::Draw;
use member::Member;
use turns::Turns;

use std::time::Duration;

use crate::Tick;

/// How the next endpoint is chosen.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// P2C on latency × requests in flight: the default (Linkerd).
    #[default]
    PeakEwma,
    /// P2C on requests in flight.
    LeastRequest,
    /// In turn, by weight. It doesn't look at latency or failures.
    RoundRobin,
    /// At random, by weight. It doesn't look at latency or failures.
    Random,
    /// By key, see [`Balancer::pick_for`]; what has no key as with [`Policy::Random`].
    RingHash,
    /// The same by Maglev's table.
    Maglev,
}

impl Policy {
    /// The word of the mesh file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::PeakEwma => "peakEwma",
            Policy::LeastRequest => "leastRequest",
            Policy::RoundRobin => "roundRobin",
            Policy::Random => "random",
            Policy::RingHash => "ringHash",
            Policy::Maglev => "maglev",
        }
    }

    /// Whether a key decides, where a request has one.
    #[must_use]
    pub fn is_by_key(self) -> bool {
        matches!(self, Policy::RingHash | Policy::Maglev)
    }
}

/// How an attempt ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The response came whole and counts as a success.
    Success,
    /// The endpoint failed: connect failure, reset, timeout, 429, 502, 503, 504, gRPC UNAVAILABLE.
    Failure,
    /// We or the caller gave up, which says nothing about the endpoint except that it took this long.
    Cancelled,
}

/// One attempt in flight. Give it back with [`Balancer::finished`]: one that's dropped counts as in flight for ever.
#[derive(Debug)]
#[must_use = "an attempt that is never finished counts as in flight for ever"]
pub struct Ticket {
    slot: u32,
    stage: Stage,
}

#[derive(Copy, Clone, Debug)]
enum Stage {
    Started,
    Sent(Tick),
    Answered { failed: bool },
}

/// One worker's balancer for one service. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: Policy,
    /// Slots: an endpoint keeps its slot for as long as it's in the set or has requests in flight.
    members: Vec<Member>,
    /// Slots that are free.
    free: Vec<u32>,
    /// Endpoint index → slot.
    slots: Vec<u32>,
    /// Slots that may be picked.
    active: Vec<u32>,
    /// The sum of their weights.
    active_weight: u64,
    /// Attempts in flight at all endpoints, those which left included.
    in_flight: u64,
    /// Draws a position in `active`.
    draw: Draw,
    /// Takes turns over the positions in `active`.
    turns: Turns,
    /// The estimate of a usual endpoint, in nanoseconds: each observation moves it by 1/32 towards the estimate of
    /// the endpoint observed, so that it's the mean by traffic.
    typical: f64,
    observed: bool,
    /// Picks since the last probe, and when the next one may be.
    picks: u32,
    next_probe: Tick,
}

/// The least time between two probes: 2 s.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// The least number of picks between two probes, so that a quiet service doesn't spend its requests on probes: 250, for
/// at most 0.4 % of them.
const PROBE_PICKS: u32 = 250;
/// An endpoint heard of within this time needs no probe: 1 s.
const PROBE_AGE_NANOS: u64 = 1_000_000_000;

impl Balancer {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            members: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
            active: Vec::new(),
            active_weight: 0,
            in_flight: 0,
            draw: Draw::default(),
            turns: Turns::default(),
            typical: ewma::DEFAULT_NANOS,
            observed: false,
            picks: 0,
            next_probe: Tick::ZERO,
        }
    }

    /// Changes the policy. Follow with [`Balancer::rebuild`] or [`Balancer::set_active`].
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Takes over a new endpoint set: `weights` by endpoint index, and for each new index the old one of the same
    /// endpoint, if it had one. Endpoints which stay keep their estimate and their requests in flight; requests to
    /// those which left can still be finished. Afterwards all with a weight are active.
    pub fn rebuild(
        &mut self,
        weights: &[u32],
        old_index: impl Fn(usize) -> Option<usize>,
        rng: &mut fastrand::Rng,
    ) {
        let old = std::mem::take(&mut self.slots);
        for slot in &old {
            self.members[*slot as usize].index = Member::GONE;
        }
        let mut slots = Vec::with_capacity(weights.len());
        // Those which stay come first, or a new one could be given the slot of one that stays.
        for (index, weight) in weights.iter().enumerate() {
            let slot = old_index(index).and_then(|i| old.get(i)).copied();
            let kept = slot.filter(|slot| self.members[*slot as usize].index == Member::GONE);
            if let Some(slot) = kept {
                let member = &mut self.members[slot as usize];
                (member.index, member.weight) = (index as u32, *weight);
            }
            slots.push(kept);
        }
        self.free.extend(old.iter().filter(|slot| {
            let member = &self.members[**slot as usize];
            member.index == Member::GONE && member.in_flight == 0
        }));
        self.slots = slots
            .into_iter()
            .enumerate()
            .map(|(index, kept)| {
                kept.unwrap_or_else(|| self.new_slot(Member::new(index as u32, weights[index])))
            })
            .collect();
        self.set_active((0..weights.len() as u32).filter(|index| weights[*index as usize] > 0), rng);
    }

    fn new_slot(&mut self, member: Member) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.members[slot as usize] = member;
            return slot;
        }
        self.members.push(member);
        (self.members.len() - 1) as u32
    }

    /// Tells which endpoints may be picked, by index; see [`active()`]. Those without a weight are left out. Indices
    /// must be those of the current set, each at most once.
    ///
    /// Costs time in proportion to their number: call it when an ejection begins or ends, not per request.
    pub fn set_active(&mut self, indices: impl IntoIterator<Item = u32>, rng: &mut fastrand::Rng) {
        let Self { members, slots, active, .. } = self;
        members.iter_mut().for_each(|member| member.lightness = Member::INACTIVE);
        active.clear();
        active.extend(
            indices
                .into_iter()
                .map(|index| slots[index as usize])
                .filter(|slot| members[*slot as usize].weight > 0),
        );
        let weights: Vec<u32> = active.iter().map(|slot| members[*slot as usize].weight).collect();
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for slot in active.iter() {
            let member = &mut members[*slot as usize];
            member.lightness = sum / active.len() as f64 / f64::from(member.weight);
        }
        self.active_weight = weights.iter().map(|weight| u64::from(*weight)).sum();
        self.draw = Draw::new(&weights);
        self.turns =
            if self.policy == Policy::RoundRobin { Turns::new(&weights, rng) } else { Turns::default() };
    }

    /// How many endpoints may be picked.
    #[must_use]
    pub fn active_len(&self) -> usize {
        self.active.len()
    }

    /// Attempts in flight at the endpoint with this index.
    #[must_use]
    pub fn in_flight(&self, index: usize) -> usize {
        self.members[self.slots[index] as usize].in_flight as usize
    }

    /// Attempts in flight at all endpoints, those which left included.
    #[must_use]
    pub fn total_in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The latency estimate for the endpoint with this index in nanoseconds, `None` before its first answer.
    #[must_use]
    pub fn estimate(&self, index: usize, now: Tick) -> Option<f64> {
        self.members[self.slots[index] as usize].ewma.read(now)
    }

    /// Whether there's an active endpoint that this request hasn't tried.
    #[must_use]
    pub fn has_untried(&self, tried: &Tried) -> bool {
        self.active.iter().any(|slot| !tried.contains(*slot))
    }

    /// Whether a request has tried the endpoint with this index.
    #[must_use]
    pub fn was_tried(&self, index: usize, tried: &Tried) -> bool {
        tried.contains(self.slots[index])
    }

    /// The index of the endpoint for the next attempt: one that wasn't tried where there is one, else any active
    /// one; `None` when no endpoint is active.
    ///
    /// A retry under round robin draws at random, so that it doesn't use up the turn of others.
    #[inline]
    pub fn pick(&mut self, now: Tick, rng: &mut fastrand::Rng, tried: &Tried) -> Option<usize> {
        if self.active.len() < 2 {
            return self.active.first().map(|slot| self.index(*slot));
        }
        if !tried.is_empty()
            && let Some(slot) = self.pick_untried(now, rng, tried)
        {
            return Some(self.index(slot));
        }
        if self.policy == Policy::PeakEwma {
            self.picks = self.picks.saturating_add(1);
            if self.picks >= PROBE_PICKS
                && now >= self.next_probe
                && let Some(slot) = self.probe(now)
            {
                return Some(self.index(slot));
            }
        }
        let position = match self.policy {
            Policy::PeakEwma | Policy::LeastRequest => {
                let (first, second) = self.draw.two(rng);
                return Some(self.index(self.better(now, self.active[first], self.active[second])));
            }
            Policy::RoundRobin => self.turns.next(),
            Policy::Random | Policy::RingHash | Policy::Maglev => self.draw.one(rng),
        };
        Some(self.index(self.active[position]))
    }

    /// An attempt at this endpoint begins.
    #[inline]
    pub fn started(&mut self, index: usize) -> Ticket {
        let slot = self.slots[index];
        self.members[slot as usize].in_flight += 1;
        self.in_flight += 1;
        Ticket { slot, stage: Stage::Started }
    }

    /// The request was sent whole: from now on the endpoint owes an answer, and its latency runs. Call it for a
    /// request without a body when it's started, so that connecting counts; for one with a body when the body has
    /// ended, so that a slow upload doesn't count.
    #[inline]
    pub fn sent(&mut self, ticket: &mut Ticket, now: Tick) {
        if let Stage::Started = ticket.stage {
            ticket.stage = Stage::Sent(now);
            self.members[ticket.slot as usize].sent(now);
        }
    }

    /// The response headers came. `failed` is for a response that counts as a failure, such as a 503: its latency
    /// can't lower the estimate then.
    #[inline]
    pub fn answered(&mut self, ticket: &mut Ticket, now: Tick, failed: bool) {
        let member = &mut self.members[ticket.slot as usize];
        if let Stage::Sent(at) = ticket.stage {
            member.heard(now);
            let nanos = now.nanos_since(at);
            if failed {
                member.ewma.observe_at_least(now, nanos, self.typical);
            } else {
                member.ewma.observe(now, nanos);
                let estimate = member.ewma.read(now).unwrap_or(self.typical);
                self.typical += (estimate - self.typical) * if self.observed { 1.0 / 32.0 } else { 1.0 };
                self.observed = true;
            }
        }
        if failed && !matches!(ticket.stage, Stage::Answered { failed: true }) {
            self.members[ticket.slot as usize].penalty.failed(now);
        }
        ticket.stage = Stage::Answered { failed };
    }

    /// The attempt is over.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "an attempt ends once: the ticket is used up")]
    pub fn finished(&mut self, ticket: Ticket, now: Tick, end: End) {
        let Ticket { slot, stage } = ticket;
        let member = &mut self.members[slot as usize];
        if let Stage::Sent(at) = stage {
            member.ewma.observe_at_least(now, now.nanos_since(at), self.typical);
            member.gave_up();
        }
        match (end, stage) {
            (_, Stage::Answered { failed: true }) | (End::Cancelled, _) => {}
            (End::Success, _) => member.penalty.succeeded(now),
            (End::Failure, _) => member.penalty.failed(now),
        }
        member.in_flight = member.in_flight.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        if member.in_flight == 0 && member.index == Member::GONE {
            self.free.push(slot);
        }
    }

    #[inline]
    fn index(&self, slot: u32) -> usize {
        self.members[slot as usize].index as usize
    }

    /// The slot to probe, if there's one that is avoided for its latency and may have become better.
    #[cold]
    fn probe(&mut self, now: Tick) -> Option<u32> {
        self.picks = 0;
        self.next_probe = now.after(PROBE_EVERY);
        let avoided = |slot: &&u32| {
            let member = &self.members[**slot as usize];
            let latency = member.latency(now, self.typical);
            member.waiting == 0
                && member.ewma.age(now) > PROBE_AGE_NANOS
                && latency > 1.25 * self.typical
                && member.penalty.factor(now) < 2.0
        };
        self.active
            .iter()
            .filter(avoided)
            .max_by_key(|slot| self.members[**slot as usize].ewma.age(now))
            .copied()
    }

    /// The better one of two slots by the policy, the first in doubt.
    #[inline]
    fn better(&self, now: Tick, first: u32, second: u32) -> u32 {
        let (one, two) = (&self.members[first as usize], &self.members[second as usize]);
        let (mut load_one, mut load_two) = (one.requests(now), two.requests(now));
        if self.policy == Policy::PeakEwma {
            let (latency_one, latency_two) = (one.latency(now, self.typical), two.latency(now, self.typical));
            let margin = if self.draw.is_uniform() { 1.25 } else { 2.0 };
            if latency_one > margin * latency_two || latency_two > margin * latency_one {
                load_one *= latency_one;
                load_two *= latency_two;
            }
        }
        if load_two < load_one { second } else { first }
    }

    /// A slot for a retry; `None` when all active ones were tried.
    #[cold]
    fn pick_untried(&self, now: Tick, rng: &mut fastrand::Rng, tried: &Tried) -> Option<u32> {
        let first = self.draw_untried(rng, |slot| tried.contains(slot))?;
        match self.policy {
            Policy::RoundRobin | Policy::Random | Policy::RingHash | Policy::Maglev => Some(first),
            Policy::PeakEwma | Policy::LeastRequest => {
                let second = self.draw_untried(rng, |slot| slot == first || tried.contains(slot));
                Some(second.map_or(first, |second| self.better(now, first, second)))
            }
        }
    }

    /// A slot that isn't rejected, by weight, and for sure if there is one.
    fn draw_untried(&self, rng: &mut fastrand::Rng, reject: impl Fn(u32) -> bool) -> Option<u32> {
        let drawn = (0..8).map(|_| self.active[self.draw.one(rng)]).find(|slot| !reject(*slot));
        drawn.or_else(|| {
            let (before, after) = self.active.split_at(rng.usize(0..self.active.len()));
            after.iter().chain(before).copied().find(|slot| !reject(*slot))
        })
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
