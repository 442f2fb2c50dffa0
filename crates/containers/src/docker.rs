//! Modules as containers of Docker, or of podman through its Docker API.
//!
//! Conventions: `edge-runtime.md` §1.6. Only containers with the ownership label
//! are seen or touched. Images are pulled only by [`ModuleRuntime::pull`], and
//! built-in ones never.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use host::clock::Clock;

use crate::{
    Builtin, Catalogue, EngineInfo, EventStream, ImageReference, ImageRemoval, LocalImage,
    LocalVolume, LogOptions, LogStream, ModuleName, ModuleRuntime, ModuleSpec, ModuleState, Notice,
    RegistryAuth, Resolved, RuntimeError, RuntimeKind, Watcher,
};

mod create;
mod engine;
mod found;
mod images;
mod network;
mod peers;
mod policy;
mod progress;
mod pull;
mod streams;
mod volumes;

pub(crate) use engine::Engine;
pub use network::{AddressRange, NetworkSettings};
pub use policy::{HostPolicy, REFUSABLE as REFUSABLE_OPTIONS};
pub(crate) use pull::inspect_image;

use crate::runtime::BoxFuture;
use network::ModuleNetwork;

/// How to run modules on an engine.
#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// The engine's address: `unix:///var/run/docker.sock`.
    pub uri: String,
    /// The modules' network.
    pub network: NetworkSettings,
    /// `allow_elevated_docker_permissions`: whether createOptions may ask for
    /// power over the machine.
    pub allow_elevated: bool,
    /// What they may ask all the same.
    pub policy: HostPolicy,
    /// Paths that no module may bind unless elevated permissions are allowed or the
    /// policy names them, such as the daemon's data directory.
    pub protected_paths: Vec<PathBuf>,
    /// Images that are built in.
    pub catalogue: Catalogue,
}

/// Modules as containers.
pub struct DockerRuntime {
    engine: Engine,
    network: ModuleNetwork,
    allow_elevated: bool,
    policy: HostPolicy,
    protected_paths: Vec<PathBuf>,
    catalogue: Catalogue,
    clock: Clock,
}

impl DockerRuntime {
    /// Connects to the engine and makes the module network.
    pub async fn connect(settings: DockerSettings) -> Result<Self, RuntimeError> {
        let engine = Engine::connect(&settings.uri).await?;
        let mut protected_paths = settings.protected_paths;
        protected_paths.extend(settings.uri.strip_prefix("unix://").map(PathBuf::from));
        let real = protected_paths.iter().map(|path| host::fs::follow_links(path));
        let protected_paths = real.chain(protected_paths.iter().cloned());
        let protected_paths = protected_paths.map(|path| policy::plain(&path)).collect();
        let runtime = Self {
            engine,
            network: ModuleNetwork::new(settings.network),
            allow_elevated: settings.allow_elevated,
            policy: settings.policy,
            protected_paths,
            catalogue: settings.catalogue,
            // The engine has the machine's clock too.
            clock: Clock::system(),
        };
        runtime.network.ensure(&runtime.engine).await?;
        Ok(runtime)
    }

    /// The machine's address where containers reach what listens on it: that on the modules'
    /// network. The networks of a rootless engine are in a namespace of its own, so there it is an
    /// address of the machine towards others.
    pub async fn network_gateway(&self) -> Result<Option<IpAddr>, RuntimeError> {
        match self.is_rootless().await? {
            true => Ok(host::net::outward_address()),
            false => self.network.gateway(&self.engine).await,
        }
    }

    /// Whether the engine runs without root's rights: podman and Docker have different words for it.
    pub async fn is_rootless(&self) -> Result<bool, RuntimeError> {
        let info: serde_json::Value = self.engine.get("/info").await?;
        let options = info.get("SecurityOptions").and_then(serde_json::Value::as_array);
        let is_listed = options.is_some_and(|options| options.iter().any(|one| one == ROOTLESS));
        Ok(is_listed || info.get("Rootless").and_then(serde_json::Value::as_bool) == Some(true))
    }

    async fn create_module(&self, spec: &ModuleSpec) -> Result<Vec<Notice>, RuntimeError> {
        let builtin = self.builtin(&spec.image);
        let image =
            builtin.map_or_else(|| spec.image.to_string(), |builtin| builtin.image.to_string());
        if let Some(digest) = &spec.digest {
            self.check_digest(&image, digest, builtin.is_some()).await?;
        }
        let args: &[String] = builtin.map_or(&[], |builtin| &builtin.args);
        let (body, mut notices) = create::request(spec, &self.create_settings(&image, args))?;
        self.network.ensure(&self.engine).await?;
        self.make_volumes(spec).await?;

        let options = CreateContainerOptionsBuilder::new().name(spec.name.as_str()).build();
        let created = self
            .engine
            .with_body(body.to_string().into())
            .create_container(Some(options), ContainerCreateBody::default())
            .await
            .map_err(|source| self.create_error(spec, &image, source))?;
        notices.extend(created.warnings.into_iter().map(|text| Notice::EngineWarning { text }));
        for notice in &notices {
            tracing::warn!(module = %spec.name, "{notice}");
        }
        Ok(notices)
    }

    fn create_settings<'a>(
        &'a self,
        image: &'a str,
        default_args: &'a [String],
    ) -> create::Settings<'a> {
        create::Settings {
            image,
            default_args,
            network: self.network.name(),
            allow_elevated: self.allow_elevated,
            judge: policy::Judge {
                policy: &self.policy,
                protected: &self.protected_paths,
                resolve: &host::fs::follow_links,
            },
        }
    }

    /// Whether a module could bind this path.
    fn could_bind(&self, path: &Path) -> Result<bool, RuntimeError> {
        let binds = serde_json::json!({ "HostConfig": { "Binds": [format!("{}:/storage", path.display())] } });
        let spec = ModuleSpec {
            create_options: binds,
            ..ModuleSpec::new("storage".parse()?, "storage".parse()?)
        };
        Ok(create::request(&spec, &self.create_settings("storage", &[])).is_ok())
    }

    fn create_error(
        &self,
        spec: &ModuleSpec,
        image: &str,
        source: bollard::errors::Error,
    ) -> RuntimeError {
        match self.engine.error(source) {
            RuntimeError::Engine { status: 404, message } if message.contains("mage") => {
                RuntimeError::ImageUnavailable {
                    image: image.to_owned(),
                    what: "is not on this machine: pull it first, or check imagePullPolicy"
                        .to_owned(),
                }
            }
            RuntimeError::Engine { status: 409, .. } => taken(spec),
            // podman's way to say it.
            RuntimeError::Engine { status: 500, message } if message.contains(NAME_IN_USE) => {
                taken(spec)
            }
            error => error,
        }
    }

    /// The container of a module; `NotFound` when it is somebody else's, so that
    /// nothing of theirs is ever touched.
    async fn owned(&self, name: &ModuleName) -> Result<ContainerInspectResponse, RuntimeError> {
        let not_found = || RuntimeError::NotFound { name: name.to_string() };
        let found = self.engine.inspect_container(name.as_str()).await;
        let found = found.map_err(|error| match error {
            RuntimeError::Engine { status: 404, .. } => not_found(),
            error => error,
        })?;
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        // The engine also finds containers by the beginning of their id.
        let has_name =
            found.name.as_deref().map(|name| name.trim_start_matches('/')) == Some(name.as_str());
        if has_name && found::is_owned(labels) { Ok(found) } else { Err(not_found()) }
    }

    async fn owned_id(&self, name: &ModuleName) -> Result<String, RuntimeError> {
        let found = self.owned(name).await?;
        found.id.ok_or_else(|| RuntimeError::EngineProtocol {
            what: format!("container engine gives no id for container {name}"),
            source: None,
        })
    }

    async fn all(&self) -> Result<Vec<ModuleState>, RuntimeError> {
        let found = self.engine.all_containers().await?;
        let owned = found.into_iter().filter(|summary| found::is_owned(summary.labels.as_ref()));
        let names = owned.filter_map(|summary| {
            let name = summary.names?.into_iter().next()?;
            name.trim_start_matches('/').parse::<ModuleName>().ok()
        });
        let states: Vec<Option<ModuleState>> = stream::iter(names)
            .map(|name| async move {
                match self.owned(&name).await {
                    Ok(found) => Ok(Some(found::module_state(name, found))),
                    // Removed since it was listed.
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(INSPECTS_AT_ONCE)
            .try_collect()
            .await?;
        let mut states: Vec<ModuleState> = states.into_iter().flatten().collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    /// Creating a volume that exists only looks at it.
    async fn directory_of_volume(&self, name: &str) -> Result<Option<PathBuf>, RuntimeError> {
        let config = VolumeCreateRequest { name: Some(name.to_owned()), ..Default::default() };
        let volume = self
            .engine
            .docker()
            .create_volume(config)
            .await
            .map_err(|source| self.engine.error(source))?;
        let is_local = volume.driver == "local" && volume.options.is_empty();
        Ok((is_local && !volume.mountpoint.is_empty()).then(|| volume.mountpoint.into()))
    }

    async fn engine_info(&self) -> Result<EngineInfo, RuntimeError> {
        let version =
            self.engine.docker().version().await.map_err(|source| self.engine.error(source))?;
        let info = self.engine.docker().info().await.map_err(|source| self.engine.error(source))?;
        Ok(EngineInfo {
            name: if self.engine.is_podman() { "podman" } else { "docker" }.to_owned(),
            version: version.version.unwrap_or_default(),
            api_version: Some(self.engine.api_version()),
            os_type: info.os_type.or(version.os).unwrap_or_default(),
            architecture: info.architecture.unwrap_or_default(),
            kernel: info.kernel_version.unwrap_or_default(),
            operating_system: info.operating_system.unwrap_or_default(),
            cpus: info.ncpu.and_then(|count| u64::try_from(count).ok()).unwrap_or_default(),
            memory_bytes: info
                .mem_total
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or_default(),
            log_driver: info.logging_driver,
            data_root: info.docker_root_dir,
        })
    }

    fn builtin(&self, image: &ImageReference) -> Option<&Builtin> {
        match self.catalogue.resolve(image) {
            Resolved::Builtin(builtin) => Some(builtin),
            Resolved::Remote => None,
        }
    }
}

impl ModuleRuntime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn info(&self) -> BoxFuture<'_, EngineInfo> {
        Box::pin(self.engine_info())
    }

    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>> {
        Box::pin(self.all())
    }

    fn get<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ModuleState> {
        Box::pin(async move { Ok(found::module_state(name.clone(), self.owned(name).await?)) })
    }

    fn has_image<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let image = self.builtin(image).map_or(image, |builtin| &builtin.image);
            Ok(self.inspect_image(&image.to_string()).await?.is_some())
        })
    }

    fn pull<'a>(
        &'a self,
        image: &'a ImageReference,
        auth: Option<&'a RegistryAuth>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.pull_image(image, auth, &|_| {}))
    }

    fn pull_watched<'a>(
        &'a self,
        image: &'a ImageReference,
        auth: Option<&'a RegistryAuth>,
        watcher: Watcher<'a>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.pull_image(image, auth, watcher))
    }

    fn images(&self) -> BoxFuture<'_, Vec<LocalImage>> {
        Box::pin(self.all_images())
    }

    fn image_id<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, Option<String>> {
        Box::pin(self.id_of_image(image))
    }

    fn remove_image<'a>(&'a self, id: &'a str) -> BoxFuture<'a, ImageRemoval> {
        Box::pin(self.remove_one_image(id))
    }

    fn volume_dir<'a>(&'a self, volume: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        Box::pin(self.directory_of_volume(volume))
    }

    fn may_name(&self, path: &Path) -> bool {
        self.could_bind(path).unwrap_or(false)
    }

    fn volumes(&self) -> BoxFuture<'_, Vec<LocalVolume>> {
        Box::pin(self.owned_volumes())
    }

    fn remove_volume<'a>(&'a self, name: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(self.remove_owned_volume(name))
    }

    fn create<'a>(&'a self, spec: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>> {
        Box::pin(self.create_module(spec))
    }

    fn start<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let id = self.owned_id(name).await?;
            // 304, already started, is no error to bollard.
            let started =
                self.engine.docker().start_container(&id, None::<StartContainerOptions>).await;
            started.map_err(|source| self.engine.error(source))
        })
    }

    fn stop<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let id = self.owned_id(name).await?;
            let options = StopContainerOptionsBuilder::new().t(whole_seconds(grace)).build();
            let stopped = self.engine.patient(grace).stop_container(&id, Some(options)).await;
            stopped.map_err(|source| self.engine.error(source))
        })
    }

    fn restart<'a>(&'a self, name: &'a ModuleName, grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let id = self.owned_id(name).await?;
            let options = RestartContainerOptionsBuilder::new().t(whole_seconds(grace)).build();
            let restarted = self.engine.patient(grace).restart_container(&id, Some(options)).await;
            restarted.map_err(|source| self.engine.error(source))
        })
    }

    fn remove<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let id = match self.owned_id(name).await {
                Ok(id) => id,
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            };
            let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
            let removed = self.engine.docker().remove_container(&id, Some(options)).await;
            match removed.map_err(|source| self.engine.error(source)) {
                // Somebody else was faster.
                Err(RuntimeError::Engine { status: 404, .. }) => Ok(()),
                other => other,
            }
        })
    }

    fn logs<'a>(&'a self, name: &'a ModuleName, options: LogOptions) -> BoxFuture<'a, LogStream> {
        Box::pin(async move {
            let id = self.owned_id(name).await?;
            Ok(streams::logs(&self.engine, &id, &options))
        })
    }

    fn contains_process<'a>(&'a self, name: &'a ModuleName, pid: u32) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let id = match self.owned_id(name).await {
                Ok(id) => id,
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
            };
            peers::is_in_container(&self.engine, &id, pid).await
        })
    }

    fn events(&self) -> BoxFuture<'_, EventStream> {
        Box::pin(async { Ok(streams::events(&self.engine, self.clock.wall())) })
    }
}

fn taken(spec: &ModuleSpec) -> RuntimeError {
    RuntimeError::Conflict {
        what: format!("a container named {} exists already: remove or rename it first", spec.name),
    }
}

/// The engine counts in whole seconds; 0 would kill at once.
fn whole_seconds(grace: Duration) -> i32 {
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// How engines say that they run without root's rights.
const ROOTLESS: &str = "name=rootless";

/// What podman's refusal ends with.
const NAME_IN_USE: &str = "that name is already in use";

/// Containers inspected at once for a list; the engine serialises much of it.
const INSPECTS_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests;
