//! `$management` of the event log: what it and its partitions hold (`service-api.md` §9.4). The
//! disposition leaves before the answer, as uamqp wants it.

use std::sync::Arc;

use amqp::performative::condition;
use amqp::{DeliveryState, Error, Limits, Message};
use iot_proto::event_hubs::management::{LogInfo, PartitionInfo, Question, Refusal, Request};

use crate::amqp::port::{Port, PortEvent};
use crate::backend::events::{EventsBackend, Partition};
use crate::site::Site;

/// Requests of one link that may be under way.
pub(in crate::amqp) const CREDIT: u32 = 32;
/// Names the node for its answers.
pub(in crate::amqp) const NAME: &str = "$management";

/// Serves a link that asks.
pub(in crate::amqp) async fn serve<B: EventsBackend>(
    backend: Arc<B>,
    site: Arc<Site>,
    mut port: Port,
) -> Option<Box<Error>> {
    while let Some(event) = port.next().await {
        let PortEvent::Received(received) = event else { continue };
        let message = match Message::decode(&received.message, &Limits::default()) {
            Ok(message) if received.format == 0 => message,
            Ok(_) => {
                let error = Error::new(condition::NOT_IMPLEMENTED, "requests come one by one");
                port.settle(&received, DeliveryState::Rejected(Some(error)));
                continue;
            }
            Err(error) => {
                let error = Error::new(condition::DECODE_ERROR, error.to_string());
                port.settle(&received, DeliveryState::Rejected(Some(error)));
                continue;
            }
        };
        port.settle(&received, DeliveryState::Accepted);
        let reply_to = message.properties.reply_to.clone();
        port.reply(NAME, reply_to, answer(&*backend, &site, Request::parse(&message)));
    }
    None
}

fn answer<B: EventsBackend>(backend: &B, site: &Site, request: Request) -> Message {
    let id = request.correlation_id;
    match told(backend, site, request.question) {
        Ok(Told::Log(info)) => info.to_message(id),
        Ok(Told::Partition(info)) => info.to_message(site.entity(), id),
        Err(refusal) => refusal.to_message(id),
    }
}

enum Told {
    Log(LogInfo),
    Partition(PartitionInfo),
}

fn told<B: EventsBackend>(
    backend: &B,
    site: &Site,
    question: Result<Question, Refusal>,
) -> Result<Told, Refusal> {
    let known = |entity: String| match site.is_entity(&entity) {
        true => Ok(()),
        false => Err(Refusal::not_found(format!("there is no event log {entity:?} here"))),
    };
    match question? {
        Question::Log { entity } => {
            known(entity)?;
            let partitions = backend.partitions().map_err(|f| Refusal::unavailable(f.detail))?;
            Ok(Told::Log(LogInfo {
                entity: site.entity().to_owned(),
                created: backend.log_created(),
                partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            }))
        }
        Question::Partition { entity, partition } => {
            known(entity)?;
            let missing = || Refusal::not_found(format!("there is no partition {partition:?}"));
            let number = partition.parse().map_err(|_| missing())?;
            Ok(Told::Partition(info(&backend.partition(number).map_err(|_| missing())?)))
        }
    }
}

/// A partition as the wire tells it.
pub(in crate::amqp) fn info(partition: &Partition) -> PartitionInfo {
    let Partition { partition, oldest, next, last_enqueued, .. } = *partition;
    PartitionInfo { partition, oldest, next, last_enqueued }
}
