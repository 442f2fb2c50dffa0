//! Direct methods: what they do to the loop's state. Their forms are in `methods.rs`.

use client::device::{MethodCall, MethodReply};

use super::Reconciler;
use crate::logs::{LogsError, LogsRequest, Origin};
use crate::methods::{self, Request};
use crate::observe::Status;
use crate::plan::{Job, Purpose, Step};

impl Reconciler {
    /// Answers a direct method, or begins what it asks for.
    pub(super) fn method(&mut self, call: MethodCall) {
        let (name, payload, reply) = call.split();
        self.outlets.counters.called(&name);
        let refuse = |reply: MethodReply, status, message: &str| {
            reply.send(status, methods::error_body(message));
        };
        let module = match methods::parse(&name, &payload) {
            Ok(Request::Ping) => return reply.send(methods::OK, methods::NOTHING),
            Ok(Request::RestartModule(module)) => module,
            Ok(Request::Logs(request)) => return self.read_logs(request, reply),
            Err(message) => return refuse(reply, methods::BAD_REQUEST, &message),
        };
        let deployment = self.rollout.deployment();
        let target = deployment.and_then(|deployment| deployment.modules.get(&module)).cloned();
        let seen = self.observation.as_ref().and_then(|seen| seen.modules.get(&module));
        match (target, seen) {
            (Some(_), Some(_)) if self.busy.contains_key(&module) => {
                refuse(reply, methods::FAILED, "the module is being changed; try again");
            }
            (Some(target), Some(seen)) => {
                let step = match seen.status {
                    Status::Running | Status::Unhealthy | Status::Unknown => Step::Restart,
                    Status::Stopped | Status::Failed | Status::Dead => Step::Start,
                };
                self.callers.insert(module.clone(), reply);
                let (purpose, steps) = (Purpose::Command, vec![step]);
                self.execute(vec![Job {
                    module,
                    purpose,
                    target: Some(target),
                    steps,
                    is_pulled: false,
                }]);
            }
            _ => {
                let message = format!("module {module} does not exist on this device");
                refuse(reply, methods::BAD_REQUEST, &message);
            }
        }
    }

    /// Reads logs beside the loop, which has other things to do.
    fn read_logs(&mut self, request: LogsRequest, reply: MethodReply) {
        while self.readers.try_join_next().is_some() {}
        if self.readers.len() >= LOG_READERS_MAX {
            let message = "too many logs are being read; try again";
            return reply.send(methods::FAILED, methods::error_body(message));
        }
        let (management, clock) = (self.management.clone(), self.clock.clone());
        let surroundings = &self.settings.surroundings;
        let origin = Origin {
            hub: surroundings.hub_host_name.clone(),
            device: surroundings.device.to_string(),
        };
        self.readers.spawn(async move {
            match clock.timeout(LOGS_LIMIT, Box::pin(request.answer(&management, &origin))).await {
                Ok(Ok(body)) => reply.send(methods::OK, body),
                Ok(Err(LogsError::Request(message))) => {
                    reply.send(methods::BAD_REQUEST, methods::error_body(&message));
                }
                Ok(Err(LogsError::Failed(message))) => {
                    reply.send(methods::FAILED, methods::error_body(&message));
                }
                Err(_) => {
                    let message = "the logs could not be read in time; ask for fewer lines";
                    reply.send(methods::FAILED, methods::error_body(message));
                }
            }
        });
    }
}

/// Methods that read logs at a time; each may hold some megabytes.
const LOG_READERS_MAX: usize = 2;
/// Callers wait 300 s at most (`service-api.md`), and 30 s when they say nothing.
const LOGS_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
