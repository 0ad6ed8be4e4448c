//! Who gets how much of a service, and why, in words and figures.

use bowline_api::admin::{EndpointSummary, HealthSummary};
use bowline_core::Tick;
use bowline_core::balance::zone::Unzoned;
use bowline_core::health::Health;

use crate::snapshot::{Endpoint, Here, LevelShare, Service, Shares};

/// A service's shares as a worker here would see them now.
pub(super) fn of(service: &Service, here: &Here, now: Tick) -> Shares {
    let mut shares = Shares::default();
    service.shares(here.zone.as_deref(), now, &mut shares);
    shares
}

/// What has a say in who gets how much, a sentence each.
pub(super) fn steps(service: &Service, shares: &Shares, here: &Here) -> Vec<String> {
    let mut steps = Vec::new();
    let policy = &service.policy;
    if !service.left_out.is_empty() {
        let n = service.left_out.len();
        steps.push(format!(
            "{n} more are left out, for their labels (loadBalancing.subset, testTrafficRules)"
        ));
    }
    if shares.panic() {
        let what = if policy.spread.checked { "health and ejections are" } else { "ejections are" };
        let out = if policy.spread.checked { "neither ejected nor unhealthy" } else { "not ejected" };
        let percent = policy.panic_percent;
        steps.push(format!(
            "fewer than {percent} % of the endpoints are {out}: {what} ignored (panicPercent)"
        ));
    }
    if shares.levels.len() > 1 {
        let level = |level: &LevelShare| format!("{} of priority {}", percent_of(level), level.priority);
        let levels: Vec<_> = shares.levels.iter().map(level).collect();
        steps.push(format!("by priority requests go to endpoints like this: {}", levels.join(", ")));
    }
    for level in &shares.levels {
        let of =
            if shares.levels.len() > 1 { format!(", priority {}", level.priority) } else { String::new() };
        if !level.zones.is_empty() {
            let share = |(zone, share): &(Option<String>, f64)| {
                format!("{:.0} % to {}", share * 100.0, zone.as_deref().unwrap_or("endpoints in no zone"))
            };
            let zones: Vec<_> = level.zones.iter().map(share).collect();
            let why = match policy.spread.zone_weights.is_empty() {
                true => format!("this proxy is in zone {}", here.zone.as_deref().unwrap_or("-")),
                false => "zoneWeights".to_owned(),
            };
            steps.push(format!("by zone{of}: {} ({why})", zones.join(", ")));
        }
        match level.unzoned {
            Some(Unzoned::TooFew) => {
                steps.push(format!("zones have no say{of}: there are fewer endpoints than twice the zones"));
            }
            Some(Unzoned::NotLocal) => steps.push(match &here.zone {
                Some(zone) => {
                    format!("zones have no say{of}: no endpoint is in zone {zone}, where this proxy is")
                }
                None => format!("zones have no say{of}: it is not known in which one this proxy is (--zone)"),
            }),
            Some(Unzoned::OneZone) | None => {}
        }
    }
    if shares.next.is_some() {
        steps
            .push("some endpoints are new or well again, and get less for now (slowStartSeconds)".to_owned());
    }
    steps.push(match &service.hashing {
        Some(hashing) => {
            let bound = if hashing.bound.is_some() {
                ", unless it has too much in flight (boundedLoadPercent)"
            } else {
                ""
            };
            format!(
                "{} finds the endpoint by {}{bound}; a request without it goes to any of them",
                policy.balancing.as_str(),
                hashing.key.describe()
            )
        }
        None => format!("{} chooses among them, request by request", policy.balancing.as_str()),
    });
    steps
}

fn percent_of(level: &LevelShare) -> String {
    format!("{} %", level.load.percent)
}

/// Why an endpoint gets nothing.
pub(super) fn why_not(service: &Service, index: usize, shares: &Shares, now: Tick) -> String {
    let endpoint = &service.endpoints[index];
    if endpoint.weight == 0 {
        return "weight 0".to_owned();
    }
    if let Some(until) = endpoint.shared.health.ejected_until(now) {
        return format!("ejected for another {:.1} s", until.since(now).as_secs_f64());
    }
    if service.is_out(index, now) {
        return format!("unhealthy: {}", endpoint.shared.checked.last().why);
    }
    if let Some(why) = super::guards::why_shut(service, index, now) {
        return why;
    }
    let level = shares.levels.iter().find(|level| level.priority == endpoint.priority);
    match level {
        Some(level) if shares.levels.len() > 1 && level.load.percent == 0 => {
            format!("endpoints of priority {} get nothing for now", endpoint.priority)
        }
        _ => format!("endpoints in zone {} get nothing for now", endpoint.zone.as_deref().unwrap_or("-")),
    }
}

/// An endpoint's share and health, into its summary.
pub(super) fn fill(
    summary: &mut EndpointSummary,
    service: &Service,
    index: usize,
    shares: &Shares,
    now: Tick,
) {
    let endpoint = &service.endpoints[index];
    if summary.state == "active" && service.is_out(index, now) {
        "unhealthy".clone_into(&mut summary.state);
    }
    summary.priority = endpoint.priority;
    summary.health = health(service, endpoint, now);
    let weight_of = |index: u32| f64::from(shares.weights.get(index as usize).copied().unwrap_or(0));
    let all: f64 = shares.active.iter().map(|index| weight_of(*index)).sum();
    let has = u32::try_from(index).ok().filter(|index| shares.active.binary_search(index).is_ok());
    summary.share_percent = Some(has.map_or(0.0, |index| weight_of(index) * 100.0 / all.max(1.0)));
    let slow_start = service.policy.spread.slow_start;
    let growing = shares.next.is_some().then(|| endpoint.shared.checked.since()).flatten();
    let factor = growing.map(|since| slow_start.factor(since, now)).filter(|factor| *factor < 1.0);
    summary.slow_start_percent = factor.map(|factor| factor * 100.0);
}

/// What health checks say of an endpoint; `None`: there are none.
pub(super) fn health(service: &Service, endpoint: &Endpoint, now: Tick) -> Option<HealthSummary> {
    if !service.policy.spread.checked {
        return None;
    }
    let last = endpoint.shared.checked.last();
    Some(HealthSummary {
        state: word(endpoint.shared.checked.health()).to_owned(),
        checked_seconds_ago: last.at.map(|at| now.since(at).as_secs_f64()),
        why: Some(last.why).filter(|why| !why.is_empty()),
        checks: last.counts.checks,
        failures: last.counts.failures,
    })
}

/// The word for it in JSON.
pub(super) fn word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// How many endpoints are unhealthy by their checks.
pub(super) fn unhealthy(service: &Service) -> usize {
    let is_bad = |endpoint: &&Endpoint| endpoint.shared.checked.health() == Health::Unhealthy;
    if service.policy.spread.checked { service.endpoints.iter().filter(is_bad).count() } else { 0 }
}
