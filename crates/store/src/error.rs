//! Why a store could not do what was asked.

/// An error of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// What should be changed is not there.
    #[error("not found")]
    NotFound,
    /// What should be created is there already.
    #[error("exists already")]
    Exists,
    /// The stored version is not the one that the write named.
    #[error("the stored version differs from the expected one")]
    Precondition,
    /// A bound of the resource is reached; nothing was written.
    #[error("{what} is full ({limit})")]
    Full {
        /// What is full.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// The twin refuses the change.
    #[error(transparent)]
    Twin(#[from] model::twin::TwinError),
    /// A newer owner has taken over; this writer must stop.
    #[error("fenced by a newer owner")]
    Fenced,
    /// The store cannot be used now; nothing was written. Trying again later may work.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The write may or may not have happened.
    #[error("the outcome of the write is unknown: {0}")]
    UnknownOutcome(String),
    /// What is stored cannot be read: it was damaged, or written by a newer version.
    #[error("stored data is not readable: {0}")]
    Corrupt(String),
}

/// The result of a store's operation.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
