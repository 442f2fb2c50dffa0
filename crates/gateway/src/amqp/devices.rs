//! The identities of a connection: each has a session of its own, opened at its first link and
//! closed with its last one, or when its proof runs out, or when the backend ends it. What happens
//! to one leaves the others alone (dp §17, 28).

use std::collections::HashMap;
use std::sync::Arc;

use amqp::Error;
use amqp::connection::LinkId;
use amqp::performative::{Attach, condition};
use host::clock::Mono;
use iot_proto::connect::AuthChain;
use jiff::Timestamp;
use model::{Fault, FaultKind, IdentityId, ModuleId};

use super::claims::{Claim, Claims, Subject};
use super::cloud_to_device::Deliveries;
use super::connection::Ended;
use super::core::{Around, Core, Done};
use super::fault;
use super::links::{Link, Use};
use super::nodes::Nodes;
use super::pairs::Pairs;
use super::requests::{Request, Requests};
use super::telemetry::Batch;
use crate::auth::{self, Identities, Proof};
use crate::backend::{
    DeliveryKind, DeviceBackend, DeviceLink, Open, OpenError, Settlement, StoredSession,
    Subscriptions,
};
use crate::proof_end::ProofEnd;
use crate::session::{CloseReason, DeviceSession, Downlink, Downlinks, SessionClosed, SessionEnd};

/// Names an identity's session on a connection; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DeviceKey(u64);

/// The identities of a connection.
pub(super) struct Devices<L> {
    by_id: HashMap<IdentityId, DeviceKey>,
    opening: HashMap<DeviceKey, Opening>,
    open: HashMap<DeviceKey, Box<Device<L>>>,
    /// Closed ones whose last request is still under way.
    closing: HashMap<DeviceKey, Closing<L>>,
    /// Those with something that waits for credit or room.
    pub(super) stalled: Vec<DeviceKey>,
    /// The first moment at which one's proof runs out.
    next_expiry: Option<Mono>,
    last_key: u64,
    requests: usize,
}

/// An identity whose session is being opened.
struct Opening {
    id: IdentityId,
    links: Vec<(LinkId, Box<Attach>, Use)>,
}

struct Closing<L> {
    link: Arc<L>,
    requests: Requests,
    graceful: bool,
}

/// An identity with a session.
pub(super) struct Device<L> {
    pub(super) id: IdentityId,
    pub(super) link: Arc<L>,
    /// What let it in; a renewal of that is its renewal.
    grant: Grant,
    expires: ProofEnd,
    pub(super) links: Vec<LinkId>,
    pub(super) batch: Batch,
    pub(super) cloud_to_device: Deliveries,
    pub(super) inputs: Deliveries,
    pub(super) methods: Pairs,
    pub(super) twins: Pairs,
    pub(super) requests: Requests,
    /// The backend's queue, while there is no room for more of it.
    queue: Option<Downlinks>,
}

/// What let an identity in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Grant {
    /// A claim of the connection.
    Claim(Subject),
    /// The certificate of the TLS handshake.
    Certificate,
}

/// A session that was opened.
pub(super) struct Opened<L> {
    link: Arc<L>,
    end: SessionEnd,
    grant: Grant,
    expires: Timestamp,
}

/// What was seen of a session.
pub(super) enum Seen {
    /// It shall end.
    Closed { device: DeviceKey, reason: CloseReason },
    /// Something came for it; nothing when the backend has let go of it.
    Downlink { device: DeviceKey, queue: Downlinks, downlink: Option<Downlink> },
}

impl<L> Default for Devices<L> {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            opening: HashMap::new(),
            open: HashMap::new(),
            closing: HashMap::new(),
            stalled: Vec::new(),
            next_expiry: None,
            last_key: 0,
            requests: 0,
        }
    }
}

impl<L> Devices<L> {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.opening.is_empty()
    }

    /// Whether one has proven itself.
    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// How many are being looked at.
    pub(super) fn opening(&self) -> usize {
        self.opening.len()
    }

    pub(super) fn get(&mut self, key: DeviceKey) -> Option<&mut Device<L>> {
        self.open.get_mut(&key).map(|device| &mut **device)
    }

    pub(super) fn next_expiry(&self) -> Option<Mono> {
        self.next_expiry
    }

    /// Requests of all of them that wait.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    pub(super) fn count_requests(&mut self, added: usize, done: usize) {
        self.requests = (self.requests + added).saturating_sub(done);
    }

    fn set_expiry(&mut self) {
        self.next_expiry = self.open.values().map(|device| device.expires.deadline()).min();
    }
}

impl<L: DeviceLink> Device<L> {
    /// What the backend is told that it listens to.
    pub(super) fn subscriptions(&self) -> Subscriptions {
        Subscriptions {
            filters: Vec::new(),
            cloud_to_device: self.cloud_to_device.is_attached(),
            methods: self.methods.has_complete(),
            desired: self.twins.has_subscribed(),
            inputs: self.inputs.is_attached(),
            restored: false,
        }
    }

    fn has_room(&self, downlinks_max: usize) -> bool {
        self.cloud_to_device.waiting() + self.inputs.waiting() < downlinks_max
            && self.methods.waiting() + self.twins.waiting() < downlinks_max
    }
}

impl<B, N> Core<B, N>
where
    B: DeviceBackend + Identities,
    N: Nodes,
{
    /// A link of an identity: at once when it has a session here, or when it has got one.
    pub(super) fn attach_device(
        &mut self,
        id: IdentityId,
        usage: Use,
        link: LinkId,
        attach: Box<Attach>,
    ) {
        if let Some(key) = self.devices.by_id.get(&id).copied() {
            if let Some(opening) = self.devices.opening.get_mut(&key) {
                self.links.insert(link, Link::Device(key, usage));
                return opening.links.push((link, attach, usage));
            }
            return self.attach_use(key, usage, link, attach);
        }
        self.devices.last_key += 1;
        let key = DeviceKey(self.devices.last_key);
        self.links.insert(link, Link::Device(key, usage));
        let asked = Asked::new(&id, &attach);
        let opening = Opening { id: id.clone(), links: vec![(link, attach, usage)] };
        self.devices.by_id.insert(id.clone(), key);
        self.devices.opening.insert(key, opening);
        let (around, claims) = (Arc::clone(&self.around), self.claims.clone());
        self.work.push(Box::pin(async move {
            let opened = open(&around, &claims, id, asked).await;
            let opened = opened.map(Box::new);
            Done::Opened {
                device: key,
                opened: opened.map_err(|fault| Box::new(fault::error(&fault, &around.clock))),
            }
        }));
    }

    /// A session is there, or is refused to the links that wait for it.
    pub(super) fn device_opened(
        &mut self,
        key: DeviceKey,
        opened: Result<Box<Opened<B::Link>>, Box<Error>>,
    ) {
        let Some(Opening { id, links }) = self.devices.opening.remove(&key) else {
            // The connection has ended meanwhile.
            if let Ok(opened) = opened {
                self.close_link(opened.link, false);
            }
            return;
        };
        let links: Vec<_> =
            links.into_iter().filter(|(link, ..)| self.links.contains_key(link)).collect();
        let opened = match opened {
            Ok(opened) if !links.is_empty() => *opened,
            Ok(opened) => {
                self.devices.by_id.remove(&id);
                return self.close_link(opened.link, true);
            }
            Err(error) => {
                self.devices.by_id.remove(&id);
                for (link, ..) in links {
                    self.links.remove(&link);
                    self.machine.refuse_attach(link, (*error).clone());
                }
                return;
            }
        };
        tracing::debug!(%id, peer = %self.around.peer, "connected");
        let Opened { link, end, grant, expires } = opened;
        let (queue, closed) = end.split();
        let device = Device {
            id,
            link,
            grant,
            expires: self.end_of(expires),
            links: Vec::new(),
            batch: Batch::default(),
            cloud_to_device: Deliveries::new(DeliveryKind::CloudToDevice),
            inputs: Deliveries::new(DeliveryKind::Input),
            methods: Pairs::default(),
            twins: Pairs::default(),
            requests: Requests::default(),
            queue: None,
        };
        self.devices.open.insert(key, Box::new(device));
        self.devices.set_expiry();
        self.watch_closed(key, closed);
        self.watch_queue(key, queue);
        for (link, attach, usage) in links {
            self.attach_use(key, usage, link, attach);
        }
    }

    fn watch_closed(&mut self, device: DeviceKey, closed: SessionClosed) {
        self.watches.push(Box::pin(async move {
            let reason = closed.closed().await;
            Seen::Closed { device, reason }
        }));
    }

    fn watch_queue(&mut self, device: DeviceKey, mut queue: Downlinks) {
        self.watches.push(Box::pin(async move {
            let downlink = queue.recv().await;
            Seen::Downlink { device, queue, downlink }
        }));
    }

    /// Something came from the backend for an identity.
    pub(super) fn downlink(
        &mut self,
        key: DeviceKey,
        queue: Downlinks,
        downlink: Option<Downlink>,
    ) {
        // Without one the backend has let go of the session; its end says why.
        let (Some(device), Some(downlink)) = (self.devices.get(key), downlink) else { return };
        device.queue = Some(queue);
        match downlink {
            Downlink::CloudToDevice(delivery) => self.cloud_to_device(key, delivery),
            Downlink::Input { input, lock, message } => self.input(key, &input, lock, &message),
            Downlink::Method { call, request } => self.method_call(key, call, &request),
            Downlink::Desired { patch, version } => self.desired_patch(key, patch, version),
        }
        self.flush_device(key);
    }

    /// Sends what waits, and takes more from the backend when there is room.
    pub(super) fn flush_device(&mut self, key: DeviceKey) {
        let downlinks_max = self.around.settings.downlink_max;
        let Some(device) = self.devices.open.get_mut(&key) else { return };
        let machine = &mut self.machine;
        device.cloud_to_device.flush(machine);
        device.inputs.flush(machine);
        device.methods.flush(machine);
        device.twins.flush(machine);
        let completed = [&mut device.cloud_to_device, &mut device.inputs]
            .map(|deliveries| deliveries.take_completed())
            .concat();
        let waits = device.cloud_to_device.waiting()
            + device.inputs.waiting()
            + device.methods.waiting()
            + device.twins.waiting();
        if device.has_room(downlinks_max)
            && let Some(queue) = device.queue.take()
        {
            self.watch_queue(key, queue);
        }
        if waits > 0 && !self.devices.stalled.contains(&key) {
            self.devices.stalled.push(key);
        }
        for lock in completed {
            let outcome = Settlement::Complete;
            self.request(key, Request::Settle { lock, outcome, back: None });
        }
    }

    pub(super) fn flush_devices(&mut self) {
        for key in std::mem::take(&mut self.devices.stalled) {
            self.flush_device(key);
        }
    }

    /// A session shall end, as the backend says.
    pub(super) fn session_closed(
        &mut self,
        key: DeviceKey,
        reason: CloseReason,
    ) -> Result<(), Ended> {
        let error = close_error(reason);
        self.close_device(key, Some(&error), false);
        self.check_last(error)
    }

    /// Ends those whose proof has run out.
    pub(super) fn expire_devices(&mut self, now: Mono) -> Result<(), Ended> {
        if self.devices.next_expiry.is_none_or(|next| next > now) {
            return Ok(());
        }
        let clock = self.around.clock.clone();
        let open = self.devices.open.iter_mut();
        let expired: Vec<_> = open
            .filter_map(|(key, device)| device.expires.is_over(&clock).then_some(*key))
            .collect();
        self.devices.set_expiry();
        self.close_devices(&expired, CloseReason::TokenExpired)
    }

    /// Ends those that a claim let in which is no more.
    pub(super) fn close_devices_of(&mut self, subject: &Subject) -> Result<(), Ended> {
        let open = self.devices.open.iter();
        let of_it = |device: &Device<B::Link>| device.grant == Grant::Claim(subject.clone());
        let keys: Vec<_> = open.filter(|(_, d)| of_it(d)).map(|(key, _)| *key).collect();
        self.close_devices(&keys, CloseReason::TokenExpired)
    }

    fn close_devices(&mut self, keys: &[DeviceKey], reason: CloseReason) -> Result<(), Ended> {
        let error = close_error(reason);
        for key in keys {
            self.close_device(*key, Some(&error), false);
        }
        if keys.is_empty() { Ok(()) } else { self.check_last(error) }
    }

    /// A connection whose last identity had to go is closed with it, unless it serves back ends.
    fn check_last(&mut self, error: Error) -> Result<(), Ended> {
        if self.devices.is_empty() && self.ports.is_empty() {
            return Err(Ended::Closing(Box::new(error)));
        }
        Ok(())
    }

    /// A claim was renewed, and with it whoever it let in.
    pub(super) fn renew_devices(&mut self, subject: &Subject, expires: Timestamp) {
        let end = self.end_of(expires);
        for device in self.devices.open.values_mut() {
            if let Grant::Claim(known) = &device.grant
                && known.is_same(subject)
            {
                device.expires = end;
            }
        }
        self.devices.set_expiry();
    }

    /// The client has detached a link of an identity.
    pub(super) fn device_detached(&mut self, key: DeviceKey, usage: Use, link: LinkId) {
        if self.devices.opening.contains_key(&key) {
            return;
        }
        let Some(device) = self.devices.get(key) else { return };
        device.links.retain(|known| *known != link);
        if device.links.is_empty() {
            return self.close_device(key, None, true);
        }
        self.release_use(key, usage, link);
    }

    /// Ends a session and its links.
    fn close_device(&mut self, key: DeviceKey, error: Option<&Error>, graceful: bool) {
        let Some(mut device) = self.devices.open.remove(&key) else { return };
        self.devices.by_id.remove(&device.id);
        self.devices.set_expiry();
        for link in device.links.drain(..) {
            self.links.remove(&link);
            self.machine.detach(link, error.cloned());
        }
        if graceful {
            device.batch.last_words(&device.id, &*device.link);
        }
        tracing::debug!(id = %device.id, graceful, "disconnected");
        let (link, requests) = (Arc::clone(&device.link), device.requests);
        let dropped = requests.len();
        self.devices.count_requests(0, dropped);
        if requests.is_running() {
            self.devices.closing.insert(key, Closing { link, requests, graceful });
        } else {
            self.finish_closing(Closing { link, requests, graceful });
        }
    }

    /// The last request of a closed one is through.
    pub(super) fn closing_request_finished(&mut self, key: DeviceKey) {
        if let Some(closing) = self.devices.closing.remove(&key) {
            self.finish_closing(closing);
        }
    }

    /// What the client has settled must not come again; then the backend hears of the end.
    fn finish_closing(&mut self, closing: Closing<B::Link>) {
        let Closing { link, requests, graceful } = closing;
        let settlements = requests.into_settlements();
        self.work.push(Box::pin(async move {
            for (lock, outcome) in settlements {
                if let Err(fault) = link.settle(lock, outcome).await {
                    tracing::debug!(%fault, "cannot settle a delivery");
                }
            }
            link.close(graceful).await;
            Done::Closed
        }));
    }

    fn close_link(&mut self, link: Arc<B::Link>, graceful: bool) {
        self.work.push(Box::pin(async move {
            link.close(graceful).await;
            Done::Closed
        }));
    }

    /// The connection ends. Those that are being opened are closed when they are open.
    pub(super) fn close_all_devices(&mut self, graceful: bool) {
        let keys: Vec<_> = self.devices.open.keys().copied().collect();
        for key in keys {
            self.close_device(key, None, graceful);
        }
        self.devices.opening.clear();
        self.devices.by_id.clear();
    }
}

/// What a first link says about its identity.
struct Asked {
    chain: Result<Option<AuthChain>, String>,
    model_id: Option<String>,
    client_type: Option<String>,
}

impl Asked {
    fn new(id: &IdentityId, attach: &Attach) -> Self {
        let text = |key| attach.properties.get(key).and_then(amqp::Value::as_text);
        let chain = match text(iot_proto::amqp::AUTH_CHAIN) {
            // A chain of itself alone is none.
            Some(chain) if !chain.is_empty() && chain != id.to_string() => chain
                .parse()
                .map(Some)
                .map_err(|error: iot_proto::connect::AuthChainError| error.to_string()),
            _ => Ok(None),
        };
        Self {
            chain,
            model_id: text(iot_proto::amqp::MODEL_ID).map(str::to_owned),
            client_type: text(iot_proto::amqp::CLIENT_VERSION).map(str::to_owned),
        }
    }
}

/// Authenticates an identity by what the connection has proven, and opens its session.
async fn open<B, N>(
    around: &Around<B, N>,
    claims: &Claims,
    id: IdentityId,
    asked: Asked,
) -> Result<Opened<B::Link>, Fault>
where
    B: DeviceBackend + Identities,
{
    let peer = &around.peer;
    let chain = asked.chain.map_err(Fault::argument)?;
    let claim = claim_for(claims, around.backend.host_names(), &id, chain.as_ref());
    let (proof, grant) = match (&claim, &peer.certificates) {
        (Some(claim), _) => (Proof::Token(&claim.text), Grant::Claim(claim.subject.clone())),
        (None, Some(certificates)) => (Proof::Certificate(certificates), Grant::Certificate),
        (None, None) => (Proof::None, Grant::Certificate),
    };
    let by_policy = matches!(grant, Grant::Claim(Subject::Policy { .. }));
    let now = around.clock.wall();
    let principal = auth::identity(&*around.backend, &id, chain.as_ref(), proof, now)
        .await
        .map_err(|error| {
            tracing::warn!(%peer, %id, reason = %error, "link refused");
            fault::denied(&error, by_policy)
        })?;
    let expires = principal.expires;
    let open = Open {
        principal,
        model_id: asked.model_id,
        client_type: asked.client_type,
        stored_session: StoredSession::Ignore,
    };
    let (session, end) = DeviceSession::new(around.settings.downlink_max);
    let (link, _) = around.backend.open(open, session).await.map_err(|error| {
        tracing::warn!(%peer, %id, reason = %error, "link refused");
        match error {
            OpenError::Later(reason) => Fault::unavailable(reason),
            OpenError::Refused(reason) => Fault::new(FaultKind::IotHubUnauthorized, reason),
        }
    })?;
    Ok(Opened { link, end, grant, expires })
}

/// The claim that speaks for an identity: its own, its edge hub's, or that of a policy that acts
/// for devices.
fn claim_for(
    claims: &Claims,
    hosts: &[String],
    id: &IdentityId,
    chain: Option<&AuthChain>,
) -> Option<Claim> {
    let speaker = match chain {
        Some(chain) => IdentityId::module(chain.actor().clone(), ModuleId::edge_hub()),
        None => id.clone(),
    };
    let own = claims.find(|claim| claim.subject == Subject::Identity(speaker.clone()));
    own.or_else(|| {
        claims.find(|claim| match &claim.subject {
            Subject::Policy { rights, .. } => {
                rights.device_connect
                    && claim.token.covers_identity(hosts, id, iot_proto::sas::IdMatch::Exact)
            }
            Subject::Identity(_) => false,
        })
    })
}

/// What clients hear when a session ends from our side (dp §4.9).
fn close_error(reason: CloseReason) -> Error {
    let (condition, text) = match reason {
        CloseReason::TakenOver => (
            condition::STOLEN,
            "ErrorCode:ConnectionForcefullyClosedOnNewConnection;the same identity connected again",
        ),
        CloseReason::IdentityChanged => {
            (condition::UNAUTHORIZED_ACCESS, "the identity was changed, disabled or deleted")
        }
        CloseReason::TokenExpired => {
            (condition::UNAUTHORIZED_ACCESS, "the token has expired and was not renewed")
        }
        CloseReason::SlowConsumer => {
            (condition::DETACH_FORCED, "what was sent to the identity was not taken in time")
        }
        CloseReason::Shutdown => (condition::CONNECTION_FORCED, "this server stops; connect again"),
    };
    Error::new(condition, text)
}
