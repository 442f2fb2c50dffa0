//! The edge agent: makes the modules of this device what the deployment says.

mod desired;
mod environment;
mod observe;
mod plan;
mod record;
mod report;
mod settings;
mod target;

pub use settings::{About, AgentSettings, Surroundings, Timing};

/// Surroundings for tests.
#[cfg(test)]
fn test_surroundings() -> Surroundings {
    Surroundings {
        hub_host_name: "hub.test".into(),
        device: "edge1".parse().unwrap(),
        edge_host_name: "edge1.local".into(),
        parent_host_name: None,
        module_workload_uri: "unix:///var/run/iotedge/workload.sock".into(),
        inherited_env: Default::default(),
        edge_hub_env: Default::default(),
    }
}
