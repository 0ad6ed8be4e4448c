//! Metrics over OTLP, every so often.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bowline_otlp::MetricsExporter;

use super::every::Repeated;
use super::scrape::{Sources, otlp};

/// Shows what there is to whoever asks.
pub type Look = Arc<dyn Fn(&mut dyn FnMut(&Sources<'_>)) + Send + Sync>;

/// Begins; the first push is after one interval, the last one at the end.
pub fn start(mut exporter: MetricsExporter, every: Duration, look: Look) -> Repeated {
    Repeated::start(every, |mut turns| async move {
        while turns.next().await {
            let mut metrics = None;
            look(&mut |sources| metrics = Some(otlp::metrics(sources, SystemTime::now())));
            if let Some(metrics) = metrics {
                exporter.export(metrics).await;
            }
        }
    })
}
