//! A fake workload API: signs with `$edgeHub`'s key, issues certificates, encrypts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::clock::Clock;
use host::http::{Incoming, Limits, full, read_body, serve_connection, service_fn};
use host::signals::Shutdown;
use http::{Request, Response};
use iot_proto::management::{PrivateKey, WorkloadRoute};
use parking_lot::Mutex;
use pki::{Authority, Validity};
use serde_json::{Value, json};

use super::hub::key;

pub(crate) struct FakeWorkload {
    path: PathBuf,
    issuer: Arc<Issuer>,
    /// How many certificates it has issued.
    pub(crate) issued: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeWorkload {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeWorkload {
    pub(crate) fn start(
        path: &Path,
        ca: Arc<Authority>,
        clock: &Clock,
        validity: Validity,
        told: Option<Duration>,
    ) -> Self {
        let issued = Arc::new(AtomicU32::new(0));
        let root_pem = ca.root_pem();
        let told = Mutex::new(told);
        let issuer =
            Issuer { ca: Mutex::new(ca), root_pem, validity, told, issued: issued.clone() };
        let issuer = Arc::new(issuer);
        let serving = Arc::clone(&issuer);
        let listener = host::net::listen_unix(path, 0o600).unwrap();
        let clock = clock.clone();
        let task = tokio::spawn(async move {
            loop {
                let stream = listener.accept().await;
                let (issuer, clock) = (Arc::clone(&serving), clock.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (issuer, clock) = (Arc::clone(&issuer), clock.clone());
                        async move {
                            Ok::<_, std::convert::Infallible>(
                                answer(request, &issuer, &clock).await,
                            )
                        }
                    });
                    let _ = serve_connection(stream, service, Limits::default(), &Shutdown::new())
                        .await;
                });
            }
        });
        Self { path: path.to_owned(), issuer, issued, task }
    }

    /// From now on this authority issues, and says that what it issues ends after `told`.
    pub(crate) fn issue_by(&self, ca: Authority, told: Duration) {
        *self.issuer.ca.lock() = Arc::new(ca);
        *self.issuer.told.lock() = Some(told);
    }

    /// What it issues is over since then; the certificates themselves hold, as TLS here has only
    /// the machine's clock.
    pub(crate) fn issue_ended(&self) {
        *self.issuer.told.lock() = Some(Duration::ZERO);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

struct Issuer {
    ca: Mutex<Arc<Authority>>,
    root_pem: String,
    validity: Validity,
    told: Mutex<Option<Duration>>,
    issued: Arc<AtomicU32>,
}

async fn answer(
    request: Request<Incoming>,
    issuer: &Issuer,
    clock: &Clock,
) -> Response<http_body_full::Body> {
    let route = WorkloadRoute::parse(request.method(), request.uri().path()).unwrap();
    let body = read_body(request.into_body(), 1 << 20, Duration::from_secs(5)).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let bytes = |name: &str| STANDARD.decode(body[name].as_str().unwrap()).unwrap();
    let reply = match route {
        WorkloadRoute::Sign { module, .. } => {
            assert_eq!(module, "$edgeHub");
            let secret = STANDARD.decode(key("edge1/$edgeHub")).unwrap();
            let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
            json!({ "digest": STANDARD.encode(hmac::sign(&secret, &bytes("data"))) })
        }
        // Not a cipher: it only has to give back what it got, for the same vector.
        WorkloadRoute::Encrypt { .. } => {
            json!({ "ciphertext": STANDARD.encode(mask(&bytes("plaintext"), &bytes("initializationVector"))) })
        }
        WorkloadRoute::Decrypt { .. } => {
            json!({ "plaintext": STANDARD.encode(mask(&bytes("ciphertext"), &bytes("initializationVector"))) })
        }
        WorkloadRoute::ServerCertificate { .. } => {
            let name = body["commonName"].as_str().unwrap().parse().unwrap();
            let ca = Arc::clone(&issuer.ca.lock());
            let issued = ca.issue_server(&[name], issuer.validity).unwrap();
            issuer.issued.fetch_add(1, Ordering::Relaxed);
            let expiration = match *issuer.told.lock() {
                Some(told) => clock.wall() + told,
                None => issued.not_after,
            };
            json!({
                "privateKey": PrivateKey::from_pem(issued.key_pem.as_str()),
                "certificate": issued.chain_pem,
                "expiration": expiration.to_string()
            })
        }
        WorkloadRoute::TrustBundle => json!({ "certificate": issuer.root_pem }),
        other => panic!("the edge hub has no business with {other:?}"),
    };
    Response::new(full(reply.to_string()))
}

fn mask(bytes: &[u8], vector: &[u8]) -> Vec<u8> {
    bytes.iter().zip(vector.iter().cycle()).map(|(byte, mask)| byte ^ mask ^ 0x5a).collect()
}

/// The type of a whole body, which host does not name.
mod http_body_full {
    pub(crate) type Body = host::http::Full<bytes::Bytes>;
}
