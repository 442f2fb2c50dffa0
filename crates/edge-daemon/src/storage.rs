//! Where the built-in system modules keep what must survive: the edge hub its messages, the agent
//! its deployment.
//!
//! `storageFolder` and what createOptions mount there decide it. Without a mount the folder is in
//! the daemon's directory: a container's own would go with the container. When a deployment names
//! another place, the store is moved (`moving.rs`) before the new module is made of it; what would
//! keep it from moving is looked for while the old one still runs. Each device at each hub has its
//! own record and its own folder, because a store is never sent to somebody else's hub.
//!
//! Spec: `edge-runtime.md` §4.10, 5.4, 5.12; `tools.md` §4.1 (host storage for system modules).

mod moving;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use containers::{
    Bind, Location, ModuleRuntime, ModuleSpec, MountSource, RuntimeError, RuntimeKind, locate,
};
use host::fs::{self, FsError};
use host::http::StatusCode;

use crate::http::Refusal;
use crate::workload::{AGENT_NAME, HUB_NAME};
use moving::{MoveError, Mover};
pub(crate) use moving::{Place, Settled};

/// A system module with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resident {
    EdgeHub,
    EdgeAgent,
}

impl Resident {
    /// The module of this name, if it has a store here.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            HUB_NAME => Some(Self::EdgeHub),
            AGENT_NAME => Some(Self::EdgeAgent),
            _ => None,
        }
    }

    /// Its name, and that of the folder that it makes in `storageFolder`, as the original.
    fn name(self) -> &'static str {
        match self {
            Self::EdgeHub => HUB_NAME,
            Self::EdgeAgent => AGENT_NAME,
        }
    }

    /// By what a directory is known as its store.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::EdgeHub => &["state.db", "queues"],
            Self::EdgeAgent => &["modules.json", "deployment.sealed.json"],
        }
    }
}

/// Where a deployment wants a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The place; none when the module is to keep it where it cannot survive.
    pub(crate) place: Option<Place>,
    /// What the daemon adds to the module for it.
    pub(crate) bind: Option<Bind>,
    /// User and group that the module runs as, when they are told in numbers.
    user: Option<(u32, u32)>,
    /// Whether local policy has a say: a path that the manifest names.
    is_path: bool,
}

impl Wanted {
    fn nowhere(user: Option<(u32, u32)>) -> Self {
        Self { place: None, bind: None, user, is_path: false }
    }
}

/// The stores of the system modules.
pub(crate) struct Storage {
    dir: PathBuf,
    agent_dir: PathBuf,
    runtime: Arc<dyn ModuleRuntime>,
}

/// Why a store stays where it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The place is denied.
    #[error(
        "the store of {who} stays in {}: a module may not have {}; bind another folder, or allow this one in config.toml",
        from.display(), to.display()
    )]
    Denied { who: &'static str, from: PathBuf, to: PathBuf },
    /// There is too little room.
    #[error(
        "the store of {who} stays in {}: it needs {needed} bytes and {} has {free} free; make room there, or bind another folder",
        from.display(), to.display()
    )]
    NoRoom { who: &'static str, from: PathBuf, to: PathBuf, needed: u64, free: u64 },
    /// Somebody works with it.
    #[error(
        "the store of {who} stays in {}: somebody uses it; stop the {who} that runs there",
        from.display()
    )]
    InUse { who: &'static str, from: PathBuf },
    /// The place cannot be used.
    #[error(
        "the store of {who} stays in {}: {} cannot be used; let the daemon's user write there, or bind another folder",
        from.display(), to.display()
    )]
    Unusable { who: &'static str, from: PathBuf, to: PathBuf, source: Cause },
    /// It is not known where it lies.
    #[error("it is not known where the store of {who} lies: repair or remove {}", record.display())]
    Record { who: &'static str, record: PathBuf, source: Cause },
    /// The daemon ends.
    #[error("the daemon is ending")]
    Ending,
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Storage {
    /// For this device at this hub; `homedir` is the daemon's.
    pub(crate) fn open(
        homedir: &Path,
        (hub, device): (&str, &str),
        runtime: Arc<dyn ModuleRuntime>,
    ) -> Result<Self, FsError> {
        let all = homedir.join("storage");
        // Passed through by modules that run as other users.
        fs::create_dir(&all)?;
        fs::set_mode(&all, 0o711)?;
        let dir = all.join(name_of(hub, device));
        fs::create_dir(&dir)?;
        fs::set_mode(&dir, 0o711)?;
        Ok(Self { dir, agent_dir: homedir.join("agent"), runtime })
    }

    /// Where the deployment's words want the store.
    pub(crate) async fn wanted(
        &self,
        resident: Resident,
        spec: &ModuleSpec,
    ) -> Result<Wanted, RuntimeError> {
        let user = spec.numeric_user()?;
        let mounts = spec.mounts()?;
        let folder = spec.variable("StorageFolder")?.map(PathBuf::from);
        let is_process = self.runtime.kind() == RuntimeKind::Process;
        let Some(folder) = folder.or_else(|| (!is_process).then(|| FOLDER_DEFAULT.into())) else {
            return Ok(self.usual(resident, None, user));
        };
        let folder = Path::new("/").join(folder);
        let store = folder.join(resident.name());
        // A process finds its folder by the variable, which names a mount or one above it.
        let found = locate(&mounts, if is_process { &folder } else { &store });
        let (host, below, is_path) = match found {
            Some(Location { source: MountSource::Host(path), below }) => (path, below, true),
            Some(Location { source: MountSource::Volume(volume), below }) => {
                match self.runtime.volume_dir(&volume).await? {
                    Some(path) => (path, below, false),
                    None => return Ok(Wanted::nowhere(user)),
                }
            }
            _ if is_process => (folder, PathBuf::new(), true),
            Some(Location { source: MountSource::Passing, below }) if below == Path::new("") => {
                return Ok(Wanted::nowhere(user));
            }
            // In the container's own file system, or in memory, it would be lost.
            Some(_) | None => return Ok(self.usual(resident, Some(store), user)),
        };
        let is_named = !is_process && below == Path::new("");
        let below = if is_process { below.join(resident.name()) } else { below };
        let dir = if below == Path::new("") { host } else { host.join(below) };
        Ok(Wanted { place: Some(Place { dir, is_named }), bind: None, user, is_path })
    }

    /// In the daemon's directory, or in the process's own.
    fn usual(
        &self,
        resident: Resident,
        inside: Option<PathBuf>,
        user: Option<(u32, u32)>,
    ) -> Wanted {
        let place = self.usual_place(resident);
        let bind = match resident {
            Resident::EdgeHub => inside.map(|inside| Bind::new(place.dir.clone(), inside)),
            Resident::EdgeAgent => None,
        };
        Wanted { place: Some(place), bind, user, is_path: false }
    }

    fn usual_place(&self, resident: Resident) -> Place {
        let dir = match resident {
            Resident::EdgeAgent => self.agent_dir.clone(),
            Resident::EdgeHub => {
                let own = HUB_NAME.parse().ok().and_then(|name| self.runtime.own_dir(&name));
                own.unwrap_or_else(|| self.dir.clone()).join(HUB_NAME)
            }
        };
        Place { dir, is_named: false }
    }

    /// Where the store lies now.
    pub(crate) fn place(&self, resident: Resident) -> Result<Place, StorageError> {
        let usual = self.usual_place(resident);
        let record = self.record(resident);
        let found = mover(&record, &usual, resident).place();
        found.map_err(|error| self.record_error(resident, error))
    }

    /// Looks whether the store could move where it is wanted, while it is still in use.
    pub(crate) fn check(&self, resident: Resident, wanted: &Wanted) -> Result<(), StorageError> {
        let from = self.place(resident)?;
        let Some(to) = &wanted.place else { return Ok(()) };
        if to.dir == from.dir {
            return Ok(());
        }
        self.allowed(resident, &from, wanted)?;
        let (usual, record) = (self.usual_place(resident), self.record(resident));
        let mover = mover(&record, &usual, resident);
        let is_store =
            |place| mover.is_store(place).map_err(|error| self.error(resident, &from, to, error));
        if !is_store(&from)? || is_store(to)? {
            return Ok(());
        }
        let who = resident.name();
        let unusable = |source: FsError| StorageError::Unusable {
            who,
            from: from.dir.clone(),
            to: to.dir.clone(),
            source: source.into(),
        };
        let parent = match to.is_named {
            true => &to.dir,
            false => to.dir.parent().unwrap_or(&to.dir),
        };
        fs::create_dir(parent).map_err(unusable)?;
        let probe = parent.join(format!(".{who}-probe"));
        fs::write_atomic(&probe, PROBE, 0o600).map_err(unusable)?;
        fs::remove(&probe).map_err(unusable)?;
        if fs::is_same_file_system(&from.dir, parent).map_err(unusable)? {
            return Ok(());
        }
        let needed = fs::tree_bytes(&from.dir).map_err(unusable)? + MARGIN_BYTES;
        let free = fs::free_bytes(parent).map_err(unusable)?;
        if free < needed {
            let (from, to) = (from.dir.clone(), to.dir.clone());
            return Err(StorageError::NoRoom { who, from, to, needed, free });
        }
        Ok(())
    }

    fn allowed(
        &self,
        resident: Resident,
        from: &Place,
        wanted: &Wanted,
    ) -> Result<(), StorageError> {
        match &wanted.place {
            Some(to) if wanted.is_path && !self.runtime.may_name(&to.dir) => {
                let (from, to) = (from.dir.clone(), to.dir.clone());
                Err(StorageError::Denied { who: resident.name(), from, to })
            }
            _ => Ok(()),
        }
    }

    /// Makes the store lie where it is wanted. Nobody may work with it meanwhile.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        resident: Resident,
        wanted: &Wanted,
    ) -> Result<(), StorageError> {
        let (storage, wanted) = (Arc::clone(self), wanted.clone());
        let work = move || storage.settle_now(resident, &wanted);
        tokio::task::spawn_blocking(work).await.map_err(|_| StorageError::Ending)?
    }

    fn settle_now(&self, resident: Resident, wanted: &Wanted) -> Result<(), StorageError> {
        let (who, from) = (resident.name(), self.place(resident)?);
        let Some(to) = &wanted.place else {
            tracing::warn!(
                module = who,
                dir = %from.dir.display(),
                "createOptions mount something over storageFolder that does not survive, or that this machine does not keep; what is stored stays here until a folder of the host is bound"
            );
            return Ok(());
        };
        self.allowed(resident, &from, wanted)?;
        let (usual, record) = (self.usual_place(resident), self.record(resident));
        let settled = mover(&record, &usual, resident).settle(to);
        let settled = settled.map_err(|error| self.error(resident, &from, to, error))?;
        tell(who, to, &settled);
        if let Err(error) = hand_over(to, wanted.user) {
            // The engine may be able to, and the module tells if it cannot use it.
            let error = host::logs::chain(&error);
            tracing::debug!(module = who, %error, "cannot prepare the folder of the store");
        }
        Ok(())
    }

    fn record(&self, resident: Resident) -> PathBuf {
        self.dir.join(format!("{}.json", resident.name()))
    }

    /// The file in which the daemon keeps what a deployment says of the agent.
    pub(crate) fn agent_file(&self) -> PathBuf {
        self.dir.join("edgeAgent.deployed.json")
    }

    fn record_error(&self, resident: Resident, error: MoveError) -> StorageError {
        let record = self.record(resident);
        StorageError::Record { who: resident.name(), record, source: error.into() }
    }

    fn error(
        &self,
        resident: Resident,
        from: &Place,
        to: &Place,
        error: MoveError,
    ) -> StorageError {
        let (who, from, to) = (resident.name(), from.dir.clone(), to.dir.clone());
        match error {
            MoveError::File(error) if error.is_locked() => StorageError::InUse { who, from },
            MoveError::Record { .. } => self.record_error(resident, error),
            error => StorageError::Unusable { who, from, to, source: error.into() },
        }
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        let status = match &error {
            StorageError::Denied { .. } => StatusCode::FORBIDDEN,
            // Something on the device is in the way, not the daemon's fault nor a registry's.
            _ => StatusCode::CONFLICT,
        };
        Self::of(status, &error)
    }
}

fn mover<'a>(record: &'a Path, usual: &'a Place, resident: Resident) -> Mover<'a> {
    Mover { record, usual, marks: resident.marks(), reach: &|_| Ok(()) }
}

fn tell(who: &str, to: &Place, settled: &Settled) {
    let to = to.dir.display();
    match settled {
        Settled::There => tracing::debug!(module = who, dir = %to, "store"),
        Settled::Moved(from) => {
            tracing::info!(module = who, from = %from.display(), %to, "store was moved");
        }
        Settled::Found(from) => tracing::warn!(
            module = who,
            dir = %to,
            left = %from.display(),
            "there is a store here already, which is used; the other is left as it is, and counts again when its folder is named again"
        ),
        Settled::Lost(from) => tracing::warn!(
            module = who,
            dir = %to,
            gone = %from.display(),
            "the folder of the store is gone, and what was in it; beginning anew here"
        ),
    }
}

/// The store is its user's, who may not be this one.
fn hand_over(to: &Place, user: Option<(u32, u32)>) -> Result<(), FsError> {
    if !fs::exists(&to.dir)? {
        fs::create_private_dir(&to.dir)?;
    }
    let Some((uid, gid)) = user else { return Ok(()) };
    let facts = fs::facts(&to.dir)?;
    match (facts.uid, facts.gid) == (uid, gid) {
        true => Ok(()),
        false => fs::set_owner_of_tree(&to.dir, uid, gid),
    }
}

/// Short, and no matter what letters the names have.
fn name_of(hub: &str, device: &str) -> String {
    use aws_lc_rs::digest;
    let text = format!("{}/{device}", hub.to_ascii_lowercase());
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// As the original (§4.10, 5.12).
const FOLDER_DEFAULT: &str = "/tmp";
/// What an edge hub writes before it takes the first message.
const MARGIN_BYTES: u64 = 2 << 20;
const PROBE: &[u8] = b"farshore looks whether it may write here\n";
/// Label of an edge hub whose folder is the daemon's choice, for `iotedge check`.
pub(crate) const LABEL: &str = "farshore.storage";
/// Its value.
pub(crate) const LABEL_USUAL: &str = "usual";

#[cfg(test)]
mod tests;
