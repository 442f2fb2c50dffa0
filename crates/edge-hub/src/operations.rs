//! Metrics for whoever scrapes them: over plain HTTP at the original's port (er §5.10, §5.11).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use host::http::{Full, Incoming, Limits, full, service_fn};
use host::metrics::Metrics;
use host::net::TcpListener;
use host::signals::Shutdown;
use manifest::hub_config::PRIORITY_LAST;

use crate::core::Core;
use crate::forward;
use crate::settings::Settings;

/// A registry with the original's labels.
pub(crate) fn metrics(settings: &Settings) -> Metrics {
    let labels = [
        ("iothub", settings.module.hub_host_name.clone()),
        ("edge_device", settings.module.identity.device.to_string()),
        // The original's tells one process from the next.
        ("instance_number", host::entropy::uuid_v4().to_string()),
    ];
    Metrics::with_labels("edgehub", &labels)
}

/// What there is to be seen.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) core: Arc<Core>,
    pub(crate) metrics: Metrics,
    pub(crate) path: String,
}

/// Serves until the shutdown.
pub(crate) async fn serve(socket: TcpListener, seen: Seen, shutdown: Shutdown) {
    let (clock, stop) = (seen.core.clock.clone(), shutdown.clone());
    gateway::listener::serve_plain(socket, clock, shutdown, move |stream, _| {
        let (seen, stop) = (seen.clone(), stop.clone());
        async move {
            let service = service_fn(|request: http::Request<Incoming>| {
                let seen = seen.clone();
                async move { Ok::<_, Infallible>(answer(request.uri().path(), &seen).await) }
            });
            // A broken connection is the asker's affair.
            let _ = host::http::serve_connection(stream, service, Limits::default(), &stop).await;
        }
    })
    .await;
}

async fn answer(path: &str, seen: &Seen) -> http::Response<Full<Bytes>> {
    let is_there = path.trim_end_matches('/') == seen.path;
    let body = match is_there {
        true => {
            look(&seen.core).await;
            seen.metrics.render()
        }
        false => format!("not found; try {}\n", seen.path),
    };
    let mut response = http::Response::new(full(body));
    match is_there {
        true => {
            let value = http::HeaderValue::from_static(host::metrics::CONTENT_TYPE);
            response.headers_mut().insert(http::header::CONTENT_TYPE, value);
        }
        false => *response.status_mut() = http::StatusCode::NOT_FOUND,
    }
    response
}

/// Brings what is not counted as it happens up to date.
async fn look(core: &Core) {
    let counters = &core.counters;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    counters.clients.set(number(core.sessions.count() as u64));
    counters.store_bytes.set(number(core.journal.info().bytes));
    counters.store_bytes_max.set(number(core.forward.store_bytes_max(core)));
    let never = -1;
    let seconds = |time: std::time::Duration| number(time.as_secs());
    let time_to_live = core.routes.active().table.time_to_live_upstream();
    counters.time_to_live.set(time_to_live.map_or(never, seconds));
    counters.dead_letters.set(number(core.forward.dead_letters.count(core).await));
    for (queue, messages) in forward::lengths(core) {
        let priority = match queue.priority {
            PRIORITY_LAST => "last".to_owned(),
            priority => priority.to_string(),
        };
        let labels = vec![("endpoint", queue.endpoint.to_string()), ("priority", priority)];
        counters.queues.get_or_create(&labels).set(number(messages));
    }
}
