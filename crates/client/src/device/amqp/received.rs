//! What the hub sends: messages, calls, answers.

use amqp::connection::Delivery as AmqpDelivery;
use amqp::performative::DeliveryState;
use amqp::{Limits, Message, MessageId};
use iot_proto::amqp::{message, methods};
use uuid::Uuid;

use super::Ticket as AmqpTicket;
use super::session::AmqpSession;
use crate::device::events::{ClientEvent, Delivery, MethodCall};
use crate::device::session::{Event, Handles, Ticket, owned};

impl AmqpSession {
    /// Reads what the hub sent. What cannot be understood is logged, and rejected so that it does
    /// not come for ever.
    pub(super) fn received(&mut self, delivery: AmqpDelivery, handles: &Handles) -> Option<Event> {
        let link = delivery.id.link();
        if let Some(tokens) = &mut self.tokens
            && tokens.has(link)
        {
            let step = tokens.received(&mut self.link.machine, &delivery);
            self.follow(step);
            return None;
        }
        match self.read(&delivery, handles) {
            Ok(event) => event,
            Err(reason) => {
                tracing::warn!(reason, "cannot understand what the hub sent");
                self.link.machine.settle(delivery.id, DeliveryState::Rejected(None));
                None
            }
        }
    }

    fn read(
        &mut self,
        delivery: &AmqpDelivery,
        handles: &Handles,
    ) -> Result<Option<Event>, String> {
        let link = delivery.id.link();
        let message = Message::decode(&delivery.message, &Limits::default());
        let message = message.map_err(|error| error.to_string())?;
        let settle = || {
            let ticket = Ticket::Amqp(AmqpTicket(delivery.id));
            handles.settle((!delivery.settled).then_some(ticket))
        };
        if self.cloud_to_device == Some(link) {
            let (message, facts) = message::from_hub(message).map_err(|e| e.to_string())?;
            let delivery = Delivery { message, facts, settle: settle() };
            return Ok(Some(Event::Tell(ClientEvent::CloudToDevice(delivery))));
        }
        if self.inputs == Some(link) {
            let input = message::input_name(&message).ok_or("the message names no input")?;
            let (message, facts) = message::from_hub(message).map_err(|e| e.to_string())?;
            let delivery = Delivery { message, facts, settle: settle() };
            return Ok(Some(Event::Tell(ClientEvent::Input { input, delivery })));
        }
        // The rest is not to be settled by the program.
        self.link.machine.settle(delivery.id, DeliveryState::Accepted);
        if self.methods.is_some_and(|links| links.receiver == link) {
            return method(&message, handles).map(Some);
        }
        match &mut self.twin {
            Some(twin) if twin.has(link) => twin.received(&message),
            _ => Ok(None),
        }
    }
}

fn method(message: &Message, handles: &Handles) -> Result<Event, String> {
    let name = methods::name(message).ok_or("the call names no method")?.to_owned();
    let call = message.properties.correlation_id.as_ref().ok_or("the call has no id")?;
    let call = match call {
        MessageId::Uuid(bytes) => Uuid::from_bytes(*bytes).to_string(),
        id => id.to_string(),
    };
    let payload = message.body.to_bytes().ok_or("the body is neither data nor text")?;
    let reply = handles.reply(call);
    Ok(Event::Tell(ClientEvent::Method(MethodCall { name, payload: owned(&payload), reply })))
}
