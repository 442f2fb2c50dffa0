//! Deployment manifests: what an edge agent and an edge hub are told to do.
