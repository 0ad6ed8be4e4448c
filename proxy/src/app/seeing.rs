//! Those who look at requests one by one: what they are by flags and variables, and how they begin and end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bowline_otlp::{ExportCounts, MetricsExporter, Propagators, Resource, Settings, TraceExporter, Traces};

use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::Run;
use crate::ecs::Place;
use crate::listen::accept::Workers;
use crate::observe::Observe;
use crate::observe::access_log::{self, AccessLog};
use crate::observe::tap::Taps;
use crate::record::{Observers, Tracing, Wants};
use crate::register::Task;
use crate::telemetry::cloudwatch::{self, CloudWatch};
use crate::telemetry::every::Repeated;
use crate::telemetry::metrics::ProxyCounters;
use crate::telemetry::push::{self, Look};
use crate::telemetry::scrape::Sources;

/// How long the last spans have to get to their collector.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(5);

/// And the last metrics.
const LAST_METRICS_WITHIN: Duration = Duration::from_secs(2);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is to be looked at.
#[derive(Debug)]
pub(super) struct Seeing {
    /// Where spans go, and how it is decided which.
    traces: Option<(Traces, Tracing)>,
    /// Where metrics are pushed, and how often.
    metrics: Option<(MetricsExporter, Duration)>,
    /// What goes to CloudWatch, and how often.
    cloudwatch: Option<(cloudwatch::Settings, Duration)>,
    /// The headers in which callers say what trace a request belongs to.
    pub(super) propagators: Propagators,
}

/// Those who look.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) taps: Arc<Taps>,
    traces: Option<Traces>,
    metrics: Option<(MetricsExporter, Duration)>,
    cloudwatch: Option<(cloudwatch::Settings, Duration)>,
    /// What is told every so often.
    repeated: Vec<Repeated>,
}

impl Seeing {
    /// Reads OpenTelemetry's variables. `place` is what ECS says of this task.
    pub(super) fn prepare(config: &Run, task: Option<&Task>, place: &Place) -> Self {
        let settings = Settings::from_env(&|name| std::env::var(name).ok());
        for problem in &settings.problems {
            tracing::warn!("{problem}");
        }
        let propagators = settings.propagators;
        let cloudwatch = config.cloudwatch_metrics.map(|seconds| {
            let service = place.service.as_deref().or_else(|| place.family());
            let settings = cloudwatch::Settings {
                namespace: config.cloudwatch_namespace.clone(),
                place: service.zip(place.cluster()).map(|(s, c)| (s.to_owned(), c.to_owned())),
                registered: config.register.iter().map(|one| (one.port, one.service.clone())).collect(),
            };
            (settings, Duration::from_secs(seconds))
        });
        if settings.traces.is_none() && settings.metrics.is_none() {
            return Seeing { traces: None, propagators, metrics: None, cloudwatch };
        }
        let registered = config.register.first().map(|one| one.service.clone());
        let name = registered.or_else(|| place.family().map(str::to_owned));
        let mut detected: Vec<(String, String)> =
            place.resource.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        detected.extend(name.map(|name| ("service.name".to_owned(), name)));
        let namespace = task.map(|task| task.namespace.clone());
        detected.extend(namespace.map(|namespace| ("service.namespace".to_owned(), namespace)));
        let resource = Resource::new(&settings, detected, VERSION);
        let started = settings
            .traces
            .as_ref()
            .map(|traces| TraceExporter::start(traces, &resource, ("bowline-proxy", VERSION)));
        let traces = match started {
            None => None,
            Some(Ok(traces)) => Some((traces, Tracing::new(settings.propagators, settings.sampler))),
            Some(Err(error)) => {
                // As with a variable that can't be used: traces are worth less than what they are about.
                tracing::error!(%error, "nothing is traced");
                None
            }
        };
        let pushed = settings.metrics.as_ref().map(|metrics| {
            let exporter = MetricsExporter::new(metrics, &resource, ("bowline-proxy", VERSION));
            exporter.map(|exporter| (exporter, metrics.interval))
        });
        let metrics = pushed.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "no metrics are pushed");
            None
        });
        Seeing { traces, propagators, metrics, cloudwatch }
    }

    /// How requests are traced; `None`: not at all.
    pub(super) fn tracing(&self) -> Option<Arc<Tracing>> {
        self.traces.as_ref().map(|(_, tracing)| Arc::new(tracing.clone()))
    }

    /// Begins to look.
    pub(super) fn start(
        self,
        config: &Run,
        counters: &Arc<ProxyCounters>,
        seed: u64,
    ) -> io::Result<(Seen, Arc<Observers>)> {
        let (observers, received) = Observers::new();
        let taps = Taps::new(observers.clone());
        let log = match config.access_log {
            Some(format) => {
                let settings = access_log::Settings {
                    format,
                    with_query: config.access_log_query,
                    percent: config.access_log_percent,
                };
                observers.want(Wants::LOG);
                Some(AccessLog::start(settings, seed, counters.access_log_dropped.clone())?)
            }
            None => None,
        };
        let traces = self.traces.map(|(traces, _)| traces);
        if traces.is_some() {
            observers.want(Wants::TRACES);
        }
        let observe = Observe { traces: traces.clone(), log, taps: taps.clone(), clock: Clock::new() };
        tokio::spawn(observe.run(received));
        let (metrics, cloudwatch) = (self.metrics, self.cloudwatch);
        Ok((Seen { taps, traces, metrics, cloudwatch, repeated: Vec::new() }, observers))
    }
}

impl Seen {
    /// What has become of spans, where they are exported.
    pub(super) fn spans(&self) -> Option<Arc<ExportCounts>> {
        self.traces.as_ref().map(|traces| traces.counts().clone())
    }

    /// What has become of metrics, where they are pushed.
    pub(super) fn points(&self) -> Option<Arc<ExportCounts>> {
        self.metrics.as_ref().map(|(exporter, _)| exporter.counts().clone())
    }

    /// Begins to tell metrics to those who don't ask.
    pub(super) fn tell(&mut self, admin: &Arc<Admin>) {
        let look = || -> Look {
            let admin = admin.clone();
            Arc::new(move |see: &mut dyn FnMut(&Sources<'_>)| admin.look(see))
        };
        if let Some((exporter, every)) = self.metrics.take() {
            self.repeated.push(push::start(exporter, every, look()));
        }
        if let Some((settings, every)) = self.cloudwatch.take() {
            self.repeated.push(CloudWatch::start(settings, every, look()));
        }
    }

    /// Hands over what is left.
    pub(super) async fn end(&mut self, workers: &Workers) {
        for worker in workers.iter() {
            worker.inspect(|worker| worker.outbox.flush()).await;
        }
        // What was flushed has to be looked at first.
        tokio::task::yield_now().await;
        if let Some(traces) = &self.traces {
            traces.flush(LAST_SPANS_WITHIN).await;
        }
        // After the spans, whose counts are in them.
        for repeated in self.repeated.drain(..) {
            repeated.end(LAST_METRICS_WITHIN).await;
        }
    }
}
