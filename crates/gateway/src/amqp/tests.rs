//! The AMQP head over a pipe: the client's end of the machine on one side, a backend that notes what
//! it hears on the other.

mod auth;
mod backend;
mod client;
mod deliveries;
mod methods_and_twins;
mod strangers;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use host::clock::Clock;
use host::signals::Shutdown;
use iot_proto::amqp::cbs;
use iot_proto::sas::TokenRequest;
use jiff::{SignedDuration, Timestamp};
use model::IdentityId;

use self::backend::Fake;
use self::client::Client;
use super::nodes::DevicesOnly;
use super::{Head, Settings};
use crate::listener::Head as _;
use crate::peer::Peer;

pub(super) const HOST: &str = "hub.test";

/// A server with its backend.
pub(super) struct Bench {
    pub(super) clock: Clock,
    pub(super) backend: Arc<Fake>,
    pub(super) shutdown: Shutdown,
    head: Arc<Head<Fake>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).unwrap());
        let backend = Arc::new(Fake::default());
        let nodes = Arc::new(DevicesOnly);
        let head = Head::new(Arc::clone(&backend), nodes, clock.clone(), settings);
        Self { clock, backend, shutdown: Shutdown::new(), head: Arc::new(head) }
    }

    pub(super) fn peer() -> Peer {
        Peer::new("127.0.0.1:1".parse().unwrap())
    }

    /// A client that has opened its connection with these credentials.
    pub(super) fn dial(&self, credentials: amqp::connection::Credentials, peer: Peer) -> Client {
        let (io, server) = tokio::io::duplex(1 << 20);
        let (head, stop) = (Arc::clone(&self.head), self.shutdown.clone());
        tokio::spawn(async move { head.serve(server, peer, &stop).await });
        Client::new(io, self.clock.clone(), credentials)
    }

    /// A client that has put a token for each of these identities.
    pub(super) async fn connected(&self, identities: &[&str]) -> Client {
        let mut client = self.dial(amqp::connection::Credentials::Anonymous, Self::peer());
        client.open().await;
        client.open_cbs().await;
        for id in identities {
            assert_eq!(client.put(id, self.token(id, 3600)).await.0, 200);
        }
        client
    }

    /// A token of an identity's own key.
    pub(super) fn token(&self, id: &str, seconds: i64) -> String {
        let id: IdentityId = id.parse().unwrap();
        let request = TokenRequest::for_identity(HOST, &id, self.in_seconds(seconds));
        backend::finish(&request, None)
    }

    /// A token of a policy, over the whole host.
    pub(super) fn policy_token(&self, policy: &str, seconds: i64) -> String {
        let request = TokenRequest::for_host(HOST, self.in_seconds(seconds));
        backend::finish(&request, Some(policy))
    }

    fn in_seconds(&self, seconds: i64) -> Timestamp {
        self.clock.wall() + SignedDuration::from_secs(seconds)
    }

    /// Waits until the backend has heard this.
    pub(super) async fn hears(&self, text: &str) {
        for _ in 0..20_000 {
            if self.backend.heard().iter().any(|heard| heard.contains(text)) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never heard {text:?}, but {:#?}", self.backend.heard());
    }

    /// Lets everything run that can run.
    pub(super) async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn pass(&self, time: Duration) {
        self.settle().await;
        self.clock.advance(time);
        self.settle().await;
    }
}

/// A request on `$cbs`.
pub(super) fn put_token(name: &str, token: String) -> cbs::Request {
    cbs::Request::PutToken { name: format!("{HOST}/devices/{name}"), token }
}
