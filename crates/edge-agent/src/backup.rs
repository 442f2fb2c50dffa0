//! What survives the agent on disk: its deployments (the one in force, the good one), sealed, and the records of
//! modules. Both are written by one task, newest first, so that nobody waits for the disk.
//!
//! The seal is the daemon's (workload API `encrypt`), because manifests hold registry passwords.
//! Without the daemon nothing is written; there is no unsealed form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::edge::WorkloadClient;
use host::fs::{self, FsError};
use host::signals::Shutdown;
use model::ModuleId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::desired::Desired;
use crate::error::{AgentError, chain};
use crate::record::{Kept, Record, Records};
use crate::rollout::Stages;

/// What survives.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    /// Deployments: the one in force, the good one, the one given up.
    pub(crate) stages: Stages,
    /// What is kept of each module.
    pub(crate) records: BTreeMap<String, Kept>,
}

/// Reads and writes [`State`].
pub(crate) struct Backup {
    dir: PathBuf,
    workload: WorkloadClient,
}

/// Desired properties on disk.
#[derive(Serialize, Deserialize)]
struct Sealed {
    format: u32,
    /// Base64.
    vector: String,
    /// Base64.
    ciphertext: String,
}

/// Records on disk.
#[derive(Serialize, Deserialize)]
struct RecordsFile {
    format: u32,
    modules: BTreeMap<String, Kept>,
}

impl Backup {
    pub(crate) fn new(dir: &Path, workload: WorkloadClient) -> Result<Self, AgentError> {
        fs::create_private_dir(dir).map_err(AgentError::DataDir)?;
        Ok(Self { dir: dir.to_owned(), workload })
    }

    /// What was kept of modules; nothing on a first start.
    pub(crate) fn read_records(&self) -> Result<Records, AgentError> {
        let path = self.dir.join(RECORDS_FILE);
        let Some(text) = fs::read_optional(&path).map_err(AgentError::DataDir)? else {
            return Ok(Records::new());
        };
        let file: RecordsFile = serde_json::from_str(&text)
            .map_err(|source| AgentError::Records { path: path.display().to_string(), source })?;
        let records = file.modules.into_iter().filter_map(|(module, kept)| {
            Some((module.parse::<ModuleId>().ok()?, Record { kept, ..Record::default() }))
        });
        Ok(records.collect())
    }

    /// The deployments. Whatever is wrong with them is logged: the twin brings the newest again.
    pub(crate) async fn read_stages(&self) -> Stages {
        match self.unseal().await {
            Ok(stages) => stages,
            Err(error) => {
                let error = chain(&*error);
                tracing::warn!(%error, "cannot read the last deployment; waiting for the twin");
                Stages::default()
            }
        }
    }

    async fn unseal(&self) -> Result<Stages, BoxError> {
        let Some(text) = fs::read_optional(&self.dir.join(DESIRED_FILE))? else {
            return Ok(Stages::default());
        };
        let sealed: Sealed = serde_json::from_str(&text)?;
        let (vector, ciphertext) =
            (STANDARD.decode(&sealed.vector)?, STANDARD.decode(&sealed.ciphertext)?);
        let plain = self.workload.decrypt(&ciphertext, &vector).await?;
        if sealed.format == FORMAT_OF_ONE {
            let desired: Desired = serde_json::from_slice(&plain)?;
            return Ok(Stages { desired: Some(desired), ..Stages::default() });
        }
        Ok(serde_json::from_slice(&plain)?)
    }

    async fn seal(&self, stages: &Stages) -> Result<(), BoxError> {
        let vector = host::entropy::bytes::<VECTOR_BYTES>();
        let plain = serde_json::to_vec(stages)?;
        let sealed = Sealed {
            format: FORMAT_OF_STAGES,
            vector: STANDARD.encode(vector),
            ciphertext: STANDARD.encode(self.workload.encrypt(&plain, &vector).await?),
        };
        Ok(self.write(DESIRED_FILE, &serde_json::to_vec(&sealed)?).await?)
    }

    async fn write_records(&self, modules: &BTreeMap<String, Kept>) -> Result<(), BoxError> {
        let file = RecordsFile { format: FORMAT, modules: modules.clone() };
        Ok(self.write(RECORDS_FILE, &serde_json::to_vec_pretty(&file)?).await?)
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FsError> {
        let (path, bytes) = (self.dir.join(name), bytes.to_vec());
        match tokio::task::spawn_blocking(move || fs::write_atomic(&path, &bytes, 0o600)).await {
            Ok(result) => result,
            // The runtime is ending; what was there before stays.
            Err(_) => Ok(()),
        }
    }

    /// Writes whatever differs from what was read, until the end, and then once more.
    pub(crate) async fn keep(
        self,
        mut written: State,
        mut state: watch::Receiver<State>,
        shutdown: Shutdown,
    ) {
        loop {
            let is_ending = tokio::select! {
                changed = state.changed() => changed.is_err(),
                () = shutdown.wait() => true,
            };
            let newest = state.borrow_and_update().clone();
            self.write_changes(&mut written, newest).await;
            if is_ending {
                return;
            }
        }
    }

    /// What cannot be written stays to be written with the next change.
    async fn write_changes(&self, written: &mut State, newest: State) {
        if newest.records != written.records {
            match self.write_records(&newest.records).await {
                Ok(()) => written.records = newest.records,
                Err(error) => tracing::error!(error = chain(&*error), "cannot keep module records"),
            }
        }
        if newest.stages != written.stages {
            match self.seal(&newest.stages).await {
                Ok(()) => written.stages = newest.stages,
                Err(error) => {
                    let error = chain(&*error);
                    tracing::error!(%error, "cannot keep the deployment; no start without the hub");
                }
            }
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const FORMAT: u32 = 1;
/// The sealed file held nothing but the deployment in force.
const FORMAT_OF_ONE: u32 = 1;
const FORMAT_OF_STAGES: u32 = 2;
const DESIRED_FILE: &str = "deployment.sealed.json";
const RECORDS_FILE: &str = "modules.json";
/// AES-GCM's nonce.
const VECTOR_BYTES: usize = 12;
