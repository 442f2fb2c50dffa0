-- What became of cloud-to-device messages. A record waits without a message until enough have
-- gathered; records go with their device, and a message without records means nothing.

CREATE TABLE feedback_messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
    enqueued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    lock BLOB, -- none while the message waits
    locked_until INTEGER
) STRICT;
CREATE INDEX feedback_messages_lock ON feedback_messages (lock) WHERE lock IS NOT NULL;
CREATE INDEX feedback_messages_expires ON feedback_messages (expires);

CREATE TABLE feedback_records (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    generation TEXT NOT NULL,
    message_id TEXT NOT NULL,
    outcome INTEGER NOT NULL, -- 1 success, 2 expired, 3 delivered too often, 4 rejected, 5 purged
    time INTEGER NOT NULL,
    message INTEGER REFERENCES feedback_messages (number) ON DELETE CASCADE
) STRICT;
CREATE INDEX feedback_records_device ON feedback_records (device);
CREATE INDEX feedback_records_message ON feedback_records (message);

-- What the sender of a message wants to hear: 1 that it was completed, 2 that it died, 3 both.
ALTER TABLE cloud_to_device ADD COLUMN ack INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cloud_to_device ADD COLUMN message_id TEXT NOT NULL DEFAULT '';
CREATE INDEX cloud_to_device_delivered ON cloud_to_device (deliveries) WHERE deliveries > 0;
