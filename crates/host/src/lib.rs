//! The doors to the outside world: clock, entropy, sockets, TLS, HTTP, files, signals.
