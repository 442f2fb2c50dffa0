//! Numbers for the operator, under the original's names (er §5.11) and with its labels; what the
//! original does not have is named in the same way.
//!
//! Durations and sizes are histograms here, summaries there. Names that clients choose are labels,
//! so each metric has a bound on its series: beyond it they are counted together as `other`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use host::metrics::{Counter, Family, Gauge, Histogram, Metrics, exponential_buckets};
use model::message::{Message, SystemProperty};
use model::{DeviceId, IdentityId, ModuleId};

/// Names and values, in the original's order.
type Labels = Vec<(&'static str, String)>;

/// Counts since the start.
#[derive(Clone)]
pub(crate) struct Counters {
    pub(crate) received: Counted,
    pub(crate) sent: Counted,
    /// Messages that no route wanted, whose time was over, or that made room for others.
    dropped: Counted,
    /// Messages that were not taken because the store is full or refuses.
    unacknowledged: Counted,
    /// Messages that wait in a queue of their own because the hub refuses their sender.
    pub(crate) parked: Counter,
    /// Messages that can never be delivered; they lie in the dead letters.
    pub(crate) dead: Counter,
    /// Stored messages that damage to the disk made unreadable.
    pub(crate) lost: Counter,
    /// Patches of reported properties that the hub refused after they were taken offline.
    pub(crate) reports_refused: Counter,
    twins_read: Counted,
    twins_reported: Counted,
    methods: Counted,
    twin_read_seconds: Measured,
    twin_report_seconds: Measured,
    method_seconds: Measured,
    connected: Counted,
    refused: Counted,
    disconnected: Counted,
    retried: Counted,
    offline: Counted,
    offline_seconds: Measured,
    sizes: Measured,
    send_seconds: Measured,
    process_seconds: Measured,
    /// Filled when somebody looks.
    pub(crate) clients: Gauge,
    pub(crate) queues: Family<Labels, Gauge>,
    pub(crate) dead_letters: Gauge,
    pub(crate) store_bytes: Gauge,
    pub(crate) store_bytes_max: Gauge,
    /// Of the route upstream that gives up first; -1: none ever does.
    pub(crate) time_to_live: Gauge,
}

/// A counter for each set of labels.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    family: Family<Labels, Counter>,
    series: Arc<AtomicUsize>,
}

impl Counted {
    /// Counts `by` more.
    pub(crate) fn add(&self, labels: Labels, by: u64) {
        if let Some(counter) = self.family.get(&labels) {
            counter.inc_by(by);
            return;
        }
        self.family.get_or_create(&bounded(labels, &self.series)).inc_by(by);
    }

    /// The counter of these labels.
    fn series(&self, labels: Labels) -> Counter {
        if let Some(counter) = self.family.get(&labels) {
            return counter.clone();
        }
        self.family.get_or_create(&bounded(labels, &self.series)).clone()
    }
}

/// A histogram for each set of labels.
#[derive(Clone)]
struct Measured {
    family: Family<Labels, Histogram, fn() -> Histogram>,
    series: Arc<AtomicUsize>,
}

impl Measured {
    fn new(buckets: fn() -> Histogram) -> Self {
        Self { family: Family::new_with_constructor(buckets), series: Arc::default() }
    }

    fn add(&self, labels: Labels, value: f64) {
        if let Some(histogram) = self.family.get(&labels) {
            histogram.observe(value);
            return;
        }
        self.family.get_or_create(&bounded(labels, &self.series)).observe(value);
    }

    /// The histogram of these labels.
    fn series(&self, labels: Labels) -> Histogram {
        if let Some(histogram) = self.family.get(&labels) {
            return histogram.clone();
        }
        self.family.get_or_create(&bounded(labels, &self.series)).clone()
    }
}

fn bounded(mut labels: Labels, series: &AtomicUsize) -> Labels {
    if series.fetch_add(1, Ordering::Relaxed) >= SERIES_MAX {
        labels.iter_mut().for_each(|(_, value)| "other".clone_into(value));
    }
    labels
}

/// Why a message is gone without having been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    NoRoute,
    Expired,
    /// It made room for others, as the operator wants it.
    StoreFull,
}

impl Counters {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        let counted = |name: &str, help: &str| {
            let counted = Counted::default();
            metrics.register(name, help, counted.family.clone());
            counted
        };
        let measured = |name: &str, help: &str, buckets| {
            let measured = Measured::new(buckets);
            metrics.register(name, help, measured.family.clone());
            measured
        };
        let gauge = |name: &str, help: &str| metrics.register(name, help, Gauge::default());
        Self {
            received: counted("messages_received", "Messages taken from local clients"),
            sent: counted("messages_sent", "Messages delivered upstream or to inputs"),
            dropped: counted("messages_dropped", "Messages given up, by reason"),
            unacknowledged: counted("messages_unack", "Messages refused by the store"),
            parked: counter("messages_parked", "Messages moved out of the way of other senders"),
            dead: counter("messages_dead", "Messages moved to the dead letters"),
            lost: counter("messages_lost", "Messages lost to damage on the disk"),
            reports_refused: counter("reports_refused", "Offline patches refused upstream"),
            twins_read: counted("gettwin", "Twins read by clients"),
            twins_reported: counted("reported_properties", "Patches of reported properties"),
            methods: counted("direct_methods", "Direct methods called"),
            connected: counted("client_connect_success", "Connections let in"),
            refused: counted("client_connect_failed", "Connections not let in"),
            disconnected: counted("client_disconnect", "Connections ended"),
            retried: counted("operation_retry", "Operations tried again"),
            offline: counted("offline_count", "Times that the hub went away"),
            offline_seconds: measured("offline_duration_seconds", "How long it was away", long),
            twin_read_seconds: measured(
                "gettwin_duration_seconds",
                "Times of reading twins",
                short,
            ),
            twin_report_seconds: measured(
                "reported_properties_update_duration_seconds",
                "Times of taking patches of reported properties",
                short,
            ),
            method_seconds: measured(
                "direct_method_duration_seconds",
                "Times from the call of a direct method to its answer",
                short,
            ),
            sizes: measured("message_size_bytes", "Sizes of messages taken", sizes),
            send_seconds: measured("message_send_duration_seconds", "Times of sending", short),
            process_seconds: measured(
                "message_process_duration_seconds",
                "Times from taking a message to its delivery",
                long,
            ),
            clients: gauge("connected_clients", "Clients that are connected"),
            queues: metrics.register("queue_length", "Messages that wait", Family::default()),
            dead_letters: gauge("dead_letters", "Messages in the dead letters"),
            store_bytes: gauge("store_bytes", "What the store takes on the disk"),
            store_bytes_max: gauge("store_bytes_max", "What the store may take on the disk"),
            time_to_live: gauge(
                "time_to_live_seconds",
                "Shortest time that messages for the hub wait; -1 for ever",
            ),
        }
    }

    /// Where messages that were taken from a sender at an output are counted.
    pub(crate) fn reception(&self, sender: &IdentityId, output: &str) -> Reception {
        let labels = vec![("route_output", output.to_owned()), ("id", sender.to_string())];
        Reception {
            received: self.received.series(labels),
            sizes: self.sizes.series(vec![("id", sender.to_string())]),
        }
    }

    /// A message was not taken: its sender keeps it.
    pub(crate) fn not_taken(&self, sender: &IdentityId, message: &Message) {
        let labels = vec![
            ("reason", "storage_failure".to_owned()),
            ("from", sender.to_string()),
            ("from_route_output", output(message)),
        ];
        self.unacknowledged.add(labels, 1);
    }

    /// A message was given up.
    pub(crate) fn dropped(&self, why: Dropped, sender: &IdentityId, message: &Message) {
        self.count_dropped(why, sender.to_string(), output(message), 1);
    }

    /// So many of a queue made room; whose they were is not read for it.
    pub(crate) fn made_room(&self, count: u64) {
        self.count_dropped(Dropped::StoreFull, String::new(), String::new(), count);
    }

    fn count_dropped(&self, why: Dropped, from: String, from_output: String, by: u64) {
        let reason = match why {
            Dropped::NoRoute => "no_route",
            Dropped::Expired => "ttl_expiry",
            Dropped::StoreFull => "store_full",
        };
        let labels =
            vec![("reason", reason.to_owned()), ("from", from), ("from_route_output", from_output)];
        self.dropped.add(labels, by);
    }

    /// Where deliveries on one way are counted.
    pub(crate) fn delivery(&self, way: &Way<'_>) -> Delivery {
        let Way { sender, output, to, input, priority } = *way;
        let labels = |names: [&'static str; 4]| {
            let values = [sender.to_string(), to.to_owned(), output.to_owned(), input.to_owned()];
            names.into_iter().zip(values).collect::<Labels>()
        };
        let names = ["from", "to", "from_route_output", "to_route_input"];
        let mut sent = labels(names);
        sent.push(("priority", priority.to_string()));
        let processed = vec![
            ("from", sender.to_string()),
            ("to", to.to_owned()),
            ("priority", priority.to_string()),
        ];
        Delivery {
            sent: self.sent.series(sent),
            send_seconds: self.send_seconds.series(labels(names)),
            process_seconds: self.process_seconds.series(processed),
        }
    }

    /// A twin was read, which took so long.
    pub(crate) fn twin_read(&self, id: &IdentityId, from_hub: bool, took: Duration) {
        let source = if from_hub { "upstream" } else { "edge_hub" };
        let labels = vec![("source", source.to_owned()), ("id", id.to_string())];
        self.twins_read.add(labels.clone(), 1);
        self.twin_read_seconds.add(labels, took.as_secs_f64());
    }

    /// A patch of reported properties was taken, which took so long.
    pub(crate) fn twin_reported(&self, id: &IdentityId, to_hub: bool, took: Duration) {
        let target = if to_hub { "upstream" } else { "edge_hub" };
        let labels = vec![("target", target.to_owned()), ("id", id.to_string())];
        self.twins_reported.add(labels.clone(), 1);
        self.twin_report_seconds.add(labels, took.as_secs_f64());
    }

    /// `from` is `upstream`, or `module` for one of this device.
    pub(crate) fn method(&self, from: &'static str, to: &IdentityId) {
        self.methods.add(vec![("from", from.to_owned()), ("to", to.to_string())], 1);
    }

    /// A client answered a method after so long.
    pub(crate) fn method_answered(&self, from: &'static str, to: &IdentityId, after: Duration) {
        let labels = vec![("from", from.to_owned()), ("to", to.to_string())];
        self.method_seconds.add(labels, after.as_secs_f64());
    }

    pub(crate) fn client_connected(&self, id: &IdentityId) {
        self.connected.add(vec![("id", id.to_string())], 1);
    }

    pub(crate) fn client_refused(&self, id: &IdentityId, reason: &'static str) {
        let labels = vec![("id", id.to_string()), ("reason", reason.to_owned())];
        self.refused.add(labels, 1);
    }

    pub(crate) fn client_disconnected(&self, id: &IdentityId) {
        self.disconnected.add(vec![("id", id.to_string())], 1);
    }

    pub(crate) fn retried(&self, id: &IdentityId, operation: &'static str) {
        let labels = vec![("id", id.to_string()), ("operation", operation.to_owned())];
        self.retried.add(labels, 1);
    }

    /// The hub went away.
    pub(crate) fn went_offline(&self, edge: &DeviceId) {
        let id = IdentityId::module(edge.clone(), ModuleId::edge_hub());
        self.offline.add(vec![("id", id.to_string())], 1);
    }

    /// It is back after so long.
    pub(crate) fn came_online(&self, edge: &DeviceId, after: Duration) {
        let id = IdentityId::module(edge.clone(), ModuleId::edge_hub());
        self.offline_seconds.add(vec![("id", id.to_string())], after.as_secs_f64());
    }
}

/// The counters of what is taken, so that their names are looked up once and not with every message.
pub(crate) struct Reception {
    received: Counter,
    sizes: Histogram,
}

impl Reception {
    /// A message was taken.
    pub(crate) fn count(&self, message: &Message) {
        self.received.inc();
        self.sizes.observe(message.size_bytes() as f64);
    }
}

/// From whom to whom messages are delivered.
pub(crate) struct Way<'m> {
    pub(crate) sender: &'m IdentityId,
    pub(crate) output: &'m str,
    /// `upstream`, or the module.
    pub(crate) to: &'m str,
    pub(crate) input: &'m str,
    pub(crate) priority: u32,
}

/// The counters of a way, so that its names are looked up once and not with every message.
pub(crate) struct Delivery {
    sent: Counter,
    send_seconds: Histogram,
    process_seconds: Histogram,
}

impl Delivery {
    /// A message was delivered; how long its sending took, and since it was taken.
    pub(crate) fn count(&self, sending: Duration, since_taken: Duration) {
        self.sent.inc();
        self.send_seconds.observe(sending.as_secs_f64());
        self.process_seconds.observe(since_taken.as_secs_f64());
    }
}

fn output(message: &Message) -> String {
    message.system(SystemProperty::OutputName).unwrap_or_default().to_owned()
}

fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(64.0, 4.0, 7))
}

fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 10.0, 9))
}

/// Series of one metric: 100 clients with ten outputs each.
const SERIES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_the_originals_and_series_are_bounded() {
        let labels = [("iothub", "hub.test".to_owned()), ("edge_device", "edge1".to_owned())];
        let metrics = Metrics::with_labels("edgehub", &labels);
        let counters = Counters::new(&metrics);
        let sender: IdentityId = "edge1/a".parse().unwrap();
        let message =
            |output: &str| Message::from_body("x").with_system(SystemProperty::OutputName, output);
        counters.dropped(Dropped::Expired, &sender, &message("out"));
        let way = Way { sender: &sender, output: "out", to: "upstream", input: "", priority: 3 };
        counters.delivery(&way).count(Duration::from_millis(2), Duration::from_secs(2));
        counters.twin_read(&sender, true, Duration::from_millis(2));
        counters.twin_reported(&sender, false, Duration::from_millis(2));
        counters.method_answered("module", &sender, Duration::from_millis(2));
        for number in 0..SERIES_MAX + 10 {
            let output = number.to_string();
            counters.reception(&sender, &output).count(&message(&output));
        }
        let text = metrics.render();
        let common = "iothub=\"hub.test\",edge_device=\"edge1\"";
        for line in [
            format!(
                "edgehub_messages_dropped_total{{{common},reason=\"ttl_expiry\",from=\"edge1/a\",from_route_output=\"out\"}} 1\n"
            ),
            format!(
                "edgehub_messages_sent_total{{{common},from=\"edge1/a\",to=\"upstream\",from_route_output=\"out\",to_route_input=\"\",priority=\"3\"}} 1\n"
            ),
            format!(
                "edgehub_messages_received_total{{{common},route_output=\"other\",id=\"other\"}} 10\n"
            ),
            format!(
                "edgehub_gettwin_duration_seconds_count{{{common},source=\"upstream\",id=\"edge1/a\"}} 1\n"
            ),
            format!(
                "edgehub_reported_properties_update_duration_seconds_count{{{common},target=\"edge_hub\",id=\"edge1/a\"}} 1\n"
            ),
            format!(
                "edgehub_direct_method_duration_seconds_count{{{common},from=\"module\",to=\"edge1/a\"}} 1\n"
            ),
            format!(
                "edgehub_message_send_duration_seconds_count{{{common},from=\"edge1/a\",to=\"upstream\",from_route_output=\"out\",to_route_input=\"\"}} 1\n"
            ),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
