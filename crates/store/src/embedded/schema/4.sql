-- Certificate authorities to which devices and modules may chain. Nothing in it is secret.

CREATE TABLE authorities (
    name TEXT NOT NULL PRIMARY KEY,
    certificate BLOB NOT NULL UNIQUE,
    verified INTEGER NOT NULL,
    verification_code TEXT,
    etag INTEGER NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL
) STRICT;
