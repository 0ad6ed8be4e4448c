//! How endpoints are picked and checked: keys of `loadBalancing` and `healthCheck` that must fit each other.

use std::collections::{BTreeMap, BTreeSet};

use super::super::words::nearest;
use super::{Located, Problem, Step};
use crate::model::{AppProtocol, BalancingPolicy, HashOn};

const AT: Step<'static> = Step::Key("loadBalancing");

pub(super) fn check(located: &Located<'_>, problems: &mut Vec<Problem>) {
    hashing(located, problems);
    zones(located, problems);
    subset(located, problems);
    health(located, problems);
}

fn hashing(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let lb = &located.service.load_balancing;
    let hashes = matches!(lb.policy, BalancingPolicy::RingHash | BalancingPolicy::Maglev);
    let word = if lb.policy == BalancingPolicy::Maglev { "maglev" } else { "ringHash" };
    match &lb.hash {
        None if hashes => {
            let message = format!("{word} has nothing to hash");
            let help = Some("say what keeps a caller with its endpoint, e.g. hash: { header: x-user }");
            problems.push(located.problem(&[AT, Step::Key("policy")], message, help));
        }
        Some(_) if !hashes => {
            let message = "only ringHash and maglev look at it".to_owned();
            let help = Some("set policy: ringHash or policy: maglev beside it, or take it out");
            problems.push(located.problem(&[AT, Step::Key("hash")], message, help));
        }
        Some(on) => {
            hash_on(located, on, &[AT, Step::Key("hash")], problems);
            let tcp = located.service.app_protocol == Some(AppProtocol::Tcp);
            if tcp && *on != HashOn::ClientAddress {
                let message = "a service of appProtocol tcp has no requests to hash".to_owned();
                problems.push(located.problem(
                    &[AT, Step::Key("hash")],
                    message,
                    Some("hash: clientAddress"),
                ));
            }
        }
        None => {}
    }
    let bounded = [AT, Step::Key("boundedLoadPercent")];
    match lb.bounded_load_percent {
        0 => {}
        percent @ 1..=100 => {
            let message = format!("{percent} % of a fair share would leave no room for all requests");
            problems.push(located.problem(&bounded, message, Some("0 is unbounded; 125 is usual")));
        }
        _ if !hashes => {
            let message = "only ringHash and maglev look at it".to_owned();
            problems.push(located.problem(&bounded, message, None));
        }
        _ => {}
    }
}

/// What can't be in a request is no key.
fn hash_on(located: &Located<'_>, on: &HashOn, at: &[Step<'_>], problems: &mut Vec<Problem>) {
    let (key, wrong) = match on {
        HashOn::Header(name) if !is_token(name) => {
            ("header", format!("{name:?} can't be the name of a header"))
        }
        HashOn::Cookie(cookie) if !is_token(&cookie.name) => {
            ("cookie", format!("{:?} can't be the name of a cookie", cookie.name))
        }
        HashOn::Cookie(cookie)
            if !cookie.path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') =>
        {
            ("cookie", format!("{:?} can't be the path of a cookie", cookie.path))
        }
        HashOn::Query(name) if name.is_empty() => ("query", "the parameter has no name".to_owned()),
        _ => return,
    };
    let steps: Vec<Step<'_>> = at.iter().copied().chain([Step::Key(key)]).collect();
    problems.push(located.problem(&steps, wrong, None));
}

/// The characters of names in HTTP (RFC 9110 5.6.2).
fn is_token(name: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_tchar)
}

fn zones(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let weights = &located.service.load_balancing.zone_weights;
    let at = [AT, Step::Key("zoneWeights")];
    if weights.is_empty() {
        return;
    }
    if weights.values().all(|weight| *weight == 0) {
        let message = "all zones have weight 0: no endpoint would get anything".to_owned();
        problems.push(located.problem(&at, message, Some("give one of them a weight")));
        return;
    }
    let endpoints = located.service.endpoints.static_endpoints();
    let there: BTreeSet<&str> = endpoints.iter().filter_map(|endpoint| endpoint.zone.as_deref()).collect();
    let has = |zone: &str| weights.get(zone).is_some_and(|weight| *weight > 0);
    if endpoints.is_empty() || there.iter().any(|zone| has(zone)) {
        return;
    }
    let weighted = weights.iter().find(|(_, weight)| **weight > 0).map_or("", |(zone, _)| zone.as_str());
    let message = format!("no endpoint is in a zone that has a weight{}", known(weighted, &there));
    problems.push(located.problem(&at, message, None));
}

/// A static list without any endpoint of the subset is a mistake; other endpoints come and go.
fn subset(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let subset = &located.service.load_balancing.subset;
    let endpoints = located.service.endpoints.static_endpoints();
    let fits = |labels: &BTreeMap<String, String>| {
        subset.iter().all(|(name, value)| labels.get(name) == Some(value))
    };
    if subset.is_empty() || endpoints.is_empty() || endpoints.iter().any(|endpoint| fits(&endpoint.metadata))
    {
        return;
    }
    let names: BTreeSet<&str> =
        endpoints.iter().flat_map(|e| e.metadata.keys()).map(String::as_str).collect();
    let at = |name| [AT, Step::Key("subset"), Step::Key(name)];
    let mut found = false;
    for (name, value) in subset {
        let values: BTreeSet<&str> =
            endpoints.iter().filter_map(|e| e.metadata.get(name)).map(String::as_str).collect();
        let message = match values.is_empty() {
            true => format!("no endpoint has a label {name:?}{}", known(name, &names)),
            false if values.contains(value.as_str()) => continue,
            false => format!("no endpoint has {name}: {value}{}", known(value, &values)),
        };
        found = true;
        problems.push(located.problem(&at(name), message, None));
    }
    if !found {
        let message = "endpoints have each of these labels, but none has all of them".to_owned();
        problems.push(located.problem(&[AT, Step::Key("subset")], message, None));
    }
}

/// What there is in place of a word that is nowhere.
fn known(word: &str, there: &BTreeSet<&str>) -> String {
    match nearest(word, there.iter().copied()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if there.is_empty() => String::new(),
        None => format!("; there is {}", there.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}

fn health(located: &Located<'_>, problems: &mut Vec<Problem>) {
    let Some(http) = located.service.health_check.as_ref().and_then(|check| check.http.as_ref()) else {
        return;
    };
    let at = |key| [Step::Key("healthCheck"), Step::Key("http"), Step::Key(key)];
    let fit = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let in_path =
        |text: &str| fit(text) && !text.contains(['#', '"', '<', '>', '\\', '^', '`', '{', '|', '}']);
    if !in_path(&http.path) {
        let message = format!("{:?} can't be asked for: a path has no such characters", http.path);
        problems.push(located.problem(&at("path"), message, Some("write them as %20 and the like")));
    }
    if let Some(host) = http.host.as_ref().filter(|host| !fit(host) || host.contains(['/', '@', '?', '#'])) {
        let message = format!("{host:?} is no host");
        problems.push(located.problem(&at("host"), message, None));
    }
}

#[cfg(test)]
mod tests;
