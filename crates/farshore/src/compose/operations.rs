//! `/healthz`, `/readyz` and `/metrics` on a port of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use host::clock::Clock;
use host::http::{Full, Incoming, Limits, full, service_fn};
use host::metrics::Metrics;
use host::net::TcpListener;
use host::signals::Shutdown;

/// Whether this program can do its work now.
#[derive(Clone, Default)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// Serves until the shutdown.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    ready: Ready,
    clock: Clock,
    shutdown: Shutdown,
) {
    let stop = shutdown.clone();
    gateway::listener::serve_plain(listener, clock, shutdown, move |stream, _| {
        let (metrics, ready, stop) = (metrics.clone(), ready.clone(), stop.clone());
        async move {
            let service = service_fn(|request: hyper::Request<Incoming>| {
                let response = answer(request.uri().path(), &metrics, &ready);
                async move { Ok::<_, Infallible>(response) }
            });
            // A broken connection is the asker's affair.
            let _ = host::http::serve_connection(stream, service, Limits::default(), &stop).await;
        }
    })
    .await;
}

fn answer(path: &str, metrics: &Metrics, ready: &Ready) -> hyper::Response<Full<Bytes>> {
    let (status, body) = match path {
        "/healthz" => (200, "ok\n".to_owned()),
        "/readyz" if ready.0.load(Ordering::Acquire) => (200, "ready\n".to_owned()),
        "/readyz" => (503, "not ready\n".to_owned()),
        "/metrics" => (200, metrics.render()),
        _ => (404, "not found; try /healthz, /readyz or /metrics\n".to_owned()),
    };
    let mut response = hyper::Response::new(full(body));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::OK);
    response
}
