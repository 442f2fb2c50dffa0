//! A deployment manifest as the twin changes that it means for one device (sa §7.6, 7.7).
//!
//! [`plan_apply`] takes the body of `applyConfigurationContent` and gives one [`TwinReplacement`]
//! per module. The caller creates missing module identities and writes the twins. What is written
//! to `$edgeAgent` and `$edgeHub` is parsed first, so that whoever sends a bad manifest hears it at
//! once rather than from the device. Target conditions and layering of several configurations are
//! the hub's planner, not here.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::ModuleId;
use model::limits::{MODULES_PER_DEVICE_MAX, TWIN_DEPTH_MAX};
use model::twin::Object;
use serde_json::Value;

use crate::agent::{AgentConfig, AgentConfigError};
use crate::fields::{FieldError, Fields, kind_of, shortened};
use crate::hub_config::{HubConfig, HubConfigError};

/// What has to be written to one module's twin.
#[derive(Debug, Clone, PartialEq)]
pub struct TwinReplacement {
    /// The module; its identity is created when it doesn't exist.
    pub module: ModuleId,
    /// The change of its desired section.
    pub desired: DesiredChange,
}

/// A change of a desired section.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredChange {
    /// The whole section, when the manifest has the key `properties.desired`.
    pub replace: Option<Object>,
    /// Subtrees set after that, shorter paths first; `null` removes.
    pub set: Vec<PathValue>,
}

/// A subtree that is written at a path, as from the key `properties.desired.a.b`.
#[derive(Debug, Clone, PartialEq)]
pub struct PathValue {
    /// Names below `properties.desired`; at least one.
    pub path: Vec<String>,
    /// What stands there afterwards.
    pub value: Value,
}

/// Why a manifest is refused: `InvalidConfigurationContent`, 400402 (sa §2.11).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A part of the content is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The agent would refuse it.
    #[error("modulesContent.$edgeAgent: {0}")]
    Agent(AgentConfigError),
    /// The edge hub would refuse it.
    #[error("modulesContent.$edgeHub: {0}")]
    Hub(HubConfigError),
}

/// Checks the content and says what to write; in order of module ids.
pub fn plan_apply(content: &Object) -> Result<Vec<TwinReplacement>, ContentError> {
    let root = Fields::root(content);
    for other in ["deviceContent", "moduleContent"] {
        if root.object(other)?.is_some_and(|fields| fields.entries().next().is_some()) {
            let problem = "cannot be applied to one edge device; change the twin instead";
            return Err(root.error(other, problem).into());
        }
    }
    let modules = root.object(MODULES_CONTENT)?.ok_or_else(|| {
        root.error(MODULES_CONTENT, "is missing; send {\"modulesContent\": {\"$edgeAgent\": ...}}")
    })?;
    let mut plan = BTreeMap::new();
    for (name, value) in modules.entries() {
        let module: ModuleId = name.parse().map_err(|error: model::id::IdError| {
            modules.error(&shortened(name), format!("is not a module id: {error}"))
        })?;
        let desired = parse_change(&modules.child(name, value)?)?;
        if desired.set.is_empty() {
            check(&module, desired.replace.as_ref())?;
        }
        plan.insert(module, desired);
    }
    if plan.is_empty() {
        return Err(FieldError::new(MODULES_CONTENT, "names no module; add $edgeAgent").into());
    }
    if plan.len() > MODULES_PER_DEVICE_MAX {
        let problem =
            format!("has {} entries; a device has at most {MODULES_PER_DEVICE_MAX}", plan.len());
        return Err(FieldError::new(MODULES_CONTENT, problem).into());
    }
    Ok(plan.into_iter().map(|(module, desired)| TwinReplacement { module, desired }).collect())
}

impl TwinReplacement {
    /// The desired section that results, given the present one; checked as [`plan_apply`] checks.
    pub fn resulting_desired(&self, current: &Object) -> Result<Object, ContentError> {
        let mut desired = match &self.desired.replace {
            Some(whole) => whole.clone(),
            None => current.clone(),
        };
        for PathValue { path, value } in &self.desired.set {
            set_path(&mut desired, path, value);
        }
        check(&self.module, Some(&desired))?;
        Ok(desired)
    }
}

/// Whether the agent and the edge hub will take what is meant for them.
fn check(module: &ModuleId, desired: Option<&Object>) -> Result<(), ContentError> {
    let Some(desired) = desired else { return Ok(()) };
    if *module == ModuleId::edge_agent() {
        AgentConfig::parse(desired).map(drop).map_err(ContentError::Agent)
    } else if *module == ModuleId::edge_hub() {
        HubConfig::parse(desired).map(drop).map_err(ContentError::Hub)
    } else {
        Ok(())
    }
}

fn parse_change(fields: &Fields<'_>) -> Result<DesiredChange, FieldError> {
    let mut change = DesiredChange { replace: None, set: Vec::new() };
    for (key, value) in fields.raw_entries() {
        if key == DESIRED {
            match value {
                Value::Object(whole) => change.replace = Some(checked_whole(fields, whole)?),
                other => {
                    let problem = format!("is {}; it has to be an object", kind_of(other));
                    return Err(fields.error(key, problem));
                }
            }
        } else if let Some(path) = key.strip_prefix(DESIRED_DOT) {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            if path.iter().any(String::is_empty) || path.len() > TWIN_DEPTH_MAX {
                let problem = "is not a path; write properties.desired.<name>.<name>, at most 10 \
                               names, none empty";
                return Err(fields.error(&shortened(key), problem));
            }
            change.set.push(PathValue { path, value: value.clone() });
        } else {
            let problem = "is not known here; keys are properties.desired and \
                           properties.desired.<path>";
            return Err(fields.error(&shortened(key), problem));
        }
    }
    change.set.sort_by_key(|entry| entry.path.len());
    Ok(change)
}

/// People paste a section that still has its own heading (`properties.desired` twice).
fn checked_whole(fields: &Fields<'_>, whole: &Object) -> Result<Object, FieldError> {
    if let Some(key) = whole.keys().find(|key| key.starts_with(DESIRED)) {
        let place = format!("{DESIRED}.{key}");
        return Err(fields.error(&place, "repeats the heading; move its content one level up"));
    }
    Ok(whole.clone())
}

/// Writes a subtree; whatever stands in its way is replaced by objects.
fn set_path(object: &mut Object, path: &[String], value: &Value) {
    match path {
        [] => {}
        [last] => match value {
            Value::Null => {
                object.shift_remove(last);
            }
            value => {
                object.insert(last.clone(), value.clone());
            }
        },
        [first, rest @ ..] => match object.get_mut(first) {
            Some(Value::Object(inner)) => set_path(inner, rest, value),
            // There is nothing to remove below it.
            _ if value.is_null() => {}
            _ => {
                let mut inner = Object::new();
                set_path(&mut inner, rest, value);
                object.insert(first.clone(), Value::Object(inner));
            }
        },
    }
}

const MODULES_CONTENT: &str = "modulesContent";
const DESIRED: &str = "properties.desired";
const DESIRED_DOT: &str = "properties.desired.";
