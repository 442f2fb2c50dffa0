//! The edge hub: local gateway, routes, store and forward.
