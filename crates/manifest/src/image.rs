//! Image references in manifests: as container engines spell them ([`model::image`]), or with
//! `$upstream:<port>/` in place of the registry.
//!
//! A reference that exists is spelled with its tag (T-IMAGE-LATEST) and holds nothing that a
//! command line, a path or a URL could misread (`security.md` B34).

use std::fmt;
use std::str::FromStr;

use model::ImageReference;

use crate::fields::shortened;

/// A checked image reference; without tag and digest it means, and is spelled with, `:latest`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Image(String);

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is {text:?}, which is not an image reference: {why}")]
pub struct InvalidImage {
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Image {
    /// The whole reference.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address that registry credentials are looked up by (er §4.6); none for a bare name.
    pub fn registry(&self) -> Option<&str> {
        let (first, _) = self.0.split_once('/')?;
        Some(if model::image::is_registry(first) { first } else { DEFAULT_REGISTRY })
    }

    /// Whether the registry is to be replaced by the parent's address.
    pub fn is_upstream(&self) -> bool {
        self.0.starts_with(UPSTREAM)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for Image {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        normalise(text.trim()).map(Self).map_err(|why| InvalidImage { text: shortened(text), why })
    }
}

fn normalise(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix(UPSTREAM) else {
        return spelled(text);
    };
    // What stands behind the port is checked as behind any other registry's.
    let Some(rest) = rest.strip_prefix(':') else {
        return Err("$upstream needs a port and a path, as in $upstream:443/name:1.0".into());
    };
    let spelled = spelled(&format!("{PARENT}:{rest}"))?;
    Ok(spelled.replacen(PARENT, UPSTREAM, 1))
}

fn spelled(text: &str) -> Result<String, String> {
    let reference = text.parse::<ImageReference>().map_err(|error| error.why.to_owned())?;
    Ok(reference.to_string())
}

/// Stands for the parent's address.
const UPSTREAM: &str = "$upstream";
/// Stands for it while the rest is checked.
const PARENT: &str = "parent";
/// What engines call the registry of names without one (er §4.6).
const DEFAULT_REGISTRY: &str = "https://index.docker.io/v1/";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, spelled: &str, registry: Option<&str>) {
        let image: Image = text.parse().unwrap();
        assert_eq!(image.as_str(), spelled);
        assert_eq!(image.registry(), registry);
    }

    #[test]
    fn references_get_their_tag_and_registry() {
        check("busybox", "busybox:latest", None);
        check("library/busybox:1", "library/busybox:1", Some("https://index.docker.io/v1/"));
        check("mcr.microsoft.com/x-y:1.5", "mcr.microsoft.com/x-y:1.5", Some("mcr.microsoft.com"));
        check("localhost:5000/a/b", "localhost:5000/a/b:latest", Some("localhost:5000"));
        check("localhost/a", "localhost/a:latest", Some("localhost"));
        check("[::1]:5000/a", "[::1]:5000/a:latest", Some("[::1]:5000"));
        check("$upstream:443/a:1", "$upstream:443/a:1", Some("$upstream:443"));
        let digest = format!("a@sha256:{}", "0".repeat(64));
        check(&digest, &digest, None);
    }

    #[test]
    fn hostile_references_are_refused() {
        let long = "a".repeat(300);
        for bad in [
            "",
            "--privileged",
            "x;rm -rf",
            "localhost:2375/..",
            "localhost:/a",
            "localhost:99999/a",
            "a:",
            "a@sha256:00",
            "../etc",
            "a//b",
            "a/",
            "/a",
            "A",
            "a b",
            "a\nb",
            "a:tag:tag",
            "a:b/c",
            "$upstream/a",
            "$upstream:/a",
            "$upstreams:443/a",
            "$(id)",
            "-x.y/a",
            "a___b",
            "ä",
            &long,
        ] {
            assert!(bad.parse::<Image>().is_err(), "{bad:?}");
        }
    }
}
