//! Changes of reported properties as messages, for the routes that want them.
//!
//! Spec: `edge-runtime.md` (er) §5.2, Sources: the body is the reported patch, the edge hub is the
//! sender, and the client whose twin it is stands in system properties. `FROM /*` wants them, too
//! (er §9, T-ROUTE-STAR).

use journal::Record as JournalRecord;
use manifest::route::source::TWIN_CHANGES;
use model::message::{Message, SystemProperty};
use model::twin::Object;
use model::{IdentityId, ModuleId};
use serde_json::Value;

use super::{Routed, Sender};
use crate::core::Core;
use crate::forward::record;

/// The message of a change; none when no route wants it.
pub(crate) fn notice(core: &Core, origin: &IdentityId, patch: &Object) -> Option<Message> {
    if !core.routes.active().table.wants(TWIN_CHANGES) {
        return None;
    }
    let body = Value::Object(patch.clone()).to_string();
    let mut message = Message::from_body(body)
        .with_system(SystemProperty::ContentType, "application/json")
        .with_system(SystemProperty::ContentEncoding, "utf-8")
        .with_system(SystemProperty::MessageSchema, MESSAGE_TYPE)
        .with_system(SystemProperty::ConnectionDeviceId, origin.device.as_str());
    if let Some(module) = &origin.module {
        message.set_system(SystemProperty::ConnectionModuleId, module.as_str());
    }
    Some(message)
}

/// Puts the message of a change that was taken into its queues. A store that refuses it does not
/// undo the change: that is told and counted.
pub(crate) async fn store(core: &Core, origin: &Sender<'_>, notice: &Message) {
    let (arrived, enqueued) = (core.clock.wall(), core.store_time.now());
    let sender = IdentityId::module(core.edge.clone(), ModuleId::edge_hub());
    let active = core.routes.active();
    let mut records = Vec::new();
    for target in active.table.targets(&Routed::twin_change(notice, origin, arrived)) {
        // Every queue of a table in force has its stream.
        let Some(stream) = active.streams.get(&target.queue) else { continue };
        let body = record::encode(&sender, target.time_to_live, notice);
        records.push(JournalRecord { stream: *stream, enqueued, body });
    }
    if records.is_empty() {
        return;
    }
    let refused = |reason: String| {
        core.counters.not_taken(&sender, notice);
        tracing::warn!(id = %origin.identity, reason, "a change of reported properties is not routed");
    };
    if let Err(error) = core.forward.admit(core) {
        return refused(error.to_string());
    }
    match core.journal.append(records) {
        Ok(receipt) => {
            if let Err(error) = receipt.wait().await {
                refused(error.to_string());
            }
        }
        Err(error) => refused(error.to_string()),
    }
}

/// `messageType` and `messageSchema` of these messages.
pub(super) const MESSAGE_TYPE: &str = "twinChangeNotification";
