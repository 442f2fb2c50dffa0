-- Consumer groups of the event log beside $Default.
CREATE TABLE consumer_groups (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
