//! From what the engine finds to a module's state (`edge-runtime.md` §1.6).

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum,
};
use jiff::Timestamp;

use super::create::{LABEL_ORIGINAL_IMAGE, LABEL_OWNER, OWNER};
use crate::{ModuleName, ModuleState, RuntimeStatus};

/// Whether the labels are those of a module.
pub(super) fn is_owned(labels: Option<&HashMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(LABEL_OWNER)).is_some_and(|owner| owner == OWNER)
}

/// A container as module.
pub(super) fn module_state(name: ModuleName, found: ContainerInspectResponse) -> ModuleState {
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let status = status(&state);
    let has_ended = matches!(
        state.status,
        Some(
            ContainerStateStatusEnum::EXITED
                | ContainerStateStatusEnum::REMOVING
                | ContainerStateStatusEnum::DEAD
        )
    );
    let labels: BTreeMap<_, _> = config.labels.unwrap_or_default().into_iter().collect();
    ModuleState {
        name,
        image: labels.get(LABEL_ORIGINAL_IMAGE).cloned().or(config.image).unwrap_or_default(),
        image_id: found.image,
        status,
        exit_code: state.exit_code.filter(|_| has_ended),
        started_at: state.started_at.as_deref().and_then(time),
        finished_at: state.finished_at.as_deref().and_then(time),
        description: Some(description(&state)).filter(|text| !text.is_empty()),
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        env: environment(config.env.unwrap_or_default()),
        labels,
    }
}

fn status(state: &ContainerState) -> RuntimeStatus {
    use ContainerStateStatusEnum as S;
    match state.status {
        Some(S::RUNNING) if is_unhealthy(state) => RuntimeStatus::Unhealthy,
        Some(S::RUNNING) => RuntimeStatus::Running,
        Some(S::CREATED | S::PAUSED | S::RESTARTING | S::STOPPING) => RuntimeStatus::Stopped,
        Some(S::REMOVING | S::EXITED) => match state.exit_code {
            None | Some(0) => RuntimeStatus::Stopped,
            Some(_) => RuntimeStatus::Failed,
        },
        Some(S::DEAD) => RuntimeStatus::Dead,
        Some(S::EMPTY) | None => RuntimeStatus::Unknown,
    }
}

/// What the container's HEALTHCHECK says; a health left over from an earlier run does not count.
fn is_unhealthy(state: &ContainerState) -> bool {
    let health = state.health.as_ref().and_then(|health| health.status);
    health == Some(HealthStatusEnum::UNHEALTHY)
}

/// What the health check printed last, for people.
fn health_output(state: &ContainerState) -> Option<String> {
    let last = state.health.as_ref()?.log.as_ref()?.last()?;
    let output = last.output.as_deref().unwrap_or_default().trim();
    Some(output.chars().take(HEALTH_OUTPUT_CHARS).collect())
        .filter(|text: &String| !text.is_empty())
}

/// The engine's error, else what happened in a few words.
fn description(state: &ContainerState) -> String {
    let status = state.status.map(|status| status.to_string()).unwrap_or_default();
    if status == "running" && is_unhealthy(state) {
        return match health_output(state) {
            Some(output) => format!("its health check fails: {output}"),
            None => "its health check fails".to_owned(),
        };
    }
    match (state.error.as_deref(), state.oom_killed, state.exit_code) {
        (Some(error), _, _) if !error.is_empty() => error.to_owned(),
        (_, Some(true), _) => format!("{status}, out of memory"),
        (_, _, Some(code)) if code != 0 => format!("{status}, exit code {code}"),
        _ => status,
    }
}

/// The engine's times; its zero time is none.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|_| !text.starts_with(ZERO_TIME))
}

fn environment(entries: Vec<String>) -> BTreeMap<String, String> {
    entries
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Of what a health check prints; engines keep 4096 bytes.
const HEALTH_OUTPUT_CHARS: usize = 200;

const ZERO_TIME: &str = "0001-01-01T00:00:00";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, exit_code: i64, expected: RuntimeStatus, code: Option<i64>) {
        let found = serde_json::from_value(serde_json::json!({
            "Name": "/tempSensor",
            "Image": "sha256:1234",
            "State": {
                "Status": status, "ExitCode": exit_code, "Pid": 0, "Error": "",
                "StartedAt": "2026-01-02T03:04:05.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z",
            },
            "Config": { "Image": "a:1", "Env": ["A=b=c"], "Labels": { LABEL_ORIGINAL_IMAGE: "b:2" } },
        }))
        .unwrap();
        let state = module_state("tempSensor".parse().unwrap(), found);
        assert_eq!((state.status, state.exit_code), (expected, code), "{status}");
        assert_eq!(state.image, "b:2");
        assert_eq!(state.env["A"], "b=c");
        assert_eq!(state.started_at.unwrap().to_string(), "2026-01-02T03:04:05.123456789Z");
        assert_eq!((state.finished_at, state.pid), (None, None));
    }

    #[test]
    fn statuses_are_those_of_the_reference() {
        for (status, health, expected, description) in [
            ("running", "healthy", RuntimeStatus::Running, "running"),
            ("running", "starting", RuntimeStatus::Running, "running"),
            ("running", "none", RuntimeStatus::Running, "running"),
            ("running", "unhealthy", RuntimeStatus::Unhealthy, "its health check fails: no page"),
            ("exited", "unhealthy", RuntimeStatus::Stopped, "exited"),
        ] {
            let state: ContainerState = serde_json::from_value(serde_json::json!({
                "Status": status, "ExitCode": 0,
                "Health": { "Status": health, "FailingStreak": 3, "Log": [
                    { "ExitCode": 0, "Output": "fine" }, { "ExitCode": 1, "Output": "no page\n" },
                ] },
            }))
            .unwrap();
            assert_eq!(super::status(&state), expected, "{status} {health}");
            assert_eq!(super::description(&state), description);
        }
        check("created", 0, RuntimeStatus::Stopped, None);
        check("paused", 0, RuntimeStatus::Stopped, None);
        check("restarting", 1, RuntimeStatus::Stopped, None);
        check("running", 0, RuntimeStatus::Running, None);
        check("exited", 0, RuntimeStatus::Stopped, Some(0));
        check("exited", 137, RuntimeStatus::Failed, Some(137));
        check("removing", 0, RuntimeStatus::Stopped, Some(0));
        check("dead", 0, RuntimeStatus::Dead, Some(0));
        check("", 0, RuntimeStatus::Unknown, None);
    }
}
