//! The local image catalogue: image names that are served by built-in programs.
//!
//! A manifest that names `mcr.microsoft.com/azureiotedge-hub:1.5` gets our own
//! edge hub without being changed (`DESIGN.md` §6). The operator may add names
//! or take them out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ImageReference;

/// Which image names are built in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// By repository (registry and path without tag).
    entries: BTreeMap<String, Builtin>,
}

/// A built-in image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// Reference under which an engine has the image, such as `farshore:0.1.0`.
    pub image: ImageReference,
    /// Program for the process runtime.
    pub program: PathBuf,
    /// Its arguments (in a container: after the image's entry point), such as
    /// `edge-hub`. `createOptions.Cmd` replaces them.
    pub args: Vec<String>,
}

/// What the catalogue says to an image reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// It is built in; nothing is pulled.
    Builtin(&'a Builtin),
    /// It comes from a registry.
    Remote,
}

impl Catalogue {
    /// A catalogue without entries.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Serves all tags of a repository by a built-in image.
    #[must_use]
    pub fn with(mut self, repository: impl Into<String>, builtin: Builtin) -> Self {
        self.entries.insert(repository.into(), builtin);
        self
    }

    /// Leaves a repository to its registry.
    #[must_use]
    pub fn without(mut self, repository: &str) -> Self {
        self.entries.remove(repository);
        self
    }

    /// Whether an image is built in. A reference that pins a digest is not: our
    /// image cannot have it.
    #[must_use]
    pub fn resolve(&self, image: &ImageReference) -> Resolved<'_> {
        match self.entries.get(image.repository()) {
            Some(builtin) if image.digest().is_none() => Resolved::Builtin(builtin),
            _ => Resolved::Remote,
        }
    }

    /// The built-in images, as engines have them; one that serves several names comes several times.
    pub fn images(&self) -> impl Iterator<Item = &ImageReference> {
        self.entries.values().map(|builtin| &builtin.image)
    }

    /// The repositories that it serves, in order.
    pub fn repositories(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_tag_resolves_and_a_digest_does_not() {
        let builtin = Builtin {
            image: "farshore:0.1.0".parse().unwrap(),
            program: "/usr/bin/farshore".into(),
            args: vec!["edge-hub".into()],
        };
        let catalogue =
            Catalogue::empty().with("mcr.microsoft.com/azureiotedge-hub", builtin.clone());
        let resolve = |text: &str| catalogue.resolve(&text.parse().unwrap());
        assert_eq!(resolve("mcr.microsoft.com/azureiotedge-hub:1.5"), Resolved::Builtin(&builtin));
        assert_eq!(resolve("mcr.microsoft.com/azureiotedge-hub"), Resolved::Builtin(&builtin));
        assert_eq!(resolve("mcr.microsoft.com/azureiotedge-hub2"), Resolved::Remote);
        assert_eq!(
            resolve(&format!("mcr.microsoft.com/azureiotedge-hub@sha256:{}", "a".repeat(64))),
            Resolved::Remote
        );
    }
}
