//! The client's end of the machine over a pipe.

use std::sync::Arc;

use amqp::connection::{
    Cause, Closed, Connection, Credentials, Delivery, DeliveryId, Event, LinkId, NewLink, Outgoing,
    SessionId, Settings,
};
use amqp::performative::Attach;
use amqp::{DeliveryState, Message, MessageId};
use bytes::{Bytes, BytesMut};
use host::clock::Clock;
use iot_proto::amqp::cbs;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::put_token;

/// A client.
pub(in crate::amqp) struct Client {
    io: DuplexStream,
    pub(in crate::amqp) machine: Connection,
    input: BytesMut,
    clock: Clock,
    /// Events that came while something else was waited for.
    kept: Vec<Event>,
    pub(in crate::amqp) session: Option<SessionId>,
    cbs: Option<(LinkId, LinkId)>,
    last: u64,
}

impl Client {
    pub(super) fn new(io: DuplexStream, clock: Clock, credentials: Credentials) -> Self {
        let settings = Settings { container_id: "client".into(), ..Settings::default() };
        let machine =
            Connection::client(clock.now().since_origin(), Arc::new(settings), credentials);
        Self {
            io,
            machine,
            input: BytesMut::new(),
            clock,
            kept: Vec::new(),
            session: None,
            cbs: None,
            last: 0,
        }
    }

    async fn write(&mut self) {
        while !self.machine.output().is_empty() {
            let wrote = self.io.write(self.machine.output()).await.unwrap_or(0);
            if wrote == 0 {
                return;
            }
            self.machine.advance_output(wrote);
        }
    }

    /// Writes what there is, and takes what has come without waiting for more.
    pub(in crate::amqp) async fn pump(&mut self) {
        self.write().await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        loop {
            let read = tokio::select! {
                biased;
                read = self.io.read_buf(&mut self.input) => read.unwrap_or(0),
                () = std::future::ready(()) => 0,
            };
            if read == 0 {
                break;
            }
            self.machine.handle_input(self.clock.now().since_origin(), &mut self.input);
        }
        while let Some(event) = self.machine.poll_event() {
            self.kept.push(event);
        }
    }

    /// Whether the server has hung up, now that all has run that can run.
    pub(super) async fn is_hung_up(&mut self) -> bool {
        self.pump().await;
        let mut rest = [0; 1024];
        loop {
            tokio::select! {
                biased;
                read = self.io.read(&mut rest) => match read {
                    Ok(0) | Err(_) => return true,
                    Ok(_) => {}
                },
                () = std::future::ready(()) => return false,
            }
        }
    }

    /// The next event; none when the server has hung up.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.machine.poll_event() {
                return Some(event);
            }
            self.write().await;
            if self.machine.wants_resume() {
                self.machine.handle_input(self.clock.now().since_origin(), &mut self.input);
                continue;
            }
            if self.io.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
            self.machine.handle_input(self.clock.now().since_origin(), &mut self.input);
        }
    }

    /// The first event that fits; the others are kept for later.
    pub(in crate::amqp) async fn until<T>(
        &mut self,
        mut fits: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        self.write().await;
        if let Some((index, found)) =
            self.kept.iter().enumerate().find_map(|(index, event)| Some((index, fits(event)?)))
        {
            self.kept.remove(index);
            return found;
        }
        loop {
            let Some(event) = self.event().await else {
                panic!("the server hung up; kept: {:#?}", self.kept)
            };
            match fits(&event) {
                Some(found) => return found,
                None => self.kept.push(event),
            }
        }
    }

    /// Whether something has come that fits.
    pub(in crate::amqp) async fn has(&mut self, fits: impl Fn(&Event) -> bool) -> bool {
        self.pump().await;
        self.kept.iter().any(fits)
    }

    pub(in crate::amqp) async fn open(&mut self) {
        self.until(|event| matches!(event, Event::Open(_)).then_some(())).await;
        self.session = Some(self.machine.begin().unwrap());
    }

    /// How the server ended the connection.
    pub(in crate::amqp) async fn closed(&mut self) -> Closed {
        let closed = self
            .until(|event| match event {
                Event::Closed(closed) => Some(closed.clone()),
                _ => None,
            })
            .await;
        self.write().await;
        closed
    }

    /// Attaches a link; gives the server's attach, or the condition with which it was refused.
    pub(in crate::amqp) async fn attach(
        &mut self,
        link: NewLink,
    ) -> Result<(LinkId, Box<Attach>), String> {
        let link = self.machine.attach(self.session.unwrap(), link).unwrap();
        self.until(|event| match event {
            Event::Attached { link: of, attach } if *of == link => Some(Ok((link, attach.clone()))),
            Event::Detached { link: of, cause: Cause::Peer(Some(error)), closed: true }
                if *of == link =>
            {
                Some(Err(error.condition.to_string()))
            }
            _ => None,
        })
        .await
    }

    pub(in crate::amqp) fn name(&mut self) -> String {
        self.last += 1;
        format!("link-{}", self.last)
    }

    pub(in crate::amqp) async fn sender(&mut self, address: &str) -> Result<LinkId, String> {
        let link = NewLink::sender(self.name(), address);
        let (link, _) = self.attach(link).await?;
        self.until(|event| {
            matches!(event, Event::Credit { link: of, .. } if *of == link).then_some(())
        })
        .await;
        Ok(link)
    }

    pub(in crate::amqp) async fn receiver(
        &mut self,
        address: &str,
        window: u32,
    ) -> Result<LinkId, String> {
        let link = NewLink::receiver(self.name(), address, window);
        self.attach(link).await.map(|(link, _)| link)
    }

    /// Both links of a pair, with one correlation id.
    pub(in crate::amqp) async fn pair(&mut self, address: &str, id: &str) -> (LinkId, LinkId) {
        let mut up = NewLink::sender(self.name(), address);
        let mut down = NewLink::receiver(self.name(), address, 10);
        for link in [&mut up, &mut down] {
            link.properties
                .push(amqp::Symbol::from_static("com.microsoft:channel-correlation-id"), id);
        }
        let (up, _) = self.attach(up).await.unwrap();
        let (down, _) = self.attach(down).await.unwrap();
        (up, down)
    }

    pub(in crate::amqp) fn send(&mut self, link: LinkId, message: impl Into<Bytes>) -> DeliveryId {
        self.send_as(link, message, 0, false)
    }

    pub(in crate::amqp) fn send_as(
        &mut self,
        link: LinkId,
        message: impl Into<Bytes>,
        format: u32,
        settled: bool,
    ) -> DeliveryId {
        self.last += 1;
        let tag = Bytes::copy_from_slice(&self.last.to_be_bytes());
        let outgoing = Outgoing { tag, message: message.into(), format, settled };
        self.machine.send(link, outgoing).unwrap()
    }

    /// What became of a message that was sent.
    pub(in crate::amqp) async fn outcome(&mut self, of: DeliveryId) -> DeliveryState {
        self.until(|event| match event {
            Event::Settled { delivery, state, .. } if *delivery == of => state.clone(),
            _ => None,
        })
        .await
    }

    /// The condition with which a message was refused.
    pub(in crate::amqp) async fn rejection(&mut self, of: DeliveryId) -> String {
        match self.outcome(of).await {
            DeliveryState::Rejected(Some(error)) => error.condition.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// The next message on a link.
    pub(in crate::amqp) async fn receive(&mut self, link: LinkId) -> (Delivery, Message) {
        let delivery = self
            .until(|event| match event {
                Event::Delivery(delivery) if delivery.id.link() == link => Some(delivery.clone()),
                _ => None,
            })
            .await;
        let message = Message::decode(&delivery.message, &amqp::Limits::default()).unwrap();
        (delivery, message)
    }

    /// The condition with which a link was detached.
    pub(in crate::amqp) async fn detached(&mut self, link: LinkId) -> String {
        self.until(|event| match event {
            Event::Detached { link: of, cause: Cause::Peer(Some(error)), .. } if *of == link => {
                Some(error.condition.to_string())
            }
            _ => None,
        })
        .await
    }

    pub(in crate::amqp) async fn open_cbs(&mut self) {
        let sender = self.sender("$cbs").await.unwrap();
        let receiver = self.receiver("$cbs", 10).await.unwrap();
        self.cbs = Some((sender, receiver));
    }

    /// Puts a token; gives status and description.
    pub(in crate::amqp) async fn put(&mut self, name: &str, token: String) -> (i64, String) {
        let (status, text, _) =
            self.cbs(&put_token(name, token), MessageId::String("id".into())).await;
        (status, text)
    }

    /// Makes a request on `$cbs`; the disposition must come before the answer.
    pub(in crate::amqp) async fn cbs(
        &mut self,
        request: &cbs::Request,
        id: MessageId,
    ) -> (i64, String, Option<MessageId>) {
        let (sender, receiver) = self.cbs.unwrap();
        let sent = self.send(sender, request.message(id).to_bytes());
        let first = self
            .until(|event| match event {
                Event::Settled { delivery, state, .. } if *delivery == sent => {
                    Some(state == &Some(DeliveryState::Accepted))
                }
                Event::Delivery(delivery) if delivery.id.link() == receiver => Some(false),
                _ => None,
            })
            .await;
        assert!(first, "the answer came before the disposition, or the request was not accepted");
        let (_, answer) = self.receive(receiver).await;
        let (status, text) = cbs::read_answer(&answer).unwrap();
        (status, text.to_owned(), answer.properties.correlation_id)
    }
}
