//! Numbers for the operator: a registry and its text form for `/metrics`.
//!
//! The kinds of metrics are `prometheus-client`'s; this only keeps the registry
//! and gives it one prefix.

use std::sync::Arc;

use parking_lot::Mutex;
pub use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// The `Content-Type` of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry; clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// An empty registry whose metrics are all named `farshore_...`.
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("farshore"))) }
    }

    /// An empty registry whose metrics are all named `<prefix>_...` and carry these labels.
    pub fn with_labels(prefix: &str, labels: &[(&'static str, String)]) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), value.clone().into()));
        let registry = Registry::with_prefix_and_labels(prefix, labels);
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Registers a metric and returns it. A counter's `name` comes without
    /// `_total`, which the text form adds.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry.lock().register(name, help, metric.clone());
        metric
    }

    /// All metrics in OpenMetrics text form.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_shows_in_the_text() {
        let metrics = Metrics::new();
        let counter: Counter =
            metrics.register("messages", "Messages taken in", Counter::default());
        counter.inc_by(3);
        assert!(metrics.render().contains("farshore_messages_total 3\n"), "{}", metrics.render());
    }
}
