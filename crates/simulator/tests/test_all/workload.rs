//! A workload API that signs with a fixed key and gives a trust bundle.

use std::convert::Infallible;
use std::path::Path;

use host::http::{Limits, StatusCode, full, serve_connection, service_fn};
use host::net;
use host::signals::Shutdown;

/// Serves at `path` until the test ends.
pub(crate) fn start(path: &Path, root_pem: &str) {
    let listener = net::listen_unix(path, 0o600).unwrap();
    let bundle = serde_json::json!({ "certificate": root_pem }).to_string();
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await;
            let bundle = bundle.clone();
            let service = service_fn(move |request: hyper::Request<host::http::Incoming>| {
                let bundle = bundle.clone();
                async move {
                    let (status, body) = match request.uri().path() {
                        "/trust-bundle" => (StatusCode::OK, bundle),
                        // 32 bytes: whoever checks it is not in this test.
                        "/modules/sensor/genid/638/sign" => {
                            (StatusCode::OK, format!("{{\"digest\":\"{DIGEST}\"}}"))
                        }
                        _ => (StatusCode::NOT_FOUND, "{\"message\":\"not found\"}".to_owned()),
                    };
                    let response = hyper::Response::builder().status(status).body(full(body));
                    Ok::<_, Infallible>(response.unwrap())
                }
            });
            tokio::spawn(async move {
                // The client closes whenever it likes.
                let _ =
                    serve_connection(stream, service, Limits::default(), &Shutdown::new()).await;
            });
        }
    });
}

const DIGEST: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
