//! The hub: registry, twins, methods, messages.
