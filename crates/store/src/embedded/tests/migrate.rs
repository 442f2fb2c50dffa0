//! Data directories of earlier versions open, and what they hold means the same.

use std::time::Duration;

use model::feedback::Outcome;
use model::message::{Message, SystemProperty};
use rusqlite::{Connection, params};

use super::*;
use crate::cloud_to_device::Settlement;
use crate::feedback::Rules;

/// A database as the first version left it: a device with two messages.
fn version_1(directory: &TempDir) {
    let connection = Connection::open(directory.path().join("hub.db")).unwrap();
    connection.execute_batch(include_str!("../schema/1.sql")).unwrap();
    let device =
        "INSERT INTO devices (id, generation, etag, status, auth_kind, edge, parent_scopes,
                  c2d_next) VALUES ('d', '7', 1, 1, 0, 0, '[]', 3)";
    connection.execute(device, []).unwrap();
    for (sequence, ack) in [(1, Some("full")), (2, None)] {
        let id = format!("message {sequence}");
        let mut message = Message::from_body("body").with_system(SystemProperty::MessageId, id);
        if let Some(ack) = ack {
            message.set_system(SystemProperty::Ack, ack);
        }
        let message = event_format::encode_message(&message);
        let sql = "INSERT INTO cloud_to_device (device, sequence, enqueued, expires, message)
                   VALUES ('d', ?, 0, ?, ?)";
        connection.execute(sql, params![sequence, FAR_AWAY, message]).unwrap();
    }
    connection.pragma_update(None, "user_version", 1).unwrap();
}

#[tokio::test]
async fn a_first_version_opens_and_its_messages_end_with_feedback() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    version_1(&directory);
    let (stores, report) = open_in(&directory, &clock).unwrap();
    assert_eq!(report.migrated_from, Some(1));
    let (d, lasts) = ("d".parse().unwrap(), Duration::from_secs(60));
    let queue = &stores.cloud_to_device;
    let locked = queue.lock(&d, 5, lasts, 10, clock.wall()).await.unwrap();
    assert_eq!(locked.iter().map(|message| message.sequence).collect::<Vec<_>>(), [1, 2]);
    for message in locked {
        queue.settle(&d, message.lock, Settlement::Complete, clock.wall()).await.unwrap();
    }
    let rules =
        Rules { records_max: 1, gathering: lasts, ttl: lasts, lock: lasts, deliveries_max: 1 };
    let feedback = stores.feedback.lock_feedback(5, rules, clock.wall()).await.unwrap();
    assert_eq!(feedback.len(), 1);
    let record = &feedback[0].records[0];
    assert_eq!((record.message_id.as_str(), record.outcome), ("message 1", Outcome::Success));
    assert_eq!(record.generation.as_str(), "7");
    drop(stores);
    assert_eq!(open_in(&directory, &clock).unwrap().1.migrated_from, None);
}

/// In the year 2286, in 100 ns.
const FAR_AWAY: i64 = 100_000_000_000_000_000;
