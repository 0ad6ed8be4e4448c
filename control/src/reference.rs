//! The reference pages under docs/reference, made from the definitions themselves: a test keeps the files true.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use crate::config::Cli;
use crate::telemetry::log_fields;
use crate::telemetry::metrics::CATALOGUE;

/// The page of the metrics.
pub fn metrics() -> String {
    let mut page = String::from(
        "# Metrics of bowline-control\n\n`GET /metrics` on the admin port; Prometheus text format.\n\n\
         | metric | kind | meaning |\n| --- | --- | --- |\n",
    );
    for (name, kind, help) in CATALOGUE {
        let _ = writeln!(page, "| `{name}` | {kind} | {help} |");
    }
    page
}

/// The page of the log lines' fields.
pub fn log() -> String {
    let mut page = String::from(
        "# Log lines of bowline-control\n\nOne line an event on stderr: `--log-format text`, or `json`, in which each of these is a key \
         beside `timestamp`, `level` and `message`.\n\n| field | meaning |\n| --- | --- |\n",
    );
    for (name, help) in log_fields::FIELDS {
        let _ = writeln!(page, "| `{name}` | {help} |");
    }
    page
}

/// The page of commands, flags and environment variables.
pub fn flags() -> String {
    let mut page = String::from("# Commands and flags of bowline-control\n");
    let program = Cli::command();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        section(&mut page, command);
    }
    page
}

fn section(page: &mut String, command: &Command) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(page, "\n## bowline-control {}\n\n{about}\n", command.get_name());
    page.push_str("| flag | environment | default | meaning |\n| --- | --- | --- | --- |\n");
    for arg in command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version")) {
        let takes_values = arg.get_action().takes_values();
        let quoted = |text: &std::ffi::OsStr| format!("`{}`", text.to_string_lossy());
        let default = match takes_values {
            true => arg.get_default_values().iter().map(|value| quoted(value)).collect::<Vec<_>>(),
            false => Vec::new(),
        };
        let env = arg.get_env().map(quoted).unwrap_or_default();
        let _ = writeln!(page, "| `{}` | {env} | {} | {} |", usage(arg), default.join(", "), meaning(arg));
    }
}

/// As it is typed: `--flag VALUE`, or the value alone where it has no flag.
fn usage(arg: &Arg) -> String {
    let value = match arg.get_value_names() {
        Some([value, ..]) if arg.get_action().takes_values() => value.as_str(),
        _ => "",
    };
    let flag = arg.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    [flag.as_str(), value].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values: Vec<_> = match arg.get_action().takes_values() {
        true => arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect(),
        false => Vec::new(),
    };
    let meaning = match values.is_empty() {
        true => help,
        false => format!("{}: {}", help.trim_end_matches('.'), values.join(", ")),
    };
    meaning.replace('|', "\\|")
}
