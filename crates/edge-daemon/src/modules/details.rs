//! From what the runtime finds to what the management API shows (`edge-runtime.md` §2.1).

use containers::{ModuleName, ModuleState};
use iot_proto::management::{ExitStatus, ModuleConfig, ModuleDetails, ModuleStatus, RuntimeStatus};
use serde_json::{Map, Value, json};

/// A module.
pub(crate) fn of(state: &ModuleState) -> ModuleDetails {
    let mut settings = Map::new();
    settings.insert("image".to_owned(), json!(state.image));
    if let Some(id) = &state.image_id {
        settings.insert("imageHash".to_owned(), json!(id));
    }
    let labels: Map<String, Value> =
        state.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    settings.insert("createOptions".to_owned(), json!({ "Labels": labels }));
    let exit_status = match (state.exit_code, state.finished_at) {
        (Some(code), Some(time)) => {
            Some(ExitStatus { exit_time: time.to_string(), status_code: code.to_string() })
        }
        _ => None,
    };
    ModuleDetails {
        id: ModuleDetails::ID.to_owned(),
        name: state.name.to_string(),
        r#type: DOCKER.to_owned(),
        config: ModuleConfig { settings, env: Vec::new() },
        status: ModuleStatus {
            start_time: state.started_at.map(|time| time.to_string()),
            exit_status,
            runtime_status: RuntimeStatus {
                status: state.status.to_string(),
                description: state.description.clone(),
            },
        },
    }
}

/// A name for trying out a module's specification.
pub(crate) fn candidate_name() -> String {
    format!("{CANDIDATE}{}", host::entropy::uuid_v4().simple())
}

/// Whether a module is only being tried out.
pub(crate) fn is_candidate(name: &ModuleName) -> bool {
    name.as_str()
        .strip_prefix(CANDIDATE)
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The only type of module that the API knows.
pub(super) const DOCKER: &str = "docker";
const CANDIDATE: &str = "farshore-candidate-";
