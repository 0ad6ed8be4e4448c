//! Every variable that is looked at, in one table: the reference page is made from it.

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name. `{…}` stands for the parts in it, of which one or none (where there is an empty one) is written.
    pub name: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
    /// What it does, and which values it takes.
    pub help: &'static str,
}

const fn variable(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, default, help }
}

/// All of them, in the order of the reference page.
pub const VARIABLES: &[Variable] = &[
    variable("OTEL_SDK_DISABLED", "false", "`true`: no traces, no metrics, whatever else is set."),
    variable(
        "OTEL_TRACES_EXPORTER",
        "`otlp` if there is an endpoint",
        "`otlp` or `none`. Unset, traces are on if an endpoint for them is set.",
    ),
    variable(
        "OTEL_METRICS_EXPORTER",
        "`otlp` if there is an endpoint",
        "`otlp` or `none`. Unset, metrics are pushed if an endpoint for them is set. `/metrics` is there in any case.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}ENDPOINT",
        "http://localhost:4318, with gRPC http://localhost:4317",
        "The collector, with http or https. Below the general one HTTP posts to `/v1/traces` and `/v1/metrics`; a signal's own is taken as it is.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}PROTOCOL",
        "`http/protobuf`; at port 4317 `grpc`",
        "`grpc` or `http/protobuf`.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}HEADERS",
        "",
        "Sent with each request: `key=value,key=value`, percent-encoded.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}TIMEOUT",
        "10000",
        "Milliseconds for one request; 0 is no limit.",
    ),
    variable("OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}COMPRESSION", "none", "`gzip` or `none`."),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}CERTIFICATE",
        "Mozilla's authorities, built in",
        "A PEM file with more authorities that the collector's certificate may be signed by.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}CLIENT_CERTIFICATE",
        "",
        "A PEM file with the certificate that the proxy shows to a collector that asks for one.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}CLIENT_KEY",
        "",
        "A PEM file with that certificate's private key.",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_{,TRACES_,METRICS_}INSECURE",
        "false",
        "`true`: no TLS with a gRPC endpoint that is given without http or https.",
    ),
    variable(
        "OTEL_PROPAGATORS",
        "tracecontext,baggage",
        "Which headers carry trace context: of `tracecontext`, `b3`, `b3multi` and `xray` (`X-Amzn-Trace-Id`), or `none`. All that are named are read, the last that says as much wins, and all are written. `baggage` passes through untouched, named or not.",
    ),
    variable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "`always_on`, `always_off`, `traceidratio`, `parentbased_always_on`, `parentbased_always_off` or `parentbased_traceidratio`. The `parentbased_` ones keep to the caller's decision.",
    ),
    variable(
        "OTEL_TRACES_SAMPLER_ARG",
        "1",
        "The share of traces that the two `traceidratio` keep, from 0 to 1.",
    ),
    variable(
        "OTEL_BSP_SCHEDULE_DELAY",
        "1000",
        "Milliseconds after which a batch of spans goes off though it is not full. The specification's 5000 would have a person wait for a trace, and save nothing.",
    ),
    variable(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "8192",
        "Spans that are kept until the collector has taken them, 16 MiB at most; more are dropped and counted. The specification's 2048 would be a tenth of a second of a busy proxy.",
    ),
    variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "Spans in one request."),
    variable(
        "OTEL_BSP_EXPORT_TIMEOUT",
        "30000",
        "Milliseconds after which a batch is given up that the collector has not taken, all tries included; 0 is no limit.",
    ),
    variable("OTEL_METRIC_EXPORT_INTERVAL", "60000", "Milliseconds from one push of metrics to the next."),
    variable(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "30000",
        "Milliseconds after which a push is given up, all tries included; 0 is no limit.",
    ),
    variable(
        "OTEL_SERVICE_NAME",
        "the task's family, else unknown_service:bowline-proxy",
        "The name under which traces and metrics are shown: `service.name`.",
    ),
    variable(
        "OTEL_RESOURCE_ATTRIBUTES",
        "",
        "More of what identifies the task: `key=value,key=value`, percent-encoded. They win over what is detected.",
    ),
];
