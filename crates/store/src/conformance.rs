//! The suite that every backend of the store traits must pass.
//!
//! A backend's tests say [`conformance_tests!`](crate::conformance_tests) with a function that
//! makes an empty hub; each case becomes a test of its own name. The cases know nothing of a
//! backend but the traits.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

pub mod authorities;
pub mod cloud_to_device;
pub mod consumer_groups;
pub mod events;
pub mod feedback;
pub mod leases;
pub mod outbox;
pub mod policies;
pub mod presence;
pub mod registry;
pub mod sessions;
pub mod signals;
pub mod twins;

use std::any::Any;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use host::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use model::id::Precondition;
use model::identity::{Authentication, DeviceIdentity, ModuleIdentity, Status, SymmetricKeys};
use model::twin::Object;
use model::{DeviceId, Etag, GenerationId, IdentityId, ModuleId};
use serde_json::Value;

use crate::Stores;
use crate::outbox::{HubEvent, HubEventKind};

/// An empty hub to try a backend with.
pub struct Fixture {
    /// The backend.
    pub stores: Stores,
    /// Its clock, a manual one.
    pub clock: Clock,
    /// What must live as long, such as a temporary directory; dropped last.
    pub guard: Box<dyn Any + Send + Sync>,
}

/// Makes a test of each case. Takes the absolute path of an `async fn() -> Fixture`.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_cases! { $make;
            registry: [
                devices_are_kept_as_they_are_written,
                modules_are_kept_as_they_are_written,
                devices_are_written_on_conditions,
                modules_are_written_on_conditions,
                identities_are_deleted_on_conditions,
                etags_move_and_never_repeat,
                the_generation_stays_until_the_identity_is_gone,
                a_new_device_brings_its_modules,
                a_device_takes_everything_with_it,
                a_module_takes_its_twin_and_session_with_it,
                a_change_of_an_identity_touches_nothing_else,
                devices_are_listed_in_pages,
                devices_are_found_by_scope,
                ids_are_compared_exactly,
                a_device_has_a_bounded_number_of_modules,
                statistics_count_by_status,
                events_come_with_the_change_only,
            ],
            twins: [
                a_fresh_twin,
                sections_are_kept,
                writes_are_refused_on_conditions,
                one_failure_in_a_batch_touches_nothing_else,
                a_batch_for_one_twin_is_in_order,
                versions_never_go_back,
                every_identity_has_its_own_twin,
                nobody_has_no_twin,
                a_model_id_moves_nothing,
                changes_are_told_in_order,
            ],
            cloud_to_device: [
                messages_are_kept_and_come_in_order,
                settlements,
                a_lock_runs_out,
                an_abandoned_message_comes_again_in_its_place,
                deliveries_are_bounded,
                expired_messages_are_dead,
                a_full_queue_refuses,
                a_purged_queue_is_empty,
                sweeping_tells_who_has_messages_again,
                a_gone_connection_gives_its_locks_back,
                queues_are_apart,
                nobody_has_no_queue,
            ],
            feedback: [
                what_was_asked_for_is_told,
                an_end_is_told_once,
                records_gather,
                a_message_comes_until_it_is_settled,
                nobody_takes_it,
                a_deleted_device_takes_its_feedback_with_it,
            ],
            sessions: [
                a_session_is_kept_replaced_and_cleared,
                sessions_are_apart,
                nobody_has_no_session,
            ],
            consumer_groups: [
                groups_are_kept_and_deleted,
                groups_are_refused_on_conditions,
            ],
            authorities: [
                authorities_are_kept_changed_and_deleted,
                authorities_are_refused_on_conditions,
            ],
            policies: [policies_are_kept_and_replaced],
            outbox: [
                events_are_kept_in_order,
                waiting_ends_when_there_is_something,
            ],
            presence: [
                a_connection_comes_and_goes,
                an_older_epoch_changes_nothing,
                devices_are_counted,
                a_deleted_identity_is_forgotten,
            ],
            signals: [signals_arrive_in_order],
            leases: [
                one_owner_at_a_time,
                a_lease_runs_out,
                a_lease_is_given_back,
                epochs_grow,
            ],
            events: [
                events_are_read_as_they_were_appended,
                a_reader_begins_where_it_is_told,
                a_reader_waits_for_more,
                a_reader_takes_no_more_than_it_wants,
                partitions_are_apart,
            ],
        }
    };
}

/// What [`conformance_tests!`](crate::conformance_tests) expands to.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($make:path; $($room:ident: [$($case:ident),* $(,)?]),* $(,)?) => {
        $(mod $room {
            $(#[tokio::test]
            async fn $case() {
                let fixture = $make().await;
                $crate::conformance::$room::$case(&fixture).await;
            })*
        })*
    };
}

fn device_id(text: &str) -> DeviceId {
    text.parse().unwrap()
}

fn module_id(text: &str) -> ModuleId {
    text.parse().unwrap()
}

fn identity(text: &str) -> IdentityId {
    text.parse().unwrap()
}

fn keys(seed: &str) -> SymmetricKeys {
    SymmetricKeys {
        primary: format!("{seed}/primary+=="),
        secondary: format!("{seed}/secondary+=="),
    }
}

/// A plain device of this generation.
fn device(id: &str, generation: u64) -> DeviceIdentity {
    DeviceIdentity {
        id: device_id(id),
        generation: GenerationId::from_number(generation),
        etag: Etag(0),
        status: Status::Enabled,
        status_reason: None,
        status_updated: None,
        authentication: Authentication::Sas(keys(id)),
        edge: false,
        scope: None,
        parent_scopes: Vec::new(),
    }
}

/// A plain module of this generation.
fn module(id: &str, generation: u64) -> ModuleIdentity {
    let id = identity(id);
    ModuleIdentity {
        authentication: Authentication::Sas(keys(&id.to_string())),
        device: id.device,
        id: id.module.unwrap(),
        generation: GenerationId::from_number(generation),
        etag: Etag(0),
        managed_by: None,
    }
}

impl Fixture {
    fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Some time after now.
    fn later(&self, seconds: i64) -> Timestamp {
        self.now() + SignedDuration::from_secs(seconds)
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Registers plain devices, and modules after their devices.
    async fn register(&self, ids: &[&str]) {
        let registry = &self.stores.registry;
        for (id, generation) in ids.iter().zip(1000..) {
            if id.contains('/') {
                let module = module(id, generation);
                registry.put_module(module, Precondition::Absent, Vec::new()).await.unwrap();
            } else {
                let device = device(id, generation);
                let put = registry.put_device(device, Vec::new(), Precondition::Absent, Vec::new());
                put.await.unwrap();
            }
        }
    }

    async fn delete_device(&self, id: &str) {
        let (id, registry) = (device_id(id), &self.stores.registry);
        registry.delete_device(&id, Precondition::None, Vec::new()).await.unwrap();
    }

    /// Everything in the outbox.
    async fn outbox(&self) -> Vec<HubEvent> {
        let events = self.stores.outbox.peek(1000).await.unwrap();
        assert!(events.is_sorted_by_key(|(number, _)| *number));
        events.into_iter().map(|(_, event)| event).collect()
    }
}

/// A lifecycle event with a body to tell it by.
fn event(kind: HubEventKind, subject: &str, body: Value) -> HubEvent {
    HubEvent {
        kind,
        subject: identity(subject),
        generation: GenerationId::from_number(7),
        time: "2026-01-02T03:04:05.1234567Z".parse().unwrap(),
        body,
    }
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

/// The future's output, if it has one without waiting.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// `assert!(matches!(..))` that shows what it got.
macro_rules! assert_matches {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {
        match $value {
            $pattern $(if $guard)? => {}
            other => panic!("got {other:?}"),
        }
    };
}
use assert_matches;

#[cfg(test)]
mod tests {
    /// A case that is not in the list above would never run.
    #[test]
    fn every_case_is_listed() {
        let list = include_str!("conformance.rs");
        for source in [
            include_str!("conformance/cloud_to_device.rs"),
            include_str!("conformance/consumer_groups.rs"),
            include_str!("conformance/events.rs"),
            include_str!("conformance/feedback.rs"),
            include_str!("conformance/leases.rs"),
            include_str!("conformance/outbox.rs"),
            include_str!("conformance/policies.rs"),
            include_str!("conformance/presence.rs"),
            include_str!("conformance/registry.rs"),
            include_str!("conformance/sessions.rs"),
            include_str!("conformance/signals.rs"),
            include_str!("conformance/twins.rs"),
        ] {
            for case in source.split("pub async fn ").skip(1) {
                let name = case.split('(').next().unwrap();
                let listed =
                    list.contains(&format!("{name},")) || list.contains(&format!("[{name}]"));
                assert!(listed, "{name} is not listed");
            }
        }
    }
}
