//! What holds for calls to a service, in words.

use std::time::Duration;

use bowline_api::model::{
    AppProtocol, AttemptTimeout, BalancingPolicy, LoadBalancing, OutlierDetection, Retry, RetryConditions,
    Service,
};

/// One line for each part of the policy.
pub(super) fn words(service: &Service) -> Vec<String> {
    let mut lines = Vec::new();
    match service.routes.len() {
        0 => {}
        1 => lines.push("1 route: the proxies' own explain tells whether it fits".to_owned()),
        count => lines.push(format!("{count} routes: the proxies' own explain tells which one fits")),
    }
    let spoken = match service.app_protocol {
        Some(protocol) => {
            lines.push(format!("it speaks {protocol} (appProtocol)"));
            protocol
        }
        None => {
            lines.push(
                "what it speaks is found out for each connection; below, what holds for HTTP".to_owned(),
            );
            AppProtocol::Http
        }
    };
    lines.push(timeouts(service, spoken));
    lines.push(retries(&service.retry, spoken));
    lines.push(balancing(&service.load_balancing));
    lines.push(ejections(&service.outlier_detection));
    if let Some(limits) = &service.limits {
        lines.push(format!(
            "at each proxy at most {} requests in flight, {} connections, {} requests that wait",
            limits.max_requests, limits.max_connections, limits.max_pending_requests
        ));
    }
    lines
}

fn timeouts(service: &Service, spoken: AppProtocol) -> String {
    let of = |what: &str, time: Option<Duration>| match time {
        Some(time) => format!("{what} {}", seconds(time)),
        None => format!("{what} unlimited"),
    };
    let mut parts = vec![of("connection", Some(service.timeout.connect()))];
    if spoken != AppProtocol::Tcp {
        parts.push(match service.timeout.per_attempt_seconds {
            AttemptTimeout::Auto => "attempt learnt from its latency".to_owned(),
            AttemptTimeout::Fixed(time) => of("attempt", time.limit()),
        });
        parts.push(of("response headers", service.response_headers_timeout(spoken)));
        parts.push(of("whole request", service.request_timeout()));
    }
    parts.push(of("idle", service.idle_timeout(spoken)));
    format!("timeouts: {}", parts.join(", "))
}

fn retries(retry: &Retry, spoken: AppProtocol) -> String {
    if retry.retries == 0 {
        return "nothing is tried again (retries: 0)".to_owned();
    }
    let what = match spoken {
        AppProtocol::Tcp => "a connection that can't be opened".to_owned(),
        AppProtocol::Grpc => conditions(&retry.conditions(spoken, false)),
        AppProtocol::Http | AppProtocol::Http2 if retry.on.is_some() => {
            conditions(&retry.conditions(spoken, true))
        }
        AppProtocol::Http | AppProtocol::Http2 => format!(
            "for GET and the like {}, for POST and PATCH {}",
            conditions(&retry.conditions(spoken, true)),
            conditions(&retry.conditions(spoken, false))
        ),
    };
    let budget = &retry.budget;
    format!(
        "at most {} retries, at another endpoint where there is one, on: {what}; at most {} % of its requests and {} a \
         second more",
        retry.retries, budget.percent, budget.min_per_second
    )
}

fn conditions(on: &RetryConditions) -> String {
    let named = [
        (on.connect_failure, "connectFailure"),
        (on.refused_stream, "refusedStream"),
        (on.reset, "reset"),
        (on.timeout, "timeout"),
        (on.unavailable, "unavailable"),
    ];
    let statuses = on.statuses.iter().map(u16::to_string);
    let words = named.into_iter().filter(|(is_on, _)| *is_on).map(|(_, word)| word.to_owned());
    words.chain(statuses).collect::<Vec<_>>().join(" ")
}

fn balancing(balancing: &LoadBalancing) -> String {
    let how = match balancing.policy {
        BalancingPolicy::PeakEwma => "the better of two by latency and requests in flight (peakEwma)",
        BalancingPolicy::LeastRequest => "the better of two by requests in flight (leastRequest)",
        BalancingPolicy::RoundRobin => "one after the other (roundRobin)",
        BalancingPolicy::Random => "at random (random)",
        BalancingPolicy::RingHash => "the same for the same hash (ringHash)",
        BalancingPolicy::Maglev => "the same for the same hash (maglev)",
    };
    format!(
        "the endpoint is picked request by request: {how}; ejections are ignored below {} % (panicPercent)",
        balancing.panic_percent
    )
}

fn ejections(outlier: &OutlierDetection) -> String {
    if !outlier.is_on() {
        return "no endpoint is ejected (outlierDetection is off)".to_owned();
    }
    format!(
        "an endpoint is ejected after {} failures in a row, for {} at first, {} at most; never more than {} % of them",
        outlier.consecutive_failures,
        seconds(outlier.ejection(1)),
        seconds(outlier.max_ejection_seconds.get()),
        outlier.max_ejection_percent
    )
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::words;

    fn of(more: &str) -> String {
        let mesh = format!(
            "namespace: n.test\nservices:\n  - discoveryName: s\n    endpoints: {{ static: [] }}\n{more}"
        );
        let mesh = bowline_api::parse("mesh.yaml", &mesh).unwrap_or_else(|problems| panic!("{problems}"));
        words(&mesh.services[0]).join("\n")
    }

    #[test]
    fn the_policy_is_said_in_words() {
        let plain = of("");
        for wanted in [
            "connection 1 s, attempt learnt from its latency, response headers 15 s, whole request unlimited, idle 300 s",
            "at most 2 retries",
            "for GET and the like connectFailure refusedStream reset timeout 502 503 504, for POST and PATCH connectFailure refusedStream;",
            "at most 20 % of its requests and 3 a second more",
            "after 5 failures in a row, for 30 s at first, 300 s at most; never more than 50 %",
            "peakEwma",
        ] {
            assert!(plain.contains(wanted), "{wanted:?} is missing:\n{plain}");
        }
        assert!(!plain.contains("route"), "{plain}");
        let routes =
            |count| of(&format!("    routes: [{}]\n", ["{ retry: { retries: 0 } }"; 9][..count].join(", ")));
        assert!(routes(1).contains("1 route: the proxies' own explain"), "{}", routes(1));
        assert!(
            routes(3).contains("3 routes: the proxies' own explain tells which one fits"),
            "{}",
            routes(3)
        );
        let other =
            of("    appProtocol: tcp\n    retry: { retries: 0 }\n    limits: { maxRequests: 7 }\n    \
                        outlierDetection: { consecutiveFailures: 0 }\n");
        for wanted in ["it speaks tcp", "idle 3600 s", "retries: 0", "at most 7 requests in flight", "is off"]
        {
            assert!(other.contains(wanted), "{wanted:?} is missing:\n{other}");
        }
        assert!(!other.contains("response headers"), "{other}");
    }
}
