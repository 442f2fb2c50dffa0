//! Receivers of the event log (`service-api.md` §9.5).
//!
//! Events go out as the credit allows, settled: nothing is taken from the log, and where a receiver
//! goes on is its own business. A receiver that does not read holds one batch and nobody up.
//! Estimate: an event of 256 B costs about a microsecond to read and decode and one to encode; a
//! hand-over of 64 of them, with its share of a write, some 20 µs. So 200,000 events a second take
//! less than a core.

pub(super) mod management;

use std::collections::VecDeque;
use std::sync::Arc;

use amqp::connection::Outgoing;
use amqp::performative::{Attach, condition};
use amqp::{Error, Map, Symbol, Value};
use bytes::{Bytes, BytesMut};
use host::clock::Clock;
use iot_proto::event_hubs::{EPOCH, RUNTIME_METRIC, event, filter};
use iot_proto::payload::event::EventParts;
use iot_proto::status::condition::ARGUMENT_ERROR;

use super::fault;
use super::nodes::{Serve, Served, Terms};
use super::port::{Port, PortGone};
use crate::backend::events::{
    Event, EventReader, EventSeat, EventsBackend, SeatClaim, SeatError, SeatLoss,
};

/// Events that are read at once; with the store's bound in bytes, what a receiver holds at most.
const BATCH_MAX: usize = 256;
/// One message is encoded into this much at least; several share a piece.
const PIECE_BYTES: usize = 64 * 1024;

/// What a receiver's address names.
pub(super) struct Place {
    pub(super) group: String,
    pub(super) partition: String,
}

/// Opens a receiver.
pub(super) async fn open<B: EventsBackend>(
    backend: Arc<B>,
    clock: Clock,
    place: Place,
    attach: &Attach,
    port: Port,
) -> Result<Served, Box<Error>> {
    let claim = claim(&place, attach)?;
    let partition = claim.partition;
    let source = attach.source.as_ref();
    let filter = source.map_or(&EMPTY, |source| &source.filter);
    let from = filter::start(filter)
        .map_err(|error| Box::new(Error::new(ARGUMENT_ERROR, error.to_string())))?;
    let seat =
        backend.take_seat(claim).await.map_err(|error| Box::new(seat_error(&error, &clock)))?;
    let reader = backend
        .read(partition, from)
        .map_err(|refusal| Box::new(fault::error(&refusal, &clock)))?;
    let tells_end = attach.desired_capabilities.iter().any(|wanted| wanted == RUNTIME_METRIC);
    let mut terms = Terms::default();
    if let Some(source) = source {
        let mut source = source.clone();
        source.filter = filter::followed(&source.filter);
        terms.source = Some(source);
    }
    if tells_end {
        terms.offered_capabilities.push(Symbol::from_static(RUNTIME_METRIC));
    }
    let receiver = Receiver::<B> {
        backend,
        clock,
        partition,
        tells_end,
        port,
        reader,
        seat,
        waiting: VecDeque::new(),
        piece: BytesMut::new(),
    };
    Ok(Served { terms, serve: Serve::Run(Box::pin(receiver.run())) })
}

static EMPTY: Map = Map::new();

fn claim(place: &Place, attach: &Attach) -> Result<SeatClaim, Box<Error>> {
    let not_found = |text: String| Box::new(Error::new(condition::NOT_FOUND, text));
    let Place { group, partition } = place;
    let group =
        group.parse().map_err(|_| not_found(format!("there is no consumer group {group:?}")))?;
    let number = partition.parse().ok().filter(|number: &u32| number.to_string() == *partition);
    let partition =
        number.ok_or_else(|| not_found(format!("there is no partition {partition:?}")))?;
    let epoch = match attach.properties.get(EPOCH) {
        None | Some(Value::Null) => None,
        Some(epoch) => Some(epoch.as_i64().ok_or_else(|| {
            Box::new(Error::new(ARGUMENT_ERROR, format!("{EPOCH} is not a whole number")))
        })?),
    };
    Ok(SeatClaim { group, partition, epoch })
}

fn seat_error(error: &SeatError, clock: &Clock) -> Error {
    let condition = match error {
        SeatError::NoGroup(_) | SeatError::NoPartition(_) => condition::NOT_FOUND,
        SeatError::Taken(_) => condition::STOLEN,
        SeatError::Full(_) => condition::RESOURCE_LIMIT_EXCEEDED,
        SeatError::Fault(refusal) => return fault::error(refusal, clock),
    };
    Error::new(condition, error.to_string())
}

fn lost(loss: SeatLoss) -> Error {
    let condition = match loss {
        SeatLoss::Stolen(_) => condition::STOLEN,
        SeatLoss::GroupDeleted => condition::RESOURCE_DELETED,
    };
    Error::new(condition, loss.to_string())
}

/// A receiver at its partition.
struct Receiver<B: EventsBackend> {
    backend: Arc<B>,
    clock: Clock,
    partition: u32,
    /// Whether each delivery tells what the partition holds at its end.
    tells_end: bool,
    port: Port,
    reader: B::Reader,
    seat: B::Seat,
    /// Read and not sent yet.
    waiting: VecDeque<Event>,
    /// What messages are encoded into.
    piece: BytesMut,
}

impl<B: EventsBackend> Receiver<B> {
    async fn run(mut self) -> Option<Box<Error>> {
        loop {
            let ready = tokio::select! {
                ready = self.port.ready() => ready,
                loss = self.seat.lost() => return Some(Box::new(lost(loss))),
            };
            if let Err(PortGone) = ready {
                return None;
            }
            if self.waiting.is_empty() {
                match self.read().await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => return Some(error),
                }
            }
            if let Err(error) = self.send() {
                return Some(error);
            }
        }
    }

    /// Waits for events; false when the link is gone.
    async fn read(&mut self) -> Result<bool, Box<Error>> {
        loop {
            tokio::select! {
                events = self.reader.next(BATCH_MAX, true) => {
                    let events = events.map_err(|f| Box::new(fault::error(&f, &self.clock)))?;
                    self.waiting.extend(events);
                    return Ok(true);
                }
                event = self.port.next() => if event.is_none() { return Ok(false) },
                loss = self.seat.lost() => return Err(Box::new(lost(loss))),
            }
        }
    }

    /// Sends what there is room for.
    fn send(&mut self) -> Result<(), Box<Error>> {
        let end = match self.tells_end {
            true => Some(self.end()?),
            false => None,
        };
        for _ in 0..self.port.room() {
            let Some(event) = self.waiting.pop_front() else { break };
            let outgoing = self.outgoing(&event, end.as_ref());
            self.port.send(outgoing);
        }
        Ok(())
    }

    /// What deliveries tell of the partition's end.
    fn end(&self) -> Result<Map, Box<Error>> {
        let partition = self.backend.partition(self.partition);
        let partition = partition.map_err(|f| Box::new(fault::error(&f, &self.clock)))?;
        Ok(event::runtime_metric(&management::info(&partition), self.clock.wall()))
    }

    fn outgoing(&mut self, event: &Event, end: Option<&Map>) -> Outgoing {
        let mut message = event::to_message(&parts(event));
        if let Some(end) = end {
            message.delivery_annotations = end.clone();
        }
        if self.piece.capacity() < PIECE_BYTES / 2 {
            self.piece = BytesMut::with_capacity(PIECE_BYTES);
        }
        message.encode(&mut self.piece);
        let message = self.piece.split().freeze();
        let tag = Bytes::copy_from_slice(&event.sequence.to_be_bytes());
        Outgoing { tag, message, format: 0, settled: true }
    }
}

fn parts(event: &Event) -> EventParts<'_> {
    EventParts {
        partition: event.partition,
        sequence_number: event.sequence,
        enqueued: event.enqueued,
        source: event.source,
        sender: &event.sender,
        generation: event.generation.as_str(),
        auth_method: event.auth_method,
        message: &event.message,
    }
}
