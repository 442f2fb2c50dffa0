//! Restarting and stopping the runtime as a whole: by the service manager that runs it, or else by
//! asking it.

use client::edge::{EdgeError, ManagementClient};
use host::net::NetError;

use super::failure::failed;
use super::place::Place;
use super::systemd;
use crate::commands::Failure;

/// How it was done.
pub(super) enum Done {
    /// The service manager has done it.
    ByUnit(&'static str),
    /// The runtime was asked, and does it.
    Asked,
    /// There is none that runs.
    NotRunning,
}

/// Ends it and starts it again, with the configuration as it is now.
pub(super) async fn restart(place: &Place) -> Result<Done, Failure> {
    if let Some(unit) = unit(place).await {
        return systemd::act("restart", unit).await.map(|()| Done::ByUnit(unit));
    }
    let management = ManagementClient::new(&place.management_socket);
    asked(management.restart_runtime().await)
}

/// Ends it.
pub(super) async fn stop(place: &Place) -> Result<Done, Failure> {
    if let Some(unit) = unit(place).await {
        return systemd::act("stop", unit).await.map(|()| Done::ByUnit(unit));
    }
    let management = ManagementClient::new(&place.management_socket);
    asked(management.stop_runtime().await)
}

/// The unit, when the runtime is the installed one.
pub(super) async fn unit(place: &Place) -> Option<&'static str> {
    if place.is_installed { systemd::unit().await } else { None }
}

fn asked(outcome: Result<(), EdgeError>) -> Result<Done, Failure> {
    match outcome {
        Ok(()) => Ok(Done::Asked),
        Err(EdgeError::Connect { source: NetError::Connect { source, .. }, .. })
            if is_nobody_there(&source) =>
        {
            Ok(Done::NotRunning)
        }
        Err(error) => Err(failed(error)),
    }
}

fn is_nobody_there(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused)
}
