//! Metrics to the collector.

use std::fmt;
use std::sync::Arc;

use super::around::Around;
use super::connection::Collector;
use super::counts::ExportCounts;
use super::courier::{Courier, Post};
use super::tls::StartError;
use crate::env::MetricSettings;
use crate::metric::MetricBuffer;
use crate::resource::Resource;

/// Pushes metrics, one request at a time.
pub struct MetricsExporter {
    post: Arc<Post>,
    courier: Courier,
    around: Around,
}

impl fmt::Debug for MetricsExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsExporter").field("counts", self.counts()).finish_non_exhaustive()
    }
}

impl MetricsExporter {
    /// Ready to push. No connection is opened before there is something to push. `scope` is who has made the metrics:
    /// name and version.
    ///
    /// # Errors
    /// [`StartError`] when a certificate or key can't be used.
    pub fn new(
        settings: &MetricSettings,
        resource: &Resource,
        scope: (&str, &str),
    ) -> Result<Self, StartError> {
        let collector = Collector::new(settings.target.clone())?;
        let counts = Arc::new(ExportCounts::default());
        let post = Arc::new(Post::new(collector, counts, settings.timeout, "metrics"));
        let around = Around::new(resource, scope);
        Ok(MetricsExporter { courier: Courier::new(post.clone()), post, around })
    }

    /// Sends all that is in it, in portions that collectors take, each again if need be. Returns when everything is taken
    /// or given up: [`MetricsExporter::counts`] tells which.
    pub async fn export(&mut self, metrics: MetricBuffer) {
        let portions = metrics.finish();
        self.post.counts.set_queued(portions.iter().map(|portion| portion.points).sum());
        for portion in portions {
            let payload = self.around.payload(&self.post.collector.target, portion.bytes);
            self.courier.deliver(&payload, portion.points as u64).await;
        }
        self.post.counts.set_queued(0);
    }

    /// What the export has come to.
    pub fn counts(&self) -> &Arc<ExportCounts> {
        &self.post.counts
    }
}
