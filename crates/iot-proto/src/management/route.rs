//! The routes of both APIs, to and from method and path.

use http::{Method, StatusCode};

use crate::percent;
use crate::rest::Query;

/// What a request to the management API asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagementRoute {
    /// `GET /modules`
    ListModules,
    /// `POST /modules`
    CreateModule,
    /// `GET /modules/{name}`
    GetModule(String),
    /// `PUT /modules/{name}[?start=true]`
    UpdateModule(String),
    /// `DELETE /modules/{name}`
    DeleteModule(String),
    /// `POST /modules/{name}/prepareupdate`
    PrepareUpdate(String),
    /// `POST /modules/{name}/start`
    StartModule(String),
    /// `POST /modules/{name}/stop`
    StopModule(String),
    /// `POST /modules/{name}/restart`
    RestartModule(String),
    /// `GET /modules/{name}/logs`
    Logs(String),
    /// `GET /systeminfo`
    SystemInfo,
    /// `GET /systeminfo/resources`
    SystemResources,
    /// `GET /systeminfo/supportbundle`
    SupportBundle,
    /// `POST /device/reprovision`
    Reprovision,
    /// `POST /device/restart`; Farshore's own
    RestartRuntime,
    /// `POST /device/stop`; Farshore's own
    StopRuntime,
    /// `PUT /device/loglevel`; Farshore's own
    SetLogLevel,
    /// `GET /pulls`; Farshore's own
    ListPulls,
    /// `GET /volumes`; Farshore's own
    ListVolumes,
    /// `POST /volumes/prune[?dry-run=true]`; Farshore's own
    PruneVolumes,
    /// `GET /identities`
    ListIdentities,
    /// `POST /identities`
    CreateIdentity,
    /// `PUT /identities/{id}`
    UpdateIdentity(String),
    /// `DELETE /identities/{id}`
    DeleteIdentity(String),
}

/// What a request to the workload API asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkloadRoute {
    /// `GET /modules`
    ListModules,
    /// `POST /modules/{m}/genid/{g}/sign`
    Sign {
        /// The module.
        module: String,
        /// Its generation, which nobody checks.
        generation: String,
    },
    /// `POST /modules/{m}/genid/{g}/encrypt`
    Encrypt {
        /// The module.
        module: String,
        /// Its generation.
        generation: String,
    },
    /// `POST /modules/{m}/genid/{g}/decrypt`
    Decrypt {
        /// The module.
        module: String,
        /// Its generation.
        generation: String,
    },
    /// `POST /modules/{m}/genid/{g}/certificate/server`
    ServerCertificate {
        /// The module.
        module: String,
        /// Its generation.
        generation: String,
    },
    /// `POST /modules/{m}/certificate/identity`
    IdentityCertificate {
        /// The module.
        module: String,
    },
    /// `GET /trust-bundle`
    TrustBundle,
    /// `GET /manifest-trust-bundle`
    ManifestTrustBundle,
}

/// Why a request has no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Nothing is there.
    #[error("not found")]
    NotFound,
    /// The path is right, the method is not: 400 here, not 405.
    #[error("method not allowed")]
    MethodNotAllowed,
}

impl RouteError {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::BAD_REQUEST,
        }
    }
}

impl ManagementRoute {
    /// Reads a request's method and path (without the query).
    pub fn parse(method: &Method, raw_path: &str) -> Result<Self, RouteError> {
        let segments = segments(raw_path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let routes: Vec<Self> = match segments.as_slice() {
            ["modules"] => vec![Self::ListModules, Self::CreateModule],
            ["modules", name] => {
                let name = || (*name).to_owned();
                vec![
                    Self::GetModule(name()),
                    Self::UpdateModule(name()),
                    Self::DeleteModule(name()),
                ]
            }
            ["modules", name, verb] => {
                let route = match *verb {
                    "prepareupdate" => Self::PrepareUpdate,
                    "start" => Self::StartModule,
                    "stop" => Self::StopModule,
                    "restart" => Self::RestartModule,
                    "logs" => Self::Logs,
                    _ => return Err(RouteError::NotFound),
                };
                vec![route((*name).to_owned())]
            }
            ["systeminfo"] => vec![Self::SystemInfo],
            ["systeminfo", "resources"] => vec![Self::SystemResources],
            ["systeminfo", "supportbundle"] => vec![Self::SupportBundle],
            ["device", "reprovision"] => vec![Self::Reprovision],
            ["device", "restart"] => vec![Self::RestartRuntime],
            ["device", "stop"] => vec![Self::StopRuntime],
            ["device", "loglevel"] => vec![Self::SetLogLevel],
            ["pulls"] => vec![Self::ListPulls],
            ["volumes"] => vec![Self::ListVolumes],
            ["volumes", "prune"] => vec![Self::PruneVolumes],
            ["identities"] => vec![Self::ListIdentities, Self::CreateIdentity],
            ["identities", id] => {
                vec![Self::UpdateIdentity((*id).to_owned()), Self::DeleteIdentity((*id).to_owned())]
            }
            _ => return Err(RouteError::NotFound),
        };
        let found = routes.into_iter().find(|route| route.method() == *method);
        found.ok_or(RouteError::MethodNotAllowed)
    }

    /// The method of this route.
    pub fn method(&self) -> Method {
        match self {
            Self::UpdateModule(_) | Self::UpdateIdentity(_) | Self::SetLogLevel => Method::PUT,
            Self::DeleteModule(_) | Self::DeleteIdentity(_) => Method::DELETE,
            Self::CreateModule
            | Self::PrepareUpdate(_)
            | Self::StartModule(_)
            | Self::StopModule(_)
            | Self::RestartModule(_)
            | Self::Reprovision
            | Self::RestartRuntime
            | Self::StopRuntime
            | Self::PruneVolumes
            | Self::CreateIdentity => Method::POST,
            _ => Method::GET,
        }
    }

    /// The path as a client writes it.
    pub fn path(&self) -> String {
        let module = |name: &str, verb: &str| format!("/modules/{}{verb}", percent::encode(name));
        match self {
            Self::ListModules | Self::CreateModule => "/modules".to_owned(),
            Self::GetModule(name) | Self::UpdateModule(name) | Self::DeleteModule(name) => {
                module(name, "")
            }
            Self::PrepareUpdate(name) => module(name, "/prepareupdate"),
            Self::StartModule(name) => module(name, "/start"),
            Self::StopModule(name) => module(name, "/stop"),
            Self::RestartModule(name) => module(name, "/restart"),
            Self::Logs(name) => module(name, "/logs"),
            Self::SystemInfo => "/systeminfo".to_owned(),
            Self::SystemResources => "/systeminfo/resources".to_owned(),
            Self::SupportBundle => "/systeminfo/supportbundle".to_owned(),
            Self::Reprovision => "/device/reprovision".to_owned(),
            Self::RestartRuntime => "/device/restart".to_owned(),
            Self::StopRuntime => "/device/stop".to_owned(),
            Self::SetLogLevel => "/device/loglevel".to_owned(),
            Self::ListPulls => "/pulls".to_owned(),
            Self::ListVolumes => "/volumes".to_owned(),
            Self::PruneVolumes => "/volumes/prune".to_owned(),
            Self::ListIdentities | Self::CreateIdentity => "/identities".to_owned(),
            Self::UpdateIdentity(id) | Self::DeleteIdentity(id) => {
                format!("/identities/{}", percent::encode(id))
            }
        }
    }

    /// Whether only the edge agent may ask this (er §2.1): the caller's process must be its.
    pub fn is_agent_only(&self) -> bool {
        matches!(
            self,
            Self::CreateModule
                | Self::UpdateModule(_)
                | Self::DeleteModule(_)
                | Self::PrepareUpdate(_)
                | Self::Reprovision
                | Self::RestartRuntime
                | Self::StopRuntime
                | Self::SetLogLevel
                | Self::PruneVolumes
                | Self::CreateIdentity
                | Self::UpdateIdentity(_)
                | Self::DeleteIdentity(_)
        )
    }
}

impl ManagementRoute {
    /// Whether the device's owner may ask this too: whoever runs the daemon, and root.
    pub fn is_owners(&self) -> bool {
        matches!(
            self,
            Self::Reprovision
                | Self::RestartRuntime
                | Self::StopRuntime
                | Self::SetLogLevel
                | Self::PruneVolumes
        )
    }
}

impl WorkloadRoute {
    /// Reads a request's method and path (without the query).
    pub fn parse(method: &Method, raw_path: &str) -> Result<Self, RouteError> {
        let segments = segments(raw_path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let route = match segments.as_slice() {
            ["modules"] => Self::ListModules,
            ["modules", module, "genid", generation, verb @ ..] => {
                let (module, generation) = ((*module).to_owned(), (*generation).to_owned());
                match verb {
                    ["sign"] => Self::Sign { module, generation },
                    ["encrypt"] => Self::Encrypt { module, generation },
                    ["decrypt"] => Self::Decrypt { module, generation },
                    ["certificate", "server"] => Self::ServerCertificate { module, generation },
                    _ => return Err(RouteError::NotFound),
                }
            }
            ["modules", module, "certificate", "identity"] => {
                Self::IdentityCertificate { module: (*module).to_owned() }
            }
            ["trust-bundle"] => Self::TrustBundle,
            ["manifest-trust-bundle"] => Self::ManifestTrustBundle,
            _ => return Err(RouteError::NotFound),
        };
        if route.method() == *method { Ok(route) } else { Err(RouteError::MethodNotAllowed) }
    }

    /// The method of this route.
    pub fn method(&self) -> Method {
        match self {
            Self::ListModules | Self::TrustBundle | Self::ManifestTrustBundle => Method::GET,
            _ => Method::POST,
        }
    }

    /// The path as a client writes it.
    pub fn path(&self) -> String {
        let of = |module: &str, generation: &str, verb| {
            let (module, generation) = (percent::encode(module), percent::encode(generation));
            format!("/modules/{module}/genid/{generation}/{verb}")
        };
        match self {
            Self::ListModules => "/modules".to_owned(),
            Self::Sign { module, generation } => of(module, generation, "sign"),
            Self::Encrypt { module, generation } => of(module, generation, "encrypt"),
            Self::Decrypt { module, generation } => of(module, generation, "decrypt"),
            Self::ServerCertificate { module, generation } => {
                of(module, generation, "certificate/server")
            }
            Self::IdentityCertificate { module } => {
                format!("/modules/{}/certificate/identity", percent::encode(module))
            }
            Self::TrustBundle => "/trust-bundle".to_owned(),
            Self::ManifestTrustBundle => "/manifest-trust-bundle".to_owned(),
        }
    }

    /// The module whose process must be the caller's; none where anybody may ask.
    pub fn module(&self) -> Option<&str> {
        match self {
            Self::Sign { module, .. }
            | Self::Encrypt { module, .. }
            | Self::Decrypt { module, .. }
            | Self::ServerCertificate { module, .. }
            | Self::IdentityCertificate { module } => Some(module),
            Self::ListModules | Self::TrustBundle | Self::ManifestTrustBundle => None,
        }
    }
}

/// The query of a module's logs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogsQuery {
    /// Whether to wait for more.
    pub follow: bool,
    /// How many of the last lines.
    pub tail: Tail,
    /// From when on: RFC 3339, Unix seconds or a duration such as `1 day 2h`, as it was given.
    pub since: Option<String>,
    /// Until when, likewise.
    pub until: Option<String>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
}

/// How many of the last lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tail {
    /// All of them.
    #[default]
    All,
    /// This many.
    Lines(u64),
}

/// A parameter of the logs query is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid value of query parameter {0}")]
pub struct LogsQueryError(pub &'static str);

impl LogsQuery {
    /// Reads it.
    pub fn parse(query: &Query) -> Result<Self, LogsQueryError> {
        let flag = |name| match query.get(name) {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(LogsQueryError(name)),
        };
        let tail = match query.get("tail") {
            None | Some("" | "all") => Tail::All,
            Some(text) => Tail::Lines(text.parse().map_err(|_| LogsQueryError("tail"))?),
        };
        let text = |name| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            follow: flag("follow")?,
            tail,
            since: text("since"),
            until: text("until"),
            timestamps: flag("timestamps")?,
        })
    }

    /// The parameters as a client writes them.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("follow", self.follow.to_string())];
        if let Tail::Lines(lines) = self.tail {
            parameters.push(("tail", lines.to_string()));
        }
        parameters.extend(self.since.clone().map(|since| ("since", since)));
        parameters.extend(self.until.clone().map(|until| ("until", until)));
        if self.timestamps {
            parameters.push(("timestamps", "true".to_owned()));
        }
        parameters
    }
}

/// The decoded segments of a path; a trailing slash is nothing. Each segment is decoded on its
/// own: module names here come from container engines, not from a known alphabet.
fn segments(raw_path: &str) -> Result<Vec<String>, RouteError> {
    let path = raw_path.strip_prefix('/').unwrap_or(raw_path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = Vec::new();
    for segment in path.split('/') {
        if segments.len() == SEGMENTS_MAX {
            return Err(RouteError::NotFound);
        }
        let segment = percent::decode_exact(segment).ok_or(RouteError::NotFound)?;
        if segment.is_empty() {
            return Err(RouteError::NotFound);
        }
        segments.push(segment.into_owned());
    }
    Ok(segments)
}

/// Segments of the longest path, `/modules/{m}/genid/{g}/certificate/server`.
const SEGMENTS_MAX: usize = 6;
