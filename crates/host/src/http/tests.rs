use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::net::{TcpListener, listen, listen_unix};
use crate::ws;

type Answer = Result<hyper::Response<Full<Bytes>>, Never>;

/// Answers with method, path and body, or 413.
async fn echo(request: hyper::Request<Incoming>) -> Answer {
    let line = format!("{} {} ", request.method(), request.uri());
    let answer = match read_body(request.into_body(), 16, Duration::from_secs(5)).await {
        Ok(body) => hyper::Response::new(full([line.as_bytes(), &body].concat())),
        Err(error) => {
            let mut refusal = hyper::Response::new(full(error.to_string()));
            *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            refusal
        }
    };
    Ok(answer)
}

/// A bare client's end of a connection that is served with `limits`.
fn serve_bare(limits: Limits) -> (DuplexStream, tokio::task::JoinHandle<Result<(), hyper::Error>>) {
    let (near, far) = duplex(256 * 1024);
    let serving = tokio::spawn(async move {
        serve_connection(far, service_fn(echo), limits, &Shutdown::new()).await
    });
    (near, serving)
}

async fn answer_to(limits: Limits, request: &str) -> String {
    let (mut client, _serving) = serve_bare(limits);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The server closes after what it refuses and after `Connection: close`.
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

fn local() -> (TcpListener, u16) {
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Serves `echo` on every connection and counts the connections.
fn serve_echo(listener: TcpListener) -> Arc<AtomicUsize> {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await;
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                serve_connection(stream, service_fn(echo), Limits::default(), &Shutdown::new())
                    .await
            });
        }
    });
    connections
}

#[tokio::test]
async fn a_request_is_answered() {
    let answer =
        answer_to(Limits::default(), "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("GET /a "), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_431() {
    let limits = Limits { header_bytes_max: 8 * 1024, headers_max: 10, ..Limits::default() };
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10 * 1024));
    assert!(answer_to(limits, &long).await.starts_with("HTTP/1.1 431 "));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(11));
    assert!(answer_to(limits, &many).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_silent_or_slow_head_ends_the_connection_at_its_deadline() {
    let deadline = Duration::from_millis(50);
    let limits = Limits { header_deadline: deadline, ..Limits::default() };
    let clock = crate::clock::Clock::system();
    let started = clock.now();
    let (mut client, serving) = serve_bare(limits);
    client.write_all(b"GET / HT").await.unwrap();
    assert!(serving.await.unwrap().unwrap_err().is_timeout());
    assert!(clock.now() - started >= deadline);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    // Announced but never sent: refused at once all the same.
    let announced = "POST / HTTP/1.1\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n";
    let answer = answer_to(Limits::default(), announced).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("longer than 16 bytes"),
        "{answer}"
    );
    // Not announced.
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                   11\r\n12345678901234567\r\n";
    assert!(answer_to(Limits::default(), chunked).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_dawdles_hits_its_deadline() {
    let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Never>>());
    let outcome = read_body(body, 10, Duration::from_millis(20)).await;
    assert!(matches!(outcome, Err(BodyError::Deadline { .. })));
}

#[tokio::test]
async fn a_shutdown_ends_an_idle_connection() {
    let (client, far) = duplex(1024);
    let shutdown = Shutdown::new();
    let token = shutdown.clone();
    let serving = tokio::spawn(async move {
        serve_connection(far, service_fn(echo), Limits::default(), &token).await
    });
    shutdown.trigger();
    serving.await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn the_client_keeps_its_connection_and_gets_over_its_end() {
    let (listener, port) = local();
    let connections = serve_echo(listener);
    let client = Client::plain("127.0.0.1", port);
    for _ in 0..3 {
        let request = Request::post("/x?y=1").json("{}").header("X-Other", "1");
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.body, "POST /x?y=1 {}");
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    // An answer to `Connection: close` leaves nothing to be kept.
    let closing = Request::get("/").header("Connection", "close");
    client.send(closing).await.unwrap();
    client.send(Request::get("/")).await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_client_works_over_tls_and_dials_where_it_is_told() {
    let validity = pki::Validity::starting(jiff::Timestamp::now(), Duration::from_secs(3600));
    let root = pki::Authority::create_root("test root", validity).unwrap();
    let issued = root.issue_server(&["hub.example".parse().unwrap()], validity).unwrap();
    let server = crate::tls::ServerTls::new(&issued.chain_pem, &issued.key_pem).unwrap();
    let (listener, port) = local();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await;
            let Ok(stream) = server.accept(stream).await else { continue };
            let service = service_fn(echo);
            tokio::spawn(async move {
                serve_connection(stream, service, Limits::default(), &Shutdown::new()).await
            });
        }
    });
    let trust = crate::tls::ClientTls::new(&[&root.root_pem()]).unwrap();
    let client = Client::https_at("hub.example", "127.0.0.1", port, trust.clone());
    assert_eq!(client.send(Request::get("/tls")).await.unwrap().body, "GET /tls ");
    let wrong = Client::https_at("other.example", "127.0.0.1", port, trust);
    assert!(matches!(wrong.send(Request::get("/")).await, Err(HttpError::Tls(_))));
}

#[tokio::test]
async fn the_client_works_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.sock");
    let listener = listen_unix(&path, 0o600).unwrap();
    tokio::spawn(async move {
        let stream = listener.accept().await;
        serve_connection(stream, service_fn(echo), Limits::default(), &Shutdown::new()).await
    });
    let response = Client::unix(&path).send(Request::get("/u")).await.unwrap();
    assert_eq!(response.body, "GET /u ");
}

#[tokio::test]
async fn the_client_bounds_body_and_time() {
    let (listener, port) = local();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
        first.write_all(head).await.unwrap();
        // Says nothing at all.
        let (_second, _) = listener.accept().await;
        std::future::pending::<()>().await;
    });
    let client = Client::plain("127.0.0.1", port);
    let outcome = client.send(Request::get("/").response_bytes_max(99)).await;
    assert!(matches!(
        outcome,
        Err(HttpError::Body { source: BodyError::TooLarge { bytes_max: 99 }, .. })
    ));
    let outcome = client.send(Request::get("/").deadline(Duration::from_millis(50))).await;
    assert!(matches!(outcome, Err(HttpError::Deadline { .. })));
}

#[tokio::test]
async fn a_request_cannot_be_split_by_a_header_or_path() {
    let client = Client::plain("127.0.0.1", 1);
    for request in [
        Request::get("/").header("X", "a\r\nY: b"),
        Request::get("/").header("X Y", "a"),
        Request::get("/ HTTP/1.1\r\nX: y"),
    ] {
        let outcome = client.send(request).await;
        assert!(matches!(outcome, Err(HttpError::Malformed { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_streaming_answer_arrives_piece_by_piece() {
    let (listener, port) = local();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let receiver = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await;
        let receiver = parking_lot::Mutex::new(Some(receiver));
        let service = service_fn(|_request| {
            let body = receiver.lock().take().expect("one request");
            async { Ok::<_, Never>(hyper::Response::new(StreamBody::new(body))) }
        });
        serve_connection(stream, service, Limits::default(), &Shutdown::new()).await
    });
    let client = Client::plain("127.0.0.1", port);
    let mut response = client.stream(Request::get("/follow")).await.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    // The next piece is sent only when the one before has arrived.
    for piece in ["one", "two"] {
        sender.send(Ok::<_, Never>(Frame::data(Bytes::from(piece)))).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), piece);
    }
    drop(sender);
    assert_eq!(response.chunk().await.unwrap(), None);
}

/// Upgrades and echoes the bytes.
async fn upgrade(mut request: hyper::Request<Incoming>) -> Answer {
    match ws::Upgrade::from_request(&mut request, &["mqtt"]) {
        Ok(upgrade) => {
            let response = upgrade.response();
            tokio::spawn(async move {
                let stream = upgrade.stream(1024).await.unwrap();
                let (mut reading, mut writing) = tokio::io::split(stream);
                tokio::io::copy(&mut reading, &mut writing).await
            });
            Ok(response)
        }
        Err(refusal) => {
            let mut response = hyper::Response::new(full(refusal.to_string()));
            *response.status_mut() = refusal.status();
            Ok(response)
        }
    }
}

#[tokio::test]
async fn a_websocket_runs_over_a_served_connection() {
    let connect = async |protocol: &str| {
        let (near, far) = duplex(1024);
        tokio::spawn(async move {
            serve_connection(far, service_fn(upgrade), Limits::default(), &Shutdown::new()).await
        });
        ws::connect(near, "hub.example", "/$iothub/websocket", protocol).await
    };
    let mut stream = connect("mqtt").await.unwrap();
    stream.write_all(b"through").await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = [0; 7];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"through");
    let refused = connect("soap").await.unwrap_err();
    assert!(crate::logs::chain(&refused).contains("400"), "{refused:?}");
}
