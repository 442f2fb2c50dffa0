//! The edge agent: makes the modules of this device what the deployment says.
