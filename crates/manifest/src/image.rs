//! Image references in manifests: `[registry/]path[:tag][@digest]`, as container engines spell them
//! (distribution reference grammar), or with `$upstream:<port>/` in place of the registry.
//!
//! A reference that exists is spelled with its tag (T-IMAGE-LATEST) and holds nothing that a
//! command line, a path or a URL could misread (`security.md` B34).

use std::fmt;
use std::str::FromStr;

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
    pub why: &'static str,
}

impl Image {
    /// The whole reference.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address that registry credentials are looked up by (er §4.6); none for a bare name.
    pub fn registry(&self) -> Option<&str> {
        let (first, _) = self.0.split_once('/')?;
        if is_registry(first) { Some(first) } else { Some(DEFAULT_REGISTRY) }
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

fn normalise(text: &str) -> Result<String, &'static str> {
    if text.len() > REFERENCE_BYTES_MAX {
        return Err("it is longer than 512 bytes");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon after the last slash begins the tag; one before it, a port.
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (rest, None),
    };
    check_repository(repository)?;
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    if let Some(digest) = digest {
        check_digest(digest)?;
    }
    match (tag, digest) {
        (None, None) => Ok(format!("{repository}:{DEFAULT_TAG}")),
        _ => Ok(text.to_owned()),
    }
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.is_empty() {
        return Err("the name is empty");
    }
    if repository.len() > REPOSITORY_BYTES_MAX {
        return Err("the name is longer than 255 bytes");
    }
    let path = match repository.split_once('/') {
        Some((first, path)) if is_registry(first) => {
            check_registry(first)?;
            path
        }
        _ if repository.starts_with(UPSTREAM) => {
            return Err("$upstream needs a port and a path, as in $upstream:443/name:1.0");
        }
        _ => repository,
    };
    path.split('/').try_for_each(check_component)
}

/// Engines take the first component for a registry when it has a dot or a port, or is localhost.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    const WHY: &str = "the registry is not a host name with an optional port";
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if !digits || port.parse::<u16>().is_err() {
            return Err(WHY);
        }
    }
    if host == UPSTREAM {
        return if port.is_some() { Ok(()) } else { Err(WHY) };
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return if address.parse::<std::net::Ipv6Addr>().is_ok() { Ok(()) } else { Err(WHY) };
    }
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.split('.').all(label_is_good) { Ok(()) } else { Err(WHY) }
}

/// Lower-case words joined by one of `.`, `_`, `__` or any number of `-`.
fn check_component(component: &str) -> Result<(), &'static str> {
    const WHY: &str =
        "the parts of the name are lower-case letters and digits, with . _ __ or - between";
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !component.starts_with(is_word) || !component.ends_with(is_word) {
        return Err(WHY);
    }
    let separator_is_good =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    if component.split(is_word).all(separator_is_good) { Ok(()) } else { Err(WHY) }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let begins_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let holds_well = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if begins_well && holds_well && tag.len() <= TAG_BYTES_MAX {
        Ok(())
    } else {
        Err("the tag is 1 to 128 of letters, digits, _ . and -")
    }
}

fn check_digest(digest: &str) -> Result<(), &'static str> {
    let good = digest.split_once(':').is_some_and(|(algorithm, hex)| {
        matches!((algorithm, hex.len()), ("sha256", 64) | ("sha512", 128))
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    if good { Ok(()) } else { Err("the digest is not sha256:<64 hex digits>") }
}

/// Stands for the parent's address.
const UPSTREAM: &str = "$upstream";
/// What engines call the registry of names without one (er §4.6).
const DEFAULT_REGISTRY: &str = "https://index.docker.io/v1/";
const DEFAULT_TAG: &str = "latest";
const REFERENCE_BYTES_MAX: usize = 512;
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

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
