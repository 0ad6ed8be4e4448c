//! What of a service other kinds of clients can't do, or do in another way: for the docs, and for `/clients`.

use bowline_api::Service;
use bowline_api::model::{AppProtocol, BalancingPolicy, OutlierDetection, RetryBudget};

use crate::kind::ClientKind;

/// What is lost or only near for clients of this kind, in plain words; nothing for our own.
///
/// Only what the service uses or would get by default is named, so that the list is empty where nothing is lost.
#[must_use]
pub fn lost(kind: ClientKind, service: &Service) -> Vec<String> {
    let words = match kind {
        ClientKind::Bowline => Vec::new(),
        ClientKind::Envoy => for_envoy(service),
        ClientKind::Grpc => for_grpc(service),
    };
    words.into_iter().map(str::to_owned).collect()
}

fn for_envoy(service: &Service) -> Vec<&'static str> {
    let tcp = service.app_protocol == Some(AppProtocol::Tcp);
    let mut lost = Vec::new();
    let mut note = |when: bool, what: &'static str| lost.extend(when.then_some(what));
    let balancing = &service.load_balancing;
    note(balancing.policy == BalancingPolicy::PeakEwma, "peakEwma: least request instead");
    note(balancing.zone_aware, "zone awareness");
    note(service.app_protocol.is_none(), "detection of TCP: HTTP is taken for granted");
    note(!tcp && service.retry.retries > 0, "attempt timeout auto: the response headers' timeout instead");
    note(!tcp, "responseHeadersSeconds: a timeout of each attempt instead of all together");
    note(!tcp && service.retry.retries > 0, "retry maxBodyBytes: the buffer limit of the connection instead");
    note(!tcp && service.retry.retries > 0, "retry budget");
    note(service.limits.is_some(), "limits: refused at once instead of by age under overload");
    common(service, &mut note);
    lost
}

fn for_grpc(service: &Service) -> Vec<&'static str> {
    let mut lost = Vec::new();
    let mut note = |when: bool, what: &'static str| lost.extend(when.then_some(what));
    note(service.app_protocol == Some(AppProtocol::Tcp), "the service itself: it doesn't speak gRPC");
    if service.app_protocol == Some(AppProtocol::Tcp) {
        return lost;
    }
    note(
        service.load_balancing.policy != BalancingPolicy::RoundRobin,
        "balancing policy: round robin instead",
    );
    note(service.load_balancing.zone_aware, "zone awareness");
    note(service.load_balancing.panic_percent > 0, "panicPercent");
    let safe = service.retry.on.is_none();
    note(service.retry.retries > 0 && !safe, "retry conditions other than unavailable");
    note(service.retry.retries > 4, "more than 4 retries");
    note(service.retry.retries > 0 && service.retry.budget != off(), "retry budget");
    note(service.timeout.response_headers_seconds.is_some(), "responseHeadersSeconds");
    note(service.timeout.idle_timeout_seconds.is_some(), "idleTimeoutSeconds");
    note(service.outlier_detection.consecutive_failures > 0, OUTLIER);
    note(service.limits.is_some(), "limits");
    common(service, &mut note);
    lost
}

const OUTLIER: &str = "outlier detection by consecutive failures";

fn off() -> RetryBudget {
    RetryBudget { percent: 0, ..RetryBudget::default() }
}

/// What only our own proxies do.
fn common(service: &Service, note: &mut impl FnMut(bool, &'static str)) {
    let outlier: &OutlierDetection = &service.outlier_detection;
    note(outlier.is_on(), "an ejected endpoint's way back: at once instead of by one probe");
    note(service.hedge.is_some(), "hedging");
    note(service.circuit_breaker.is_some(), "circuit breaker");
    note(service.health_check.is_some(), "active health checks");
    note(
        service.limits.as_ref().is_some_and(|limits| limits.adaptive_concurrency.is_some()),
        "adaptive concurrency",
    );
    note(!service.rate_limit.is_empty(), "rate limits");
    note(!service.routes.is_empty(), "routes");
    note(service.tls.is_some(), "TLS");
    note(!service.load_balancing.subset.is_empty(), "endpoint subsets");
    note(service.load_balancing.slow_start_seconds.limit().is_some(), "slow start");
}

#[cfg(test)]
mod tests {
    use bowline_api::model::{Endpoints, Limits};

    use super::*;

    #[test]
    fn nothing_is_lost_for_our_own_and_words_are_said_for_others() {
        let mut service = Service::new("server", Endpoints::Static(Vec::new()));
        service.limits = Some(Limits::default());
        assert_eq!(lost(ClientKind::Bowline, &service), Vec::<String>::new());
        let envoy = lost(ClientKind::Envoy, &service);
        assert!(envoy.contains(&"peakEwma: least request instead".to_owned()), "{envoy:?}");
        assert!(lost(ClientKind::Grpc, &service).contains(&"limits".to_owned()));
        service.load_balancing.policy = BalancingPolicy::LeastRequest;
        assert!(!lost(ClientKind::Envoy, &service).iter().any(|word| word.contains("peakEwma")));
        service.app_protocol = Some(AppProtocol::Tcp);
        assert_eq!(lost(ClientKind::Grpc, &service).len(), 1);
    }
}
