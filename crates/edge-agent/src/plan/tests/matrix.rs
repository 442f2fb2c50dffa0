//! Every state of a module against everything that can be wanted of it: the whole table, so that a
//! row that nobody thought of cannot be missing.

use serde_json::json;

use super::device::Device;
use crate::observe::Status;
use crate::record::Record;

/// What is there of the module.
const STATES: [(&str, Option<Status>); 7] = [
    ("nothing", None),
    ("running", Some(Status::Running)),
    ("unhealthy", Some(Status::Unhealthy)),
    ("stopped", Some(Status::Stopped)),
    ("failed", Some(Status::Failed)),
    ("dead", Some(Status::Dead)),
    ("unknown", Some(Status::Unknown)),
];

/// What is wanted: the same as was made, the same but not running, another one, none.
const WANTED: [&str; 4] = ["run it", "stop it", "change it", "remove it"];

/// The plan for one cell. The module ended by itself long ago, where it ended; its policy is `always`.
fn cell(state: Option<Status>, wanted: &str) -> String {
    let change = match wanted {
        "stop it" => json!({"status": "stopped"}),
        _ => json!({}),
    };
    let modules = [("ab", change)];
    let mut device = Device::wanting(if wanted == "remove it" { &[] } else { &modules });
    if let Some(status) = state {
        device = device.with("ab", status);
        if !matches!(status, Status::Running | Status::Unknown) {
            device = device.ended("ab", 900, 0);
        }
    } else if wanted != "remove it" {
        // It ran here before.
        device = device.record("ab", |record: &mut Record| {
            record.kept.generation = Some("1".into());
            record.kept.owns_identity = true;
        });
    }
    if wanted == "change it" && state.is_some() {
        device = device.outdated("ab");
    }
    device.planned().join("; ")
}

#[test]
fn every_state_against_every_wish() {
    let mut table = Vec::new();
    for (name, state) in STATES {
        for wanted in WANTED {
            table.push(format!("{name}, {wanted} => {}", cell(state, wanted)));
        }
    }
    let expected = "\
nothing, run it => ab: pull image, create, start
nothing, stop it => ab: pull image, create
nothing, change it => ab: pull image, create, start
nothing, remove it => 
running, run it => ab is Settled
running, stop it => ab: stop
running, change it => ab: pull image, stop, remove, create, start
running, remove it => ab: stop, remove, delete identity
unhealthy, run it => ab: restart
unhealthy, stop it => ab: stop
unhealthy, change it => ab: pull image, stop, remove, create, start
unhealthy, remove it => ab: stop, remove, delete identity
stopped, run it => ab: restart
stopped, stop it => ab is Settled
stopped, change it => ab: pull image, remove, create, start
stopped, remove it => ab: remove, delete identity
failed, run it => ab: restart
failed, stop it => ab is Settled
failed, change it => ab: pull image, remove, create, start
failed, remove it => ab: remove, delete identity
dead, run it => ab: remove, create, start
dead, stop it => ab is Settled
dead, change it => ab: pull image, remove, create, start
dead, remove it => ab: remove, delete identity
unknown, run it => ab is Settled
unknown, stop it => ab is Settled
unknown, change it => ab: pull image, stop, remove, create, start
unknown, remove it => ab: stop, remove, delete identity";
    assert_eq!(table.join("\n"), expected);
}

/// The restart policy against the state, and whether the module ended by itself or with the device.
#[test]
fn every_policy_against_every_state_and_end() {
    let mut table = Vec::new();
    for policy in ["never", "on-failure", "on-unhealthy", "always"] {
        for (name, state) in STATES {
            let Some(status) = state else { continue };
            let device =
                || Device::wanting(&[("ab", json!({"restartPolicy": policy}))]).with("ab", status);
            let by_itself = device().ended("ab", 900, 0).planned().join("; ");
            let with_the_device = device().planned().join("; ");
            table.push(format!("{policy}, {name} => {by_itself} | {with_the_device}"));
        }
    }
    let expected = "\
never, running => ab is Settled | ab is Settled
never, unhealthy => ab is Settled | ab is Settled
never, stopped => ab is Settled | ab: start
never, failed => ab is Settled | ab: start
never, dead => ab: remove, create, start | ab: remove, create, start
never, unknown => ab is Settled | ab is Settled
on-failure, running => ab is Settled | ab is Settled
on-failure, unhealthy => ab is Settled | ab is Settled
on-failure, stopped => ab is Settled | ab: start
on-failure, failed => ab: restart | ab: start
on-failure, dead => ab: remove, create, start | ab: remove, create, start
on-failure, unknown => ab is Settled | ab is Settled
on-unhealthy, running => ab is Settled | ab is Settled
on-unhealthy, unhealthy => ab: restart | ab: restart
on-unhealthy, stopped => ab is Settled | ab: start
on-unhealthy, failed => ab: restart | ab: start
on-unhealthy, dead => ab: remove, create, start | ab: remove, create, start
on-unhealthy, unknown => ab is Settled | ab is Settled
always, running => ab is Settled | ab is Settled
always, unhealthy => ab: restart | ab: restart
always, stopped => ab: restart | ab: start
always, failed => ab: restart | ab: start
always, dead => ab: remove, create, start | ab: remove, create, start
always, unknown => ab is Settled | ab is Settled";
    assert_eq!(table.join("\n"), expected);
}
