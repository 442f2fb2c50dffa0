//! The embedded backend: SQLite for state, the journal for events.
