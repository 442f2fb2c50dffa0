//! The event log.

use super::*;
use crate::embedded::event_format;
use crate::events::{AuthMethod, Event, EventReader, From, NewEvent, PartitionInfo, Source};
use model::message::{Message, SystemProperty};

/// All there is of an event, from empty to as large as telemetry gets.
pub async fn events_are_read_as_they_were_appended(fixture: &Fixture) {
    let events = &fixture.stores.events;
    assert!(events.partitions() >= 2);
    assert_eq!(events.created(), fixture.now());
    let mut message = Message::from_body(vec![7; 256 * 1024])
        .with_system(SystemProperty::ContentType, "application/json");
    message.set_property("a", "\u{e4}");
    let appended = [
        Event {
            source: Source::Telemetry,
            sender: identity("d/m"),
            generation: GenerationId::from_number(638_912_345_678_901_234),
            auth: AuthMethod::ModuleSas,
            message,
        },
        Event {
            source: Source::Lifecycle,
            sender: identity("d"),
            generation: GenerationId::from_number(2),
            auth: AuthMethod::Hub,
            message: Message::default(),
        },
    ];
    let batch = appended.iter().map(|event| NewEvent {
        partition: 0,
        enqueued: fixture.now(),
        body: event_format::encode(event),
    });
    events.append(batch.collect()).unwrap().wait().await.unwrap();
    let read = events.reader(0, From::Start).unwrap().next(10).await.unwrap();
    assert_eq!(read.len(), 2);
    for (stored, (event, sequence)) in read.into_iter().zip(appended.into_iter().zip(0..)) {
        assert_eq!((stored.sequence, stored.enqueued), (sequence, fixture.now()));
        assert_eq!(stored.event, event);
    }
}

/// At either end, at a number, at a time.
pub async fn a_reader_begins_where_it_is_told(fixture: &Fixture) {
    let times: Vec<_> = (0..10).map(|n| fixture.later(n * 10)).collect();
    for (n, time) in times.iter().enumerate() {
        append(fixture, 0, *time, &[&n.to_string()]).await;
    }
    for (from, first) in [
        (From::Start, Some(0)),
        (From::Sequence(0), Some(0)),
        (From::Sequence(4), Some(4)),
        (From::Sequence(9), Some(9)),
        (From::Sequence(10), None),
        (From::Time(times[0] - SignedDuration::from_secs(1)), Some(0)),
        (From::Time(times[3]), Some(3)),
        (From::Time(times[3] + SignedDuration::from_secs(1)), Some(4)),
        (From::Time(times[9] + SignedDuration::from_secs(1)), None),
        (From::End, None),
    ] {
        let mut reader = fixture.stores.events.reader(0, from).unwrap();
        let read = try_bodies(reader.as_mut(), 100).await;
        let expected: Vec<_> =
            first.map_or(Vec::new(), |first: usize| (first..10).map(|n| n.to_string()).collect());
        assert_eq!(read, expected, "{from:?}");
    }
    let info = fixture.stores.events.partition(0).unwrap();
    let last_enqueued = Some(times[9]);
    assert_eq!(info, PartitionInfo { oldest: 0, next: 10, last_enqueued, lost: 0 });
}

/// And gets what is appended meanwhile, once each, in order.
pub async fn a_reader_waits_for_more(fixture: &Fixture) {
    let events = &fixture.stores.events;
    append(fixture, 0, fixture.now(), &["before"]).await;
    let mut reader = events.reader(0, From::End).unwrap();
    assert_eq!(reader.try_next(10).await.unwrap(), []);
    for n in 0..5 {
        let body = n.to_string();
        let bodies_sent = [body.as_str()];
        let append = append(fixture, 0, fixture.now(), &bodies_sent);
        let (read, ()) = tokio::join!(reader.next(10), append);
        assert_eq!(bodies(read.unwrap()), [body]);
    }
    // A wait that was given up loses nothing.
    let mut given_up = reader.next(10);
    assert!(poll_once(&mut given_up).is_none());
    drop(given_up);
    append(fixture, 0, fixture.now(), &["last"]).await;
    assert_eq!(bodies(reader.next(10).await.unwrap()), ["last"]);
    assert_eq!(reader.try_next(10).await.unwrap(), []);
}

/// A limit holds, and the next call goes on behind it.
pub async fn a_reader_takes_no_more_than_it_wants(fixture: &Fixture) {
    let numbers: Vec<_> = (0..25).map(|n: u32| n.to_string()).collect();
    let texts: Vec<_> = numbers.iter().map(String::as_str).collect();
    append(fixture, 1, fixture.now(), &texts).await;
    let mut reader = fixture.stores.events.reader(1, From::Start).unwrap();
    let mut read = Vec::new();
    while read.len() < 25 {
        let some = bodies(reader.next(7).await.unwrap());
        assert!((1..=7).contains(&some.len()));
        read.extend(some);
    }
    assert_eq!(read, numbers);
}

/// Each has its own events and its own numbers.
pub async fn partitions_are_apart(fixture: &Fixture) {
    let events = &fixture.stores.events;
    append(fixture, 0, fixture.now(), &["a"]).await;
    append(fixture, 1, fixture.now(), &["b", "c"]).await;
    for (partition, expected) in [(0, vec!["a"]), (1, vec!["b", "c"])] {
        let mut reader = events.reader(partition, From::Start).unwrap();
        assert_eq!(try_bodies(reader.as_mut(), 10).await, expected);
        let info = events.partition(partition).unwrap();
        let (next, last_enqueued) = (expected.len() as u64, Some(fixture.now()));
        assert_eq!(info, PartitionInfo { oldest: 0, next, last_enqueued, lost: 0 });
    }
    assert!(events.reader(events.partitions(), From::Start).is_err());
    assert!(events.partition(events.partitions()).is_err());
}

async fn append(fixture: &Fixture, partition: u32, enqueued: Timestamp, texts: &[&str]) {
    let batch = texts.iter().map(|text| NewEvent {
        partition,
        enqueued,
        body: event_format::encode_parts(
            Source::Telemetry,
            &identity("d"),
            &GenerationId::from_number(1),
            AuthMethod::DeviceSas,
            &Message::from_body((*text).to_owned()),
        ),
    });
    let receipt = fixture.stores.events.append(batch.collect()).unwrap();
    receipt.wait().await.unwrap();
}

async fn try_bodies(reader: &mut dyn EventReader, limit: usize) -> Vec<String> {
    bodies(reader.try_next(limit).await.unwrap())
}

fn bodies(events: Vec<crate::events::StoredEvent>) -> Vec<String> {
    let body = |stored: crate::events::StoredEvent| stored.event.message.body.to_vec();
    events.into_iter().map(|stored| String::from_utf8(body(stored)).unwrap()).collect()
}
