//! What the hub sends for one identity, taken to its local client.
//!
//! Nothing here waits for the hub: while events wait to be read, acknowledgements do too.

use std::sync::Arc;

use client::Events;
use client::device::{ClientEvent, MethodCall};
use gateway::session::Downlink;
use model::IdentityId;
use model::method::MethodRequest;

use super::WeakCore;
use crate::core::Core;
use crate::device::calls::Reply;

/// Serves a line's events until it ends.
pub(super) async fn serve(core: WeakCore, id: IdentityId, mut events: Events) {
    while let Some(event) = events.next().await {
        let Some(core) = core.upgrade() else { return };
        handle(&core, &id, event).await;
    }
    if let Some(core) = core.upgrade() {
        core.upstream.tell();
    }
}

async fn handle(core: &Arc<Core>, id: &IdentityId, event: ClientEvent) {
    match event {
        ClientEvent::Connected { .. } => {
            core.upstream.tell();
            let (core, id) = (Arc::clone(core), id.clone());
            tokio::spawn(async move { core.twins.catch_up(&core, &id).await });
        }
        ClientEvent::Disconnected { reason, permanent } => {
            if permanent && core.upstream.connected_since().is_some() {
                tracing::error!(%id, %reason, "the hub refuses this client; its messages wait");
            }
            core.upstream.tell();
        }
        ClientEvent::Desired { patch, version } => {
            core.twins.desired_changed(core, id, patch, version).await;
        }
        ClientEvent::Method(call) => method(core, id, call),
        ClientEvent::CloudToDevice(delivery) => {
            // Without a client that listens it stays with the hub.
            if let Some(link) =
                core.sessions.link(id, |subscriptions| subscriptions.cloud_to_device)
            {
                let facts = delivery.facts;
                let (message, settle) = delivery.split();
                link.deliver_cloud_to_device(message, facts, settle);
            }
        }
        other => tracing::debug!(%id, event = ?other, "nothing to do for this event"),
    }
}

fn method(core: &Core, id: &IdentityId, call: MethodCall) {
    let (name, payload, reply) = call.split();
    core.counters.method("upstream", id);
    let Some(call) = core.calls.begin(id, Reply::Upstream(reply), core.clock.now()) else { return };
    let request = MethodRequest {
        name,
        payload,
        // The hub keeps the caller's time; it does not tell us.
        response_timeout: crate::device::calls::LIFE_MAX,
        connect_timeout: std::time::Duration::ZERO,
    };
    let downlink = Downlink::Method { call, request };
    if !core.sessions.send(id, |subscriptions| subscriptions.methods, downlink) {
        core.calls.refuse(call);
    }
}
