//! The `OTEL_…` variables, and what is wrong with them.
//!
//! A signal is on if its exporter variable says `otlp`, or if that variable is unset and there is an endpoint to send
//! to. So a task definition that sets nothing gets nothing, and one that sets the endpoint gets everything. A value
//! that can't be used never keeps the proxy from starting: it is said in [`Settings::problems`], and the default holds.

mod read;
mod target;
mod variables;

use std::time::Duration;

use self::read::Reader;
pub use self::target::{Protocol, Target};
pub use self::variables::{VARIABLES, Variable};
use crate::propagate::{self, Propagators};
use crate::sample::Sampler;

/// Everything that OpenTelemetry's variables say. The default is that nothing is on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Where spans go and in which portions; `None`: nowhere.
    pub traces: Option<TraceSettings>,
    /// Where metrics are pushed and how often; `None`: nowhere.
    pub metrics: Option<MetricSettings>,
    /// The formats of trace context that are read and written.
    pub propagators: Propagators,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, each key once.
    pub resource_attributes: Vec<(String, String)>,
    /// What is wrong, for the log: the variable, what is wrong with it, what is taken instead.
    pub problems: Vec<String>,
}

/// How spans are exported.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// Where to.
    pub target: Target,
    /// A batch that is not full goes off after this.
    pub schedule_delay: Duration,
    /// So many spans are kept at most, those that are being sent included.
    pub max_queue: usize,
    /// So many spans make a full batch.
    pub max_batch: usize,
    /// A batch that has not been taken after this, all tries included, is given up.
    pub export_timeout: Duration,
}

/// How metrics are pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSettings {
    /// Where to.
    pub target: Target,
    /// How often.
    pub interval: Duration,
    /// A push that has not been taken after this, all tries included, is given up.
    pub timeout: Duration,
}

/// What traces and metrics are called in variables and paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// As in `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    fn word(self) -> &'static str {
        match self {
            Signal::Traces => "TRACES",
            Signal::Metrics => "METRICS",
        }
    }
}

impl Settings {
    /// Reads all variables through `get`. An empty value counts as none.
    pub fn from_env(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader::new(get);
        if reader.yes_or_no("OTEL_SDK_DISABLED") {
            // Trace context is handed on nevertheless, says the specification; what else is set is of no interest.
            let propagators = propagators(&mut reader);
            return Settings { propagators, problems: reader.problems, ..Settings::default() };
        }
        let traces =
            target::read(&mut reader, Signal::Traces).map(|target| trace_settings(&mut reader, target));
        let metrics = target::read(&mut reader, Signal::Metrics).map(|target| MetricSettings {
            target,
            interval: reader.milliseconds("OTEL_METRIC_EXPORT_INTERVAL", 60_000, 1),
            timeout: reader.timeout("OTEL_METRIC_EXPORT_TIMEOUT", 30_000),
        });
        Settings {
            traces,
            metrics,
            propagators: propagators(&mut reader),
            sampler: sampler(&mut reader),
            service_name: reader.get("OTEL_SERVICE_NAME"),
            resource_attributes: reader.pairs("OTEL_RESOURCE_ATTRIBUTES"),
            problems: reader.problems,
        }
    }
}

fn trace_settings(reader: &mut Reader<'_>, target: Target) -> TraceSettings {
    let max_queue = reader.count("OTEL_BSP_MAX_QUEUE_SIZE", 8192);
    let mut max_batch = reader.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(max_queue));
    if max_batch > max_queue {
        reader.problem(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            &format!("{max_batch} is more than the queue holds; taken: {max_queue}"),
        );
        max_batch = max_queue;
    }
    TraceSettings {
        target,
        schedule_delay: reader.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 1000, 1),
        max_queue,
        max_batch,
        export_timeout: reader.timeout("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
    }
}

fn propagators(reader: &mut Reader<'_>) -> Propagators {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(list) = reader.get(NAME) else { return Propagators::default() };
    let words = list.split(',').map(str::trim).filter(|word| !word.is_empty());
    let (propagators, unknown) = Propagators::of(words);
    for word in unknown {
        let instead = "the others of the list";
        reader.unknown(NAME, word, propagate::WORDS, instead);
    }
    propagators
}

/// The words of `OTEL_TRACES_SAMPLER`, and which of them look at the argument.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

fn sampler(reader: &mut Reader<'_>) -> Sampler {
    let word = reader.word("OTEL_TRACES_SAMPLER", &SAMPLERS, "parentbased_always_on");
    match word {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::Ratio(ratio(reader)),
        "parentbased_always_off" => Sampler::ParentOrOff,
        "parentbased_traceidratio" => Sampler::ParentOrRatio(ratio(reader)),
        _ => Sampler::ParentOrOn,
    }
}

fn ratio(reader: &mut Reader<'_>) -> f64 {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(text) = reader.get(NAME) else { return 1.0 };
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            reader.problem(NAME, &format!("{text:?} is no number from 0 to 1; taken: 1"));
            1.0
        }
    }
}

#[cfg(test)]
mod tests;
