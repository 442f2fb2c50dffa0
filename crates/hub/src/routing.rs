//! Where a message goes. This hub has one endpoint, the built-in one: the event log. A device's
//! messages, its modules' included, keep their order because they share a partition.

use gateway::auth::{AuthMethod, Principal};
use jiff::Timestamp;
use model::DeviceId;
use model::message::Message;
use store::embedded::event_format;
use store::events::{AuthMethod as StoredAuth, NewEvent, Source};

/// The partition of a device: FNV-1a, which must never change for an existing hub.
pub(crate) fn partition(device: &DeviceId, partitions: u32) -> u32 {
    let hash = device
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % partitions
}

/// A telemetry message as it is stored.
pub(crate) fn telemetry(
    principal: &Principal,
    partition: u32,
    message: &Message,
    enqueued: Timestamp,
) -> NewEvent {
    let auth = stored_auth(principal.method);
    let body = event_format::encode_parts(
        Source::Telemetry,
        &principal.identity,
        &principal.generation,
        auth,
        message,
    );
    NewEvent { partition, enqueued, body }
}

/// A module that speaks through its edge hub is stamped as the cloud does: by its own key.
fn stored_auth(method: AuthMethod) -> StoredAuth {
    match method {
        AuthMethod::DeviceSas => StoredAuth::DeviceSas,
        AuthMethod::ModuleSas | AuthMethod::OnBehalf => StoredAuth::ModuleSas,
        AuthMethod::PolicySas => StoredAuth::PolicySas,
        AuthMethod::DeviceX509 => StoredAuth::DeviceX509,
        AuthMethod::ModuleX509 => StoredAuth::ModuleX509,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_known_devices_never_move() {
        for (device, of_four, of_32) in [("dev1", 3, 23), ("edge1", 3, 23), ("a", 0, 12)] {
            let device: DeviceId = device.parse().unwrap();
            assert_eq!(
                (partition(&device, 4), partition(&device, 32)),
                (of_four, of_32),
                "{device}"
            );
        }
    }
}
