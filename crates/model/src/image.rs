//! Image references: `[registry/]path[:tag][@digest]`, as the container engines
//! spell them (distribution reference grammar), checked before anything else
//! sees them (`security.md` B34).

use std::fmt;
use std::str::FromStr;

/// A checked image reference. Without tag and digest it means `:latest`, and is
/// spelled so (T-IMAGE-LATEST).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Registry and path: `mcr.microsoft.com/azureiotedge-hub`.
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image {text:?} is not an image reference: {why}")]
pub struct InvalidImageReference {
    /// The offending text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ImageReference {
    /// Registry and path, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only with a digest.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `sha256:…`.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The registry's address, or `None` for the engine's default registry.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        let (first, _) = self.repository.split_once('/')?;
        is_registry(first).then_some(first)
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| InvalidImageReference {
            text: text.chars().take(ERROR_CHARS_MAX).collect(),
            why,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<ImageReference, &'static str> {
    if text.len() > REFERENCE_BYTES_MAX {
        return Err("longer than 512 bytes");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon after the last slash begins the tag; one before it, a port.
    let name_end =
        rest.rfind(':').filter(|colon| !rest[*colon..].contains('/')).unwrap_or(rest.len());
    let (repository, tag) = (&rest[..name_end], rest.get(name_end + 1..));

    if let Some(digest) = digest {
        check_digest(digest)?;
    }
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    check_repository(repository)?;
    let tag = match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some(DEFAULT_TAG),
    };
    Ok(ImageReference {
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.is_empty() {
        return Err("the name is missing");
    }
    if repository.len() > REPOSITORY_BYTES_MAX {
        return Err("the name is longer than 255 bytes");
    }
    let path = match repository.split_once('/') {
        Some((first, path)) if is_registry(first) => {
            check_registry(first)?;
            path
        }
        _ => repository,
    };
    path.split('/').try_for_each(check_component)
}

/// Whether the first component of a name is a registry; by the engines' rule it is one when it
/// could not be a plain path component.
#[must_use]
pub fn is_registry(component: &str) -> bool {
    component.contains(['.', ':'])
        || component == "localhost"
        || component.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the registry's address is not an IPv6 address");
            }
            (None, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")))
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), Some("")),
        },
    };
    let Some(port) = port else {
        return Err("the registry's port is malformed");
    };
    let has_port = registry.ends_with(']') || !registry.contains(':') || !port.is_empty();
    let is_number = port.bytes().all(|b| b.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok());
    if !has_port || !is_number {
        return Err("the registry's port is malformed");
    }
    let host_is_good = host.is_none_or(|host| {
        host.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        })
    });
    if host_is_good { Ok(()) } else { Err("the registry's host name is malformed") }
}

/// Lower-case letters and digits, parted by one `.`, one or two `_`, or any `-`.
fn check_component(component: &str) -> Result<(), &'static str> {
    const WHY: &str =
        "path components are lower-case letters and digits, parted by '.', '_' or '-'";
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = |b: Option<&u8>| b.is_some_and(|b| is_word(*b));
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return Err(WHY);
    }
    let separators_are_good =
        component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        });
    if separators_are_good { Ok(()) } else { Err(WHY) }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let bytes = tag.as_bytes();
    let good = !bytes.is_empty()
        && bytes.len() <= TAG_BYTES_MAX
        && (bytes[0].is_ascii_alphanumeric() || bytes[0] == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b));
    if good { Ok(()) } else { Err("the tag is 1 to 128 of letters, digits, '_', '.' and '-'") }
}

fn check_digest(digest: &str) -> Result<(), &'static str> {
    let good = digest.split_once(':').is_some_and(|(algorithm, hex)| {
        matches!((algorithm, hex.len()), ("sha256", 64) | ("sha512", 128))
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    if good { Ok(()) } else { Err("the digest is not sha256:<64 hex digits>") }
}

const DEFAULT_TAG: &str = "latest";
const REFERENCE_BYTES_MAX: usize = 512;
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const ERROR_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, registry: Option<&str>, repository: &str, spelled: &str) {
        let image: ImageReference = text.parse().unwrap();
        assert_eq!(image.registry(), registry);
        assert_eq!(image.repository(), repository);
        assert_eq!(image.to_string(), spelled);
    }

    #[test]
    fn references_are_read_as_engines_read_them() {
        check("busybox", None, "busybox", "busybox:latest");
        check("library/busybox:1", None, "library/busybox", "library/busybox:1");
        check(
            "mcr.microsoft.com/azureiotedge-hub:1.5",
            Some("mcr.microsoft.com"),
            "mcr.microsoft.com/azureiotedge-hub",
            "mcr.microsoft.com/azureiotedge-hub:1.5",
        );
        check(
            "localhost:5000/a/b",
            Some("localhost:5000"),
            "localhost:5000/a/b",
            "localhost:5000/a/b:latest",
        );
        check("[::1]:5000/a", Some("[::1]:5000"), "[::1]:5000/a", "[::1]:5000/a:latest");
        let digest = format!("a@sha256:{}", "0".repeat(64));
        check(&digest, None, "a", &digest);
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
            "a\n",
            "a:tag:tag",
            "$upstream:443/a",
            "$(id)",
            "ä",
            "a:b/c",
            "-x.y/a",
            "a___b",
            &long,
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad:?}");
        }
    }
}
