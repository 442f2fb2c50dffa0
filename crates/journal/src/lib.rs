//! The durable append log: one commit log with many streams and group commit.
