//! The reference pages under docs/reference, made from the definitions themselves: a test keeps the files true.

use std::fmt::Write as _;

use clap::CommandFactory;

use crate::config::Cli;
use crate::error::Reason;
use crate::telemetry::catalogue;

/// The page of the metrics.
pub fn metrics() -> String {
    let mut page = String::from(
        "# Metrics of bowline-proxy\n\n`GET /metrics` on the admin port, and on `--metrics` when it is set; Prometheus \
         text format. What has left the mesh is not shown any more.\n\n\
         | metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in catalogue::ALL {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(page, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help);
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
            let name = flag.get_long().unwrap_or_default();
            let value = match flag.get_value_names() {
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
            let _ = writeln!(page, "| `--{name}{value}` | {env} | {} | {help} |", default.join(", "));
        }
    }
    page
}
