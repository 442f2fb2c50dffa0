//! The server end of a connection: accept, authenticate, drive the machines, call the backend.
