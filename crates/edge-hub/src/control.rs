//! What `iotedge dead-letter` asks: HTTP over a unix socket in the store's directory, which only the
//! edge hub's user and root may open.
//!
//! | Request | Answer |
//! |---|---|
//! | `GET /dead-letters?from=<number>` | the next letters, oldest first |
//! | `GET /dead-letters/<number>` | one of them |
//! | `POST /dead-letters/<number>/retry` | 204: it is in its queue again |
//! | `DELETE /dead-letters/<number>` | 204: it is gone |

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::http::{Full, Incoming, Limits, full, service_fn};
use host::net::UnixListener;
use host::signals::Shutdown;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::core::Core;
use crate::forward::dead::{Letter, LetterError};

/// The socket's name in the store's directory.
pub const SOCKET: &str = "control.sock";
/// The path of dead letters.
pub const LETTERS_PATH: &str = "/dead-letters";
/// Its mode.
pub(crate) const MODE: u32 = 0o600;

/// A dead letter as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterJson {
    /// Its number.
    pub number: u64,
    /// When it came here.
    pub time: String,
    /// Who sent it.
    pub sender: String,
    /// The queue that it was in: priority and endpoint.
    pub queue: String,
    /// Why it cannot be delivered.
    pub reason: String,
    /// Bytes of the body.
    pub bytes: usize,
    /// System and application properties; only when one letter is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<(String, String)>,
    /// The body in base64; only when one letter is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

impl LetterJson {
    fn short(letter: &Letter) -> Self {
        Self {
            number: letter.number,
            time: letter.buried.to_string(),
            sender: letter.record.sender.to_string(),
            queue: letter.queue.clone(),
            reason: letter.reason.clone(),
            bytes: letter.record.message.body.len(),
            properties: Vec::new(),
            body: None,
        }
    }

    fn whole(letter: &Letter) -> Self {
        let message = &letter.record.message;
        let system = message.system.iter();
        let system = system.map(|(property, value)| (format!("${property:?}"), value.clone()));
        Self {
            properties: system.chain(message.properties.iter().cloned()).collect(),
            body: Some(STANDARD.encode(&message.body)),
            ..Self::short(letter)
        }
    }
}

/// Serves until the shutdown.
pub(crate) async fn serve(socket: UnixListener, core: Arc<Core>, shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = tokio::select! {
            stream = socket.accept() => stream,
            () = shutdown.wait() => return,
        };
        // More than that at a time is nobody's need: they are hung up on.
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        let (core, stop) = (Arc::clone(&core), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let service = service_fn(|request: http::Request<Incoming>| {
                let core = Arc::clone(&core);
                async move {
                    let (method, uri) = (request.method(), request.uri());
                    let answer = answer(method, uri.path(), uri.query(), &core).await;
                    Ok::<_, Infallible>(answer)
                }
            });
            let _ = host::http::serve_connection(stream, service, Limits::default(), &stop).await;
        });
    }
}

async fn answer(
    method: &Method,
    path: &str,
    query: Option<&str>,
    core: &Arc<Core>,
) -> http::Response<Full<Bytes>> {
    let rest = path.strip_prefix(LETTERS_PATH).unwrap_or(path);
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let letters = &core.forward.dead_letters;
    let done = match (method, &parts[..]) {
        (&Method::GET, []) => {
            let from = query.and_then(|query| query.strip_prefix("from="));
            let from = from.and_then(|from| from.parse().ok()).unwrap_or(0);
            letters.list(core, from).await.map(|letters| {
                Some(json!(letters.iter().map(LetterJson::short).collect::<Vec<_>>()))
            })
        }
        (_, [number, rest @ ..]) => {
            let Ok(number) = number.parse() else { return not_found() };
            match (method, rest) {
                (&Method::GET, []) => {
                    let letter = letters.show(core, number).await;
                    letter.map(|letter| Some(json!(LetterJson::whole(&letter))))
                }
                (&Method::POST, ["retry"]) => letters.retry(core, number).await.map(|()| None),
                (&Method::DELETE, []) => letters.drop_one(core, number).await.map(|()| None),
                _ => return not_found(),
            }
        }
        _ => return not_found(),
    };
    match done {
        Ok(Some(document)) => response(StatusCode::OK, document.to_string()),
        Ok(None) => response(StatusCode::NO_CONTENT, String::new()),
        Err(error) => {
            let status = match error {
                LetterError::Unknown(_) => StatusCode::NOT_FOUND,
                LetterError::NoQueue(_) => StatusCode::CONFLICT,
                LetterError::Store(_) | LetterError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            response(status, json!({ "message": host::logs::chain(&error) }).to_string())
        }
    }
}

fn not_found() -> http::Response<Full<Bytes>> {
    response(StatusCode::NOT_FOUND, json!({ "message": "not found" }).to_string())
}

fn response(status: StatusCode, body: String) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(full(body));
    *response.status_mut() = status;
    response
}

const CONNECTIONS_MAX: usize = 8;
