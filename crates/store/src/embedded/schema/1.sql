-- Times are in 100 ns since 1970 (`sqlite::Ticks`). Twins exist exactly as long as their identity;
-- a device's own twin has the module ''.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    etag INTEGER NOT NULL,
    status INTEGER NOT NULL, -- 0 disabled, 1 enabled
    status_reason TEXT,
    status_updated INTEGER,
    auth_kind INTEGER NOT NULL, -- 0 none, 1 keys, 2 thumbprints, 3 authority
    auth BLOB, -- keys sealed, thumbprints plain
    edge INTEGER NOT NULL,
    scope TEXT,
    parent_scopes TEXT NOT NULL, -- JSON array
    c2d_next INTEGER NOT NULL DEFAULT 1 -- the number of the next cloud-to-device message
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_scope ON devices (scope) WHERE scope IS NOT NULL;
CREATE INDEX devices_status ON devices (status);

-- Finds the children of a scope; what a device says of its parents stands in `devices`.
CREATE TABLE device_parents (
    scope TEXT NOT NULL,
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    PRIMARY KEY (scope, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX device_parents_device ON device_parents (device);

CREATE TABLE modules (
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    generation TEXT NOT NULL,
    etag INTEGER NOT NULL,
    managed_by TEXT,
    auth_kind INTEGER NOT NULL,
    auth BLOB,
    PRIMARY KEY (device, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE twins (
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    module TEXT NOT NULL,
    generation TEXT NOT NULL,
    etag INTEGER NOT NULL,
    version INTEGER NOT NULL,
    tags TEXT NOT NULL,
    desired TEXT NOT NULL,
    desired_metadata TEXT NOT NULL,
    desired_version INTEGER NOT NULL,
    reported TEXT NOT NULL,
    reported_metadata TEXT NOT NULL,
    reported_version INTEGER NOT NULL,
    model_id TEXT,
    PRIMARY KEY (device, module)
) STRICT;

CREATE TABLE sessions (
    device TEXT NOT NULL,
    module TEXT NOT NULL,
    subscriptions TEXT NOT NULL, -- JSON object: topic filter to QoS
    PRIMARY KEY (device, module),
    FOREIGN KEY (device, module) REFERENCES twins (device, module) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE cloud_to_device (
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    enqueued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    lock BLOB, -- none while the message waits
    locked_until INTEGER,
    message BLOB NOT NULL,
    PRIMARY KEY (device, sequence)
) STRICT;
CREATE INDEX cloud_to_device_expires ON cloud_to_device (expires);
CREATE INDEX cloud_to_device_locked ON cloud_to_device (locked_until) WHERE locked_until IS NOT NULL;

CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    device TEXT NOT NULL,
    module TEXT NOT NULL,
    generation TEXT NOT NULL,
    time INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE policies (
    name TEXT PRIMARY KEY,
    rights INTEGER NOT NULL,
    keys BLOB NOT NULL -- sealed
) STRICT, WITHOUT ROWID;
