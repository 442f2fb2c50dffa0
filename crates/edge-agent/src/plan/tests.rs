//! Golden tables: a device in a few lines of text ([`device`]), and the plan for it in a few more.

mod device;
mod matrix;

use serde_json::{Value, json};

use super::*;
use crate::observe::Identities;
use crate::record::Kept;
use device::{Device, id, seconds};

#[test]
fn a_new_module_is_created_and_started() {
    Device::wanting(&[("ab", json!({}))])
        .without_identity("ab")
        .check("ab: create identity, pull image, create, start");
    // The hub made its identity, with keys that this device does not know.
    let new = |module: Value| Device::wanting(&[("ab", module)]);
    new(json!({})).check("ab: update identity, pull image, create, start");
    new(json!({"imagePullPolicy": "never"})).check("ab: update identity, create, start");
    new(json!({"status": "stopped"})).check("ab: update identity, pull image, create");
    // It ran here before, with the keys of this device.
    new(json!({}))
        .record("ab", |record| record.kept.generation = Some("1".into()))
        .check("ab: pull image, create, start");
}

#[test]
fn a_device_as_it_should_be_is_left_alone() {
    Device::wanting(&[("ab", json!({})), ("cd", json!({"status": "stopped"}))])
        .with("ab", Status::Running)
        .with("cd", Status::Stopped)
        .check("ab is Settled\ncd is Settled");
}

#[test]
fn while_nothing_is_known_nothing_is_touched() {
    let mut device = Device::wanting(&[]).with("ab", Status::Running);
    device.deployment = None;
    device.check("");
}

#[test]
fn a_changed_module_is_replaced_with_the_pull_before_the_stop() {
    let changed = |kept: fn(&mut Kept)| {
        Device::wanting(&[("ab", json!({}))])
            .with("ab", Status::Running)
            .record("ab", |record| kept(&mut record.kept))
    };
    let expected = "ab: pull image, stop, remove, create, start";
    changed(|kept| kept.digest = Some("other".into())).check(expected);
    changed(|kept| kept.digest = None).check(expected);
    changed(|kept| kept.image = Some("x:0".into())).check(expected);
    changed(|kept| kept.generation = Some("0".into()))
        .check("ab: update identity, pull image, stop, remove, create, start");
    // The first look after the creation has not come yet.
    changed(|kept| kept.image = None).check("ab is Settled");
    // The daemon shows no hash, so there is nothing to compare.
    changed(|kept| kept.image_hash = Some("sha256:0".into())).check("ab is Settled");
    Device::wanting(&[("ab", json!({}))])
        .with("ab", Status::Failed)
        .record("ab", |record| record.kept.digest = None)
        .check("ab: pull image, remove, create, start");
}

#[test]
fn policy_order_and_pull_are_no_reason_to_replace() {
    let mut device = Device::wanting(&[("ab", json!({}))]).with("ab", Status::Running);
    let changed = Device::wanting(&[(
        "ab",
        json!({"restartPolicy": "never", "imagePullPolicy": "never", "startupOrder": 3}),
    )]);
    device.deployment = changed.deployment;
    device.check("ab is Settled");
    let changed = Device::wanting(&[("ab", json!({"env": {"A": {"value": "b"}}}))]);
    device.deployment = changed.deployment;
    device.check("ab: pull image, stop, remove, create, start");
}

#[test]
fn a_lost_identity_is_made_again_and_the_module_with_it() {
    Device::wanting(&[("ab", json!({}))])
        .with("ab", Status::Running)
        .without_identity("ab")
        .check("ab: create identity, pull image, stop, remove, create, start");
}

#[test]
fn a_module_that_is_not_wanted_goes_with_its_identity() {
    Device::wanting(&[])
        .with("ab", Status::Running)
        .with("cd", Status::Failed)
        .check("ab: stop, remove, delete identity\ncd: remove, delete identity");
    // The user's own identities and the edge hub's stay.
    let mut device =
        Device::wanting(&[]).with("ab", Status::Running).with("$edgeHub", Status::Running);
    if let Identities::Known(identities) = &mut device.observation.identities {
        identities.get_mut(&id("ab")).unwrap().managed_by = "somebody".into();
    }
    device.check("$edgeHub: stop, remove\nab: stop, remove");
    // An identity from an attempt that came no further.
    Device::wanting(&[]).with("ab", Status::Running).gone("ab").check("ab: delete identity");
    // Identities that never were modules are not ours.
    let mut device = Device::wanting(&[]).with("ab", Status::Running).gone("ab");
    device.records.clear();
    device.check("");
}

#[test]
fn the_agent_itself_is_no_module_to_plan_for() {
    Device::wanting(&[]).with("$edgeAgent", Status::Running).check("");
}

#[test]
fn groups_begin_one_after_the_other() {
    let modules = [
        ("last", json!({})),
        ("two", json!({"startupOrder": 2})),
        ("one-a", json!({"startupOrder": 1})),
        ("one-b", json!({"startupOrder": 1})),
    ];
    Device::wanting(&modules).check(
        "one-a: update identity, pull image, create, start
         one-b: update identity, pull image, create, start
         last is Queued
         two is Queued",
    );
    Device::wanting(&modules)
        .with("one-a", Status::Running)
        .busy("one-b", Purpose::Deploy(1))
        .check(
            "last is Queued
         one-a is Settled
         two is Queued",
        );
    // A failure is an attempt: the next group goes on.
    Device::wanting(&modules).with("one-a", Status::Running).failing("one-b", 1005).check(
        "two: update identity, pull image, create, start
             last is Queued
             one-a is Settled
             one-b is Failed
             wake at 1005",
    );
    // What has to go, goes first.
    Device::wanting(&modules).with("old", Status::Running).check(
        "old: stop, remove, delete identity
         last is Queued
         one-a is Queued
         one-b is Queued
         two is Queued",
    );
}

#[test]
fn supervision_waits_for_no_group() {
    Device::wanting(&[("one", json!({"startupOrder": 1})), ("two", json!({"startupOrder": 2}))])
        .busy("one", Purpose::Deploy(1))
        .with("two", Status::Failed)
        .ended("two", 900, 0)
        .check("two: restart");
    // A restart under way holds nobody up either.
    Device::wanting(&[("one", json!({"startupOrder": 1})), ("two", json!({"startupOrder": 2}))])
        .with("one", Status::Failed)
        .busy("one", Purpose::Restart)
        .check("two: update identity, pull image, create, start");
}

#[test]
fn with_wait_for_all_pulls_images_come_before_everything() {
    let waiting = |modules: &[(&str, Value)]| {
        let mut device = Device::wanting(modules);
        let env = [("ModuleUpdateMode".to_owned(), "WaitForAllPulls".to_owned())].into();
        device.deployment.as_mut().unwrap().variables =
            crate::variables::Variables::read(&env, None);
        device
    };
    let both = [("ab", json!({})), ("cd", json!({"startupOrder": 1}))];
    // Whatever their order, and before anything is removed.
    waiting(&both).with("ab", Status::Running).outdated("ab").with("old", Status::Running).check(
        "ab: pull image
         cd: update identity, pull image
         old is Queued",
    );
    // One is there, the other under way, or waits for its next attempt.
    waiting(&both).prepared("ab").busy("cd", Purpose::Prepare).check("ab is Queued");
    waiting(&both).prepared("ab").failing("cd", 1005).check(
        "ab is Queued
         cd is Failed
         wake at 1005",
    );
    // All are there: as ever, without the pulls.
    waiting(&both).prepared("ab").prepared("cd").check(
        "cd: update identity, create, start
         ab is Queued",
    );
    // A deployment that changed meanwhile needs its own image.
    waiting(&[("ab", json!({"settings": {"image": "x:2"}}))])
        .record("ab", |record| {
            let other = Device::wanting(&[("ab", json!({}))]).deployment.unwrap();
            record.prepared = Some(other.modules[&id("ab")].digest.clone());
        })
        .check("ab: update identity, pull image");
    // Supervision goes on, and what needs no image is not waited for.
    waiting(&[("ab", json!({})), ("cd", json!({})), ("ef", json!({})), ("gh", json!({}))])
        .with("cd", Status::Failed)
        .ended("cd", 900, 0)
        .with("ef", Status::Stopped)
        .with("gh", Status::Running)
        .check(
            "ab: update identity, pull image
             cd: restart
             ef: start
             gh is Settled",
        );
    waiting(&[("ab", json!({"imagePullPolicy": "never"}))])
        .check("ab: update identity, create, start");
}

#[test]
fn what_was_touched_after_the_look_is_looked_at_again() {
    let mut device = Device::wanting(&[("ab", json!({}))]);
    device.unseen.insert(id("ab"));
    device.check("");
}

#[test]
fn restarts_follow_policy_and_exit() {
    use Status::{Dead, Failed, Stopped, Unhealthy};
    for (policy, status, restarted) in [
        ("always", Stopped, true),
        ("always", Failed, true),
        ("on-failure", Stopped, false),
        ("on-failure", Failed, true),
        ("on-unhealthy", Stopped, false),
        ("on-unhealthy", Failed, true),
        ("never", Stopped, false),
        ("never", Failed, false),
        ("always", Unhealthy, true),
        ("on-unhealthy", Unhealthy, true),
        ("on-failure", Unhealthy, false),
        ("never", Unhealthy, false),
    ] {
        Device::wanting(&[("ab", json!({"restartPolicy": policy}))])
            .with("ab", status)
            .ended("ab", 900, 0)
            .check(if restarted { "ab: restart" } else { "ab is Settled" });
    }
    Device::wanting(&[("ab", json!({}))])
        .with("ab", Dead)
        .ended("ab", 900, 0)
        .check("ab: remove, create, start");
}

#[test]
fn a_module_that_did_not_end_by_itself_is_started_whatever_its_policy() {
    for kept in [
        // It never ran.
        Kept { started: false, ..Kept::default() },
        // It was stopped with the device.
        Kept { started: true, ended: false, ..Kept::default() },
    ] {
        Device::wanting(&[("ab", json!({"restartPolicy": "never"}))])
            .with("ab", Status::Stopped)
            .record("ab", |record| {
                record.kept.started = kept.started;
                record.kept.ended = kept.ended;
            })
            .check("ab: start");
    }
}

#[test]
fn restarts_back_off_to_five_minutes_and_never_give_up() {
    for (restarts, wait) in [(0, 10), (1, 20), (2, 40), (3, 80), (4, 160), (5, 300), (99, 300)] {
        let device = |now: u64| {
            let mut device = Device::wanting(&[("ab", json!({}))])
                .with("ab", Status::Failed)
                .ended("ab", 1000, restarts);
            device.now = seconds(now);
            device
        };
        device(1000 + wait - 1).check(&format!("ab is BackOff\nwake at {}", 1000 + wait));
        device(1000 + wait).check("ab: restart");
    }
}

#[test]
fn a_failed_job_waits_and_another_wish_does_not() {
    let device = Device::wanting(&[("ab", json!({}))]).failing("ab", 1005);
    device.check("ab is Failed\nwake at 1005");
    let mut later = Device::wanting(&[("ab", json!({}))]).failing("ab", 1005);
    later.now = seconds(1005);
    later.check("ab: update identity, pull image, create, start");
    let mut other = Device::wanting(&[("ab", json!({}))]).failing("ab", 1005);
    other.deployment = Device::wanting(&[("ab", json!({"settings": {"image": "x:2"}}))]).deployment;
    other.check("ab: update identity, pull image, create, start");
}

#[test]
fn without_identities_nothing_is_created_but_all_is_supervised() {
    let mut device = Device::wanting(&[("ab", json!({})), ("cd", json!({})), ("ef", json!({}))])
        .with("cd", Status::Failed)
        .ended("cd", 900, 0)
        .with("ef", Status::Running);
    device.observation.identities = Identities::Unknown("the hub is away".into());
    device.check("cd: restart\nab is NoIdentity\nef is Settled");
}

#[test]
fn a_module_that_should_stop_is_stopped() {
    Device::wanting(&[("ab", json!({"status": "stopped"}))])
        .with("ab", Status::Running)
        .check("ab: stop");
    Device::wanting(&[("ab", json!({"status": "stopped"}))])
        .with("ab", Status::Unhealthy)
        .check("ab: stop");
    Device::wanting(&[]).with("ab", Status::Unhealthy).check("ab: stop, remove, delete identity");
}
