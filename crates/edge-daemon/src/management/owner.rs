//! What the device's owner asks of the runtime as a whole: to begin anew, to end, to say more or
//! less. The daemon hands it to whoever runs it; alone it can do none of it.

use std::sync::Arc;

use host::http::StatusCode;
use model::ModuleId;
use tokio::sync::mpsc;

use super::Management;
use crate::http::{Answer, Refusal, no_content};
use crate::lifecycle;

/// A request of the device's owner to whoever runs the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerRequest {
    /// End in order, read `config.toml` again and begin anew.
    Restart,
    /// End in order.
    Stop,
    /// Log at this level from now on, also after a restart.
    LogLevel(String),
}

/// Where requests go.
pub(crate) type OwnerRequests = mpsc::Sender<OwnerRequest>;

impl Management {
    /// Hands a request to whoever runs the daemon.
    pub(super) fn ask_owner(&self, request: OwnerRequest) -> Result<Answer, Refusal> {
        let owner = self.owner.as_ref().ok_or_else(|| {
            Refusal::new(
                StatusCode::CONFLICT,
                "this runtime is part of another program (farshore up): end or restart that program",
            )
        })?;
        tracing::info!(?request, "asked by the device's owner");
        owner.try_send(request).map_err(|_| {
            let message = "the runtime is ending or restarting already";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        Ok(no_content())
    }

    /// Provisions anew. Manual provisioning has nobody to ask but the hub: the agent's keys are
    /// given to it again. Then all begins anew, or at least what this daemon keeps.
    pub(super) async fn reprovision(&self) -> Result<Answer, Refusal> {
        self.identities.update(&ModuleId::edge_agent(), None).await?;
        if self.owner.is_some() {
            return self.ask_owner(OwnerRequest::Restart);
        }
        self.modules.agent_restarts.send_modify(|count| *count = count.wrapping_add(1));
        let modules = Arc::clone(&self.modules);
        tokio::spawn(async move { lifecycle::restart_running(&modules).await });
        Ok(no_content())
    }
}

/// A level by one of its names, as the log takes it.
pub(super) fn level(text: &str) -> Result<String, Refusal> {
    let level = match text.trim().to_ascii_lowercase().as_str() {
        "fatal" | "error" => "error",
        "warn" | "warning" => "warn",
        "info" | "information" => "info",
        "debug" => "debug",
        "trace" | "verbose" => "trace",
        _ => {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "log level is not known: give error, warn, info, debug or trace",
            ));
        }
    };
    Ok(level.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_the_names_of_both_programs() {
        for (text, expected) in
            [("Warning", "warn"), ("verbose", "trace"), (" info ", "info"), ("fatal", "error")]
        {
            assert_eq!(level(text).unwrap(), expected);
        }
        for text in ["", "loud", "info,hub=debug"] {
            assert!(level(text).is_err(), "{text}");
        }
    }
}
