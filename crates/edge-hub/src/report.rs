//! The reported properties of `$edgeHub` (er §5.1): which configuration is in force, who is
//! connected, and what waits because the hub refuses its sender.
//!
//! Changes are gathered for a moment and sent as one patch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::device::TwinError;
use iot_proto::time;
use jiff::Timestamp;
use model::IdentityId;
use model::twin::Object;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::core::Core;
use crate::twins::documents;

/// What is to be reported.
pub(crate) struct Report {
    facts: Mutex<Facts>,
    changed: Notify,
}

#[derive(Default)]
struct Facts {
    status: Option<Status>,
    clients: BTreeMap<String, Client>,
    parked: BTreeMap<String, Parked>,
    store: Value,
}

struct Status {
    version: u64,
    code: u16,
    description: String,
}

#[derive(Default)]
struct Client {
    connected: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

struct Parked {
    messages: u64,
    reason: String,
}

impl Report {
    /// Nothing but where the store is and how large it may be.
    pub(crate) fn new(folder: &str, bytes_max: u64) -> Self {
        let store = json!({ "folder": folder, "maxSizeBytes": bytes_max });
        let facts = Facts { store, ..Facts::default() };
        Self { facts: Mutex::new(facts), changed: Notify::new() }
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock());
        self.changed.notify_one();
    }

    /// A configuration was applied, or could not be.
    pub(crate) fn status(&self, version: u64, code: u16, description: impl Into<String>) {
        let description = description.into();
        self.change(|facts| facts.status = Some(Status { version, code, description }));
    }

    pub(crate) fn connected(&self, id: &IdentityId, now: Timestamp) {
        self.change(|facts| {
            let client = facts.clients.entry(key(id)).or_default();
            (client.connected, client.since) = (true, Some(now));
            // The longest gone ones make room; the section must fit into a twin.
            while facts.clients.len() > CLIENTS_MAX {
                let gone = facts.clients.iter().filter(|(_, client)| !client.connected);
                let Some(longest) = gone.min_by_key(|(_, client)| client.until) else { break };
                let longest = longest.0.clone();
                facts.clients.remove(&longest);
            }
        });
    }

    /// A leaf device vanishes, a module stays as disconnected (T-CLIENTS).
    pub(crate) fn disconnected(&self, id: &IdentityId, now: Timestamp) {
        self.change(|facts| match (&id.module, facts.clients.get_mut(&key(id))) {
            (None, _) => drop(facts.clients.remove(&key(id))),
            (Some(_), Some(client)) => (client.connected, client.until) = (false, Some(now)),
            (Some(_), None) => {}
        });
    }

    /// So many messages of a sender wait in a queue of their own.
    pub(crate) fn parked(&self, id: &IdentityId, messages: u64, reason: Option<&str>) {
        self.change(|facts| {
            let (id, full) = (key(id), facts.parked.len() >= CLIENTS_MAX);
            match (messages, facts.parked.get_mut(&id)) {
                (0, _) => drop(facts.parked.remove(&id)),
                (messages, Some(parked)) => {
                    parked.messages = messages;
                    if let Some(reason) = reason {
                        reason.clone_into(&mut parked.reason);
                    }
                }
                (messages, None) if !full => {
                    let reason = reason.unwrap_or("not sent yet since the start").to_owned();
                    facts.parked.insert(id, Parked { messages, reason });
                }
                (_, None) => {}
            }
        });
    }

    fn document(&self) -> Object {
        let facts = self.facts.lock();
        let mut document = Object::new();
        document.insert("schemaVersion".into(), "1.0".into());
        let version = json!({ "version": env!("CARGO_PKG_VERSION"), "build": "", "commit": "" });
        document.insert("version".into(), version);
        if let Some(status) = &facts.status {
            document.insert("lastDesiredVersion".into(), status.version.into());
            let description: String = status.description.chars().take(DESCRIPTION_MAX).collect();
            let status = json!({ "code": status.code, "description": description });
            document.insert("lastDesiredStatus".into(), status);
        }
        let clients: Object =
            facts.clients.iter().map(|(id, client)| (id.clone(), client.json())).collect();
        document.insert("clients".into(), Value::Object(clients));
        let parked: Object =
            facts.parked.iter().map(|(id, parked)| (id.clone(), parked.json())).collect();
        let mut store = facts.store.clone();
        if let Value::Object(store) = &mut store {
            store.insert("parked".into(), Value::Object(parked));
        }
        document.insert("storeAndForward".into(), store);
        document
    }

    /// Keeps the hub informed; runs for ever.
    pub(crate) async fn keep(&self, core: &Arc<Core>) {
        // What an earlier run said of clients and parked messages does not hold any more.
        let forget = json!({ "clients": null, "storeAndForward": null });
        let mut told: Option<Object> = None;
        loop {
            let connected = async {
                let mut state = core.upstream.own().state();
                let wanted = |state: &_| *state == client::device::ConnectionState::Connected;
                state.wait_for(wanted).await.is_ok()
            };
            if !connected.await {
                return;
            }
            let document = self.document();
            let patch = match &told {
                None => forget.as_object().cloned().unwrap_or_default(),
                Some(told) => documents::difference(told, &document),
            };
            if !patch.is_empty() {
                match core.upstream.own().report(&patch).await {
                    Ok(_) => told = Some(told.map_or_else(Object::new, |_| document)),
                    Err(TwinError::Refused { status, message, .. }) => {
                        tracing::error!(
                            status,
                            message,
                            "the hub refuses the reported properties of $edgeHub"
                        );
                        told = Some(document);
                    }
                    Err(error) => tracing::debug!(%error, "cannot report now"),
                }
                core.clock.sleep(GATHER).await;
                continue;
            }
            self.changed.notified().await;
            core.clock.sleep(SETTLE).await;
        }
    }
}

impl Client {
    fn json(&self) -> Value {
        let status = if self.connected { "Connected" } else { "Disconnected" };
        let mut client = json!({ "status": status });
        for (name, at) in
            [("lastConnectedTimeUtc", self.since), ("lastDisconnectedTimeUtc", self.until)]
        {
            if let Some(at) = at {
                client[name] = time::round_trip(at).into();
            }
        }
        client
    }
}

impl Parked {
    fn json(&self) -> Value {
        let reason: String = self.reason.chars().take(DESCRIPTION_MAX).collect();
        json!({ "messages": self.messages, "reason": reason })
    }
}

/// The id as a key in a twin: `.`, `$` and space percent-encoded, as the original does.
fn key(id: &IdentityId) -> String {
    let mut key = String::new();
    for c in id.to_string().chars() {
        match c {
            '.' => key.push_str("%2E"),
            '$' => key.push_str("%24"),
            ' ' => key.push_str("%20"),
            c => key.push(c),
        }
    }
    key
}

/// Patches come at most so often.
const GATHER: Duration = Duration::from_secs(2);
/// A change is seldom alone.
const SETTLE: Duration = Duration::from_millis(200);
/// Entries of one section; 32 KiB hold some 200 of usual length.
const CLIENTS_MAX: usize = 120;
/// A text in a twin is at most 4 KiB.
const DESCRIPTION_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_originals_form() {
        let report = Report::new("/tmp/edgeHub", 1024);
        let now: Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
        let id = |text: &str| text.parse::<IdentityId>().unwrap();
        report.status(3, 400, "routes.a: wrong");
        report.connected(&id("edge1/temp.sensor"), now);
        report.connected(&id("leaf"), now);
        report.connected(&id("edge1/gone"), now);
        report.disconnected(&id("edge1/gone"), now);
        report.connected(&id("leaf2"), now);
        report.disconnected(&id("leaf2"), now);
        report.parked(&id("edge1/$edgeAgent"), 7, Some("refused"));
        report.parked(&id("leaf"), 7, None);
        report.parked(&id("leaf"), 0, None);
        let at = "2026-11-25T00:00:00.0000000Z";
        let expected = json!({
            "schemaVersion": "1.0",
            "version": { "version": env!("CARGO_PKG_VERSION"), "build": "", "commit": "" },
            "lastDesiredVersion": 3,
            "lastDesiredStatus": { "code": 400, "description": "routes.a: wrong" },
            "clients": {
                "edge1/gone": {
                    "status": "Disconnected",
                    "lastConnectedTimeUtc": at,
                    "lastDisconnectedTimeUtc": at
                },
                "edge1/temp%2Esensor": { "status": "Connected", "lastConnectedTimeUtc": at },
                "leaf": { "status": "Connected", "lastConnectedTimeUtc": at }
            },
            "storeAndForward": {
                "folder": "/tmp/edgeHub",
                "maxSizeBytes": 1024,
                "parked": { "edge1/%24edgeAgent": { "messages": 7, "reason": "refused" } }
            }
        });
        assert_eq!(Value::Object(report.document()), expected);
    }
}
