//! What is counted by route.

use super::{Sink, Sources, whole};
use crate::snapshot::rules::{Mirrored, Route};
use crate::telemetry::catalogue as m;
use crate::telemetry::metrics::Class;

/// Requests by route, and what was done to them.
pub(super) fn routes(sources: &Sources<'_>, sink: &mut impl Sink) {
    let all = || {
        let services = sources.snapshot.services.iter();
        let with_rules =
            services.filter_map(|service| Some((service.name.as_str(), service.rules.as_ref()?)));
        with_rules.flat_map(|(service, rules)| {
            rules.routes().iter().filter_map(move |route| Some((service, route.name.as_deref()?, &**route)))
        })
    };
    sink.family(&m::ROUTE_REQUESTS);
    for (service, name, route) in all() {
        for class in Class::ALL {
            let count = route.counters.requests(class);
            if count > 0 || class == Class::Success {
                sink.int(&[service, name, class.as_str("local")], whole(count));
            }
        }
    }
    sink.family(&m::FAULTS);
    let has_fault = |(_, _, route): &(&str, &str, &Route)| route.fault.is_some();
    for (service, name, route) in all().filter(has_fault) {
        for (kind, count) in route.counters.faults() {
            sink.int(&[service, name, kind], whole(count));
        }
    }
    sink.family(&m::MIRRORED);
    let has_mirror = |(_, _, route): &(&str, &str, &Route)| route.mirror.is_some();
    for (service, name, route) in all().filter(has_mirror) {
        for result in Mirrored::ALL {
            sink.int(&[service, name, result.as_str()], whole(route.counters.mirrored(result)));
        }
    }
}
