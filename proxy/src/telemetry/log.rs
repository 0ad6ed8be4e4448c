//! Log lines: to stderr, one an event, as text or JSON, coloured only on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel};

/// The hand with which the level is changed while the proxy runs.
pub struct LogControl(reload::Handle<tracing_subscriber::filter::Targets, Registry>);

impl LogControl {
    /// From now on log at this level.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only when the subscriber is gone, which is at the end of the process.
        let _ = self.0.reload(targets(level));
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}

/// Our own lines at the level, and from libraries warnings at most: h2 alone writes several debug lines a frame.
fn targets(level: LogLevel) -> tracing_subscriber::filter::Targets {
    tracing_subscriber::filter::Targets::new()
        .with_default(level.filter().min(tracing::level_filters::LevelFilter::WARN))
        .with_target("bowline_proxy", level.filter())
        .with_target("bowline_api", level.filter())
        .with_target("bowline_otlp", level.filter())
        .with_target("bowline_sources", level.filter())
}

/// Starts logging for the process. Only the first call has an effect.
pub fn init(format: LogFormat, level: LogLevel) -> LogControl {
    let (filter, handle) = reload::Layer::new(targets(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    LogControl(handle)
}
