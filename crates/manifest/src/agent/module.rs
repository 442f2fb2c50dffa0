//! One module of a deployment (er §4.1).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::create_options;
use crate::fields::{FieldError, Fields, shortened};
use crate::image::Image;

/// Environment variables.
pub type Env = BTreeMap<String, String>;

/// How a module has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleConfig {
    /// What runs it.
    pub kind: ModuleKind,
    /// Image to run.
    pub image: Image,
    /// The engine's container-create JSON, an object; unknown keys are kept.
    pub create_options: Value,
    /// Environment that the manifest sets.
    pub env: Env,
    /// Whether it has to run.
    pub status: ModuleStatus,
    /// What happens when it ends.
    pub restart_policy: RestartPolicy,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// Lower numbers come first.
    pub startup_order: u32,
    /// A text for people; a change of it re-creates the module.
    pub version: String,
}

/// The agent's own entry in `systemModules`: it always runs, and comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemModule {
    /// Image that the manifest names.
    pub image: Image,
    /// The engine's container-create JSON.
    pub create_options: Value,
    /// Environment that the manifest sets.
    pub env: Env,
    /// When the image is pulled.
    pub pull_policy: PullPolicy,
    /// A text for people.
    pub version: String,
}

/// What runs a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleKind {
    /// A container engine, or what stands in for one.
    Docker,
}

/// Whether a module has to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleStatus {
    /// It has to run.
    Running,
    /// It has to exist without running.
    Stopped,
}

/// What happens when a module ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    Never,
    /// It is started again when it failed.
    OnFailure,
    /// It is started again when it failed or is unhealthy.
    OnUnhealthy,
    /// It is started again.
    Always,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before the module is created.
    OnCreate,
    /// Never; the image has to be there.
    Never,
}

macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word in manifests and reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(ModuleKind { Docker = "docker" });
words!(ModuleStatus { Running = "running", Stopped = "stopped" });
words!(RestartPolicy {
    Never = "never",
    OnFailure = "on-failure",
    OnUnhealthy = "on-unhealthy",
    Always = "always"
});
words!(PullPolicy { OnCreate = "on-create", Never = "never" });

impl ModuleConfig {
    pub(super) fn parse(
        fields: &Fields<'_>,
        default_policy: RestartPolicy,
    ) -> Result<Self, FieldError> {
        let kind = parse_kind(fields)?;
        let status = fields
            .choice("status", ModuleStatus::WORDS)?
            .ok_or_else(|| fields.error("status", "is missing; set running or stopped"))?;
        let SystemModule { image, create_options, env, pull_policy, version } =
            parse_shared(fields)?;
        Ok(Self {
            kind,
            image,
            create_options,
            env,
            status,
            restart_policy: fields
                .choice("restartPolicy", RestartPolicy::WORDS)?
                .unwrap_or(default_policy),
            pull_policy,
            startup_order: startup_order(fields)?,
            version,
        })
    }
}

impl SystemModule {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, FieldError> {
        parse_kind(fields)?;
        parse_shared(fields)
    }
}

fn parse_kind(fields: &Fields<'_>) -> Result<ModuleKind, FieldError> {
    fields
        .choice("type", ModuleKind::WORDS)?
        .ok_or_else(|| fields.error("type", "is missing; set docker"))
}

fn parse_shared(fields: &Fields<'_>) -> Result<SystemModule, FieldError> {
    let settings = fields.required_object("settings")?;
    let image = settings
        .required_text("image")?
        .parse()
        .map_err(|error: crate::image::InvalidImage| settings.error("image", error.to_string()))?;
    Ok(SystemModule {
        image,
        create_options: create_options::parse(&settings)?,
        env: parse_env(fields)?,
        pull_policy: fields
            .choice("imagePullPolicy", PullPolicy::WORDS)?
            .unwrap_or(PullPolicy::OnCreate),
        version: fields.text("version")?.unwrap_or_default(),
    })
}

fn startup_order(fields: &Fields<'_>) -> Result<u32, FieldError> {
    match fields.integer("startupOrder")?.map(u32::try_from) {
        None => Ok(STARTUP_ORDER_LAST),
        Some(Ok(order)) => Ok(order),
        Some(Err(_)) => Err(fields.error("startupOrder", "is not within 0 to 4294967295")),
    }
}

fn parse_env(fields: &Fields<'_>) -> Result<Env, FieldError> {
    let mut env = Env::new();
    let Some(variables) = fields.object("env")? else { return Ok(env) };
    for (name, value) in variables.entries() {
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem = "is not a variable's name; it must not be empty nor hold = or NUL";
            return Err(variables.error(&format!("{:?}", shortened(name)), problem));
        }
        let entry = variables.child(name, value)?;
        let text = entry.text("value")?.ok_or_else(|| {
            entry.error("value", "is missing; write the variable as {\"value\": \"...\"}")
        })?;
        if text.contains('\0') {
            return Err(entry.error("value", "holds a NUL character"));
        }
        env.insert(name.to_owned(), text);
    }
    Ok(env)
}

/// Whether a module id without its `$` can name a container, a folder and a process.
pub fn container_name(name: &str) -> Result<(), &'static str> {
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let holds_well = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let fits = (2..=model::limits::ID_LENGTH_MAX).contains(&name.len());
    if begins_well && holds_well && fits {
        Ok(())
    } else {
        Err("cannot name a module: use 2 to 128 letters, digits, _ . and -, beginning with a \
             letter or digit")
    }
}

/// Modules without a `startupOrder` come last.
const STARTUP_ORDER_LAST: u32 = u32::MAX;
