//! The event log, as back ends read it.

use gateway::backend::events::{Event, EventReader, EventsBackend, Partition};
use iot_proto::payload::event::{AuthScope, AuthType, auth_method};
use iot_proto::rest::EventStart;
use model::{Fault, FaultKind};
use store::StoreError;
use store::events::{AuthMethod, Source, StoredEvent};

use crate::Hub;

/// Reads a partition.
pub struct EventsReader {
    partition: u32,
    reader: Box<dyn store::events::EventReader>,
}

impl EventsBackend for Hub {
    type Reader = EventsReader;

    fn partitions(&self) -> Result<Vec<Partition>, Fault> {
        let events = &self.stores().events;
        (0..events.partitions())
            .map(|partition| {
                let info = events.partition(partition).map_err(fault)?;
                Ok(Partition { partition, oldest: info.oldest, next: info.next, lost: info.lost })
            })
            .collect()
    }

    fn read(&self, partition: u32, from: EventStart) -> Result<EventsReader, Fault> {
        let from = match from {
            EventStart::Start => store::events::From::Start,
            EventStart::End => store::events::From::End,
            EventStart::Sequence(sequence) => store::events::From::Sequence(sequence),
            EventStart::Time(time) => store::events::From::Time(time),
        };
        let reader = self.stores().events.reader(partition, from).map_err(fault)?;
        Ok(EventsReader { partition, reader })
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
