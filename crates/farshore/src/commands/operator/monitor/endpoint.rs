//! The events of the Event Hubs compatible endpoint, all partitions over one connection. A broken
//! line is taken up after the last event of each partition that came.

use client::device::ConnectError;
use client::dial::DialError;
use client::events::{EventsError, EventsLog, EventsLogin, EventsReader};
use host::clock::Clock;
use host::tls::ClientTls;
use iot_proto::payload::event::EventLine;
use iot_proto::rest::EventStart;
use model::ConsumerGroup;
use tokio::sync::mpsc;

use super::super::failure::{CHECK_POLICY, NAME_CA};
use super::{Arguments, EVENTS_MAX, WAIT_FIRST, WAIT_MAX};
use crate::commands::{DENIED, FAILED, Failure, NOT_FOUND, UNREACHABLE};

/// Begins to read; gives what comes.
pub(super) async fn follow(
    arguments: &Arguments,
    login: EventsLogin,
    tls: ClientTls,
    clock: Clock,
) -> Result<mpsc::Receiver<Result<EventLine, Failure>>, Failure> {
    let mut log = EventsLog::open(&login, &tls, clock.clone()).await.map_err(failed)?;
    let mut places = Vec::new();
    for partition in chosen(log.partitions, arguments.partition)? {
        let from = match arguments.from.0 {
            // Fixed now, so that nothing is left out when the first line breaks.
            EventStart::End => {
                EventStart::Sequence(log.next_sequence(partition).await.map_err(failed)?)
            }
            from => from,
        };
        places.push((partition, from));
    }
    let group = arguments.consumer_group.clone().unwrap_or_else(ConsumerGroup::default_group);
    let reader = log.read(group.as_str(), &places).await.map_err(failed)?;
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let follower = Follower { login, tls, clock, group, places, sender };
    tokio::spawn(follower.run(reader));
    Ok(events)
}

/// All partitions, or the one that was asked for.
fn chosen(count: u32, wanted: Option<u32>) -> Result<Vec<u32>, Failure> {
    match wanted {
        None => Ok((0..count).collect()),
        Some(wanted) if wanted < count => Ok(vec![wanted]),
        Some(wanted) => Err(Failure::new(
            NOT_FOUND,
            format!("there is no partition {wanted}; the hub has {count}, from 0 on"),
        )),
    }
}

/// Reads for as long as somebody listens.
struct Follower {
    login: EventsLogin,
    tls: ClientTls,
    clock: Clock,
    group: ConsumerGroup,
    /// Where each partition goes on.
    places: Vec<(u32, EventStart)>,
    sender: mpsc::Sender<Result<EventLine, Failure>>,
}

impl Follower {
    async fn run(mut self, mut reader: EventsReader) {
        let mut wait = WAIT_FIRST;
        loop {
            let error = loop {
                match reader.next().await {
                    Ok((partition, event)) => {
                        wait = WAIT_FIRST;
                        self.passed(partition, event.sequence_number);
                        let line = EventLine::new(&event.parts(partition));
                        if self.sender.send(Ok(line)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => break error,
                }
            };
            match self.again(error, &mut wait).await {
                Ok(next) => reader = next,
                Err(error) => {
                    // Fails when nobody listens any more.
                    let _ = self.sender.send(Err(failed(error))).await;
                    return;
                }
            }
        }
    }

    /// Connects until it works, or until that makes no sense.
    async fn again(
        &self,
        mut error: EventsError,
        wait: &mut std::time::Duration,
    ) -> Result<EventsReader, EventsError> {
        while error.is_transient() && !self.sender.is_closed() {
            eprintln!("the event endpoint does not answer; trying again");
            self.clock.sleep(*wait).await;
            *wait = (*wait * 2).min(WAIT_MAX);
            let opened = EventsLog::open(&self.login, &self.tls, self.clock.clone()).await;
            let read = match opened {
                Ok(log) => log.read(self.group.as_str(), &self.places).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(reader) => return Ok(reader),
                Err(next) => error = next,
            }
        }
        Err(error)
    }

    fn passed(&mut self, partition: u32, sequence: u64) {
        if let Some(place) = self.places.iter_mut().find(|(number, _)| *number == partition) {
            place.1 = EventStart::Sequence(sequence.saturating_add(1));
        }
    }
}

fn is_untrusted(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Dial(dial) if matches!(**dial, DialError::Tls { .. }))
}

fn failed(error: EventsError) -> Failure {
    let (code, hint) = match &error {
        EventsError::Connect(connect) if is_untrusted(connect) => (UNREACHABLE, Some(NAME_CA)),
        EventsError::Connect(_) | EventsError::Broken(_) => (UNREACHABLE, None),
        EventsError::Token(_) => (DENIED, Some(CHECK_POLICY)),
        EventsError::Refused { condition, .. } if condition == "amqp:not-found" => (
            NOT_FOUND,
            Some("see farshore consumer-group list, and farshore consumer-group create <name>"),
        ),
        _ => (FAILED, None),
    };
    let mut message = host::logs::chain(&error).to_string();
    if let Some(hint) = hint {
        message.push_str("\n  ");
        message.push_str(hint);
    }
    Failure::new(code, message)
}
