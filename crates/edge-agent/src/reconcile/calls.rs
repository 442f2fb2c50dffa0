//! Direct methods: what they do to the loop's state. Their forms are in `methods.rs`.

use client::device::{MethodCall, MethodReply};

use super::Reconciler;
use crate::logs::{LogsError, LogsRequest, Origin};
use crate::methods::{self, Request};
use crate::observe::Status;
use crate::plan::{Job, Purpose, Step};
use crate::upload::{Target, Way, upload};

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
            Ok(Request::UploadLogs(request, target)) => {
                return self.upload_logs(request, target, reply);
            }
            Ok(Request::TaskStatus(id)) => {
                return reply.send(methods::OK, self.tasks.status(&id));
            }
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
        let Some(reply) = self.admitted(reply) else { return };
        let (management, clock) = (self.management.clone(), self.clock.clone());
        let origin = self.origin();
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

impl Reconciler {
    /// Uploads logs beside the loop; the caller hears at once which task that is.
    fn upload_logs(&mut self, request: LogsRequest, target: Target, reply: MethodReply) {
        let Some(reply) = self.admitted(reply) else { return };
        let way = Way {
            management: self.management.clone(),
            clock: self.clock.clone(),
            tls: self.settings.tls.clone(),
            hub: self.settings.dial.clone(),
            origin: self.origin(),
        };
        let (id, told) = self.tasks.begin();
        reply.send(methods::OK, told);
        self.readers.spawn(upload(request, target, way, self.tasks.clone(), id));
    }

    /// The caller, when one more may have logs read; otherwise it is told so.
    fn admitted(&mut self, reply: MethodReply) -> Option<MethodReply> {
        while self.readers.try_join_next().is_some() {}
        if self.readers.len() < LOG_READERS_MAX {
            return Some(reply);
        }
        let message = "too many logs are being read; try again";
        reply.send(methods::FAILED, methods::error_body(message));
        None
    }

    fn origin(&self) -> Origin {
        let surroundings = &self.settings.surroundings;
        Origin { hub: surroundings.hub_host_name.clone(), device: surroundings.device.to_string() }
    }
}

/// Methods that read logs at a time; each may hold some megabytes.
const LOG_READERS_MAX: usize = 2;
/// Callers wait 300 s at most (`service-api.md`), and 30 s when they say nothing.
const LOGS_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
