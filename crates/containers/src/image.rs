//! Container images made from one static binary, without a registry and without
//! an image builder.
//!
//! The engine loads a `docker save` archive: `manifest.json`, a config and one
//! layer (format: Docker Image Specification v1.2, "Combined Image JSON +
//! Filesystem Changeset Format"; read by docker, containerd and podman alike).
//! The same input gives the same bytes, and a label holds a digest of it, so
//! that loading again is skipped when the engine has exactly this image.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256, digest};
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::docker::{Engine, inspect_image};
use crate::{ImageReference, RuntimeError};
use archive::{Archive, Entry};

mod archive;

/// What a built image does when it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Name of the binary in the root directory; empty means `farshore`.
    pub binary_name: String,
    /// Entry point; empty means the binary itself.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub cmd: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// `uid` or `uid:gid`; empty is root.
    pub user: String,
    /// Such as `8883/tcp`. Shown only: nothing is published by it.
    pub exposed_ports: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Directories besides the usual ones, with their owners.
    pub directories: Vec<Directory>,
}

/// A directory in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Absolute path; parents must be listed before it unless they are usual.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owning user and group.
    pub owner: u32,
}

/// An image ready to be loaded; it reads the binary when it is.
pub struct BuiltImage {
    reference: ImageReference,
    content: String,
    archive: Archive,
}

impl ImageConfig {
    fn binary_name(&self) -> &str {
        if self.binary_name.is_empty() { DEFAULT_BINARY_NAME } else { &self.binary_name }
    }
}

/// Makes an image from a static binary.
pub fn assemble(
    reference: &ImageReference,
    program: &Path,
    config: &ImageConfig,
) -> Result<BuiltImage, RuntimeError> {
    let unusable = |what: &str| RuntimeError::ImageUnavailable {
        image: reference.to_string(),
        what: what.to_owned(),
    };
    if reference.tag().is_none() {
        return Err(unusable("cannot be built under a digest: give it a tag"));
    }
    let head = host::fs::read_in_pieces(program).and_then(|mut pieces| pieces.next().transpose());
    let head = head.map_err(|error| RuntimeError::System {
        what: format!("cannot read {} to build an image from it", program.display()),
        source: error.source,
    })?;
    let head = head.unwrap_or_default();
    if !head.starts_with(ELF_MAGIC) {
        return Err(unusable("cannot be built: the program is not an ELF binary"));
    }
    let architecture = architecture(&head)
        .ok_or_else(|| unusable("cannot be built: the program's architecture is not known"))?;

    let layer = layer(program, config).map_err(|what| unusable(&what))?;
    let diff_id = layer.sha256().map_err(|error| unusable(&error.to_string()))?;
    let mut image = image_json(architecture, &diff_id, config);
    let content = hex(digest(&SHA256, image.to_string().as_bytes()).as_ref());
    image["config"]["Labels"][LABEL_CONTENT] = json!(content);
    let image = image.to_string();
    let image_id = hex(digest(&SHA256, image.as_bytes()).as_ref());

    let manifest = json!([{
        "Config": format!("{image_id}.json"),
        "RepoTags": [reference.to_string()],
        "Layers": ["layer.tar"],
    }]);
    let mut archive = Archive::default();
    let failed = |what: String| unusable(&what);
    archive.file("manifest.json", 0o644, manifest.to_string().into()).map_err(failed)?;
    archive.file(&format!("{image_id}.json"), 0o644, image.into()).map_err(failed)?;
    archive.nested("layer.tar", layer).map_err(failed)?;
    archive.finish();
    Ok(BuiltImage { reference: reference.clone(), content, archive })
}

impl BuiltImage {
    /// The reference that it will have.
    #[must_use]
    pub fn reference(&self) -> &ImageReference {
        &self.reference
    }

    /// A digest of all that the image is made of.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Gives the archive's bytes in order, until `take` has enough.
    pub fn write(&self, take: impl FnMut(Bytes) -> bool) -> io::Result<()> {
        self.archive.write(take)
    }
}

/// An engine as the place for built images.
pub struct ImageStore {
    engine: Engine,
}

impl ImageStore {
    /// Connects to an engine (`unix:///var/run/docker.sock`).
    pub async fn connect(uri: &str) -> Result<Self, RuntimeError> {
        Ok(Self { engine: Engine::connect(uri).await? })
    }

    /// Builds an image from the static binary at `program` and loads it, unless
    /// the engine has exactly it. Tells whether it was loaded.
    pub async fn build(
        &self,
        reference: &ImageReference,
        program: &Path,
        config: &ImageConfig,
    ) -> Result<bool, RuntimeError> {
        let (reference, program, config) = (reference.clone(), program.to_owned(), config.clone());
        // Reads and hashes tens of megabytes.
        let assembled =
            tokio::task::spawn_blocking(move || assemble(&reference, &program, &config));
        let image = assembled.await.map_err(|source| RuntimeError::EngineProtocol {
            what: "building an image was interrupted".to_owned(),
            source: Some(Box::new(source)),
        })??;
        if self.is_current(&image).await? {
            return Ok(false);
        }
        self.load(image).await?;
        Ok(true)
    }

    /// Whether the engine has exactly this image under this reference.
    pub async fn is_current(&self, image: &BuiltImage) -> Result<bool, RuntimeError> {
        let found = inspect_image(&self.engine, &image.reference.to_string()).await?;
        let labels = found.and_then(|found| found.config).and_then(|config| config.labels);
        Ok(labels.is_some_and(|labels| labels.get(LABEL_CONTENT) == Some(&image.content)))
    }

    /// Hands an image to the engine.
    pub async fn load(&self, image: BuiltImage) -> Result<(), RuntimeError> {
        let reference = image.reference.to_string();
        let (sender, mut receiver) = mpsc::channel(PIECES_AHEAD);
        // Reads while the engine takes; ends when the engine has enough.
        tokio::task::spawn_blocking(move || {
            let written = image.write(|piece| sender.blocking_send(Ok(piece)).is_ok());
            if let Err(error) = written {
                let _ = sender.blocking_send(Err(error));
            }
        });
        let body = bollard::body_try_stream(stream::poll_fn(move |cx| receiver.poll_recv(cx)));
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let docker = self.engine.patient(LOAD_EXTRA);
        let mut answers = Box::pin(docker.import_image(options, body, None));
        while let Some(answer) = answers.next().await {
            answer.map_err(|source| self.engine.error(source))?;
        }
        tracing::info!(image = reference, "loaded a built-in image into the container engine");
        Ok(())
    }
}

/// The file system: the binary and what programs expect in any.
fn layer(program: &Path, config: &ImageConfig) -> Result<Archive, String> {
    let mut layer = Archive::default();
    for (path, mode) in USUAL_DIRECTORIES {
        layer.entry(&Entry::directory(path, mode))?;
    }
    for directory in &config.directories {
        let path = directory.path.trim_matches('/');
        if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!("cannot be built: {:?} is not a plain path", directory.path));
        }
        layer.entry(&Entry { owner: directory.owner, ..Entry::directory(path, directory.mode) })?;
    }
    for (path, text) in USUAL_FILES {
        layer.file(path, 0o644, Bytes::from_static(text.as_bytes()))?;
    }
    let name = config.binary_name();
    if name.contains('/') || USUAL_DIRECTORIES.iter().any(|(path, _)| *path == name) {
        return Err(format!("cannot be built: {name:?} cannot be the binary's name"));
    }
    layer.copy(name, 0o755, program)?;
    layer.finish();
    Ok(layer)
}

fn image_json(architecture: &str, diff_id: &str, config: &ImageConfig) -> Value {
    let entrypoint = match config.entrypoint.is_empty() {
        true => vec![format!("/{}", config.binary_name())],
        false => config.entrypoint.clone(),
    };
    let env: Vec<String> =
        config.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let ports: BTreeMap<&str, Value> =
        config.exposed_ports.iter().map(|port| (port.as_str(), json!({}))).collect();
    json!({
        "architecture": architecture,
        "os": "linux",
        // Fixed, so that the same input gives the same image.
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": entrypoint,
            "Cmd": config.cmd,
            "Env": env,
            "User": config.user,
            "ExposedPorts": ports,
            "Labels": config.labels,
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "farshore" }],
    })
}

/// The engines' name for the machine in an ELF header (`e_machine`, at 18, in
/// the byte order given at 5).
fn architecture(binary: &[u8]) -> Option<&'static str> {
    let field: [u8; 2] = binary.get(18..20)?.try_into().ok()?;
    let machine = match binary.get(5)? {
        1 => u16::from_le_bytes(field),
        _ => u16::from_be_bytes(field),
    };
    match machine {
        0x3e => Some("amd64"),
        0xb7 => Some("arm64"),
        0x28 => Some("arm"),
        0xf3 => Some("riscv64"),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Archive {
    fn sha256(&self) -> io::Result<String> {
        let mut context = Context::new(&SHA256);
        self.write(|piece| {
            context.update(&piece);
            true
        })?;
        Ok(hex(context.finish().as_ref()))
    }
}

/// Label with the digest of all that a built image is made of.
const LABEL_CONTENT: &str = "farshore.content";
const DEFAULT_BINARY_NAME: &str = "farshore";
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Pieces of the archive that are read before the engine takes them.
const PIECES_AHEAD: usize = 4;
/// Loading 30 MB onto an SD card under load.
const LOAD_EXTRA: std::time::Duration = std::time::Duration::from_secs(600);

const USUAL_DIRECTORIES: [(&str, u32); 5] =
    [("etc", 0o755), ("run", 0o755), ("tmp", 0o1777), ("var", 0o755), ("var/tmp", 0o1777)];

/// The users are those of the original's images (`edge-runtime.md` §1.1).
const USUAL_FILES: [(&str, &str); 3] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/:/\nedgeagentuser:x:13622:13622::/:/\nedgehubuser:x:13623:13623::/:/\nnobody:x:65534:65534::/:/\n",
    ),
    ("etc/group", "root:x:0:\nedgeagentuser:x:13622:\nedgehubuser:x:13623:\nnogroup:x:65534:\n"),
    // Static glibc: files, then the resolver, and nothing to be loaded.
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

#[cfg(test)]
mod tests;
