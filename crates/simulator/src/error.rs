//! Why the sensor cannot run.

use std::sync::Arc;

use client::environment::EnvironmentError;

use crate::settings::SettingsError;

/// Why the sensor ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError {
    /// A setting cannot be used.
    #[error("settings of the sensor cannot be used")]
    Settings(#[source] SettingsError),
    /// It was not started as a module, or its daemon does not answer.
    #[error("sensor cannot connect")]
    Environment(#[source] EnvironmentError),
    /// The edge hub does not let it in.
    #[error("sensor was refused: {0}")]
    Refused(Arc<str>),
}
