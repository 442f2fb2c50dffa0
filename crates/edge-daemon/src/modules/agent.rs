//! The agent, which is part of the daemon: what a deployment says of it, and where its record lies.
//!
//! The original makes a new container of what the agent says of itself. Here the daemon keeps it,
//! shows it among the modules, and has the agent's record moved where it is wanted: the agent is
//! ended for that and begins anew (T-UPDATE-SELF). Its image and other options have no effect.

use std::path::PathBuf;
use std::sync::Arc;

use containers::{ModuleSpec, RuntimeError};
use host::fs::{self, FsError};
use iot_proto::management::{
    self, EnvVar, ModuleConfig, ModuleDetails, ModuleStatus, RuntimeStatus,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Modules, details};
use crate::http::Refusal;
use crate::storage::{Resident, StorageError, Wanted};
use crate::workload::AGENT_NAME;

/// The agent among the modules. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct BuiltinAgent {
    /// The image that settings name for it.
    pub(crate) image: String,
    /// Since when the daemon runs.
    pub(crate) started_at: Timestamp,
    told: Arc<Mutex<Told>>,
}

/// What the newest deployment says of it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    deployed: Deployed,
    /// Why it is not so.
    problem: Option<String>,
    /// Where the record could not be moved: not tried again for the same deployment, because each
    /// attempt begins the agent anew.
    failed: Option<PathBuf>,
}

/// Of a deployment, without what may be secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Deployed {
    /// createOptions without their `Env`.
    create_options: Map<String, Value>,
    /// `storageFolder`.
    storage_folder: Option<String>,
}

impl BuiltinAgent {
    /// The agent, with what was kept of the last deployment.
    pub(crate) fn open(
        image: String,
        started_at: Timestamp,
        file: &std::path::Path,
    ) -> Result<Self, FsError> {
        let text = fs::read_optional(file)?;
        let deployed: Option<Deployed> = text
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .inspect_err(|error| {
                tracing::warn!(%error, file = %file.display(), "what the deployment says of the agent cannot be read; it is asked for again");
            })
            .unwrap_or_default();
        let deployed = deployed.unwrap_or_default();
        let told = Arc::new(Mutex::new(Told { deployed, ..Told::default() }));
        Ok(Self { image, started_at, told })
    }

    /// The agent as the management API shows it.
    pub(crate) fn details(&self) -> ModuleDetails {
        let Told { deployed, problem, .. } = self.told.lock().clone();
        let mut settings = Map::new();
        settings.insert("image".to_owned(), json!(self.image));
        settings.insert("createOptions".to_owned(), deployed.create_options.into());
        let env = deployed.storage_folder.into_iter();
        let env = env.map(|value| EnvVar { key: STORAGE_FOLDER.to_owned(), value }).collect();
        ModuleDetails {
            id: ModuleDetails::ID.to_owned(),
            name: AGENT_NAME.to_owned(),
            r#type: details::DOCKER.to_owned(),
            config: ModuleConfig { settings, env },
            status: ModuleStatus {
                start_time: Some(self.started_at.to_string()),
                exit_status: None,
                runtime_status: RuntimeStatus {
                    status: "running".to_owned(),
                    description: Some(match problem {
                        Some(problem) => format!("{PART_OF_DAEMON}; {problem}"),
                        None => PART_OF_DAEMON.to_owned(),
                    }),
                },
            },
        }
    }

    fn set_problem(&self, error: Option<&StorageError>) {
        self.told.lock().problem = error.map(|error| host::logs::chain(error).to_string());
    }

    /// The specification of a module that would store where the agent is to.
    fn spec(&self) -> Result<ModuleSpec, Refusal> {
        let deployed = self.told.lock().deployed.clone();
        // Neither is used: it is never created.
        let image = "edge-agent:1".parse().map_err(RuntimeError::from)?;
        let mut spec = ModuleSpec::new(super::parse(AGENT_NAME)?, image);
        spec.create_options = deployed.create_options.into();
        spec.env.extend(deployed.storage_folder.map(|folder| (STORAGE_FOLDER.to_owned(), folder)));
        Ok(spec)
    }
}

impl Modules {
    /// Takes what a deployment says of the agent. Where its record cannot lie as is wanted, it stays
    /// where it is, and the answer says why.
    pub(super) async fn agent_told(
        &self,
        spec: management::ModuleSpec,
    ) -> Result<ModuleDetails, Refusal> {
        let spec = self.to_runtime(spec)?;
        let mut create_options = match &spec.create_options {
            Value::Object(options) => options.clone(),
            _ => Map::new(),
        };
        let storage_folder = spec.variable(STORAGE_FOLDER)?;
        create_options.retain(|key, _| !key.eq_ignore_ascii_case("Env"));
        let wanted = self.storage.wanted(Resident::EdgeAgent, &spec).await?;
        if let Err(error) = self.storage.check(Resident::EdgeAgent, &wanted) {
            self.agent.set_problem(Some(&error));
            return Err(error.into());
        }
        let deployed = Deployed { create_options, storage_folder };
        if self.agent.told.lock().deployed != deployed {
            let text = serde_json::to_vec_pretty(&deployed).unwrap_or_default();
            fs::write_atomic(&self.storage.agent_file(), &text, 0o600)?;
            *self.agent.told.lock() = Told { deployed, ..Told::default() };
        }
        let wanted = wanted.place.map(|place| place.dir);
        if wanted.is_some() && self.agent.told.lock().failed == wanted {
            return Ok(self.agent.details());
        }
        self.agent.set_problem(None);
        let place = self.storage.place(Resident::EdgeAgent)?;
        if wanted.is_some_and(|wanted| wanted != place.dir) {
            tracing::info!("the agent begins anew, to have its record where the deployment says");
            self.agent_restarts.send_modify(|count| *count = count.wrapping_add(1));
        }
        Ok(self.agent.details())
    }

    /// Where the agent's record lies, which is moved first if it is to. Only while no agent runs.
    pub(crate) async fn agent_dir(&self) -> Result<PathBuf, Refusal> {
        let wanted: Wanted = self.storage.wanted(Resident::EdgeAgent, &self.agent.spec()?).await?;
        let settled = self.storage.settle(Resident::EdgeAgent, &wanted).await;
        if let Err(error) = &settled {
            tracing::error!(error = %host::logs::chain(error), "the agent's record stays where it is");
        }
        self.agent.set_problem(settled.as_ref().err());
        let wanted = wanted.place.map(|place| place.dir);
        self.agent.told.lock().failed = wanted.filter(|_| settled.is_err());
        Ok(self.storage.place(Resident::EdgeAgent)?.dir)
    }
}

impl From<FsError> for Refusal {
    fn from(error: FsError) -> Self {
        Self::of(host::http::StatusCode::INTERNAL_SERVER_ERROR, &error)
    }
}

const STORAGE_FOLDER: &str = "storageFolder";
const PART_OF_DAEMON: &str = "part of the daemon";
