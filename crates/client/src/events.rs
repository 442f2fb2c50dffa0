//! Reading a hub's event log at its Event Hubs compatible endpoint (`service-api.md` §9): AMQP over
//! TLS, one connection for all partitions, with a token of a shared access policy.
//!
//! The hub's own host name leads there by a redirect. What happens when a line breaks is the
//! caller's business: the error says whether it is worth another try.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use amqp::connection::{Cause, Closed, Credentials, Event, LinkId, NewLink, Outgoing, SessionId};
use amqp::performative::condition;
use amqp::{Connection, DeliveryState, Error, Limits, Message, MessageId};
use host::clock::Clock;
use host::tls::ClientTls;
use iot_proto::amqp::{address, cbs};
use iot_proto::connection_string::SharedKey;
use iot_proto::event_hubs::address::{EventsAddress, MANAGEMENT};
use iot_proto::event_hubs::event::{NoEvent, ReceivedEvent};
use iot_proto::event_hubs::management::{LogInfo, PartitionInfo, Question, Refusal};
use iot_proto::event_hubs::{filter, redirect};
use iot_proto::rest::EventStart;
use iot_proto::sas::TokenRequest;
use jiff::SignedDuration;

use crate::device::ConnectError;
use crate::device::Transport;
use crate::device::link::Link;
use crate::device::session::Moved;
use crate::device::transport::connect;
use crate::dial::Dial;
use crate::signer::{KeySigner, SignError, Signer};

/// How the event log is reached.
#[derive(Debug, Clone)]
pub struct EventsLogin {
    /// Where to connect.
    pub dial: Dial,
    /// The policy's name.
    pub policy: String,
    /// Its key.
    pub key: SharedKey,
    /// The log's name at the event endpoint; none when `dial` is the hub, which leads there.
    pub entity: Option<String>,
}

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// Nobody can be reached.
    #[error("cannot connect to the event endpoint")]
    Connect(#[source] Box<ConnectError>),
    /// The key is none.
    #[error("cannot sign a token")]
    Sign(#[from] SignError),
    /// The line broke.
    #[error("the line to the event endpoint broke")]
    Broken(#[source] io::Error),
    /// The connection ended.
    #[error("the event endpoint ended the connection: {0}")]
    Ended(String),
    /// The endpoint refuses.
    #[error("the event endpoint refuses: {text}")]
    Refused {
        /// The AMQP condition.
        condition: String,
        /// Its words.
        text: String,
    },
    /// The token is refused.
    #[error("the event endpoint does not take the token: {0}")]
    Token(String),
    /// A question was not answered.
    #[error("the event endpoint did not answer: {0}")]
    Answer(String),
    /// It sent what is no event.
    #[error("the event endpoint sent what is no event")]
    NoEvent(#[from] NoEvent),
    /// The hub says nothing of an event endpoint.
    #[error("the hub does not say where its events are read")]
    NoRedirect,
}

impl From<ConnectError> for EventsError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

impl EventsError {
    /// Whether another try may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::Ended(_) => true,
            Self::Refused { condition, .. } => {
                *condition == *condition::DETACH_FORCED.as_str()
                    || *condition == *condition::CONNECTION_FORCED.as_str()
            }
            _ => false,
        }
    }
}

/// Reads partitions of a log.
pub struct EventsReader {
    line: Line,
    receivers: HashMap<LinkId, u32>,
}

/// An open event log, before anything is read.
pub struct EventsLog {
    line: Line,
    asked: Option<(LinkId, LinkId)>,
    entity: String,
    /// How many partitions there are.
    pub partitions: u32,
}

impl EventsLog {
    /// Connects, by way of the hub if need be, and asks what the log holds.
    pub async fn open(
        login: &EventsLogin,
        tls: &ClientTls,
        clock: Clock,
    ) -> Result<Self, EventsError> {
        let there = match &login.entity {
            Some(_) => login.clone(),
            None => lead(login, tls, clock.clone()).await?,
        };
        let entity = there.entity.clone().unwrap_or_default();
        let mut line = Line::open(&there.dial, tls, clock).await?;
        let resource = format!("sb://{}/{entity}", there.dial.host);
        // Event Hubs clients sign with the key's text itself.
        let signer = KeySigner::from_bytes(there.key.as_str().as_bytes());
        line.put_token(&resource, &signer, &there.policy).await?;
        let mut log = Self { line, asked: None, entity, partitions: 0 };
        let question = Question::Log { entity: log.entity.clone() };
        let answer = log.ask(&question).await?;
        log.partitions = LogInfo::from_message(&answer).map_err(refusal)?.partitions;
        Ok(log)
    }

    /// The number that the next event of a partition will get.
    pub async fn next_sequence(&mut self, partition: u32) -> Result<u64, EventsError> {
        let (entity, partition) = (self.entity.clone(), partition.to_string());
        let answer = self.ask(&Question::Partition { entity, partition }).await?;
        Ok(PartitionInfo::from_message(&answer).map_err(refusal)?.next)
    }

    /// Reads these partitions, each from its place on.
    pub async fn read(
        mut self,
        group: &str,
        partitions: &[(u32, EventStart)],
    ) -> Result<EventsReader, EventsError> {
        let mut receivers = HashMap::new();
        for (partition, from) in partitions {
            let address = EventsAddress::partition(&self.entity, group, *partition).to_string();
            let name = format!("receiver-{partition}");
            let mut link = NewLink::receiver(name, address, WINDOW);
            link.source.filter = filter::build(*from);
            receivers.insert(self.line.attach(link)?, *partition);
        }
        Ok(EventsReader { line: self.line, receivers })
    }

    async fn ask(&mut self, question: &Question) -> Result<Message, EventsError> {
        let links = match self.asked {
            Some(links) => links,
            None => self.line.pair(MANAGEMENT)?,
        };
        self.asked = Some(links);
        let id = self.line.next_id();
        self.line.exchange(links, question.to_message(id, REPLY_TO)).await
    }
}

impl EventsReader {
    /// The next event and its partition.
    pub async fn next(&mut self) -> Result<(u32, ReceivedEvent), EventsError> {
        loop {
            let Event::Delivery(delivery) = self.line.next().await? else { continue };
            let Some(partition) = self.receivers.get(&delivery.id.link()).copied() else {
                continue;
            };
            self.line.link.machine.settle(delivery.id, DeliveryState::Accepted);
            let message = decode(&delivery.message)?;
            return Ok((partition, ReceivedEvent::from_message(message)?));
        }
    }
}

/// Asks the hub where its events are read.
async fn lead(
    login: &EventsLogin,
    tls: &ClientTls,
    clock: Clock,
) -> Result<EventsLogin, EventsError> {
    let mut line = Line::open(&login.dial, tls, clock).await?;
    let signer = KeySigner::from_base64(login.key.as_str())?;
    let host = login.dial.host.clone();
    line.put_token(&host, &signer, &login.policy).await?;
    let address = format!("/messages/events/{MANAGEMENT}");
    line.attach(NewLink::receiver("redirect", address, 1))?;
    loop {
        let error = match line.event().await? {
            Event::Detached { cause: Cause::Peer(Some(error)), .. } => error,
            Event::Closed(closed) => return Err(ended(closed)),
            _ => continue,
        };
        let Some(found) = redirect::Redirect::from_error(&error) else {
            return match error.condition == condition::NOT_FOUND {
                true => Err(EventsError::NoRedirect),
                false => Err(refused(Some(error))),
            };
        };
        let redirect::Redirect { host_name, port, entity } = found;
        // The same machine under another name is reached where it was.
        let address = login.dial.address.clone();
        let dial = Dial::new(host_name, port).at(address);
        return Ok(EventsLogin { dial, entity: Some(entity), ..login.clone() });
    }
}

/// A connection with one session.
struct Line {
    link: Link<Connection>,
    clock: Clock,
    session: SessionId,
    last_id: u64,
}

impl Line {
    async fn open(dial: &Dial, tls: &ClientTls, clock: Clock) -> Result<Self, EventsError> {
        let stream = connect(Transport::Amqp, dial, tls, CONNECT_LIMIT).await?;
        let settings = amqp::connection::Settings {
            container_id: "farshore".to_owned(),
            hostname: Some(dial.host.clone()),
            ..amqp::connection::Settings::default()
        };
        let now = clock.now().since_origin();
        let machine = Connection::client(now, Arc::new(settings), Credentials::Anonymous);
        let mut link = Link::new(stream, machine, clock.clone());
        loop {
            match event(&mut link, &clock).await? {
                Event::Open(_) => break,
                Event::Closed(closed) => return Err(ended(closed)),
                _ => {}
            }
        }
        let session =
            link.machine.begin().map_err(|error| EventsError::Ended(error.to_string()))?;
        Ok(Self { link, clock, session, last_id: 0 })
    }

    async fn put_token(
        &mut self,
        resource: &str,
        signer: &KeySigner,
        policy: &str,
    ) -> Result<(), EventsError> {
        let expires = self.clock.wall().saturating_add(TOKEN_LIFE).unwrap_or(jiff::Timestamp::MAX);
        let request = TokenRequest::new(resource, expires);
        let signature = signer.sign(request.string_to_sign().as_bytes()).await?;
        let token = request.finish(&signature, Some(policy));
        let links = self.pair(address::CBS)?;
        let request = cbs::Request::PutToken { name: resource.to_owned(), token };
        let id = self.next_id();
        let answer = self.exchange(links, request.message(id)).await?;
        match cbs::read_answer(&answer) {
            Some((200..=299, _)) => Ok(()),
            Some((_, text)) => Err(EventsError::Token(text.to_owned())),
            None => Err(EventsError::Token("the answer says nothing".to_owned())),
        }
    }

    /// The two links to a request-response node: for requests, and for answers.
    fn pair(&mut self, node: &str) -> Result<(LinkId, LinkId), EventsError> {
        let requests = self.attach(NewLink::sender(format!("{node}-requests"), node))?;
        let mut answers = NewLink::receiver(format!("{node}-answers"), node, WINDOW);
        answers.target = amqp::performative::Target::at(REPLY_TO);
        Ok((requests, self.attach(answers)?))
    }

    fn attach(&mut self, link: NewLink) -> Result<LinkId, EventsError> {
        let attached = self.link.machine.attach(self.session, link);
        attached.map_err(|error| EventsError::Ended(error.to_string()))
    }

    fn next_id(&mut self) -> MessageId {
        self.last_id += 1;
        MessageId::String(self.last_id.to_string())
    }

    /// Sends a request and waits for its answer.
    async fn exchange(
        &mut self,
        (requests, answers): (LinkId, LinkId),
        request: Message,
    ) -> Result<Message, EventsError> {
        let wanted = request.properties.message_id.clone();
        while self.link.machine.can_send(requests).is_err() {
            self.next().await?;
        }
        let tag = self.last_id.to_be_bytes().to_vec().into();
        let outgoing = Outgoing { tag, message: request.to_bytes(), format: 0, settled: true };
        let sent = self.link.machine.send(requests, outgoing);
        sent.map_err(|error| EventsError::Answer(error.to_string()))?;
        loop {
            let Event::Delivery(delivery) = self.next().await? else { continue };
            self.link.machine.settle(delivery.id, DeliveryState::Accepted);
            let message = decode(&delivery.message)?;
            if delivery.id.link() == answers && message.properties.correlation_id == wanted {
                return Ok(message);
            }
        }
    }

    /// The next event that is not the end of something.
    async fn next(&mut self) -> Result<Event, EventsError> {
        match self.event().await? {
            Event::Closed(closed) => Err(ended(closed)),
            Event::SessionEnded { cause, .. } | Event::Detached { cause, .. } => match cause {
                Cause::Peer(error) => Err(refused(error)),
                Cause::Violation(error) => Err(refused(Some(error))),
            },
            event => Ok(event),
        }
    }

    async fn event(&mut self) -> Result<Event, EventsError> {
        event(&mut self.link, &self.clock).await
    }
}

/// The machine's next event; time passes meanwhile.
async fn event(link: &mut Link<Connection>, clock: &Clock) -> Result<Event, EventsError> {
    loop {
        if let Some(event) = link.poll_event() {
            return Ok(event);
        }
        let moved = match link.deadline() {
            Some(deadline) => clock.timeout_at(deadline, link.exchange()).await.ok(),
            None => Some(link.exchange().await),
        };
        match moved {
            None => link.handle_timeout(),
            Some(Ok(Moved::Read | Moved::Written)) => {}
            Some(Ok(Moved::Ended)) => return Err(EventsError::Ended("without a word".to_owned())),
            Some(Err(error)) => return Err(EventsError::Broken(error)),
        }
    }
}

fn decode(message: &bytes::Bytes) -> Result<Message, EventsError> {
    Message::decode(message, &Limits::default())
        .map_err(|error| EventsError::Answer(format!("the message cannot be read: {error}")))
}

fn refusal(refusal: Refusal) -> EventsError {
    let Refusal { condition, description, .. } = refusal;
    EventsError::Refused { condition: condition.to_string(), text: description }
}

fn refused(error: Option<Error>) -> EventsError {
    match error {
        Some(Error { condition, description, .. }) => EventsError::Refused {
            text: description.unwrap_or_else(|| condition.to_string()),
            condition: condition.to_string(),
        },
        None => EventsError::Ended("without a reason".to_owned()),
    }
}

fn ended(closed: Closed) -> EventsError {
    match closed {
        Closed::Peer(Some(error)) => refused(Some(error)),
        other => EventsError::Ended(format!("{other:?}")),
    }
}

/// Messages of one link that may be on their way; what Event Hubs clients take.
const WINDOW: u32 = 300;
/// What our receivers of answers are called.
const REPLY_TO: &str = "farshore";
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// How long a token holds; a reader that lives longer connects again.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);
