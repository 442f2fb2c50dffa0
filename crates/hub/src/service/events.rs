//! The event log, as back ends read it.

pub(crate) mod seats;

use gateway::backend::events::{
    Event, EventReader, EventsBackend, Partition, SeatClaim, SeatError,
};
use iot_proto::payload::event::{AuthScope, AuthType, auth_method};
use iot_proto::rest::EventStart;
use jiff::Timestamp;
use model::limits::CONSUMER_GROUPS_MAX;
use model::{ConsumerGroup, Fault, FaultKind};
use store::StoreError;
use store::consumer_groups::StoredGroup;
use store::events::{AuthMethod, Source, StoredEvent};

use crate::Hub;

/// Reads a partition.
pub struct EventsReader {
    partition: u32,
    reader: Box<dyn store::events::EventReader>,
}

impl EventsBackend for Hub {
    type Reader = EventsReader;
    type Seat = seats::Seat;

    fn log_created(&self) -> Timestamp {
        self.stores().events.created()
    }

    fn partitions(&self) -> Result<Vec<Partition>, Fault> {
        (0..self.stores().events.partitions()).map(|number| self.partition(number)).collect()
    }

    fn partition(&self, partition: u32) -> Result<Partition, Fault> {
        let info = self.stores().events.partition(partition).map_err(fault)?;
        Ok(Partition {
            partition,
            oldest: info.oldest,
            next: info.next,
            last_enqueued: info.last_enqueued,
            lost: info.lost,
        })
    }

    fn read(&self, partition: u32, from: EventStart) -> Result<EventsReader, Fault> {
        let events = &self.stores().events;
        let from = match from {
            EventStart::Start => store::events::From::Start,
            EventStart::End => store::events::From::End,
            EventStart::Sequence(sequence) => {
                let next = events.partition(partition).map_err(fault)?.next;
                if sequence > next {
                    // It would wait, and then leave out what comes before it.
                    return Err(Fault::argument(format!(
                        "partition {partition} has no event {sequence} yet, its next one is \
                         {next}; the number or offset is of another log"
                    )));
                }
                store::events::From::Sequence(sequence)
            }
            EventStart::Time(time) => store::events::From::Time(time),
        };
        let reader = events.reader(partition, from).map_err(fault)?;
        Ok(EventsReader { partition, reader })
    }

    async fn take_seat(&self, claim: SeatClaim) -> Result<seats::Seat, SeatError> {
        let SeatClaim { group, partition, .. } = claim.clone();
        if partition >= self.stores().events.partitions() {
            return Err(SeatError::NoPartition(partition));
        }
        // First the place, then the question: a group that is deleted meanwhile ends it.
        let seat = self.inner.seats.take(claim)?;
        if !group.is_default() {
            let groups = self.consumer_groups().await.map_err(SeatError::Fault)?;
            if !groups.contains(&group) {
                return Err(SeatError::NoGroup(group));
            }
        }
        Ok(seat)
    }

    async fn consumer_groups(&self) -> Result<Vec<ConsumerGroup>, Fault> {
        let stored = self.stores().consumer_groups.consumer_groups().await.map_err(fault)?;
        let stored = stored.into_iter().map(|group| group.name);
        Ok(std::iter::once(ConsumerGroup::default_group()).chain(stored).collect())
    }

    async fn create_consumer_group(&self, name: ConsumerGroup) -> Result<bool, Fault> {
        if name.is_default() {
            return Ok(false);
        }
        let group = StoredGroup { name, created: self.now() };
        let groups = &self.stores().consumer_groups;
        match groups.create_consumer_group(group, CONSUMER_GROUPS_MAX).await {
            Ok(()) => Ok(true),
            Err(StoreError::Exists) => Ok(false),
            Err(StoreError::Full { limit, .. }) => Err(Fault::new(
                FaultKind::InvalidOperation,
                format!("the hub has {limit} consumer groups beside $Default; delete one first"),
            )),
            Err(error) => Err(fault(error)),
        }
    }

    async fn delete_consumer_group(&self, name: ConsumerGroup) -> Result<(), Fault> {
        if name.is_default() {
            return Err(Fault::new(
                FaultKind::InvalidOperation,
                "the consumer group $Default cannot be deleted",
            ));
        }
        match self.stores().consumer_groups.delete_consumer_group(&name).await {
            Ok(()) => {}
            Err(StoreError::NotFound) => {
                let detail = format!("there is no consumer group {name}");
                return Err(Fault::new(FaultKind::GenericNotFound, detail));
            }
            Err(error) => return Err(fault(error)),
        }
        self.inner.seats.end_group(&name);
        Ok(())
    }
}

impl EventReader for EventsReader {
    async fn next(&mut self, limit: usize, wait: bool) -> Result<Vec<Event>, Fault> {
        let events =
            if wait { self.reader.next(limit).await } else { self.reader.try_next(limit).await };
        let partition = self.partition;
        Ok(events.map_err(fault)?.into_iter().map(|stored| event(partition, stored)).collect())
    }
}

fn event(partition: u32, stored: StoredEvent) -> Event {
    let StoredEvent { sequence, enqueued, event } = stored;
    Event {
        partition,
        sequence,
        enqueued,
        source: match event.source {
            Source::Telemetry => "Telemetry",
            Source::TwinChange => "twinChangeEvents",
            Source::Lifecycle => "deviceLifecycleEvents",
        },
        sender: event.sender,
        generation: event.generation,
        auth_method: match event.auth {
            AuthMethod::DeviceSas => auth_method(AuthScope::Device, AuthType::Sas),
            AuthMethod::ModuleSas => auth_method(AuthScope::Module, AuthType::Sas),
            AuthMethod::PolicySas => auth_method(AuthScope::Hub, AuthType::Sas),
            AuthMethod::DeviceX509 => auth_method(AuthScope::Device, AuthType::X509),
            AuthMethod::ModuleX509 => auth_method(AuthScope::Module, AuthType::X509),
            AuthMethod::Hub => "",
        },
        message: event.message,
    }
}

fn fault(error: StoreError) -> Fault {
    crate::fault(error, FaultKind::PartitionNotFound, &"partition")
}
