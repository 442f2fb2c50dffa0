//! Module identities of this device: at the hub, and what is known of them here.
//!
//! Calls go to the hub's registry with the device's key (`edge-runtime.md` §2.5). What was learnt
//! is kept in a file, so that modules can be created, started and sign while the hub cannot be
//! reached. The file holds no secret: keys are derived. Who may ask is the APIs' business.

mod backup;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::registry::{DeviceRegistryClient, RestError};
use host::clock::{Clock, Mono};
use host::fs::FsError;
use iot_proto::management::Identity;
use iot_proto::payload::module::ModuleJson;
use model::{DeviceId, GenerationId, ModuleId};
use parking_lot::{Mutex, RwLock};

use crate::keys::Keys;

pub(crate) use backup::Backup;
pub use backup::BackupError;

/// Why an identity is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The hub refused, or cannot be asked and there is nothing to go by here.
    #[error("hub did not serve the identities of this device")]
    Hub(#[from] RestError),
    /// The hub did not answer while the caller waits.
    #[error("hub did not answer within {0:?}; check the network, the call is tried again")]
    Slow(Duration),
    /// The hub answers something that cannot be right.
    #[error("hub gives module {module} the generation {generation:?}, which is none")]
    Generation {
        /// The module.
        module: ModuleId,
        /// What was given.
        generation: String,
    },
    /// There is no such identity.
    #[error("module {0} has no identity on this device")]
    Unknown(ModuleId),
    /// A system module comes and goes with its device.
    #[error("module {0} comes and goes with the device and cannot be deleted")]
    System(ModuleId),
    /// It could not be kept.
    #[error("cannot keep the identities of this device")]
    Keep(#[from] FsError),
}

impl IdentityError {
    /// Whether the hub could not be asked, which may be mended by trying again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_transient(),
            Self::Slow(_) => true,
            _ => false,
        }
    }

    /// Whether the identity does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Hub(error) => error.code_name() == Some(MODULE_NOT_FOUND),
            _ => false,
        }
    }
}

/// What is known of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) generation: GenerationId,
    pub(crate) managed_by: Option<String>,
}

impl Known {
    fn to_identity(&self, module: &ModuleId) -> Identity {
        Identity {
            module_id: module.to_string(),
            // Absent is told as it is: who cleans up must not take it for its own.
            managed_by: self.managed_by.clone().unwrap_or_default(),
            generation_id: self.generation.to_string(),
            auth_type: "sas".to_owned(),
        }
    }
}

/// How identities are looked after.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How often a call to the hub is tried again.
    pub(crate) retries: u32,
    /// Whether what is known here is good enough.
    pub(crate) prefer_known: bool,
    /// The file that keeps what is known.
    pub(crate) file: PathBuf,
    /// The hub's name.
    pub(crate) hub: String,
    /// This device.
    pub(crate) device: DeviceId,
}

/// The identities of this device's modules.
pub(crate) struct Identities {
    registry: RwLock<Arc<DeviceRegistryClient>>,
    keys: Arc<Keys>,
    settings: Settings,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<ModuleId, Known>,
    /// Whether the hub's whole list was seen once.
    is_complete: bool,
    /// Until then the hub is taken to be away.
    away_until: Option<Mono>,
}

impl Identities {
    pub(crate) fn open(
        registry: DeviceRegistryClient,
        keys: Arc<Keys>,
        settings: Settings,
        clock: Clock,
    ) -> Result<Self, BackupError> {
        let backup = Backup::read(&settings.file, &settings.hub, &settings.device)?;
        let state =
            State { known: backup.modules, is_complete: backup.is_complete, away_until: None };
        let registry = RwLock::new(Arc::new(registry));
        Ok(Self { registry, keys, settings, clock, state: Mutex::new(state) })
    }

    /// From now on the hub is asked so: the device has another certificate.
    pub(crate) fn ask_by(&self, registry: DeviceRegistryClient) {
        *self.registry.write() = Arc::new(registry);
    }

    fn registry(&self) -> Arc<DeviceRegistryClient> {
        Arc::clone(&self.registry.read())
    }

    /// All identities: the hub's, or those known while it is away.
    pub(crate) async fn list(&self) -> Result<Vec<Identity>, IdentityError> {
        if self.is_away() && self.state.lock().is_complete {
            return Ok(self.all_known());
        }
        let registry = self.registry();
        match self.ask(|| registry.modules()).await {
            Ok(modules) => {
                let known = modules.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
                self.change(|state| (state.known, state.is_complete) = (known, true))?;
                Ok(self.all_known())
            }
            Err(error) if error.is_transient() && self.state.lock().is_complete => {
                warn_known(&error, "all");
                Ok(self.all_known())
            }
            Err(error) => Err(error),
        }
    }

    /// Creates a module's identity, or takes over the one that exists, with keys of ours.
    pub(crate) async fn create(
        &self,
        module: &ModuleId,
        managed_by: Option<&str>,
    ) -> Result<Identity, IdentityError> {
        if self.suffices(module) {
            return self.known(module);
        }
        let managed_by = managed_by.unwrap_or(Identity::MANAGED_BY_DEFAULT);
        let registry = self.registry();
        let create = || {
            registry.create(module, Some(managed_by), |generation| {
                self.keys.symmetric(module, generation)
            })
        };
        let outcome = self.ask(create).await;
        self.learn(module, outcome)
    }

    /// Gives a module's identity the keys of its present generation.
    pub(crate) async fn update(
        &self,
        module: &ModuleId,
        managed_by: Option<&str>,
    ) -> Result<Identity, IdentityError> {
        if self.suffices(module) {
            return self.known(module);
        }
        let registry = &self.registry();
        let update = || async move {
            let found = registry.module(module).await?;
            let keys = self.keys.symmetric(module, &GenerationId::from_text(&found.generation_id));
            let managed_by = managed_by.or(found.managed_by.as_deref());
            registry.update(module, managed_by, keys).await
        };
        let outcome = self.ask(update).await;
        self.learn(module, outcome)
    }

    /// Deletes a module's identity.
    pub(crate) async fn delete(&self, module: &ModuleId) -> Result<(), IdentityError> {
        if module.is_system() {
            return Err(IdentityError::System(module.clone()));
        }
        let registry = self.registry();
        self.ask(|| registry.delete(module)).await?;
        self.change(|state| drop(state.known.remove(module)))?;
        Ok(())
    }

    /// A module's generation, from what is known here.
    pub(crate) fn generation(&self, module: &ModuleId) -> Result<GenerationId, IdentityError> {
        let state = self.state.lock();
        let known =
            state.known.get(module).ok_or_else(|| IdentityError::Unknown(module.clone()))?;
        Ok(known.generation.clone())
    }

    /// What is known of one module.
    pub(crate) fn known(&self, module: &ModuleId) -> Result<Identity, IdentityError> {
        let state = self.state.lock();
        let known =
            state.known.get(module).ok_or_else(|| IdentityError::Unknown(module.clone()))?;
        Ok(known.to_identity(module))
    }

    fn all_known(&self) -> Vec<Identity> {
        let state = self.state.lock();
        state.known.iter().map(|(module, known)| known.to_identity(module)).collect()
    }

    /// Whether a module is known and that is enough.
    fn suffices(&self, module: &ModuleId) -> bool {
        (self.settings.prefer_known || self.is_away())
            && self.state.lock().known.contains_key(module)
    }

    fn is_away(&self) -> bool {
        self.state.lock().away_until.is_some_and(|until| self.clock.now() < until)
    }

    /// Takes over what the hub says of one module; while it is away, what is known.
    fn learn(
        &self,
        module: &ModuleId,
        outcome: Result<ModuleJson, IdentityError>,
    ) -> Result<Identity, IdentityError> {
        match outcome {
            Ok(answer) => {
                let (_, known) = read(&answer)?;
                let identity = known.to_identity(module);
                self.change(|state| drop(state.known.insert(module.clone(), known)))?;
                Ok(identity)
            }
            Err(error) if error.is_transient() => match self.known(module) {
                Ok(identity) => {
                    warn_known(&error, module.as_str());
                    Ok(identity)
                }
                Err(_) => Err(error),
            },
            Err(error) if error.is_not_found() => {
                self.change(|state| drop(state.known.remove(module)))?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes what is known, and keeps it.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), FsError> {
        let mut state = self.state.lock();
        let before = (state.known.clone(), state.is_complete);
        change(&mut state);
        if before == (state.known.clone(), state.is_complete) {
            return Ok(());
        }
        let backup = Backup { modules: state.known.clone(), is_complete: state.is_complete };
        // Under the lock, so that a later change is never overwritten by an earlier one.
        backup.write(&self.settings.file, &self.settings.hub, &self.settings.device)
    }

    /// Asks the hub, again after a pause when that may help, for as long as a caller waits.
    async fn ask<T, F>(&self, call: impl Fn() -> F) -> Result<T, IdentityError>
    where
        F: Future<Output = Result<T, RestError>>,
    {
        let attempts = async {
            let mut left = self.settings.retries;
            loop {
                // Boxed: a call to the hub is large, and most requests are none.
                match Box::pin(call()).await {
                    Err(error) if error.is_transient() && left > 0 => left -= 1,
                    outcome => return outcome,
                }
                self.clock.sleep(RETRY_PAUSE).await;
            }
        };
        let outcome = match self.clock.timeout(PATIENCE, attempts).await {
            Ok(outcome) => outcome.map_err(IdentityError::Hub),
            Err(_) => Err(IdentityError::Slow(PATIENCE)),
        };
        let is_away = matches!(&outcome, Err(error) if error.is_transient());
        self.state.lock().away_until = is_away.then(|| self.clock.now() + AWAY);
        outcome
    }
}

/// What an answer of the hub says of a module.
fn read(module: &ModuleJson) -> Result<(ModuleId, Known), IdentityError> {
    let wrong = |id: ModuleId| IdentityError::Generation {
        module: id,
        generation: module.generation_id.chars().take(40).collect(),
    };
    let id: ModuleId = match module.module_id.parse() {
        Ok(id) => id,
        Err(_) => return Err(wrong(ModuleId::edge_agent())),
    };
    if !is_generation(&module.generation_id) {
        return Err(wrong(id));
    }
    let generation = GenerationId::from_text(&module.generation_id);
    Ok((id, Known { generation, managed_by: module.managed_by.clone() }))
}

/// Keys are derived from module, generation and a word, joined by `:`: a generation without one
/// keeps them apart.
pub(crate) fn is_generation(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= GENERATION_LENGTH_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn warn_known(error: &IdentityError, module: &str) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(module, error, "hub cannot be asked, going by what is known here");
}

const MODULE_NOT_FOUND: &str = "ModuleNotFound";
/// Local callers wait 30 s (our own client's deadline), the original's agent longer.
const PATIENCE: Duration = Duration::from_secs(25);
/// Between two attempts (`edge-runtime.md` §2.5).
const RETRY_PAUSE: Duration = Duration::from_secs(3);
/// How long a hub that did not answer is not asked again for what is known here.
const AWAY: Duration = Duration::from_secs(15);
/// Real ones have 18 digits.
const GENERATION_LENGTH_MAX: usize = 64;

#[cfg(test)]
mod tests;
