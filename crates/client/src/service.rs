//! A back end's calls to a hub: identities, twins, methods, deployments, messages, events.
//!
//! HTTPS with a token of a shared access policy. Spec: `service-api.md` §2, §3, §5, §7.7; reading
//! events is a route of our own. Bodies are `iot_proto::payload`'s.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use host::clock::Clock;
use host::http::{Client, Request, StreamingResponse};
use host::tls::ClientTls;
use iot_proto::connection_string::ServiceConnectionString;
use iot_proto::etag::IfMatch;
use iot_proto::payload::certificate::{
    CertificateJson, CertificateWrite, CertificatesJson, proof_body,
};
use iot_proto::payload::device::{DeviceJson, DeviceWrite};
use iot_proto::payload::event::{ConsumerGroupsJson, EventLine, PartitionJson, PartitionsJson};
use iot_proto::payload::module::{ModuleJson, ModuleWrite};
use iot_proto::payload::statistics::{DeviceStatistics, Purged, ServiceStatistics};
use iot_proto::payload::{JSON, message, method, twin};
use iot_proto::rest::{API_VERSION, EventsQuery, Route};
use model::message::Message;
use model::method::{MethodRequest, MethodResponse};
use model::twin::{Object, TwinChange};
use model::{AuthorityName, ConsumerGroup, DeviceId, Fault, IdentityId, ModuleId};

use crate::dial::Dial;
use crate::rest::{Rest, if_match};
use crate::signer::{KeySigner, Proof, SignError, TokenRecipe};

pub use crate::rest::RestError;

/// A hub as a back end sees it. Clones share connections.
#[derive(Debug, Clone)]
pub struct HubClient {
    rest: Rest,
}

impl HubClient {
    /// A client for the hub and policy of a connection string, dialling `dial`.
    pub fn new(
        connection_string: &ServiceConnectionString,
        dial: Dial,
        tls: ClientTls,
        clock: Clock,
    ) -> Result<Self, SignError> {
        let client = dial.https(tls);
        Self::over(client, connection_string, dial, clock)
    }

    fn over(
        client: Client,
        connection_string: &ServiceConnectionString,
        dial: Dial,
        clock: Clock,
    ) -> Result<Self, SignError> {
        let signer = KeySigner::from_base64(connection_string.key.as_str())?;
        let token = TokenRecipe {
            resource: connection_string.host_name.clone(),
            key_name: Some(connection_string.policy.clone()),
            lifetime: TOKEN_LIFETIME,
        };
        let proof = Proof::Token { signer: Arc::new(signer), recipe: token };
        Ok(Self { rest: Rest::new(dial, client, proof, clock) })
    }
}

/// Identities.
impl HubClient {
    /// Up to `top` devices (1 to 1000).
    pub async fn devices(&self, top: usize) -> Result<Vec<DeviceJson>, RestError> {
        let top = top.to_string();
        let path = Route::ListDevices.path_and_query(API_VERSION, &[("top", &top)]);
        self.rest.call_for(Request::get(path)).await
    }

    /// A device.
    pub async fn device(&self, device: &DeviceId) -> Result<DeviceJson, RestError> {
        self.rest.call_for(request(&Route::GetDevice(device.clone()))).await
    }

    /// Creates a device ([`IfMatch::Absent`]) or changes one that exists.
    pub async fn put_device(
        &self,
        device: &DeviceId,
        write: &DeviceWrite,
        demand: &IfMatch,
    ) -> Result<DeviceJson, RestError> {
        let route = request(&Route::PutDevice(device.clone())).json(write.to_body(device));
        self.rest.call_for(if_match(route, demand)).await
    }

    /// Deletes a device with its modules and twins.
    pub async fn delete_device(
        &self,
        device: &DeviceId,
        demand: &IfMatch,
    ) -> Result<(), RestError> {
        let request = request(&Route::DeleteDevice(device.clone()));
        self.rest.call(if_match(request, demand)).await.map(drop)
    }

    /// The modules of a device.
    pub async fn modules(&self, device: &DeviceId) -> Result<Vec<ModuleJson>, RestError> {
        self.rest.call_for(request(&Route::ListModules(device.clone()))).await
    }

    /// A module.
    pub async fn module(
        &self,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<ModuleJson, RestError> {
        self.rest.call_for(request(&Route::GetModule(device.clone(), module.clone()))).await
    }

    /// Creates a module ([`IfMatch::Absent`]) or changes one that exists.
    pub async fn put_module(
        &self,
        device: &DeviceId,
        module: &ModuleId,
        write: &ModuleWrite,
        demand: &IfMatch,
    ) -> Result<ModuleJson, RestError> {
        let route = Route::PutModule(device.clone(), module.clone());
        let request = request(&route).json(write.to_body(device, module));
        self.rest.call_for(if_match(request, demand)).await
    }

    /// Deletes a module and its twin.
    pub async fn delete_module(
        &self,
        device: &DeviceId,
        module: &ModuleId,
        demand: &IfMatch,
    ) -> Result<(), RestError> {
        let request = request(&Route::DeleteModule(device.clone(), module.clone()));
        self.rest.call(if_match(request, demand)).await.map(drop)
    }

    /// Counts of devices.
    pub async fn device_statistics(&self) -> Result<DeviceStatistics, RestError> {
        self.rest.call_for(request(&Route::DeviceStatistics)).await
    }

    /// Counts of connections.
    pub async fn service_statistics(&self) -> Result<ServiceStatistics, RestError> {
        self.rest.call_for(request(&Route::ServiceStatistics)).await
    }
}

/// Twins, methods, deployments, messages.
impl HubClient {
    /// A twin, whole, as the service shows it.
    pub async fn twin(&self, identity: &IdentityId) -> Result<Object, RestError> {
        self.rest.call_for(request(&Route::GetTwin(identity.clone()))).await
    }

    /// Merges a change into tags and desired properties; gives the twin after it.
    pub async fn patch_twin(
        &self,
        identity: &IdentityId,
        change: &TwinChange,
        demand: &IfMatch,
    ) -> Result<Object, RestError> {
        let request = request(&Route::PatchTwin(identity.clone())).json(twin::change_body(change));
        self.rest.call_for(if_match(request, demand)).await
    }

    /// Replaces tags and desired properties; gives the twin after it.
    pub async fn replace_twin(
        &self,
        identity: &IdentityId,
        change: &TwinChange,
        demand: &IfMatch,
    ) -> Result<Object, RestError> {
        let request =
            request(&Route::ReplaceTwin(identity.clone())).json(twin::change_body(change));
        self.rest.call_for(if_match(request, demand)).await
    }

    /// Calls a direct method and waits for the answer.
    pub async fn invoke_method(
        &self,
        identity: &IdentityId,
        call: &MethodRequest,
    ) -> Result<MethodResponse, RestError> {
        let body = method::request_body(call).map_err(bad_request)?;
        // The hub knows both limits and answers when they are over: a little more for the way.
        let deadline = call.response_timeout + call.connect_timeout + METHOD_SLACK;
        let request = request(&Route::InvokeMethod(identity.clone())).json(body);
        let response = self.rest.call(request.deadline(deadline)).await?;
        method::read_response(&response.body).map_err(|fault| self.rest.malformed(fault))
    }

    /// Applies deployment content to one edge device.
    pub async fn apply_content(
        &self,
        device: &DeviceId,
        content: impl Into<Bytes>,
    ) -> Result<(), RestError> {
        let request = request(&Route::ApplyContent(device.clone())).json(content);
        self.rest.call(request).await.map(drop)
    }

    /// Queues a cloud-to-device message.
    pub async fn send_to_device(
        &self,
        device: &DeviceId,
        message: &Message,
    ) -> Result<(), RestError> {
        let mut request = request(&Route::SendCloudToDevice(device.clone()))
            .body("application/octet-stream", message.body.clone());
        for (name, value) in &message::to_headers(message).map_err(bad_request)? {
            // Header values of properties may be any UTF-8; requests take text only.
            let value = std::str::from_utf8(value.as_bytes())
                .map_err(|_| RestError::Request(format!("property {name} is not UTF-8")))?;
            request = request.header(name.as_str(), value);
        }
        self.rest.call(request).await.map(drop)
    }

    /// Removes all messages that wait for a device.
    pub async fn purge(&self, device: &DeviceId) -> Result<Purged, RestError> {
        self.rest.call_for(request(&Route::PurgeCloudToDevice(device.clone()))).await
    }
}

/// Certificate authorities.
impl HubClient {
    /// All registered authorities.
    pub async fn certificates(&self) -> Result<Vec<CertificateJson>, RestError> {
        let list: CertificatesJson = self.rest.call_for(request(&Route::ListAuthorities)).await?;
        Ok(list.value)
    }

    /// One authority.
    pub async fn certificate(&self, name: &AuthorityName) -> Result<CertificateJson, RestError> {
        self.rest.call_for(request(&Route::GetAuthority(name.clone()))).await
    }

    /// Registers an authority ([`IfMatch::Absent`]) or gives one that exists another certificate.
    pub async fn put_certificate(
        &self,
        name: &AuthorityName,
        write: &CertificateWrite,
        demand: &IfMatch,
    ) -> Result<CertificateJson, RestError> {
        let request = request(&Route::PutAuthority(name.clone())).body(JSON, write.body());
        self.rest.call_for(if_match(request, demand)).await
    }

    /// Deletes an authority.
    pub async fn delete_certificate(
        &self,
        name: &AuthorityName,
        demand: &IfMatch,
    ) -> Result<(), RestError> {
        let request = request(&Route::DeleteAuthority(name.clone()));
        self.rest.call(if_match(request, demand)).await.map(drop)
    }

    /// Makes the code that a certificate must have as common name to verify an authority.
    pub async fn generate_verification_code(
        &self,
        name: &AuthorityName,
    ) -> Result<CertificateJson, RestError> {
        self.rest.call_for(request(&Route::GenerateVerificationCode(name.clone()))).await
    }

    /// Verifies an authority by a certificate that it has signed, PEM text or DER.
    pub async fn verify_certificate(
        &self,
        name: &AuthorityName,
        proof: &[u8],
    ) -> Result<CertificateJson, RestError> {
        let route = request(&Route::VerifyAuthority(name.clone()));
        self.rest.call_for(route.body(JSON, proof_body(proof))).await
    }
}

/// Events.
impl HubClient {
    /// The partitions of the event log.
    pub async fn partitions(&self) -> Result<Vec<Partition>, RestError> {
        let list: PartitionsJson = self.rest.call_for(request(&Route::ListPartitions)).await?;
        Ok(list.partitions.into_iter().map(|about| Partition { about }).collect())
    }

    /// The names of the consumer groups, `$Default` first.
    pub async fn consumer_groups(&self) -> Result<Vec<String>, RestError> {
        let list: ConsumerGroupsJson =
            self.rest.call_for(request(&Route::ListConsumerGroups)).await?;
        Ok(list.consumer_groups)
    }

    /// Creates a consumer group; one that exists stays as it is.
    pub async fn create_consumer_group(&self, group: ConsumerGroup) -> Result<(), RestError> {
        self.rest.call(request(&Route::CreateConsumerGroup(group))).await.map(drop)
    }

    /// Deletes a consumer group and ends its readers.
    pub async fn delete_consumer_group(&self, group: ConsumerGroup) -> Result<(), RestError> {
        self.rest.call(request(&Route::DeleteConsumerGroup(group))).await.map(drop)
    }

    /// Reads a partition, one event after the other.
    pub async fn events(
        &self,
        partition: u32,
        query: &EventsQuery,
    ) -> Result<EventStream, RestError> {
        let parameters = query.parameters();
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = Route::ReadPartition(partition).path_and_query(API_VERSION, &parameters);
        let response = self.rest.stream(Request::get(path)).await?;
        Ok(EventStream { rest: self.rest.clone(), response, buffer: BytesMut::new() })
    }
}

/// What a hub tells of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, what it holds and what it lost.
    pub about: PartitionJson,
}

impl Partition {
    /// The partition's number.
    pub fn number(&self) -> u32 {
        self.about.partition
    }
}

/// Events of one partition, as they come.
#[derive(Debug)]
pub struct EventStream {
    rest: Rest,
    response: StreamingResponse,
    buffer: BytesMut,
}

impl EventStream {
    /// The next event; none at the end of a partition that is not followed, or when the hub ends
    /// the stream: whoever follows asks again from the next number.
    pub async fn next(&mut self) -> Result<Option<EventLine>, RestError> {
        loop {
            if let Some(line) = self.take_line() {
                // An empty line keeps the connection alive.
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.rest.parse(&line).map(Some);
            }
            if self.buffer.len() > EVENT_LINE_BYTES_MAX {
                return Err(self.rest.malformed("an event's line is too long"));
            }
            match self.response.chunk().await.map_err(|error| self.rest.broken(error))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(self.rest.malformed("the stream ends within a line")),
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end + 1);
        Some(line)
    }
}

fn request(route: &Route) -> Request {
    Request::new(route.method(), route.path_and_query(API_VERSION, &[]))
}

fn bad_request(fault: Fault) -> RestError {
    RestError::Request(fault.to_string())
}

/// What the CLI asks for (`service-api.md` §1.2).
const TOKEN_LIFETIME: Duration = Duration::from_secs(600);
const METHOD_SLACK: Duration = Duration::from_secs(5);
/// A message of 256 KiB in Base64 with all its properties, escaped.
const EVENT_LINE_BYTES_MAX: usize = 1024 * 1024;
