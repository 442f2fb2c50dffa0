//! A fake hub: real MQTT and tokens, everything else in memory, and it can be switched off.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::auth::{Credential, Identities, PolicyCredential};
use gateway::backend::{
    DeliveryKind, DeviceBackend, DeviceLink, Open, OpenError, Opened, Receipt, Settlement,
    SubmitError, Subscriptions,
};
use gateway::http::{Upgrades, WebSockets};
use gateway::peer::Peer;
use gateway::session::{DeviceSession, Downlink};
use gateway::{amqp, listener, mqtt};
use host::clock::Clock;
use host::http::{Incoming, Limits, full, read_body, serve_connection, service_fn};
use host::signals::Shutdown;
use host::tls::ServerTls;
use http::{Request, Response};
use http_body_util::BodyExt;
use iot_proto::payload::scope::{ScopeDevice, ScopeIdentityRequest, ScopeModule, ScopeResult};
use model::identity::{
    Authentication, DeviceIdentity, ModuleIdentity, Status, SymmetricKeys, edge_scope,
};
use model::message::Message;
use model::method::{MethodRequest, MethodResponse};
use model::twin::{Object, Twin, TwinChange};
use model::{DeviceId, Etag, Fault, GenerationId, IdentityId};
use parking_lot::Mutex;
use pki::{Authority, Validity};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{EDGE, HUB, Ports, within};

/// The key of an identity, made from its name.
pub(crate) fn key(id: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, id.as_bytes()))
}

pub(crate) struct FakeHub {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    tls: ServerTls,
    clock: Clock,
    ports: Mutex<Ports>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
pub(crate) struct State {
    identities: HashMap<IdentityId, Status>,
    /// Those that do not prove themselves by the key of their name.
    authentications: HashMap<IdentityId, Authentication>,
    /// Refused at CONNECT, though they are registered.
    refused: Vec<IdentityId>,
    /// Connected, but what they send is neither taken nor acknowledged.
    deaf_to: Vec<IdentityId>,
    pub(crate) twins: HashMap<IdentityId, Twin>,
    sessions: HashMap<IdentityId, (DeviceSession, Subscriptions)>,
    pub(crate) telemetry: Vec<(IdentityId, Message)>,
    pub(crate) answers: Vec<(Uuid, MethodResponse)>,
    pub(crate) settled: Vec<(Uuid, Settlement)>,
    /// How often somebody connected.
    pub(crate) connects: Vec<IdentityId>,
}

impl FakeHub {
    pub(crate) fn new(ca: &Authority, clock: &Clock, validity: Validity) -> Arc<Self> {
        let issued = ca.issue_server(&[HUB.parse().unwrap()], validity).unwrap();
        let tls = ServerTls::new(&issued.chain_pem, &issued.key_pem).unwrap();
        let (changed, _) = watch::channel(0);
        Arc::new(Self {
            state: Arc::default(),
            changed,
            tls,
            clock: clock.clone(),
            ports: Mutex::default(),
            tasks: Mutex::default(),
        })
    }

    pub(crate) fn ports(&self) -> Ports {
        *self.ports.lock()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until the hub's state is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !is_so(&self.state.lock()) {
                changed.changed().await.unwrap();
            }
        };
        within(what, wait).await;
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// Switches it on, on the ports that it had.
    pub(crate) async fn start(self: &Arc<Self>) {
        let ports = self.ports();
        let listen =
            |port| host::net::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        let (mqtt_socket, amqp_socket) = (listen(ports.mqtt), listen(ports.amqp));
        let https_socket = listen(ports.https);
        let port = |socket: &host::net::TcpListener| socket.local_addr().unwrap().port();
        *self.ports.lock() = Ports {
            mqtt: port(&mqtt_socket),
            amqp: port(&amqp_socket),
            https: port(&https_socket),
            metrics: 0,
        };
        let backend = Arc::new(Backend { hub: Arc::clone(self), hosts: vec![HUB.to_owned()] });
        let head = Arc::new(mqtt::Head::new(
            Arc::clone(&backend),
            self.clock.clone(),
            mqtt::Settings::default(),
        ));
        let nodes = Arc::new(amqp::nodes::DevicesOnly);
        let amqp = amqp::Head::new(backend, nodes, self.clock.clone(), amqp::Settings::default());
        let amqp = Arc::new(amqp);
        let shutdown = Shutdown::new();
        let web_sockets =
            WebSockets { mqtt: Some(Arc::clone(&head)), amqp: Some(Arc::clone(&amqp)) };
        let mut tasks = self.tasks.lock();
        let (tls, clock) = (self.tls.clone(), self.clock.clone());
        let (over, stop) = (clock.clone(), shutdown.clone());
        tasks.spawn(listener::serve_head_tls(mqtt_socket, tls.clone(), over, stop, head));
        let (over, stop) = (clock.clone(), shutdown.clone());
        tasks.spawn(listener::serve_head_tls(amqp_socket, tls.clone(), over, stop, amqp));
        let hub = Arc::clone(self);
        let serve = move |stream, peer: Peer| {
            let (hub, web_sockets) = (Arc::clone(&hub), web_sockets.clone());
            async move {
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let (hub, peer) = (Arc::clone(&hub), peer.clone());
                    let web_sockets = web_sockets.clone();
                    async move {
                        let response = match request.headers().contains_key("upgrade") {
                            true => web_sockets.upgrade(&mut request, peer, Shutdown::new()),
                            false => hub.scope_call(request).await.map(BodyExt::boxed_unsync),
                        };
                        Ok::<_, std::convert::Infallible>(response)
                    }
                });
                let _ =
                    serve_connection(stream, service, Limits::default(), &Shutdown::new()).await;
            }
        };
        tasks.spawn(listener::serve_tls(https_socket, tls, clock, shutdown, serve));
    }

    /// Switches it off in the middle of everything: sockets close, nothing is answered.
    pub(crate) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        self.change(|state| state.sessions.clear());
    }

    pub(crate) fn register(&self, id: &str) {
        let id: IdentityId = id.parse().unwrap();
        self.change(|state| {
            state.identities.insert(id.clone(), Status::Enabled);
            state.twins.insert(id, Twin::new());
        });
    }

    /// From now on it proves itself so. An edge hub does not know until it asks.
    pub(crate) fn authenticate(&self, id: &str, authentication: Authentication) {
        self.change(|state| state.authentications.insert(id.parse().unwrap(), authentication));
    }

    pub(crate) fn set_status(&self, id: &str, status: Status) {
        self.change(|state| state.identities.insert(id.parse().unwrap(), status));
    }

    /// From now on it is the child of another edge device: in no answer here, and not let in.
    pub(crate) fn move_away(&self, id: &str) {
        self.change(|state| state.identities.remove(&id.parse().unwrap()));
        self.refuse(id);
    }

    /// From now on it is not let in.
    pub(crate) fn refuse(&self, id: &str) {
        let id: IdentityId = id.parse().unwrap();
        self.change(|state| {
            if let Some((session, _)) = state.sessions.remove(&id) {
                session.close(gateway::session::CloseReason::IdentityChanged);
            }
            state.refused.push(id);
        });
    }

    pub(crate) fn allow(&self, id: &str) {
        self.change(|state| state.refused.retain(|refused| refused.to_string() != id));
    }

    /// From now on what it sends is neither taken nor acknowledged.
    pub(crate) fn ignore(&self, id: &str) {
        self.change(|state| state.deaf_to.push(id.parse().unwrap()));
    }

    pub(crate) fn listen_to_all(&self) {
        self.change(|state| state.deaf_to.clear());
    }

    pub(crate) async fn until_connected(&self, id: &str) {
        let id: IdentityId = id.parse().unwrap();
        self.until(&format!("connection of {id}"), |state| state.sessions.contains_key(&id)).await;
    }

    /// Changes desired properties as a back end does.
    pub(crate) fn set_desired(&self, id: &str, desired: Value) {
        let id: IdentityId = id.parse().unwrap();
        let Value::Object(desired) = desired else { panic!("not an object") };
        let now = self.clock.wall();
        self.change(|state| {
            let twin = state.twins.get_mut(&id).unwrap();
            let change = TwinChange { tags: None, desired: Some(desired) };
            let patch = twin.replace(change, now).unwrap().desired_patch.unwrap();
            let version = twin.desired.version;
            if let Some((session, subscriptions)) = state.sessions.get(&id)
                && subscriptions.desired
            {
                session.send(Downlink::Desired { patch, version }).unwrap();
            }
        });
    }

    pub(crate) fn reported(&self, id: &str) -> Value {
        let id: IdentityId = id.parse().unwrap();
        self.with(|state| Value::Object(state.twins[&id].reported.properties.clone()))
    }

    pub(crate) async fn until_reported(&self, id: &str, pointer: &str, expected: Value) {
        let id: IdentityId = id.parse().unwrap();
        self.until(&format!("{pointer} of {id} = {expected}"), |state| {
            let reported = Value::Object(state.twins[&id].reported.properties.clone());
            reported.pointer(pointer) == Some(&expected)
        })
        .await;
    }

    pub(crate) async fn until_listens(&self, id: &str, listens: fn(&Subscriptions) -> bool) {
        let id: IdentityId = id.parse().unwrap();
        self.until(&format!("subscriptions of {id}"), |state| {
            state.sessions.get(&id).is_some_and(|(_, subscriptions)| listens(subscriptions))
        })
        .await;
    }

    pub(crate) fn call(&self, id: &str, name: &str, payload: &str) -> Uuid {
        let call = host::entropy::uuid_v4();
        let request = MethodRequest {
            name: name.to_owned(),
            payload: payload.to_owned().into(),
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        };
        self.send(id, Downlink::Method { call, request });
        call
    }

    pub(crate) fn send(&self, id: &str, downlink: Downlink) {
        let id: IdentityId = id.parse().unwrap();
        self.with(|state| state.sessions[&id].0.send(downlink).unwrap());
    }

    /// The bodies that came from a sender, in order.
    pub(crate) fn received(&self, id: &str) -> Vec<String> {
        let id: IdentityId = id.parse().unwrap();
        self.with(|state| received(state, &id))
    }

    /// Waits for the last of these and gives all that came.
    pub(crate) async fn until_received(&self, id: &str, last: &str) -> Vec<String> {
        let id: IdentityId = id.parse().unwrap();
        let last = last.to_owned();
        self.until(&format!("{last:?} of {id}"), |state| received(state, &id).contains(&last))
            .await;
        self.with(|state| received(state, &id))
    }

    async fn scope_call(
        &self,
        request: Request<Incoming>,
    ) -> Response<host::http::Full<bytes::Bytes>> {
        assert!(request.headers().contains_key("authorization"));
        let path = request.uri().path().to_ascii_lowercase();
        let body = read_body(request.into_body(), 1 << 16, Duration::from_secs(5)).await.unwrap();
        let result = if path.ends_with("devicesandmodulesintargetdevicescope") {
            self.with(|state| scope(state, state.identities.iter()))
        } else {
            let target: ScopeIdentityRequest = serde_json::from_slice(&body).unwrap();
            let id = IdentityId {
                device: target.target_device_id.parse().unwrap(),
                module: target.target_module_id.map(|module| module.parse().unwrap()),
            };
            let device = IdentityId::device(id.device.clone());
            let found = self.with(|state| {
                state.identities.contains_key(&id).then(|| {
                    let both = state.identities.iter().filter(|(k, _)| **k == id || **k == device);
                    scope(state, both)
                })
            });
            match found {
                Some(found) => found,
                None => {
                    let mut response = Response::new(full("{\"Message\":\"not found\"}"));
                    *response.status_mut() = http::StatusCode::NOT_FOUND;
                    return response;
                }
            }
        };
        Response::new(full(serde_json::to_vec(&result).unwrap()))
    }
}

fn received(state: &State, id: &IdentityId) -> Vec<String> {
    let of = state.telemetry.iter().filter(|(sender, _)| sender == id);
    of.map(|(_, message)| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

fn authentication(state: &State, id: &IdentityId) -> Authentication {
    if let Some(other) = state.authentications.get(id) {
        return other.clone();
    }
    let key = key(&id.to_string());
    Authentication::Sas(SymmetricKeys { primary: key.clone(), secondary: key })
}

fn scope<'a>(
    state: &State,
    identities: impl Iterator<Item = (&'a IdentityId, &'a Status)>,
) -> ScopeResult {
    let mut result = ScopeResult::default();
    let generation = GenerationId::from_number(1);
    let edge_scope = edge_scope(&EDGE.parse::<DeviceId>().unwrap(), &generation);
    for (id, status) in identities {
        match &id.module {
            None => {
                let edge = id.device.as_str() == EDGE;
                result.devices.push(ScopeDevice::from(&DeviceIdentity {
                    id: id.device.clone(),
                    generation: generation.clone(),
                    etag: Etag(0),
                    status: *status,
                    status_reason: None,
                    status_updated: None,
                    authentication: authentication(state, id),
                    edge,
                    scope: Some(edge_scope.clone()),
                    parent_scopes: if edge { Vec::new() } else { vec![edge_scope.clone()] },
                }));
            }
            Some(module) => result.modules.push(ScopeModule::from(&ModuleIdentity {
                device: id.device.clone(),
                id: module.clone(),
                generation: generation.clone(),
                etag: Etag(0),
                managed_by: None,
                authentication: authentication(state, id),
            })),
        }
    }
    result
}

struct Backend {
    hub: Arc<FakeHub>,
    hosts: Vec<String>,
}

pub(crate) struct Link {
    hub: Arc<FakeHub>,
    id: IdentityId,
    session: DeviceSession,
}

impl Identities for Backend {
    async fn credential(&self, id: &IdentityId) -> Result<Option<Credential>, Fault> {
        Ok(self.hub.with(|state| {
            let status = state.identities.get(id).copied()?;
            Some(Credential {
                generation: GenerationId::from_number(1),
                status,
                authentication: authentication(state, id),
                parent: Some(EDGE.parse().unwrap()),
            })
        }))
    }

    async fn policy(&self, _: &str) -> Result<Option<PolicyCredential>, Fault> {
        Ok(None)
    }

    fn host_names(&self) -> &[String] {
        &self.hosts
    }
}

impl DeviceBackend for Backend {
    type Link = Link;

    async fn open(
        &self,
        open: Open,
        session: DeviceSession,
    ) -> Result<(Arc<Link>, Opened), OpenError> {
        let id = open.principal.identity;
        self.hub.change(|state| {
            if state.refused.contains(&id) {
                return Err(OpenError::Refused("refused by the test".into()));
            }
            state.connects.push(id.clone());
            let entry = (session.clone(), Subscriptions::default());
            if let Some((old, _)) = state.sessions.insert(id.clone(), entry) {
                old.close(gateway::session::CloseReason::TakenOver);
            }
            Ok(())
        })?;
        let link = Link { hub: Arc::clone(&self.hub), id, session };
        Ok((Arc::new(link), Opened::default()))
    }
}

impl DeviceLink for Link {
    fn permit(&self, _kind: DeliveryKind, _total: u64) {}

    fn submit(&self, batch: &mut Vec<Message>) -> Result<Receipt, SubmitError> {
        self.hub.change(|state| {
            if state.deaf_to.contains(&self.id) {
                return Err(SubmitError::Busy);
            }
            for message in batch.drain(..) {
                state.telemetry.push((self.id.clone(), message));
            }
            Ok(Receipt::Done)
        })
    }

    async fn twin(&self) -> Result<Value, Fault> {
        Ok(self.hub.with(|state| state.twins[&self.id].device_view()))
    }

    async fn report(&self, patch: Object, _: Option<u64>) -> Result<Option<u64>, Fault> {
        let now = self.hub.clock.wall();
        self.hub
            .change(|state| state.twins.get_mut(&self.id).unwrap().report(patch, now))
            .map(Some)
            .map_err(|error| Fault::argument(error.to_string()))
    }

    async fn subscribed(&self, subscriptions: Subscriptions) -> Result<(), Fault> {
        self.hub.change(|state| {
            if let Some((session, known)) = state.sessions.get_mut(&self.id)
                && session.is_same(&self.session)
            {
                *known = subscriptions;
            }
        });
        Ok(())
    }

    fn method_answer(&self, call: Uuid, response: MethodResponse) {
        self.hub.change(|state| state.answers.push((call, response)));
    }

    async fn settle(&self, lock: Uuid, outcome: Settlement) -> Result<(), Fault> {
        self.hub.change(|state| state.settled.push((lock, outcome)));
        Ok(())
    }

    async fn close(&self, _: bool) {
        self.hub.change(|state| {
            if state
                .sessions
                .get(&self.id)
                .is_some_and(|(session, _)| session.is_same(&self.session))
            {
                state.sessions.remove(&self.id);
            }
        });
    }
}
