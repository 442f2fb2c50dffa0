//! Routes of the service and edge REST interfaces: method and path to a [`Route`] and back.
//!
//! Spec: sa §1.5, §2.1, §3.1, §5.1, §5.3, §5.5, §7.7; dp §5.7, §5.8; er §5.5. Fixed words are compared
//! without case and a trailing slash is nothing. The whole path is decoded once and then split:
//! IoT Explorer sends `devices%2Fquery`, and no id can hold a `/`. The routes below `/events` and
//! `/certificates` are our own; the latter have the verbs and bodies of the service's management
//! interface, which has no host name here (sa §8.1). What the service documents and we have not
//! built is named, not guessed.

mod query;

use http::Method;
use model::authority::AuthorityNameError;
use model::consumer_group::ConsumerGroupError;
use model::id::{EDGE_HUB, IdError};
use model::{AuthorityName, ConsumerGroup, DeviceId, Fault, FaultKind, IdentityId, ModuleId};
use uuid::Uuid;

use crate::percent;

pub use query::{EventStart, EventsQuery, Query};

/// The API version that our own service client names.
pub const API_VERSION: &str = "2021-04-12";
/// The one of the module registry calls that the edge daemon makes (er §2.5).
pub const API_VERSION_IDENTITY: &str = "2017-11-08-preview";
/// The one of the scope calls (er §5.5).
pub const API_VERSION_SCOPE: &str = "2020-06-30-preview";
/// Where MQTT and AMQP are spoken over WebSocket (dp §1). The query after it means nothing.
pub const WEBSOCKET_PATH: &str = "/$iothub/websocket";

/// The header that names the module that calls a method at its edge hub, `{device}/{module}`
/// (dp §5.7).
pub const EDGE_MODULE_HEADER: &str = "x-ms-edge-moduleid";
/// The header of every answer with an id of its own, a GUID (sa §1.5).
pub const REQUEST_ID_HEADER: &str = "x-ms-request-id";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /devices?top=`
    ListDevices,
    /// `GET /devices/{d}`
    GetDevice(DeviceId),
    /// `PUT /devices/{d}`
    PutDevice(DeviceId),
    /// `DELETE /devices/{d}`
    DeleteDevice(DeviceId),
    /// `GET /devices/{d}/modules`
    ListModules(DeviceId),
    /// `GET /devices/{d}/modules/{m}`
    GetModule(DeviceId, ModuleId),
    /// `PUT /devices/{d}/modules/{m}`
    PutModule(DeviceId, ModuleId),
    /// `DELETE /devices/{d}/modules/{m}`
    DeleteModule(DeviceId, ModuleId),
    /// `GET /statistics/devices`
    DeviceStatistics,
    /// `GET /statistics/service`
    ServiceStatistics,
    /// `GET /twins/{d}[/modules/{m}]`
    GetTwin(IdentityId),
    /// `PATCH /twins/{d}[/modules/{m}]`
    PatchTwin(IdentityId),
    /// `PUT /twins/{d}[/modules/{m}]`
    ReplaceTwin(IdentityId),
    /// `POST /twins/{d}[/modules/{m}]/methods`
    InvokeMethod(IdentityId),
    /// `POST /devices/{d}/applyConfigurationContent`
    ApplyContent(DeviceId),
    /// `POST /devices/{d}/messages/deviceBound`
    SendCloudToDevice(DeviceId),
    /// `DELETE /devices/{d}/commands`
    PurgeCloudToDevice(DeviceId),
    /// `GET /messages/serviceBound/feedback`
    ReceiveFeedback,
    /// `DELETE /messages/serviceBound/feedback/{lock}`; with `reject` in the query it is rejected
    CompleteFeedback(Uuid),
    /// `POST /messages/serviceBound/feedback/{lock}/abandon`
    AbandonFeedback(Uuid),
    /// `POST /devices/{edge}/modules/$edgeHub/devicesAndModulesInTargetDeviceScope`
    Scope(DeviceId),
    /// `POST /devices/{edge}/modules/$edgeHub/getDeviceAndModuleOnBehalfOf`
    ScopeIdentity(DeviceId),
    /// `GET /devices/{edge}/modules/$edgeHub/devicesAndModulesInDeviceScope`, the older call
    ScopeByQuery(DeviceId),
    /// `GET /devices/{edge}/modules/$edgeHub/deviceAndModuleInDeviceScope`, the older call
    ScopeIdentityByQuery(DeviceId),
    /// `GET /events/partitions`
    ListPartitions,
    /// `GET /events/partitions/{p}?from=&follow=`
    ReadPartition(u32),
    /// `GET /events/consumerGroups`
    ListConsumerGroups,
    /// `PUT /events/consumerGroups/{g}`
    CreateConsumerGroup(ConsumerGroup),
    /// `DELETE /events/consumerGroups/{g}`
    DeleteConsumerGroup(ConsumerGroup),
    /// `GET /certificates`
    ListAuthorities,
    /// `GET /certificates/{c}`
    GetAuthority(AuthorityName),
    /// `PUT /certificates/{c}`
    PutAuthority(AuthorityName),
    /// `DELETE /certificates/{c}`
    DeleteAuthority(AuthorityName),
    /// `POST /certificates/{c}/generateVerificationCode`
    GenerateVerificationCode(AuthorityName),
    /// `POST /certificates/{c}/verify`
    VerifyAuthority(AuthorityName),
}

/// The right that a shared access policy must hold (sa §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read identities.
    RegistryRead,
    /// Write identities.
    RegistryWrite,
    /// Twins, methods, messages, events.
    ServiceConnect,
    /// Act as any device.
    DeviceConnect,
}

/// Why a request has no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Nothing is there.
    #[error("no resource has this path")]
    NotFound,
    /// The service has it, this server has not.
    #[error("this server does not offer {0}")]
    NotBuilt(&'static str),
    /// The path is right, the method is not.
    #[error("this path takes {}, not this method", .0.join(", "))]
    MethodNotAllowed(&'static [&'static str]),
    /// A lock token in the path is not one of ours.
    #[error("the lock is lost or unknown")]
    Lock,
    /// An id in the path is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A consumer group's name in the path is none.
    #[error(transparent)]
    ConsumerGroup(#[from] ConsumerGroupError),
    /// A certificate's name in the path is none.
    #[error(transparent)]
    Authority(#[from] AuthorityNameError),
}

impl From<RouteError> for Fault {
    fn from(error: RouteError) -> Self {
        let kind = match error {
            RouteError::NotFound | RouteError::NotBuilt(_) => FaultKind::GenericNotFound,
            RouteError::MethodNotAllowed(_) => FaultKind::GenericMethodNotAllowed,
            RouteError::Lock => FaultKind::DeviceMessageLockLost,
            RouteError::Id(_) | RouteError::ConsumerGroup(_) | RouteError::Authority(_) => {
                FaultKind::ArgumentInvalid
            }
        };
        Fault::new(kind, error.to_string())
    }
}

/// Segments of the longest path that means anything, and one more.
const SEGMENTS_MAX: usize = 8;

impl Route {
    /// Reads a request's method and path (without the query).
    pub fn parse(method: &Method, raw_path: &str) -> Result<Self, RouteError> {
        let path = percent::decode_exact(raw_path).ok_or(RouteError::NotFound)?;
        let segments: Vec<&str> =
            path.split('/').filter(|segment| !segment.is_empty()).take(SEGMENTS_MAX).collect();
        let words: Vec<String> = segments.iter().map(|text| text.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["devices", ..] => devices(method, &words, &segments),
            ["twins", device, rest @ ..] if !device.is_empty() => twins(method, rest, &segments),
            ["statistics", "devices"] => only(method, GET, Self::DeviceStatistics),
            ["statistics", "service"] => only(method, GET, Self::ServiceStatistics),
            ["events", "partitions"] => only(method, GET, Self::ListPartitions),
            ["events", "partitions", number] => {
                let number = number.parse().map_err(|_| RouteError::NotFound)?;
                only(method, GET, Self::ReadPartition(number))
            }
            ["events", "consumergroups"] => only(method, GET, Self::ListConsumerGroups),
            ["events", "consumergroups", _] => {
                let group = segments[2].parse::<ConsumerGroup>()?;
                match *method {
                    Method::PUT => Ok(Self::CreateConsumerGroup(group)),
                    Method::DELETE => Ok(Self::DeleteConsumerGroup(group)),
                    _ => Err(RouteError::MethodNotAllowed(&["PUT", "DELETE"])),
                }
            }
            ["certificates", rest @ ..] => certificates(method, rest, &segments),
            ["jobs", ..] => Err(RouteError::NotBuilt("jobs")),
            ["configurations", ..] => Err(RouteError::NotBuilt("automatic configurations")),
            ["digitaltwins", ..] => Err(RouteError::NotBuilt("the digital twin view")),
            ["messages", "servicebound", "feedback", rest @ ..] => feedback(method, rest),
            ["messages", "servicebound", ..] => {
                Err(RouteError::NotBuilt("file upload notifications over HTTPS"))
            }
            ["$admin", ..] => Err(RouteError::NotBuilt("registry import and export")),
            _ => Err(RouteError::NotFound),
        }
    }

    /// The method of this route.
    pub fn method(&self) -> Method {
        match self {
            Self::PutDevice(_)
            | Self::PutModule(..)
            | Self::ReplaceTwin(_)
            | Self::CreateConsumerGroup(_)
            | Self::PutAuthority(_) => Method::PUT,
            Self::PatchTwin(_) => Method::PATCH,
            Self::DeleteDevice(_)
            | Self::DeleteModule(..)
            | Self::PurgeCloudToDevice(_)
            | Self::CompleteFeedback(_)
            | Self::DeleteConsumerGroup(_)
            | Self::DeleteAuthority(_) => Method::DELETE,
            Self::InvokeMethod(_)
            | Self::AbandonFeedback(_)
            | Self::ApplyContent(_)
            | Self::SendCloudToDevice(_)
            | Self::Scope(_)
            | Self::ScopeIdentity(_)
            | Self::GenerateVerificationCode(_)
            | Self::VerifyAuthority(_) => Method::POST,
            _ => Method::GET,
        }
    }

    /// The decoded segments of its path: what a token's resource is compared with.
    pub fn segments(&self) -> Vec<String> {
        let own = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let edge_hub =
            |edge: &DeviceId, call| own(&["devices", edge.as_str(), "modules", EDGE_HUB, call]);
        match self {
            Self::ListDevices => own(&["devices"]),
            Self::GetDevice(d) | Self::PutDevice(d) | Self::DeleteDevice(d) => {
                own(&["devices", d.as_str()])
            }
            Self::ListModules(d) => own(&["devices", d.as_str(), "modules"]),
            Self::GetModule(d, m) | Self::PutModule(d, m) | Self::DeleteModule(d, m) => {
                own(&["devices", d.as_str(), "modules", m.as_str()])
            }
            Self::DeviceStatistics => own(&["statistics", "devices"]),
            Self::ServiceStatistics => own(&["statistics", "service"]),
            Self::GetTwin(id) | Self::PatchTwin(id) | Self::ReplaceTwin(id) => twin_segments(id),
            Self::InvokeMethod(id) => {
                let mut segments = twin_segments(id);
                segments.push("methods".to_owned());
                segments
            }
            Self::ApplyContent(d) => own(&["devices", d.as_str(), "applyConfigurationContent"]),
            Self::SendCloudToDevice(d) => own(&["devices", d.as_str(), "messages", "deviceBound"]),
            Self::PurgeCloudToDevice(d) => own(&["devices", d.as_str(), "commands"]),
            Self::ReceiveFeedback => own(&FEEDBACK),
            Self::CompleteFeedback(lock) => {
                let mut segments = own(&FEEDBACK);
                segments.push(lock.to_string());
                segments
            }
            Self::AbandonFeedback(lock) => {
                let mut segments = own(&FEEDBACK);
                segments.extend([lock.to_string(), "abandon".to_owned()]);
                segments
            }
            Self::Scope(edge) => edge_hub(edge, "devicesAndModulesInTargetDeviceScope"),
            Self::ScopeIdentity(edge) => edge_hub(edge, "getDeviceAndModuleOnBehalfOf"),
            Self::ScopeByQuery(edge) => edge_hub(edge, "devicesAndModulesInDeviceScope"),
            Self::ScopeIdentityByQuery(edge) => edge_hub(edge, "deviceAndModuleInDeviceScope"),
            Self::ListPartitions => own(&["events", "partitions"]),
            Self::ReadPartition(number) => own(&["events", "partitions", &number.to_string()]),
            Self::ListConsumerGroups => own(&["events", "consumerGroups"]),
            Self::CreateConsumerGroup(group) | Self::DeleteConsumerGroup(group) => {
                own(&["events", "consumerGroups", group.as_str()])
            }
            Self::ListAuthorities => own(&["certificates"]),
            Self::GetAuthority(name) | Self::PutAuthority(name) | Self::DeleteAuthority(name) => {
                own(&["certificates", name.as_str()])
            }
            Self::GenerateVerificationCode(name) => {
                own(&["certificates", name.as_str(), "generateVerificationCode"])
            }
            Self::VerifyAuthority(name) => own(&["certificates", name.as_str(), "verify"]),
        }
    }

    /// The path as a client writes it.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.segments() {
            path.push('/');
            percent::encode_into(&segment, &mut path);
        }
        path
    }

    /// Path and query as a client writes them; `api_version` comes first.
    pub fn path_and_query(&self, api_version: &str, query: &[(&str, &str)]) -> String {
        let mut text = format!("{}?api-version={api_version}", self.path());
        for (name, value) in query {
            text.push('&');
            text.push_str(name);
            text.push('=');
            percent::encode_into(value, &mut text);
        }
        text
    }

    /// The right that a policy needs. Edge components come with tokens of their own instead: see
    /// [`Self::is_for_edge`].
    pub fn right(&self) -> Right {
        match self {
            Self::ListDevices
            | Self::GetDevice(_)
            | Self::ListModules(_)
            | Self::GetModule(..)
            | Self::ListAuthorities
            | Self::GetAuthority(_)
            | Self::DeviceStatistics
            | Self::ServiceStatistics
            | Self::Scope(_)
            | Self::ScopeIdentity(_)
            | Self::ScopeByQuery(_)
            | Self::ScopeIdentityByQuery(_) => Right::RegistryRead,
            Self::PutDevice(_)
            | Self::DeleteDevice(_)
            | Self::PutModule(..)
            | Self::DeleteModule(..)
            | Self::ApplyContent(_)
            | Self::PutAuthority(_)
            | Self::DeleteAuthority(_)
            | Self::GenerateVerificationCode(_)
            | Self::VerifyAuthority(_)
            // Who may read must not end the reading of others.
            | Self::CreateConsumerGroup(_)
            | Self::DeleteConsumerGroup(_) => Right::RegistryWrite,
            Self::GetTwin(_)
            | Self::PatchTwin(_)
            | Self::ReplaceTwin(_)
            | Self::InvokeMethod(_)
            | Self::SendCloudToDevice(_)
            | Self::PurgeCloudToDevice(_)
            | Self::ReceiveFeedback
            | Self::CompleteFeedback(_)
            | Self::AbandonFeedback(_)
            | Self::ListPartitions
            | Self::ReadPartition(_)
            | Self::ListConsumerGroups => Right::ServiceConnect,
        }
    }

    /// Who of the edge may make this call with a token of its own, without any policy.
    pub fn is_for_edge(&self) -> Option<EdgeCaller<'_>> {
        match self {
            Self::ListModules(d)
            | Self::GetModule(d, _)
            | Self::PutModule(d, _)
            | Self::DeleteModule(d, _) => Some(EdgeCaller::Device(d)),
            Self::Scope(d)
            | Self::ScopeIdentity(d)
            | Self::ScopeByQuery(d)
            | Self::ScopeIdentityByQuery(d) => Some(EdgeCaller::EdgeHub(d)),
            _ => None,
        }
    }
}

/// A component of an edge device that calls the hub on its own behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeCaller<'a> {
    /// The device itself, about its modules (identityd, er §2.5).
    Device(&'a DeviceId),
    /// The device's `$edgeHub`, about its scope (er §5.5).
    EdgeHub(&'a DeviceId),
}

/// Whether a WebSocket may be opened on this path: back ends ask for the second one, with a slash or
/// without (sa §9.11), Java's DPS client for `/mqtt` (dp §1).
pub fn is_websocket_path(path: &str) -> bool {
    let path = percent::decode_exact(path).unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(&path);
    let known = [WEBSOCKET_PATH, "/$servicebus/websocket", "/mqtt", ""];
    known.iter().any(|known| path.eq_ignore_ascii_case(known))
}

fn devices(method: &Method, words: &[&str], segments: &[&str]) -> Result<Route, RouteError> {
    match &words[1..] {
        [] => match *method {
            Method::GET => Ok(Route::ListDevices),
            Method::POST => Err(RouteError::NotBuilt("bulk changes of the registry")),
            _ => Err(RouteError::MethodNotAllowed(GET)),
        },
        ["query"] if method == Method::POST => Err(RouteError::NotBuilt("queries")),
        ["keys", "regenerate"] => Err(RouteError::NotBuilt("regenerating keys")),
        [_] => crud(method, [Route::GetDevice, Route::PutDevice, Route::DeleteDevice], segments),
        [_, "modules"] => only(method, GET, Route::ListModules(device(segments)?)),
        [_, "modules", _] => module(method, segments),
        [_, "modules", "$edgehub", call] => scope(method, call, segments),
        [_, "applyconfigurationcontent"] => {
            only(method, POST, Route::ApplyContent(device(segments)?))
        }
        [_, "commands"] => only(method, DELETE, Route::PurgeCloudToDevice(device(segments)?)),
        [_, "messages", "devicebound"] if method == Method::POST => {
            Ok(Route::SendCloudToDevice(device(segments)?))
        }
        [_, "messages", ..] | [_, "modules", _, "messages", ..] => {
            Err(RouteError::NotBuilt("messages over the HTTPS device API"))
        }
        [_, "files", ..] | [_, "modules", _, "files", ..] => {
            Err(RouteError::NotBuilt("file upload"))
        }
        _ => Err(RouteError::NotFound),
    }
}

fn module(method: &Method, segments: &[&str]) -> Result<Route, RouteError> {
    let (d, m) = (device(segments)?, segments[3].parse()?);
    match *method {
        Method::GET => Ok(Route::GetModule(d, m)),
        Method::PUT => Ok(Route::PutModule(d, m)),
        Method::DELETE => Ok(Route::DeleteModule(d, m)),
        _ => Err(RouteError::MethodNotAllowed(CRUD)),
    }
}

/// The words have no case, and neither have the digits of a lock.
fn feedback(method: &Method, rest: &[&str]) -> Result<Route, RouteError> {
    let lock = |text: &str| text.parse().map_err(|_| RouteError::Lock);
    match rest {
        [] => only(method, GET, Route::ReceiveFeedback),
        [token] if method == Method::DELETE => Ok(Route::CompleteFeedback(lock(token)?)),
        [_] => Err(RouteError::MethodNotAllowed(DELETE)),
        [token, "abandon"] if method == Method::POST => Ok(Route::AbandonFeedback(lock(token)?)),
        [_, "abandon"] => Err(RouteError::MethodNotAllowed(POST)),
        _ => Err(RouteError::NotFound),
    }
}

fn certificates(method: &Method, rest: &[&str], segments: &[&str]) -> Result<Route, RouteError> {
    let name = || segments[1].parse::<AuthorityName>();
    match rest {
        [] => only(method, GET, Route::ListAuthorities),
        [_] => match *method {
            Method::GET => Ok(Route::GetAuthority(name()?)),
            Method::PUT => Ok(Route::PutAuthority(name()?)),
            Method::DELETE => Ok(Route::DeleteAuthority(name()?)),
            _ => Err(RouteError::MethodNotAllowed(CRUD)),
        },
        [_, "generateverificationcode"] => {
            only(method, POST, Route::GenerateVerificationCode(name()?))
        }
        [_, "verify"] => only(method, POST, Route::VerifyAuthority(name()?)),
        _ => Err(RouteError::NotFound),
    }
}

fn scope(method: &Method, call: &str, segments: &[&str]) -> Result<Route, RouteError> {
    let (methods, route): (_, fn(DeviceId) -> Route) = match call {
        "devicesandmodulesintargetdevicescope" => (POST, Route::Scope),
        "getdeviceandmoduleonbehalfof" => (POST, Route::ScopeIdentity),
        "devicesandmodulesindevicescope" => (GET, Route::ScopeByQuery),
        "deviceandmoduleindevicescope" => (GET, Route::ScopeIdentityByQuery),
        "putmoduleonbehalfof"
        | "getmoduleonbehalfof"
        | "getmodulesontargetdevice"
        | "deletemoduleonbehalfof" => {
            return Err(RouteError::NotBuilt("registry calls on behalf of a nested edge device"));
        }
        _ => return Err(RouteError::NotFound),
    };
    only(method, methods, route(device(segments)?))
}

fn twins(method: &Method, rest: &[&str], segments: &[&str]) -> Result<Route, RouteError> {
    let of_device = || Ok::<_, RouteError>(IdentityId::device(device(segments)?));
    let of_module =
        || Ok::<_, RouteError>(IdentityId::module(device(segments)?, segments[3].parse()?));
    match rest {
        [] => twin(method, of_device()?),
        ["methods"] => only(method, POST, Route::InvokeMethod(of_device()?)),
        ["modules", _] => twin(method, of_module()?),
        ["modules", _, "methods"] => only(method, POST, Route::InvokeMethod(of_module()?)),
        _ => Err(RouteError::NotFound),
    }
}

fn twin(method: &Method, id: IdentityId) -> Result<Route, RouteError> {
    match *method {
        Method::GET => Ok(Route::GetTwin(id)),
        Method::PATCH => Ok(Route::PatchTwin(id)),
        Method::PUT => Ok(Route::ReplaceTwin(id)),
        _ => Err(RouteError::MethodNotAllowed(&["GET", "PATCH", "PUT"])),
    }
}

fn crud(
    method: &Method,
    [get, put, delete]: [fn(DeviceId) -> Route; 3],
    segments: &[&str],
) -> Result<Route, RouteError> {
    let route = match *method {
        Method::GET => get,
        Method::PUT => put,
        Method::DELETE => delete,
        _ => return Err(RouteError::MethodNotAllowed(CRUD)),
    };
    Ok(route(device(segments)?))
}

fn only(
    method: &Method,
    allowed: &'static [&'static str],
    route: Route,
) -> Result<Route, RouteError> {
    if allowed.contains(&method.as_str()) {
        Ok(route)
    } else {
        Err(RouteError::MethodNotAllowed(allowed))
    }
}

/// The device id, which is the second segment wherever there is one.
fn device(segments: &[&str]) -> Result<DeviceId, RouteError> {
    Ok(segments[1].parse()?)
}

fn twin_segments(id: &IdentityId) -> Vec<String> {
    let mut segments = vec!["twins".to_owned(), id.device.to_string()];
    if let Some(module) = &id.module {
        segments.extend(["modules".to_owned(), module.to_string()]);
    }
    segments
}

const FEEDBACK: [&str; 3] = ["messages", "serviceBound", "feedback"];
const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const DELETE: &[&str] = &["DELETE"];
const CRUD: &[&str] = &["GET", "PUT", "DELETE"];

#[cfg(test)]
mod tests;
