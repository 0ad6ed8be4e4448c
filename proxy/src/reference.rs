//! The reference pages under docs/reference, made from the definitions themselves: a test keeps the files true.

use std::fmt::Write as _;

use clap::CommandFactory;

use crate::config::Cli;
use crate::error::Reason;
use crate::observe::{attributes, fields};
use crate::telemetry::{catalogue, log_fields};

/// The page of the metrics.
pub fn metrics() -> String {
    let mut page = String::from(
        "# Metrics of bowline-proxy\n\n`GET /metrics` on the admin port, and on `--metrics` when it is set; Prometheus' \
         text format, or OpenMetrics with exemplars for those who ask for it. What has left the mesh is not shown any \
         more. The second name is that over OTLP, where a label is an attribute with `bowline.` before it, and one that is \
         empty is left out. How to use them: [docs/metrics.md](../metrics.md).\n\n\
         | metric | over OTLP | unit | kind | labels | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for metric in catalogue::ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let (name, otlp, unit, kind) = (metric.name, metric.otlp, metric.unit, metric.kind.as_str());
        let _ = writeln!(page, "| `{name}` | `{otlp}` | `{unit}` | {kind} | {labels} | {} |", metric.help);
    }
    page
}

/// The page of the reasons for which the proxy answers a request itself.
pub fn errors() -> String {
    let mut page = String::from(
        "# Answers of bowline-proxy itself\n\nWhen no endpoint could answer, the proxy does, with the reason in \
         `x-bowline-error` and in one line of text, and where the service is known in the metric `bowline_local_responses_total`. gRPC callers get HTTP \
         200 with the gRPC status.\n\n| reason | HTTP | gRPC | meaning |\n| --- | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let status = reason.status().as_u16();
        let _ = writeln!(page, "| `{reason}` | {status} | {} | {} |", reason.grpc_status(), reason.meaning());
    }
    page
}

/// The page of traces: the variables that are obeyed, and what spans carry.
pub fn otel() -> String {
    let mut page = String::from(
        "# OpenTelemetry in bowline-proxy\n\nTraces and metrics go out over OTLP as OpenTelemetry's own variables say, \
         and only where one of them asks for it. How to use it: [docs/traces.md](../traces.md).\n\n\
         ## Variables\n\n| variable | default | meaning |\n| --- | --- | --- |\n",
    );
    for variable in bowline_otlp::env::VARIABLES {
        let _ = writeln!(page, "| `{}` | {} | {} |", variable.name, variable.default, variable.help);
    }
    page.push_str(
        "\n## Attributes of spans\n\nA request is one span of kind INTERNAL, named after method and service, with one of kind \
         CLIENT below it for each attempt; a request to the app behind `--inbound` is one of kind SERVER. The names are those of \
         OpenTelemetry's semantic conventions where there is one.\n\n\
         | attribute | on | meaning |\n| --- | --- | --- |\n",
    );
    for attribute in attributes::ALL {
        let _ = writeln!(page, "| `{}` | {} | {} |", attribute.name, attribute.on, attribute.help);
    }
    page
}

/// The page of the access log.
pub fn access_log() -> String {
    let mut page = String::from(
        "# The access log of bowline-proxy\n\n`--access-log json` writes one JSON object for each request to stdout, when \
         its response has ended; `bowline tap` shows the same objects. A key without a value is left out. `--access-log text` \
         writes `[time] \"method path protocol\" status bytes_received bytes_sent duration_ms upstream_ms \"x_forwarded_for\" \
         \"user_agent\" \"request_id\" \"authority\" \"endpoint\"` as Service Connect's Envoy does, and the others after \
         that as `key=value`. Requests whose traffic is not HTTP, and CONNECT, have no lines.\n\n\
         | key | meaning |\n| --- | --- |\n",
    );
    for field in fields::ALL {
        let _ = writeln!(page, "| `{}` | {} |", field.name, field.help);
    }
    page
}

/// The page of the log lines' fields.
pub fn log() -> String {
    let mut page = String::from(
        "# Log lines of bowline-proxy\n\nOne line an event on stderr: `--log-format text`, or `json`, in which each of these is a key \
         beside `timestamp`, `level` and `message`.\n\n| field | meaning |\n| --- | --- |\n",
    );
    for (name, help) in log_fields::FIELDS {
        let _ = writeln!(page, "| `{name}` | {help} |");
    }
    page
}

/// The page of commands, flags and environment variables.
pub fn flags() -> String {
    let mut page = String::from("# Commands and flags of bowline-proxy\n");
    for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "\n## bowline-proxy {}\n\n{about}\n", command.get_name());
        page.push_str("| flag | environment | default | meaning |\n| --- | --- | --- | --- |\n");
        for flag in
            command.get_arguments().filter(|flag| !matches!(flag.get_id().as_str(), "help" | "version"))
        {
            let name = flag.get_long().map(|name| format!("--{name}")).unwrap_or_default();
            let value = match flag.get_value_names() {
                Some([value, ..]) if flag.is_positional() => value.to_string(),
                Some([value, ..]) if flag.get_action().takes_values() => format!(" {value}"),
                _ => String::new(),
            };
            let env = flag.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
            let default: Vec<_> = match flag.get_action().takes_values() {
                true => {
                    flag.get_default_values().iter().map(|v| format!("`{}`", v.to_string_lossy())).collect()
                }
                false => Vec::new(),
            };
            let help = flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(page, "| `{name}{value}` | {env} | {} | {help} |", default.join(", "));
        }
    }
    page
}
