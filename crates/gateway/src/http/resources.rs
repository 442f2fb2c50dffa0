//! From a route to the backend's call and its answer.

use ::http::header::IF_MATCH;
use ::http::{HeaderMap, Response};
use bytes::Bytes;
use host::signals::Shutdown;
use iot_proto::etag::{self, IfMatch};
use iot_proto::payload::device::{DeviceJson, DeviceWrite};
use iot_proto::payload::module::{ModuleJson, ModuleWrite};
use iot_proto::payload::scope::{
    ScopeDevice, ScopeIdentityRequest, ScopeModule, ScopeRequest, ScopeResult,
};
use iot_proto::payload::statistics::{DeviceStatistics, Purged, ServiceStatistics};
use iot_proto::payload::twin::TwinParts;
use iot_proto::payload::{self, message, method};
use iot_proto::rest::{Query, Route};
use model::id::Precondition;
use model::{DeviceId, Etag, Fault, FaultKind, IdentityId};

use super::{Body, Head, ServiceBackend, answer};
use crate::backend::Settlement;
use crate::backend::registry::{Device, Module, ScopePage};
use crate::backend::twins::TwinOf;

impl<B: ServiceBackend> Head<B> {
    pub(super) async fn resource(
        &self,
        route: Route,
        query: &Query,
        headers: &HeaderMap,
        body: Bytes,
        shutdown: Shutdown,
    ) -> Result<Response<Body>, Fault> {
        let backend = &*self.backend;
        let if_match = IfMatch::parse(headers.get(IF_MATCH).and_then(|value| value.to_str().ok()));
        match route {
            Route::ListDevices => {
                let devices = backend.devices(query.top()).await?;
                Ok(answer::json(&devices.iter().map(device_json).collect::<Vec<_>>()))
            }
            Route::GetDevice(id) => Ok(device(&backend.device(&id).await?)),
            Route::PutDevice(id) => {
                let write = DeviceWrite::read(&id, &body)?;
                Ok(device(&backend.put_device(&id, write, for_put(&if_match)?).await?))
            }
            Route::DeleteDevice(id) => {
                backend.delete_device(&id, for_delete(&if_match)?).await?;
                Ok(answer::no_content())
            }
            Route::ListModules(id) => {
                let modules = backend.modules(&id).await?;
                Ok(answer::json(&modules.iter().map(module_json).collect::<Vec<_>>()))
            }
            Route::GetModule(d, m) => Ok(module(&backend.module(&IdentityId::module(d, m)).await?)),
            Route::PutModule(d, m) => {
                let write = ModuleWrite::read(&d, &m, &body)?;
                let id = IdentityId::module(d, m);
                Ok(module(&backend.put_module(&id, write, for_put(&if_match)?).await?))
            }
            Route::DeleteModule(d, m) => {
                backend.delete_module(&IdentityId::module(d, m), for_delete(&if_match)?).await?;
                Ok(answer::no_content())
            }
            Route::DeviceStatistics => {
                let counts = backend.statistics().await?;
                Ok(answer::json(&DeviceStatistics {
                    total_device_count: counts.enabled + counts.disabled,
                    enabled_device_count: counts.enabled,
                    disabled_device_count: counts.disabled,
                }))
            }
            Route::ServiceStatistics => {
                let counts = backend.statistics().await?;
                Ok(answer::json(&ServiceStatistics { connected_device_count: counts.connected }))
            }
            Route::GetTwin(id) => Ok(twin(&backend.twin(&id).await?)),
            Route::PatchTwin(id) => {
                let change = payload::twin::read_change(&body)?;
                Ok(twin(&backend.patch_twin(&id, change, for_twin(&if_match)?).await?))
            }
            Route::ReplaceTwin(id) => {
                let change = payload::twin::read_change(&body)?;
                Ok(twin(&backend.replace_twin(&id, change, for_twin(&if_match)?).await?))
            }
            Route::InvokeMethod(id) => {
                let response = backend.invoke(&id, method::read_request(&body)?).await?;
                Ok(answer::json_bytes(method::response_body(&response)))
            }
            Route::ApplyContent(id) => {
                let content = serde_json::Value::Object(payload::object(&body)?);
                backend.apply_content(&id, content).await?;
                Ok(answer::no_content())
            }
            Route::SendCloudToDevice(id) => {
                backend.send(&id, message::read_one(headers, body)?).await?;
                Ok(answer::no_content())
            }
            Route::PurgeCloudToDevice(id) => {
                let purged = backend.purge(&id).await?;
                let device_id = id.to_string();
                Ok(answer::json(&Purged {
                    total_messages_purged: purged,
                    device_id,
                    module_id: None,
                }))
            }
            Route::ReceiveFeedback => self.receive_feedback().await,
            Route::CompleteFeedback(lock) => {
                let rejected = query.get("reject").is_some();
                let outcome = if rejected { Settlement::Reject } else { Settlement::Complete };
                backend.settle_feedback(lock, outcome).await?;
                Ok(answer::no_content())
            }
            Route::AbandonFeedback(lock) => {
                backend.settle_feedback(lock, Settlement::Abandon).await?;
                Ok(answer::no_content())
            }
            Route::Scope(edge) => {
                let request: ScopeRequest = payload::read(&body)?;
                let (size, link) = (request.page_size, request.continuation_link.as_deref());
                Ok(scope(backend.scope(&edge, size, link).await?))
            }
            Route::ScopeIdentity(edge) => {
                let request: ScopeIdentityRequest = payload::read(&body)?;
                let target =
                    target(Some(&request.target_device_id), request.target_module_id.as_deref())?;
                Ok(scope(backend.scope_identity(&edge, &target).await?))
            }
            Route::ScopeByQuery(edge) => {
                let size = query.get("deviceCount").and_then(|text| text.parse().ok());
                let size = size.unwrap_or(payload::scope::PAGE_SIZE_DEFAULT);
                let link = query.get("continuationToken").filter(|text| !text.is_empty());
                Ok(scope(backend.scope(&edge, size, link).await?))
            }
            Route::ScopeIdentityByQuery(edge) => {
                let target = target(query.get("targetDeviceId"), query.get("targetModuleId"))?;
                Ok(scope(backend.scope_identity(&edge, &target).await?))
            }
            Route::ListPartitions => self.partitions(),
            Route::ReadPartition(partition) => self.read_partition(partition, query, shutdown),
            Route::ListConsumerGroups => self.consumer_groups().await,
            Route::CreateConsumerGroup(group) => {
                backend.create_consumer_group(group).await?;
                Ok(answer::no_content())
            }
            Route::DeleteConsumerGroup(group) => {
                backend.delete_consumer_group(group).await?;
                Ok(answer::no_content())
            }
            Route::ListAuthorities
            | Route::GetAuthority(_)
            | Route::PutAuthority(_)
            | Route::DeleteAuthority(_)
            | Route::GenerateVerificationCode(_)
            | Route::VerifyAuthority(_) => self.certificates(route, &if_match, &body).await,
        }
    }
}

fn device_json(device: &Device) -> DeviceJson {
    DeviceJson::new(&device.identity, &device.activity, device.cloud_to_device_count)
}

fn device(device: &Device) -> Response<Body> {
    answer::json_etag(&device_json(device), &etag::identity(device.identity.etag))
}

fn module_json(module: &Module) -> ModuleJson {
    ModuleJson::new(&module.identity, &module.activity)
}

fn module(module: &Module) -> Response<Body> {
    answer::json_etag(&module_json(module), &etag::identity(module.identity.etag))
}

fn twin(of: &TwinOf) -> Response<Body> {
    let document = TwinParts {
        device: &of.device.identity,
        module: of.module.as_ref().map(|module| &module.identity),
        activity: of.module.as_ref().map_or(&of.device.activity, |module| &module.activity),
        waiting_messages: of.device.cloud_to_device_count,
        twin: &of.twin,
        model_id: of.model_id.as_deref(),
    }
    .document();
    answer::json_etag(&document, &etag::twin(of.twin.etag))
}

fn scope(page: ScopePage) -> Response<Body> {
    answer::json(&ScopeResult {
        devices: page.devices.iter().map(ScopeDevice::from).collect(),
        modules: page.modules.iter().map(ScopeModule::from).collect(),
        continuation_link: page.continuation,
    })
}

fn target(device: Option<&str>, module: Option<&str>) -> Result<IdentityId, Fault> {
    let device =
        device.ok_or_else(|| Fault::new(FaultKind::ArgumentNull, "targetDeviceId is missing"))?;
    let device: DeviceId =
        device.parse().map_err(|error| Fault::argument(format!("targetDeviceId: {error}")))?;
    match module.filter(|text| !text.is_empty()) {
        None => Ok(IdentityId::device(device)),
        Some(module) => {
            let module = module
                .parse()
                .map_err(|error| Fault::argument(format!("targetModuleId: {error}")))?;
            Ok(IdentityId::module(device, module))
        }
    }
}

/// Without `If-Match` a PUT creates, with it it changes (`service-api.md` §2.6).
pub(super) fn for_put(if_match: &IfMatch) -> Result<Precondition, Fault> {
    match if_match {
        IfMatch::Absent => Ok(Precondition::Absent),
        IfMatch::Any => Ok(Precondition::Exists),
        IfMatch::Tag(tag) => {
            etag::parse_identity(tag).map(Precondition::Matches).ok_or_else(foreign_etag)
        }
    }
}

pub(super) fn for_delete(if_match: &IfMatch) -> Result<Precondition, Fault> {
    match if_match {
        IfMatch::Absent => Ok(Precondition::Exists),
        other => for_put(other),
    }
}

fn for_twin(if_match: &IfMatch) -> Result<Option<Etag>, Fault> {
    match if_match {
        IfMatch::Absent | IfMatch::Any => Ok(None),
        IfMatch::Tag(tag) => etag::parse_twin(tag).map(Some).ok_or_else(foreign_etag),
    }
}

/// A version that we never wrote cannot be the stored one.
fn foreign_etag() -> Fault {
    Fault::new(
        FaultKind::PreconditionFailed,
        "If-Match names a version that is not the stored one; read it again",
    )
}
