//! The management API (`edge-runtime.md` §2.1): modules, identities, facts about the machine.
//!
//! Whoever may open the socket may look, start and stop; what changes the deployment is the
//! agent's alone, which is this very process (or a container named edgeAgent).

mod owner;
mod system;

use std::sync::Arc;

use containers::{LogOptions, ModuleName};
use futures_util::TryStreamExt;
use host::clock::Clock;
use host::http::StatusCode;
use http_body_util::StreamBody;
use hyper::body::Frame;
use iot_proto::management::{
    Identities as IdentityList, IdentityCreate, IdentityUpdate, LogLevel, LogsQuery,
    ManagementRoute, ModuleSpec, Tail, moment,
};
use model::ModuleId;

use crate::http::{Answer, Api, Asked, Refusal, json, no_content, respond};
use crate::identity::Identities;
use crate::modules::Modules;
use crate::peer::Caller;
use crate::volumes::Volumes;
use crate::workload::AGENT_NAME;

pub use owner::OwnerRequest;
pub(crate) use system::System;

/// The management API.
pub(crate) struct Management {
    pub(crate) modules: Arc<Modules>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) system: System,
    pub(crate) volumes: Volumes,
    /// Where the owner's requests go that only the whole program can fulfil.
    pub(crate) owner: Option<owner::OwnerRequests>,
    pub(crate) clock: Clock,
}

impl Management {
    async fn check(&self, caller: &Caller, route: &ManagementRoute) -> Result<(), Refusal> {
        if !route.is_agent_only() || caller.is_ourselves() {
            return Ok(());
        }
        if route.is_owners() && caller.is_owner() {
            return Ok(());
        }
        let agent: ModuleName = AGENT_NAME.parse().map_err(|_| Refusal::forbidden())?;
        if caller.is_of(&*self.modules.runtime, &agent).await {
            return Ok(());
        }
        tracing::warn!(
            ?caller,
            ?route,
            "refused a caller of the management API that is not the agent"
        );
        Err(Refusal::forbidden())
    }

    async fn modules(&self, route: ManagementRoute, asked: Asked) -> Result<Answer, Refusal> {
        let modules = Arc::clone(&self.modules);
        match route {
            ManagementRoute::ListModules => Ok(json(StatusCode::OK, &modules.list().await?)),
            ManagementRoute::GetModule(name) => {
                Ok(json(StatusCode::OK, &modules.get(&name).await?))
            }
            ManagementRoute::CreateModule => {
                let spec: ModuleSpec = asked.json().await?;
                Ok(json(StatusCode::CREATED, &modules.create(spec).await?))
            }
            ManagementRoute::UpdateModule(name) => {
                let start = asked
                    .query
                    .get("start")
                    .is_some_and(|start| start.eq_ignore_ascii_case("true"));
                let spec: ModuleSpec = asked.json().await?;
                Ok(json(StatusCode::CREATED, &modules.update(&name, spec, start).await?))
            }
            ManagementRoute::PrepareUpdate(name) => {
                let spec: ModuleSpec = asked.json().await?;
                modules.prepare_update(&name, spec).await.map(|()| no_content())
            }
            ManagementRoute::DeleteModule(name) => {
                modules.remove(&name).await.map(|()| no_content())
            }
            ManagementRoute::StartModule(name) => modules.start(&name).await.map(|()| no_content()),
            ManagementRoute::StopModule(name) => modules.stop(&name).await.map(|()| no_content()),
            ManagementRoute::RestartModule(name) => {
                modules.restart(&name).await.map(|()| no_content())
            }
            ManagementRoute::Logs(name) => self.logs(&name, &LogsQuery::parse(&asked.query)?).await,
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "not found")),
        }
    }

    async fn logs(&self, name: &str, query: &LogsQuery) -> Result<Answer, Refusal> {
        let moment = |name: &str, text: &Option<String>| {
            let now = self.clock.wall();
            let name = format!("query parameter {name}");
            let moment = text.as_deref().map(|text| moment(&name, text, now)).transpose();
            moment.map_err(|error| Refusal::bad(&error))
        };
        let options = LogOptions {
            follow: query.follow,
            tail: match query.tail {
                Tail::All => None,
                Tail::Lines(lines) => Some(lines),
            },
            since: moment("since", &query.since)?,
            until: moment("until", &query.until)?,
            timestamps: query.timestamps,
        };
        let frames = self.modules.logs(name, options).await?;
        let body = StreamBody::new(frames.map_ok(|frame| Frame::data(frame.to_wire())));
        Ok(respond(StatusCode::OK, "text/plain", body))
    }

    async fn identities(&self, route: ManagementRoute, asked: Asked) -> Result<Answer, Refusal> {
        match route {
            ManagementRoute::CreateIdentity => {
                let create: IdentityCreate = asked.json().await?;
                let module = module_id(&create.module_id)?;
                let identity =
                    self.identities.create(&module, create.managed_by.as_deref()).await?;
                Ok(json(StatusCode::OK, &identity))
            }
            ManagementRoute::UpdateIdentity(id) => {
                let module = module_id(&id)?;
                let update: IdentityUpdate = asked.json().await?;
                let identity =
                    self.identities.update(&module, update.managed_by.as_deref()).await?;
                Ok(json(StatusCode::OK, &identity))
            }
            ManagementRoute::DeleteIdentity(id) => {
                self.identities.delete(&module_id(&id)?).await?;
                Ok(no_content())
            }
            _ => {
                let identities = self.identities.list().await?;
                Ok(json(StatusCode::OK, &IdentityList { identities }))
            }
        }
    }
}

impl Api for Management {
    async fn answer(&self, caller: &Caller, asked: Asked) -> Result<Answer, Refusal> {
        let route = ManagementRoute::parse(&asked.method, &asked.path)?;
        self.check(caller, &route).await?;
        match route {
            ManagementRoute::ListIdentities
            | ManagementRoute::CreateIdentity
            | ManagementRoute::UpdateIdentity(_)
            | ManagementRoute::DeleteIdentity(_) => self.identities(route, asked).await,
            ManagementRoute::SystemInfo => {
                let info = self.system.info(&*self.modules.runtime).await?;
                Ok(json(StatusCode::OK, &info))
            }
            ManagementRoute::SystemResources => Ok(json(StatusCode::OK, &self.system.resources()?)),
            ManagementRoute::SupportBundle => Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "a support bundle is made by the device's own tool: iotedge support-bundle",
            )),
            ManagementRoute::ListPulls => Ok(json(StatusCode::OK, &self.modules.pulls.list())),
            ManagementRoute::ListVolumes => Ok(json(StatusCode::OK, &self.volumes.list().await?)),
            ManagementRoute::PruneVolumes => {
                let is_dry_run = asked
                    .query
                    .get("dry-run")
                    .is_some_and(|dry_run| dry_run.eq_ignore_ascii_case("true"));
                Ok(json(StatusCode::OK, &self.volumes.prune(is_dry_run).await?))
            }
            ManagementRoute::Reprovision => self.reprovision().await,
            ManagementRoute::RestartRuntime => self.ask_owner(OwnerRequest::Restart),
            ManagementRoute::StopRuntime => self.ask_owner(OwnerRequest::Stop),
            ManagementRoute::SetLogLevel => {
                let LogLevel { level } = asked.json().await?;
                self.ask_owner(OwnerRequest::LogLevel(owner::level(&level)?))
            }
            route => self.modules(route, asked).await,
        }
    }
}

fn module_id(text: &str) -> Result<ModuleId, Refusal> {
    text.parse().map_err(|error| Refusal::bad(&error))
}
