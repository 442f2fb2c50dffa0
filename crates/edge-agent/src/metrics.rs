//! The agent's metrics under the original's names (er §4.9), for whoever scrapes them over HTTP.
//!
//! The original serves them at port 9600 of its container, and the manifest publishes that port or
//! doesn't. So it is here: they are served where `edgeAgent`'s `createOptions` publish `9600/tcp`,
//! and nowhere else. Times are histograms, where the original has quantiles; what needs the
//! engine's statistics of each module is not here.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use client::edge::ManagementClient;
use host::http::{Full, Incoming, Limits, full, service_fn};
use host::metrics::{
    CONTENT_TYPE, Counter, Family, Gauge, Histogram, Metrics, exponential_buckets,
};
use host::net::{self, TcpListener};
use host::signals::Shutdown;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::settings::Surroundings;
use crate::target::Deployment;
use crate::variables::Variables;

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// What is counted.
#[derive(Clone)]
pub(crate) struct Counters {
    metrics: Metrics,
    running: Family<Labels, Seconds>,
    expected: Family<Labels, Seconds>,
    started: Family<Labels, Counter>,
    stopped: Family<Labels, Counter>,
    prepared: Family<Labels, Counter>,
    latency: Family<Labels, Histogram, fn() -> Histogram>,
    syncs: Counter,
    failed_syncs: Counter,
    deployments: Histogram,
    methods: Family<Labels, Counter>,
    host_uptime: Seconds,
    daemon_uptime: Seconds,
    disk_free: Family<Labels, Seconds>,
    disk_total: Family<Labels, Seconds>,
    memory_used: Family<Labels, Seconds>,
    memory_total: Family<Labels, Seconds>,
    processor: Family<Labels, Seconds>,
}

impl Counters {
    pub(crate) fn new(surroundings: &Surroundings, version: &str) -> Self {
        let labels = [
            ("iothub", surroundings.hub_host_name.clone()),
            ("edge_device", surroundings.device.to_string()),
            // The original's tells one process from the next.
            ("instance_number", host::entropy::uuid_v4().to_string()),
        ];
        let metrics = Metrics::with_labels("edgeAgent", &labels);
        let m = &metrics;
        let latency: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(times as fn() -> Histogram);
        let metadata: Family<Labels, Gauge> = Family::default();
        let counters = Self {
            running: m.register(
                "total_time_running_correctly_seconds",
                "Time that modules ran as they should",
                Family::default(),
            ),
            expected: m.register(
                "total_time_expected_running_seconds",
                "Time that modules should have run",
                Family::default(),
            ),
            started: m.register("module_start", "Starts of modules", Family::default()),
            stopped: m.register("module_stop", "Stops of modules", Family::default()),
            prepared: m.register("module_prepare_update", "Images pulled", Family::default()),
            latency: m.register("command_latency_seconds", "Times of commands", latency),
            syncs: m.register("iothub_syncs", "Looks at the twin", Counter::default()),
            failed_syncs: m.register(
                "unsuccessful_iothub_syncs",
                "Looks at the twin that failed",
                Counter::default(),
            ),
            deployments: m.register(
                "deployment_time_seconds",
                "Times from a deployment's arrival until it is applied",
                times(),
            ),
            methods: m.register(
                "edgeagent_direct_method_invocations_count",
                "Direct methods called",
                Family::default(),
            ),
            host_uptime: m.register("host_uptime_seconds", "Uptime", Gauge::default()),
            daemon_uptime: m.register("iotedged_uptime_seconds", "Uptime", Gauge::default()),
            disk_free: m.register("available_disk_space_bytes", "Free", Family::default()),
            disk_total: m.register("total_disk_space_bytes", "Size", Family::default()),
            memory_used: m.register("used_memory_bytes", "Memory in use", Family::default()),
            memory_total: m.register("total_memory_bytes", "Memory", Family::default()),
            processor: m.register("used_cpu_percent", "Processor in use", Family::default()),
            metrics: metrics.clone(),
        };
        let metadata = metrics.register("metadata", "Facts of the agent", metadata);
        let facts = vec![
            ("edge_agent_version", version.to_owned()),
            ("experimental_features", "{}".to_owned()),
            ("host_information", std::env::consts::ARCH.to_owned()),
        ];
        metadata.get_or_create(&facts).set(1);
        counters
    }

    /// A step of a module's job was done, or failed, after so long.
    pub(crate) fn step(&self, command: &str, took: Duration) {
        let labels = vec![("command", command.replace(' ', "_"))];
        self.latency.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A module was started; counted when it is done, not when it is planned.
    pub(crate) fn started(&self, module: &str, version: &str) {
        self.started.get_or_create(&of(module, version)).inc();
    }

    /// A module was stopped.
    pub(crate) fn stopped(&self, module: &str, version: &str) {
        self.stopped.get_or_create(&of(module, version)).inc();
    }

    /// A module's image was pulled.
    pub(crate) fn prepared(&self, module: &str, version: &str) {
        self.prepared.get_or_create(&of(module, version)).inc();
    }

    /// A module that has to run did so, or not, for this time.
    pub(crate) fn watched(&self, module: &str, is_running: bool, time: Duration) {
        let labels = vec![("module_name", module.to_owned())];
        self.expected.get_or_create(&labels).inc_by(time.as_secs_f64());
        let running = if is_running { time.as_secs_f64() } else { 0.0 };
        self.running.get_or_create(&labels).inc_by(running);
    }

    /// The twin was read, or not.
    pub(crate) fn synced(&self, is_ok: bool) {
        self.syncs.inc();
        if !is_ok {
            self.failed_syncs.inc();
        }
    }

    /// A deployment was applied, so long after it came.
    pub(crate) fn deployed(&self, took: Duration) {
        self.deployments.observe(took.as_secs_f64());
    }

    /// A method was called; names that there are not are one.
    pub(crate) fn called(&self, method: &str) {
        let known = METHODS.iter().find(|known| known.eq_ignore_ascii_case(method));
        let labels = vec![("method_name", (*known.unwrap_or(&"unknown")).to_owned())];
        self.methods.get_or_create(&labels).inc();
    }

    /// The text for a scraper, with the machine as it is now.
    #[expect(clippy::cast_precision_loss, reason = "bytes and seconds far below 2^52")]
    async fn render(&self, management: &ManagementClient) -> String {
        // Without the daemon, the machine's numbers stay as they were.
        if let Ok(seen) = management.system_resources().await {
            self.host_uptime.set(seen.host_uptime as f64);
            self.daemon_uptime.set(seen.process_uptime as f64);
            let host = vec![("module_name", "_host_".to_owned())];
            self.memory_used.get_or_create(&host).set(seen.used_ram as f64);
            self.memory_total.get_or_create(&host).set(seen.total_ram as f64);
            self.processor.get_or_create(&host).set(seen.used_cpu);
            for disk in seen.disks {
                let labels = vec![
                    ("disk_name", disk.name),
                    ("disk_filesystem", disk.file_system),
                    ("disk_filetype", disk.file_type),
                ];
                self.disk_free.get_or_create(&labels).set(disk.available_space as f64);
                self.disk_total.get_or_create(&labels).set(disk.total_space as f64);
            }
        }
        self.metrics.render()
    }
}

/// Where metrics are to be served: as the manifest publishes the agent's port.
pub(crate) fn address(deployment: &Deployment) -> Option<SocketAddr> {
    let Variables { metrics_enabled, .. } = &deployment.variables;
    let agent = deployment.config.edge_agent.as_ref().filter(|_| *metrics_enabled)?;
    let find = |value: &Value, name: &str| -> Option<Value> {
        let object = value.as_object()?;
        let found = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(found.1.clone())
    };
    let bindings = find(&find(&agent.create_options, "HostConfig")?, "PortBindings")?;
    let binding = find(&bindings, PORT)?.get(0)?.clone();
    let port = find(&binding, "HostPort")?;
    let port = port.as_str().map(str::to_owned).unwrap_or_else(|| port.to_string());
    let ip = find(&binding, "HostIp").and_then(|ip| ip.as_str()?.parse::<IpAddr>().ok());
    Some(SocketAddr::new(ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port.parse().ok()?))
}

/// Serves wherever the address says, until the end.
pub(crate) async fn serve(
    counters: Counters,
    management: ManagementClient,
    mut address: watch::Receiver<Option<SocketAddr>>,
    shutdown: Shutdown,
) {
    loop {
        let now = *address.borrow_and_update();
        let listener = now.and_then(|address| match net::listen(address) {
            Ok(listener) => Some(listener),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%address, error, "cannot serve the agent's metrics");
                None
            }
        });
        let here = shutdown.child();
        let serving = async {
            match listener {
                Some(listener) => accept(&listener, &counters, &management, &here).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = serving => {}
            () = shutdown.wait() => return,
            changed = address.changed() => if changed.is_err() { return },
        }
        here.trigger();
    }
}

async fn accept(
    listener: &TcpListener,
    counters: &Counters,
    management: &ManagementClient,
    stop: &Shutdown,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await;
        let (stream, _) = listener.accept().await;
        let (counters, management, stop) = (counters.clone(), management.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request: hyper::Request<Incoming>| {
                let (counters, management) = (counters.clone(), management.clone());
                async move {
                    Ok::<_, Infallible>(answer(request.uri().path(), &counters, &management).await)
                }
            });
            // A broken connection is the asker's affair.
            let _ = host::http::serve_connection(stream, service, Limits::default(), &stop).await;
        });
    }
}

async fn answer(
    path: &str,
    counters: &Counters,
    management: &ManagementClient,
) -> hyper::Response<Full<Bytes>> {
    let is_there = path.trim_end_matches('/') == "/metrics";
    let (status, kind, body) = match is_there {
        true => (hyper::StatusCode::OK, CONTENT_TYPE, counters.render(management).await),
        false => (hyper::StatusCode::NOT_FOUND, "text/plain", "not found; try /metrics\n".into()),
    };
    let mut response = hyper::Response::new(full(body));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}

fn of(module: &str, version: &str) -> Labels {
    vec![("module_name", module.to_owned()), ("module_version", version.to_owned())]
}

/// From 10 ms to three hours.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 11))
}

const PORT: &str = "9600/tcp";
/// Scrapers come one at a time, with a minute in between.
const CONNECTIONS_MAX: usize = 8;
const METHODS: [&str; 6] = [
    "ping",
    "RestartModule",
    "GetModuleLogs",
    "UploadModuleLogs",
    "UploadSupportBundle",
    "GetTaskStatus",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::{Desired, Verdict};

    fn address_of(options: &str, env: Value) -> Option<String> {
        let properties = json!({
            "schemaVersion": "1.1", "runtime": {"type": "docker"},
            "systemModules": {"edgeAgent": {
                "type": "docker", "env": env, "settings": {"image": "a:1", "createOptions": options},
            }},
        });
        let desired = Desired { version: 1, properties: properties.as_object().unwrap().clone() };
        let Verdict::Deployment(deployment) = desired.judge(&crate::test_surroundings()) else {
            panic!("refused");
        };
        address(&deployment).map(|address| address.to_string())
    }

    #[test]
    fn they_are_served_where_the_manifest_publishes_the_port() {
        let of = |options: &str| address_of(options, json!({}));
        assert_eq!(of(""), None);
        assert_eq!(of(r#"{"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"80"}]}}}"#), None);
        let published = r#"{"HostConfig":{"PortBindings":{"9600/tcp":[{"HostPort":"9601"}]}}}"#;
        assert_eq!(of(published).as_deref(), Some("0.0.0.0:9601"));
        let local = r#"{"HostConfig":{"PortBindings":{"9600/tcp":[{"HostIp":"127.0.0.1","HostPort":"9600"}]}}}"#;
        assert_eq!(of(local).as_deref(), Some("127.0.0.1:9600"));
        assert_eq!(address_of(published, json!({"MetricsEnabled": {"value": "False"}})), None);
    }

    #[test]
    fn names_are_the_originals() {
        let counters = Counters::new(&crate::test_surroundings(), "1.2");
        counters.step("pull image", Duration::from_secs(1));
        counters.started("sensor", "1.0");
        counters.stopped("sensor", "1.0");
        counters.prepared("sensor", "1.0");
        counters.watched("sensor", true, Duration::from_secs(5));
        counters.watched("sensor", false, Duration::from_secs(5));
        counters.synced(true);
        counters.synced(false);
        counters.deployed(Duration::from_secs(3));
        counters.called("PING");
        counters.called("x");
        let text = counters.metrics.render();
        let value = |name: &str, labels: &str| {
            let line = text.lines().find(|line| {
                line.starts_with(&format!("edgeAgent_{name}{{")) && line.contains(labels)
            });
            line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
                .rsplit(' ')
                .next()
                .unwrap()
                .to_owned()
        };
        for (name, labels, expected) in [
            ("total_time_running_correctly_seconds", "module_name=\"sensor\"", "5.0"),
            ("total_time_expected_running_seconds", "module_name=\"sensor\"", "10.0"),
            ("module_start_total", "module_version=\"1.0\"", "1"),
            ("module_stop_total", "module_name=\"sensor\"", "1"),
            ("module_prepare_update_total", "edge_device=\"edge1\"", "1"),
            ("command_latency_seconds_count", "command=\"pull_image\"", "1"),
            ("iothub_syncs_total", "iothub=\"hub.test\"", "2"),
            ("unsuccessful_iothub_syncs_total", "instance_number=\"", "1"),
            ("deployment_time_seconds_sum", "", "3.0"),
            ("edgeagent_direct_method_invocations_count_total", "method_name=\"ping\"", "1"),
            ("edgeagent_direct_method_invocations_count_total", "method_name=\"unknown\"", "1"),
            ("metadata", "edge_agent_version=\"1.2\"", "1"),
        ] {
            assert_eq!(value(name, labels), expected, "{name}");
        }
    }
}
