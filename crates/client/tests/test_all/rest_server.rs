//! A REST server that answers as the test says and keeps what it was asked; over TLS or a unix
//! socket.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use client::Dial;
use host::http::{BodyExt as _, Full, HeaderMap, Limits, serve_connection, service_fn};
use host::net;
use host::signals::Shutdown;
use host::tls::ClientTls;
use parking_lot::Mutex;

use crate::fake_hub::certificate;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer to give.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    error_code: Option<&'static str>,
    body: Bytes,
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Answer { status, error_code: None, body: body.into() }
}

/// An error as the hub writes it.
pub(crate) fn refusal(status: u16, name: &'static str, text: &str) -> Answer {
    let body = serde_json::json!({
        "Message": format!("ErrorCode:{name};{text}"),
        "ExceptionMessage": "Tracking ID:abc-1-TimeStamp:07/16/2016 00:12:41",
    });
    Answer { status, error_code: Some(name), body: body.to_string().into() }
}

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The server. Ends with the test.
pub(crate) struct RestServer {
    script: Script,
    dial: Dial,
    root_pem: String,
}

impl RestServer {
    /// Over TLS as `localhost`.
    pub(crate) fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let (root_pem, tls) = certificate();
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Script::new(answers);
        let serving = script.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await;
                let stream = tls.accept(stream).await.unwrap();
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        let dial = Dial::new("localhost", port).at(Some("127.0.0.1".to_owned()));
        Self { script, dial, root_pem }
    }

    /// At a unix socket.
    pub(crate) fn start_unix(path: &Path, answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = net::listen_unix(path, 0o600).unwrap();
        let script = Script::new(answers);
        let serving = script.clone();
        tokio::spawn(async move {
            loop {
                let stream = listener.accept().await;
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        Self { script, dial: Dial::new("unix", 1), root_pem: String::new() }
    }

    pub(crate) fn dial(&self) -> Dial {
        self.dial.clone()
    }

    pub(crate) fn tls(&self) -> ClientTls {
        ClientTls::new(&[&self.root_pem]).unwrap()
    }

    /// Everything asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.script.asked.lock())
    }

    /// The one thing asked since the last call.
    pub(crate) fn asked_once(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        Self { answers, asked: Arc::default() }
    }

    async fn serve<S>(self, stream: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request: hyper::Request<host::http::Incoming>| {
            let script = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let line = format!("{} {}", head.method, head.uri);
                let asked = Asked { line, headers: head.headers, body };
                script.asked.lock().push(asked);
                let answer = script.answers.lock().pop_front();
                Ok::<_, Infallible>(answer.unwrap_or_else(answer_missing).response())
            }
        });
        // The client closes whenever it likes.
        let _ = serve_connection(stream, service, Limits::default(), &Shutdown::new()).await;
    }
}

fn answer_missing() -> Answer {
    answer(500, r#"{"message":"the test has no answer for this"}"#)
}

impl Answer {
    fn response(self) -> hyper::Response<Full<Bytes>> {
        let mut response = hyper::Response::builder().status(self.status);
        if let Some(code) = self.error_code {
            response = response.header("iothub-errorcode", code);
        }
        response.body(Full::new(self.body)).unwrap()
    }
}
