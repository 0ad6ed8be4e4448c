use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::{Protocol, Settings, VARIABLES};
use crate::propagate::Propagators;
use crate::sample::Sampler;

fn read(variables: &[(&str, &str)]) -> Settings {
    Settings::from_env(&|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

/// With traces on, and without problems.
fn good(variables: &[(&str, &str)]) -> Settings {
    let settings = read(&[&[("OTEL_TRACES_EXPORTER", "otlp")], variables].concat());
    assert_eq!(settings.problems, [""; 0]);
    settings
}

/// With traces on, and the only problem.
fn bad(variables: &[(&str, &str)]) -> (Settings, String) {
    let settings = read(&[variables, &[("OTEL_TRACES_EXPORTER", "otlp")]].concat());
    assert_eq!(settings.problems.len(), 1, "{:?}", settings.problems);
    let problem = settings.problems[0].clone();
    assert!(variables.iter().any(|(name, _)| problem.starts_with(&format!("{name}: "))), "{problem}");
    (settings, problem)
}

#[test]
fn without_variables_nothing_is_on_and_nothing_is_held() {
    let settings = read(&[]);
    assert_eq!(settings, Settings::default());
    assert!(settings.traces.is_none() && settings.metrics.is_none());
    assert_eq!(settings.resource_attributes.capacity() + settings.problems.capacity(), 0);
}

#[test]
fn a_signal_is_on_by_its_word_or_by_an_endpoint() {
    let on = |variables: &[(&str, &str)]| {
        let settings = read(variables);
        (settings.traces.is_some(), settings.metrics.is_some())
    };
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318");
    assert_eq!(on(&[endpoint]), (true, true));
    assert_eq!(on(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a")]), (true, false));
    assert_eq!(on(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a")]), (false, true));
    assert_eq!(on(&[("OTEL_TRACES_EXPORTER", "otlp")]), (true, false));
    assert_eq!(on(&[("OTEL_METRICS_EXPORTER", "OTLP")]), (false, true));
    assert_eq!(on(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), (false, true));
    assert_eq!(on(&[endpoint, ("OTEL_METRICS_EXPORTER", "none,otlp")]), (true, true));
    assert_eq!(on(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), (false, false));
    assert_eq!(on(&[endpoint, ("OTEL_TRACES_EXPORTER", " ")]), (true, true));
    assert_eq!(on(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), (false, false));
    let settings = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "oltp")]);
    assert!(settings.traces.is_none());
    assert!(settings.problems[0].contains("is otlp meant?"), "{:?}", settings.problems);
}

#[test]
fn where_a_signal_goes() {
    let url = |variables: &[(&str, &str)]| {
        let target = good(variables).traces.unwrap().target;
        (target.url.to_string(), target.protocol)
    };
    let grpc_path = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (http, grpc) = (Protocol::HttpProtobuf, Protocol::Grpc);
    let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(url(&[]), ("http://localhost:4318/v1/traces".into(), http));
    assert_eq!(url(&[protocol]), (format!("http://localhost:4317/{grpc_path}"), grpc));
    assert_eq!(url(&[(general, "http://a:1")]), ("http://a:1/v1/traces".into(), http));
    assert_eq!(url(&[(general, "https://a/otlp/")]), ("https://a/otlp/v1/traces".into(), http));
    assert_eq!(url(&[(general, "http://a:4317")]), (format!("http://a:4317/{grpc_path}"), grpc));
    assert_eq!(url(&[(own, "http://a:1")]), ("http://a:1/".into(), http));
    assert_eq!(url(&[(own, "http://a/x?k=v"), (general, "http://b")]), ("http://a/x?k=v".into(), http));
    let said = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
    assert_eq!(url(&[(general, "http://a:4317"), said]), ("http://a:4317/v1/traces".into(), http));
    assert_eq!(url(&[(general, "http://[::1]:4317")]).0, format!("http://[::1]:4317/{grpc_path}"));
    // Without a scheme gRPC speaks TLS unless it is told not to.
    assert_eq!(url(&[(general, "a:4317")]).0, format!("https://a:4317/{grpc_path}"));
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    assert_eq!(url(&[(general, "a:4317"), insecure]).0, format!("http://a:4317/{grpc_path}"));
    let both = read(&[(general, "http://a:1/b")]);
    assert_eq!(both.metrics.unwrap().target.url, "http://a:1/b/v1/metrics");

    for text in ["ftp://a", "http://", "http:///x", "a b", "://"] {
        let (settings, problem) = bad(&[(general, text)]);
        assert!(settings.traces.is_none() && problem.contains("nothing is exported"), "{problem}");
    }
    let (settings, problem) = bad(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
    assert_eq!(settings.traces.unwrap().target.protocol, http);
    assert!(problem.ends_with("known: grpc, http/protobuf); taken: http/protobuf"), "{problem}");
}

#[test]
fn a_signals_own_variable_wins_over_the_general_one() {
    let target = |what: &str| {
        let general = format!("OTEL_EXPORTER_OTLP_{what}");
        let own = format!("OTEL_EXPORTER_OTLP_TRACES_{what}");
        move |value: &str, wins: &str| good(&[(&general, value), (&own, wins)]).traces.unwrap().target
    };
    assert_eq!(target("TIMEOUT")("1", "2").timeout, Duration::from_millis(2));
    assert!(target("COMPRESSION")("none", "gzip").gzip);
    assert_eq!(target("CERTIFICATE")("a", "b").certificate.unwrap().to_str(), Some("b"));
    assert_eq!(target("HEADERS")("a=1", "b=2").headers[0].0, "b");
    assert_eq!(good(&[]).traces.unwrap().target.timeout, Duration::from_secs(10));
    let unlimited = good(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "0")]).traces.unwrap().target.timeout;
    assert!(unlimited > Duration::from_secs(1_000_000));
}

#[test]
fn headers_are_decoded_and_never_shown() {
    let settings = good(&[("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20c2VjcmV0, x-a = 1=2 ,,")]);
    let target = settings.traces.clone().unwrap().target;
    let shown: Vec<_> = target.headers.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(shown, [("authorization", "Basic c2VjcmV0"), ("x-a", "1=2")]);
    assert!(!format!("{settings:?}").contains("c2VjcmV0"));
    let (settings, problem) = bad(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization,x-b=2")]);
    assert_eq!(settings.traces.unwrap().target.headers.len(), 1);
    assert!(problem.contains("key=value"), "{problem}");
    let (_, problem) = bad(&[("OTEL_EXPORTER_OTLP_HEADERS", "a b=secretsecretsecret")]);
    assert!(!problem.contains("secret"), "{problem}");
    bad(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=%ff")]);
    bad(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=%0a")]);
}

#[test]
fn a_certificate_needs_its_key() {
    let (certificate, key) =
        (("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "c"), ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "k"));
    let target = good(&[certificate, key]).traces.unwrap().target;
    assert_eq!(target.client_certificate, Some(("c".into(), "k".into())));
    assert_eq!(bad(&[certificate]).0.traces.unwrap().target.client_certificate, None);
}

#[test]
fn samplers() {
    let arg = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
    for (word, sampler) in [
        ("always_on", Sampler::AlwaysOn),
        ("always_off", Sampler::AlwaysOff),
        ("traceidratio", Sampler::Ratio(0.25)),
        ("parentbased_always_on", Sampler::ParentOrOn),
        ("parentbased_always_off", Sampler::ParentOrOff),
        ("ParentBased_TraceIdRatio", Sampler::ParentOrRatio(0.25)),
    ] {
        assert_eq!(good(&[("OTEL_TRACES_SAMPLER", word), arg]).sampler, sampler);
    }
    assert_eq!(good(&[]).sampler, Sampler::ParentOrOn);
    let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
    assert_eq!(good(&[ratio]).sampler, Sampler::Ratio(1.0));
    for arg in ["1.1", "-0.1", "NaN", "half"] {
        let settings = read(&[("OTEL_TRACES_EXPORTER", "otlp"), ratio, ("OTEL_TRACES_SAMPLER_ARG", arg)]);
        assert_eq!((settings.sampler, settings.problems.len()), (Sampler::Ratio(1.0), 1));
    }
    let (settings, problem) = bad(&[("OTEL_TRACES_SAMPLER", "parentbased_alwayson")]);
    assert_eq!(settings.sampler, Sampler::ParentOrOn);
    assert_eq!(
        problem,
        "OTEL_TRACES_SAMPLER: \"parentbased_alwayson\" is not known (is parentbased_always_on meant?); taken: parentbased_always_on"
    );
}

#[test]
fn propagators() {
    assert_eq!(good(&[]).propagators, Propagators::default());
    assert!(good(&[("OTEL_PROPAGATORS", "none")]).propagators.is_empty());
    let (settings, problem) = bad(&[("OTEL_PROPAGATORS", "x-ray, b3 ,baggage")]);
    assert_eq!(settings.propagators, Propagators::of(["b3"]).0);
    assert!(problem.contains("is xray meant?"), "{problem}");
}

#[test]
fn batches() {
    let traces = good(&[]).traces.unwrap();
    assert_eq!((traces.max_queue, traces.max_batch), (8192, 512));
    assert_eq!(traces.schedule_delay, Duration::from_secs(1));
    assert_eq!(traces.export_timeout, Duration::from_secs(30));
    let small = good(&[("OTEL_BSP_MAX_QUEUE_SIZE", "10")]).traces.unwrap();
    assert_eq!((small.max_queue, small.max_batch), (10, 10));
    let (settings, _) = bad(&[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9000")]);
    assert_eq!(settings.traces.unwrap().max_batch, 8192);
    for value in ["0", "-1", "x", "99999999999"] {
        let (settings, _) = bad(&[("OTEL_BSP_SCHEDULE_DELAY", value)]);
        assert_eq!(settings.traces.unwrap().schedule_delay, Duration::from_secs(1), "{value}");
    }
    assert_eq!(bad(&[("OTEL_BSP_MAX_QUEUE_SIZE", "0")]).0.traces.unwrap().max_queue, 8192);
}

#[test]
fn metrics() {
    let metrics = read(&[("OTEL_METRICS_EXPORTER", "otlp")]).metrics.unwrap();
    assert_eq!((metrics.interval, metrics.timeout), (Duration::from_secs(60), Duration::from_secs(30)));
    let set = [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_METRIC_EXPORT_INTERVAL", "500")];
    assert_eq!(read(&set).metrics.unwrap().interval, Duration::from_millis(500));
}

#[test]
fn resource_attributes_are_decoded_and_unique() {
    let list = "deployment.environment.name=prod, team=a%2Cb%3D%C3%A9 ,team2=,team=c,half=100%";
    let settings = good(&[("OTEL_RESOURCE_ATTRIBUTES", list), ("OTEL_SERVICE_NAME", "shop")]);
    let attributes: Vec<_> =
        settings.resource_attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let wanted = [("deployment.environment.name", "prod"), ("team", "c"), ("team2", ""), ("half", "100%")];
    assert_eq!(attributes, wanted);
    assert_eq!(settings.service_name.as_deref(), Some("shop"));
    let (settings, _) = bad(&[("OTEL_RESOURCE_ATTRIBUTES", "=x,a=%C3%A9")]);
    assert_eq!(settings.resource_attributes, [("a".to_owned(), "é".to_owned())]);
}

/// `A_{,B_,C_}D` is A_D, A_B_D and A_C_D.
fn expanded(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else { return vec![name.to_owned()] };
    let (parts, after) = rest.split_once('}').unwrap();
    parts.split(',').map(|part| format!("{before}{part}{after}")).collect()
}

#[test]
fn the_table_has_exactly_the_variables_that_are_looked_at() {
    let asked = Mutex::new(BTreeSet::new());
    // Once with answers that lead everywhere, once without any.
    for answers in [true, false] {
        Settings::from_env(&|name| {
            asked.lock().unwrap().insert(name.to_owned());
            match name {
                "OTEL_TRACES_EXPORTER" | "OTEL_METRICS_EXPORTER" => Some("otlp".to_owned()),
                "OTEL_TRACES_SAMPLER" if answers => Some("traceidratio".to_owned()),
                _ => None,
            }
        });
    }
    let listed: BTreeSet<String> = VARIABLES.iter().flat_map(|variable| expanded(variable.name)).collect();
    assert_eq!(asked.into_inner().unwrap(), listed);
    assert!(VARIABLES.iter().all(|variable| variable.help.ends_with('.')));
}
