//! The management API: modules, identities, logs and facts about the machine.

use std::path::Path;

use iot_proto::management::{
    Identities, Identity, IdentityCreate, IdentityUpdate, LogLevel, LogsQuery, ManagementRoute,
    ModuleDetails, ModuleList, ModuleSpec, Pull, Pulls, SystemInfo, SystemResources, Volume,
    Volumes,
};
use iot_proto::payload;

use super::{EdgeError, LogStream, PULL_DEADLINE, Socket, refused, request};

/// The management API.
#[derive(Debug, Clone)]
pub struct ManagementClient {
    socket: Socket,
}

impl ManagementClient {
    /// A client at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: Socket::new(socket) }
    }

    /// Every module.
    pub async fn modules(&self) -> Result<Vec<ModuleDetails>, EdgeError> {
        let route = ManagementRoute::ListModules;
        let list: ModuleList = self.socket.call_for(bare(&route)).await?;
        Ok(list.modules)
    }

    /// One module.
    pub async fn module(&self, name: &str) -> Result<ModuleDetails, EdgeError> {
        self.socket.call_for(bare(&ManagementRoute::GetModule(name.to_owned()))).await
    }

    /// Creates a module; it is not started.
    pub async fn create_module(&self, spec: &ModuleSpec) -> Result<ModuleDetails, EdgeError> {
        let request = bare(&ManagementRoute::CreateModule).json(payload::write(spec));
        self.socket.call_for(request.deadline(PULL_DEADLINE)).await
    }

    /// Replaces a module by one with another specification.
    pub async fn update_module(
        &self,
        spec: &ModuleSpec,
        start: bool,
    ) -> Result<ModuleDetails, EdgeError> {
        let route = ManagementRoute::UpdateModule(spec.name.clone());
        let parameters = if start { vec![("start", "true".to_owned())] } else { Vec::new() };
        let request = request(route.method(), &route.path(), &parameters);
        let request = request.json(payload::write(spec)).deadline(PULL_DEADLINE);
        self.socket.call_for(request).await
    }

    /// Pulls the image that an update will need.
    pub async fn prepare_update(&self, spec: &ModuleSpec) -> Result<(), EdgeError> {
        let route = ManagementRoute::PrepareUpdate(spec.name.clone());
        let request = bare(&route).json(payload::write(spec)).deadline(PULL_DEADLINE);
        self.socket.call(request).await.map(drop)
    }

    /// Removes a module.
    pub async fn delete_module(&self, name: &str) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::DeleteModule(name.to_owned())).await
    }

    /// Starts a module.
    pub async fn start_module(&self, name: &str) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::StartModule(name.to_owned())).await
    }

    /// Stops a module.
    pub async fn stop_module(&self, name: &str) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::StopModule(name.to_owned())).await
    }

    /// Restarts a module.
    pub async fn restart_module(&self, name: &str) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::RestartModule(name.to_owned())).await
    }

    /// A module's log, as it comes.
    pub async fn logs(&self, name: &str, query: &LogsQuery) -> Result<LogStream, EdgeError> {
        let route = ManagementRoute::Logs(name.to_owned());
        let request = request(route.method(), &route.path(), &query.parameters());
        let response = self.socket.client.stream(request).await;
        let response = response.map_err(|error| self.socket.broken(error))?;
        let status = response.status;
        if status.is_success() {
            return Ok(LogStream::new(self.socket.clone(), response));
        }
        // A refusal without a readable body is one all the same.
        let body = response.rest(ERROR_BYTES_MAX, ERROR_LIMIT).await.unwrap_or_default();
        Err(refused(status.as_u16(), &body))
    }

    /// Facts about the machine and the daemon.
    pub async fn system_info(&self) -> Result<SystemInfo, EdgeError> {
        self.socket.call_for(bare(&ManagementRoute::SystemInfo)).await
    }

    /// What the machine has and uses.
    pub async fn system_resources(&self) -> Result<SystemResources, EdgeError> {
        self.socket.call_for(bare(&ManagementRoute::SystemResources)).await
    }

    /// Lets the daemon provision the device anew.
    pub async fn reprovision(&self) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::Reprovision).await
    }

    /// Lets the whole runtime begin anew, with `config.toml` as it is now.
    pub async fn restart_runtime(&self) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::RestartRuntime).await
    }

    /// Ends the runtime and its modules.
    pub async fn stop_runtime(&self) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::StopRuntime).await
    }

    /// Lets the runtime log at another level from now on.
    pub async fn set_log_level(&self, level: &str) -> Result<(), EdgeError> {
        let body = payload::write(&LogLevel { level: level.to_owned() });
        self.socket.call(bare(&ManagementRoute::SetLogLevel).json(body)).await.map(drop)
    }

    /// The pulls under way.
    pub async fn pulls(&self) -> Result<Vec<Pull>, EdgeError> {
        let list: Pulls = self.socket.call_for(bare(&ManagementRoute::ListPulls)).await?;
        Ok(list.pulls)
    }

    /// The volumes that the runtime made.
    pub async fn volumes(&self) -> Result<Vec<Volume>, EdgeError> {
        let request = bare(&ManagementRoute::ListVolumes).deadline(VOLUMES_DEADLINE);
        let list: Volumes = self.socket.call_for(request).await?;
        Ok(list.volumes)
    }

    /// Removes the volumes that nothing needs, or says which they are; those.
    pub async fn prune_volumes(&self, is_dry_run: bool) -> Result<Vec<Volume>, EdgeError> {
        let route = ManagementRoute::PruneVolumes;
        let parameters = if is_dry_run { vec![("dry-run", "true".to_owned())] } else { Vec::new() };
        let request = request(route.method(), &route.path(), &parameters);
        let list: Volumes = self.socket.call_for(request.deadline(VOLUMES_DEADLINE)).await?;
        Ok(list.volumes)
    }

    /// Every module identity.
    pub async fn identities(&self) -> Result<Vec<Identity>, EdgeError> {
        let list: Identities = self.socket.call_for(bare(&ManagementRoute::ListIdentities)).await?;
        Ok(list.identities)
    }

    /// Creates a module identity.
    pub async fn create_identity(&self, create: &IdentityCreate) -> Result<Identity, EdgeError> {
        let request = bare(&ManagementRoute::CreateIdentity).json(payload::write(create));
        self.socket.call_for(request).await
    }

    /// Gives a module identity fresh keys.
    pub async fn update_identity(
        &self,
        module: &str,
        update: &IdentityUpdate,
    ) -> Result<Identity, EdgeError> {
        let route = ManagementRoute::UpdateIdentity(module.to_owned());
        self.socket.call_for(bare(&route).json(payload::write(update))).await
    }

    /// Deletes a module identity.
    pub async fn delete_identity(&self, module: &str) -> Result<(), EdgeError> {
        self.act(&ManagementRoute::DeleteIdentity(module.to_owned())).await
    }

    async fn act(&self, route: &ManagementRoute) -> Result<(), EdgeError> {
        self.socket.call(bare(route).deadline(ACT_DEADLINE)).await.map(drop)
    }
}

fn bare(route: &ManagementRoute) -> host::http::Request {
    request(route.method(), &route.path(), &[])
}

/// Stopping waits for a module's own time to end; engines give 10 s, settings may give more.
const ACT_DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);
/// Engines add up what volumes hold file by file.
const VOLUMES_DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);
const ERROR_BYTES_MAX: usize = 64 * 1024;
const ERROR_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
