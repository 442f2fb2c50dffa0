//! Images and volumes that lie on this machine, for whoever decides which may go; and pulls.

/// An image that an engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// Its id: `sha256:…`.
    pub id: String,
    /// The names that it goes by; none when a newer image has taken them.
    pub names: Vec<String>,
    /// Its size; layers that it shares with others count in full.
    pub size_bytes: u64,
    /// Whether any container is made of it, running or not, whoever's it is.
    pub is_used: bool,
    /// Whether it is one of the catalogue's.
    pub is_builtin: bool,
}

/// What came of removing an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRemoval {
    /// It is gone.
    Removed,
    /// Something else needs it: a container, an image made of it, or another name.
    InUse {
        /// The engine's words.
        message: String,
    },
}

/// How far a pull is, as far as the engine tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that the image has; more may become known.
    pub layers: u64,
    /// Of those, here and unpacked.
    pub layers_done: u64,
    /// Bytes to download of the layers whose size is known; what was here before is not among them.
    pub bytes: u64,
    /// Of those, downloaded.
    pub bytes_done: u64,
}

/// Who hears of a pull's progress, as often as the engine tells it.
pub type Watcher<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

/// A named volume that was made for a module of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalVolume {
    /// Its name.
    pub name: String,
    /// The module for which it was made.
    pub module: String,
    /// Whether any container has it, running or not, whoever's it is.
    pub is_used: bool,
    /// What it holds, where the engine tells.
    pub size_bytes: Option<u64>,
}
