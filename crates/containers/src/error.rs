//! What can go wrong in a runtime.

use crate::{InvalidImageReference, InvalidModuleName};

/// Errors of all runtimes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No such module.
    #[error("module {name} does not exist")]
    NotFound {
        /// The module's name.
        name: String,
    },
    /// A module of that name exists already (or somebody else's container does).
    #[error("{what}")]
    Conflict {
        /// What is in the way, and what to do.
        what: String,
    },
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] InvalidModuleName),
    /// The image reference cannot be used.
    #[error(transparent)]
    Image(#[from] InvalidImageReference),
    /// The createOptions are not what an engine takes.
    #[error("createOptions of module {name}: {what}")]
    CreateOptions {
        /// The module's name.
        name: String,
        /// Which key, and what is wrong with it.
        what: String,
    },
    /// The createOptions ask for power over the machine that local policy denies.
    #[error(
        "module {name} is refused, for this device does not allow {keys}; in brackets is what would, under [farshore.policy] of its config.toml"
    )]
    Elevated {
        /// The module's name.
        name: String,
        /// The keys in createOptions, each with the line that would allow it.
        keys: String,
    },
    /// The image is not here and may not or cannot be pulled.
    #[error("image {image}: {what}")]
    ImageUnavailable {
        /// The image reference.
        image: String,
        /// Why, and what to do.
        what: String,
    },
    /// The engine's address is not one that we can speak to.
    #[error(
        "container engine {uri:?} cannot be used: give an address like unix:///var/run/docker.sock"
    )]
    EngineUri {
        /// The address as given.
        uri: String,
    },
    /// The engine cannot be reached.
    #[error(
        "cannot reach the container engine at {uri}: is it running, and may this user use its socket?"
    )]
    EngineUnreachable {
        /// The engine's URI.
        uri: String,
        /// What the system says.
        #[source]
        source: BoxError,
    },
    /// The engine answered with an error.
    #[error("container engine answered {status}: {message}")]
    Engine {
        /// HTTP status, passed on by the management API.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine answered something that is not its protocol, or stopped answering.
    #[error("{what}")]
    EngineProtocol {
        /// What was expected.
        what: String,
        /// What was found.
        #[source]
        source: Option<BoxError>,
    },
    /// A program could not be started or signalled, or its files not written.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl RuntimeError {
    /// The HTTP status with which the management API passes this error on
    /// (`edge-runtime.md` §2.1: engine errors keep theirs).
    #[must_use]
    pub fn engine_status(&self) -> Option<u16> {
        match self {
            Self::Engine { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the module is simply not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// A foreign error kept as source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
