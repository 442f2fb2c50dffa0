BEGIN;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Who may connect: sealed JSON.
CREATE TABLE identities (id TEXT PRIMARY KEY, sealed TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Twins as their identities see them: sealed JSON.
CREATE TABLE twins (id TEXT PRIMARY KEY, sealed TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Patches of reported properties that the hub has not seen, in order: sealed JSON.
CREATE TABLE reports (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, sealed TEXT NOT NULL) STRICT;
CREATE INDEX reports_by_id ON reports (id, number);
-- Subscriptions of clients with CleanSession 0: JSON.
CREATE TABLE sessions (id TEXT PRIMARY KEY, filters TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
