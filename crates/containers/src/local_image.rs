//! Images that lie on this machine, for whoever decides which may go.

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
