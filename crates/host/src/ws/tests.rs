use futures_util::SinkExt;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const LIMIT: usize = 1024;

/// Our server's end and a bare client's end.
async fn bare_pair() -> (WsStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (near, far) = duplex(64 * 1024);
    let server = WsStream::server(far, LIMIT).await;
    (server, WebSocketStream::from_raw_socket(near, Role::Client, None).await)
}

async fn close_code(client: &mut WebSocketStream<DuplexStream>) -> u16 {
    loop {
        match client.next().await.expect("a close frame").expect("an orderly end") {
            Message::Close(Some(frame)) => return frame.code.into(),
            _ => continue,
        }
    }
}

#[tokio::test]
async fn bytes_arrive_whatever_the_messages_borders() {
    let (mut server, mut client) = bare_pair().await;
    for byte in b"fragmented" {
        client.send(Message::binary(vec![*byte])).await.unwrap();
    }
    client.send(Message::binary(Vec::new())).await.unwrap();
    client.send(Message::binary(b" and whole".to_vec())).await.unwrap();
    client.close(None).await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "fragmented and whole");
}

#[tokio::test]
async fn continuation_frames_of_one_byte_make_one_stream() {
    let (near, far) = duplex(1024);
    let mut server = WsStream::server(far, LIMIT).await;
    let mut raw = near;
    let key = [1, 2, 3, 4];
    for (index, byte) in b"abc".iter().enumerate() {
        let opcode = if index == 0 { 0x02 } else { 0x00 };
        let fin = if index == 2 { 0x80 } else { 0x00 };
        let mut frame = vec![fin | opcode, 0x81];
        frame.extend_from_slice(&key);
        frame.push(byte ^ key[0]);
        // Each byte of the frame by itself.
        for byte in frame {
            raw.write_all(&[byte]).await.unwrap();
        }
    }
    let mut bytes = [0; 3];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"abc");
}

#[tokio::test]
async fn long_writes_are_cut_into_bounded_messages() {
    let (mut server, mut client) = bare_pair().await;
    let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        server.write_all(&sent).await.unwrap();
        server.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    while let Some(Ok(message)) = client.next().await {
        if let Message::Binary(bytes) = message {
            assert!(bytes.len() <= SENT_MESSAGE_BYTES_MAX);
            received.extend_from_slice(&bytes);
        }
    }
    assert!(received == expected);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_text_message_ends_it_with_1003() {
    let (mut server, mut client) = bare_pair().await;
    client.send(Message::text("hello")).await.unwrap();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(close_code(&mut client).await, 1003);
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_before_it_is_there() {
    let (mut server, mut client) = bare_pair().await;
    let sending = tokio::spawn(async move {
        // Fails or not, depending on who is first.
        let _ = client.send(Message::binary(vec![0; LIMIT + 1])).await;
        client
    });
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn an_unmasked_frame_is_refused() {
    let (mut near, far) = duplex(1024);
    let mut server = WsStream::server(far, LIMIT).await;
    near.write_all(&[0x82, 0x01, b'x']).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn pings_are_answered_while_reading() {
    let (mut server, mut client) = bare_pair().await;
    let reader = tokio::spawn(async move { server.read_u8().await });
    client.send(Message::Ping("are you there".into())).await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong("are you there".into()));
    client.send(Message::binary(vec![7])).await.unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn a_dropped_connection_is_an_unexpected_end() {
    let (mut server, client) = bare_pair().await;
    drop(client);
    assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

fn request() -> http::request::Builder {
    Request::get("/$iothub/websocket")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "WebSocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn check(request: http::request::Builder, expected: Result<&str, Refusal>) {
    let mut request = request.body(()).unwrap();
    let outcome = Upgrade::from_request(&mut request, &["mqtt"]);
    let chosen = outcome.as_ref().map(|upgrade| upgrade.protocol().to_str().unwrap());
    assert_eq!(chosen.map_err(|&refusal| refusal), expected);
}

#[test]
fn the_subprotocol_is_echoed_in_the_clients_spelling() {
    check(request().header("Sec-WebSocket-Protocol", "MQTT"), Ok("MQTT"));
    check(request().header("Sec-WebSocket-Protocol", "amqp, mqtt"), Ok("mqtt"));
    check(
        request().header("Sec-WebSocket-Protocol", "x").header("Sec-WebSocket-Protocol", "mqtt"),
        Ok("mqtt"),
    );
    check(request().header("Sec-WebSocket-Protocol", "mqttv3.1"), Err(Refusal::Subprotocol));
    check(request(), Err(Refusal::Subprotocol));
}

#[test]
fn what_is_no_upgrade_is_told_apart() {
    check(Request::get("/"), Err(Refusal::NotAnUpgrade));
    check(request().method("POST"), Err(Refusal::NotAnUpgrade));
    check(request().version(http::Version::HTTP_10), Err(Refusal::NotAnUpgrade));
    let mut old = request();
    old.headers_mut().unwrap().insert("Sec-WebSocket-Version", "8".parse().unwrap());
    check(old, Err(Refusal::Version));
    for key in ["", "short", "dGhlIHNhbXBsZSBub25j\u{7f}Q=="] {
        let mut bad = request();
        match key.parse() {
            Ok(key) => bad.headers_mut().unwrap().insert("Sec-WebSocket-Key", key),
            Err(_) => bad.headers_mut().unwrap().remove("Sec-WebSocket-Key"),
        };
        check(bad, Err(Refusal::Key));
    }
}

#[test]
fn the_answer_is_the_rfcs_and_has_no_extensions() {
    let mut request = request()
        .header("Sec-WebSocket-Protocol", "Mqtt")
        .header("Sec-WebSocket-Extensions", "permessage-deflate")
        .body(())
        .unwrap();
    let upgrade = Upgrade::from_request(&mut request, &["mqtt"]).unwrap();
    let response = upgrade.response::<()>();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    // RFC 6455 §1.3's own example.
    assert_eq!(response.headers()["Sec-WebSocket-Accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "Mqtt");
    assert!(!response.headers().contains_key("Sec-WebSocket-Extensions"));
}
