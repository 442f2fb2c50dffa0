//! A fault as a client of AMQP hears it, with an id that stands in our log, too.

use host::clock::Clock;
use iot_proto::status::{self, Tracking};
use model::{Fault, FaultKind};

use crate::auth::{AuthError, Denied};

/// The error for a link, a delivery or a connection.
pub(super) fn error(fault: &Fault, clock: &Clock) -> amqp::Error {
    let id = host::entropy::uuid_v4().to_string();
    status::amqp_error(fault, Tracking { id: &id, time: clock.wall() })
}

/// What somebody hears who is not let in. Only who holds a policy's key, which acts for all
/// devices, learns that an identity is not registered (dp §4.3); everybody else hears one and the
/// same (`security.md` B16).
pub(super) fn denied(error: &AuthError, by_policy: bool) -> Fault {
    match error {
        AuthError::Denied(Denied::Unknown(id)) if by_policy => {
            let kind = match id.module {
                Some(_) => FaultKind::ModuleNotFound,
                None => FaultKind::DeviceNotFound,
            };
            Fault::new(kind, format!("{id} is not registered"))
        }
        error => error.to_fault(),
    }
}
