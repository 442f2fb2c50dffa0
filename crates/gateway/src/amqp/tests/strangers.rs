//! What a connection may cost that has proven nothing (`security.md` §1, rule 1, and B3).

use std::time::Duration;

use amqp::connection::{Closed, Credentials, SendError};
use amqp::sasl::Outcome;
use bytes::Bytes;

use super::{Bench, put_token};
use crate::amqp::cbs::{REQUEST_BYTES_MAX, STRANGER_LINKS_MAX};

const EVENTS: &str = "/devices/dev1/messages/events";

#[tokio::test]
async fn a_stranger_has_a_few_links_only() {
    let bench = Bench::new();
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    client.open_cbs().await;
    for _ in 2..STRANGER_LINKS_MAX {
        client.sender("$cbs").await.unwrap();
    }
    assert_eq!(client.sender("$cbs").await.unwrap_err(), "amqp:resource-limit-exceeded");
    assert_eq!(client.put("dev1", bench.token("dev1", 60)).await.0, 200);
    client.sender("$cbs").await.unwrap();
    client.sender(EVENTS).await.unwrap();
}

/// dp §4.1: the outcome, then the end of the connection, at once.
#[tokio::test]
async fn who_is_refused_by_sasl_is_hung_up_on() {
    let bench = Bench::new();
    for credentials in [Credentials::External, Credentials::Plain(Bytes::from_static(b"\0a\0b"))] {
        let mut client = bench.dial(credentials, Bench::peer());
        assert_eq!(client.closed().await, Closed::SaslRefused(Outcome::Auth));
        assert!(client.is_hung_up().await);
    }
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    assert!(!client.is_hung_up().await);
}

#[tokio::test]
async fn a_request_is_no_larger_than_a_token_needs() {
    let bench = Bench::new();
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    let link = client.sender("$cbs").await.unwrap();
    let request = put_token("dev1", "x".repeat(REQUEST_BYTES_MAX as usize));
    let request = request.message(amqp::MessageId::Ulong(1)).to_bytes();
    let outgoing = amqp::connection::Outgoing {
        tag: Bytes::from_static(b"1"),
        message: request,
        format: 0,
        settled: false,
    };
    let refused = client.machine.send(link, outgoing);
    assert!(matches!(refused, Err(SendError::MessageTooLarge { .. })), "{refused:?}");
}

/// Asking for what it may not have is no way to stay.
#[tokio::test]
async fn a_stranger_that_is_refused_all_the_time_is_closed_too() {
    let bench = Bench::new();
    let mut client = bench.dial(Credentials::Anonymous, Bench::peer());
    client.open().await;
    client.open_cbs().await;
    for _ in 0..59 {
        assert_eq!(client.sender(EVENTS).await.unwrap_err(), "amqp:unauthorized-access");
        bench.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(client.put("dev1", bench.token("dev1", -301)).await.0, 401);
    bench.pass(Duration::from_secs(2)).await;
    match client.closed().await {
        Closed::Peer(Some(error)) => assert_eq!(error.condition, "amqp:unauthorized-access"),
        other => panic!("{other:?}"),
    }
}
