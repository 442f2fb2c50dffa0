//! Which queues a message goes to. Pure; what the desired properties say is read by `manifest`.
//!
//! Spec: `edge-runtime.md` (er) §5.2, §5.3: all matching routes count (source and condition), one
//! copy per endpoint, and of two routes to one endpoint the better priority (with its time to live)
//! wins. Two routes of one priority: the one whose name comes first.

pub(crate) mod config;
pub(crate) mod twin_changes;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gateway::auth::AuthMethod;
use iot_proto::payload::event::{AuthScope, AuthType, auth_method};
use manifest::HubConfig;
use manifest::hub_config::{PRIORITY_LAST, RouteConfig};
use manifest::route::{Route, Sink, source};
use model::message::{Message, SystemProperty};
use model::{DeviceId, GenerationId, IdentityId, ModuleId};
use query::{Arrival, MessageSubject, Rules};

/// Where messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    /// The hub.
    Upstream,
    /// An input of a module of this device.
    Input { module: ModuleId, input: String },
}

/// A queue: an endpoint and a priority. Its text is the name of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Queue {
    /// 0 first.
    pub(crate) priority: u32,
    pub(crate) endpoint: Endpoint,
}

/// The routes in force.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    routes: Vec<RouteConfig>,
    time_to_live: Option<Duration>,
}

/// One copy of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) queue: Queue,
    /// None: it waits for ever.
    pub(crate) time_to_live: Option<Duration>,
}

/// A route that this version cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routes.{name}: the input's name has {bytes} bytes; at most {INPUT_BYTES_MAX} are allowed")]
pub(crate) struct TableError {
    name: String,
    bytes: usize,
}

impl Table {
    /// The table of a configuration.
    pub(crate) fn new(config: &HubConfig) -> Result<Self, TableError> {
        for (name, route) in &config.routes {
            if let Sink::ModuleInput { input, .. } = route.route.sink()
                && input.len() > INPUT_BYTES_MAX
            {
                return Err(TableError { name: name.clone(), bytes: input.len() });
            }
        }
        let mut routes: Vec<RouteConfig> = config.routes.values().cloned().collect();
        // Stable: routes of one priority stay in the order of their names.
        routes.sort_by_key(|route| route.priority);
        Ok(Self { routes, time_to_live: config.time_to_live })
    }

    /// Where a message goes, best priority first. Its body is parsed at most once, and only if a
    /// condition asks for it.
    pub(crate) fn targets(&self, routed: &Routed<'_>) -> Vec<Target> {
        let subject = routed.subject();
        let mut targets: Vec<Target> = Vec::new();
        for route in self.routes.iter().filter(|route| route.route.matches(&routed.source)) {
            let endpoint = endpoint(&route.route);
            if targets.iter().any(|target| target.queue.endpoint == endpoint) {
                continue;
            }
            if route.route.condition().is_some_and(|condition| !condition.matches(&subject)) {
                continue;
            }
            let time_to_live = route.time_to_live.or(self.time_to_live);
            let queue = Queue { priority: route.priority, endpoint };
            targets.push(Target { queue, time_to_live });
        }
        targets
    }

    /// Whether some route takes messages of this source, whatever they are.
    pub(crate) fn wants(&self, source: &str) -> bool {
        self.routes.iter().any(|route| route.route.matches(source))
    }

    /// How long messages for the hub wait on the route that gives up first; none: for ever.
    pub(crate) fn time_to_live_upstream(&self) -> Option<Duration> {
        let upstream = |route: &&RouteConfig| endpoint(&route.route) == Endpoint::Upstream;
        let routes = self.routes.iter().filter(upstream);
        routes.filter_map(|route| route.time_to_live.or(self.time_to_live)).min()
    }

    /// Every queue that a message may get into.
    pub(crate) fn queues(&self) -> BTreeSet<Queue> {
        let queue = |route: &RouteConfig| Queue {
            priority: route.priority,
            endpoint: endpoint(&route.route),
        };
        self.routes.iter().map(queue).collect()
    }
}

fn endpoint(route: &Route) -> Endpoint {
    match route.sink() {
        Sink::Upstream => Endpoint::Upstream,
        Sink::ModuleInput { module, input } => {
            Endpoint::Input { module: module.clone(), input: input.clone() }
        }
    }
}

/// A message on its way into the queues.
pub(crate) struct Routed<'m> {
    message: &'m Message,
    sender: &'m Sender<'m>,
    enqueued: jiff::Timestamp,
    source: String,
    message_type: Option<&'static str>,
}

/// Who sent messages, and how that was proved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender<'m> {
    pub(crate) identity: &'m IdentityId,
    pub(crate) generation: &'m GenerationId,
    pub(crate) method: AuthMethod,
    /// The device that this is.
    pub(crate) edge: &'m DeviceId,
}

impl<'m> Routed<'m> {
    /// Telemetry of a client.
    pub(crate) fn telemetry(
        message: &'m Message,
        sender: &'m Sender<'m>,
        enqueued: jiff::Timestamp,
    ) -> Self {
        let output = message.system(SystemProperty::OutputName);
        let source = source_of(sender.identity, sender.edge, output);
        Self { message, sender, enqueued, source, message_type: None }
    }

    /// A change of a client's reported properties; the client counts as who sent it.
    fn twin_change(
        message: &'m Message,
        sender: &'m Sender<'m>,
        enqueued: jiff::Timestamp,
    ) -> Self {
        let source = source::TWIN_CHANGES.to_owned();
        let message_type = Some(twin_changes::MESSAGE_TYPE);
        Self { message, sender, enqueued, source, message_type }
    }

    fn subject(&self) -> MessageSubject<'m> {
        let Sender { identity, generation, method, edge } = *self.sender;
        let is_internal = identity.device == *edge && identity.module.is_some();
        let arrival = Arrival {
            sender: identity,
            generation: Some(generation.as_str()),
            auth_method: auth_text(identity, method),
            enqueued: self.enqueued,
            interface: Some(if is_internal { "internal" } else { "downstream" }),
            message_type: self.message_type,
            twin: None,
        };
        MessageSubject::new(self.message, arrival, Rules::Edge)
    }
}

/// `$connectionAuthMethod` (er §5.2).
fn auth_text(identity: &IdentityId, method: AuthMethod) -> &'static str {
    let own = if identity.module.is_some() { AuthScope::Module } else { AuthScope::Device };
    match method {
        AuthMethod::DeviceSas => auth_method(AuthScope::Device, AuthType::Sas),
        AuthMethod::ModuleSas => auth_method(AuthScope::Module, AuthType::Sas),
        AuthMethod::PolicySas => auth_method(AuthScope::Hub, AuthType::Sas),
        AuthMethod::DeviceX509 => auth_method(AuthScope::Device, AuthType::X509),
        AuthMethod::ModuleX509 => auth_method(AuthScope::Module, AuthType::X509),
        AuthMethod::OnBehalf => auth_method(own, AuthType::Sas),
    }
}

/// The source text of telemetry (er §5.2). Modules of other devices count as their device's.
pub(crate) fn source_of(sender: &IdentityId, edge: &DeviceId, output: Option<&str>) -> String {
    match &sender.module {
        Some(module) if sender.device == *edge => match output {
            Some(output) if !output.is_empty() => source::module_output(module, output),
            _ => source::module_messages(module),
        },
        _ => source::DEVICE_MESSAGES.to_owned(),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream => f.write_str(UPSTREAM),
            Self::Input { module, input } => write!(f, "{module}/{input}"),
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.priority {
            PRIORITY_LAST => write!(f, "{LAST}/{}", self.endpoint),
            priority => write!(f, "{priority}/{}", self.endpoint),
        }
    }
}

/// The text is not a queue's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAQueue;

impl FromStr for Queue {
    type Err = NotAQueue;

    fn from_str(text: &str) -> Result<Self, NotAQueue> {
        let (priority, endpoint) = text.split_once('/').ok_or(NotAQueue)?;
        let priority = match priority {
            LAST => PRIORITY_LAST,
            number => number.parse().ok().filter(|p| *p <= 9).ok_or(NotAQueue)?,
        };
        let endpoint = match endpoint.split_once('/') {
            None if endpoint == UPSTREAM => Endpoint::Upstream,
            None => return Err(NotAQueue),
            Some((module, input)) => Endpoint::Input {
                module: module.parse().map_err(|_| NotAQueue)?,
                input: input.to_owned(),
            },
        };
        Ok(Self { priority, endpoint })
    }
}

const UPSTREAM: &str = "upstream";
/// Stands for [`PRIORITY_LAST`] in names.
const LAST: &str = "last";
/// A stream's name takes 255 bytes: a module id of 128, this and the priority.
const INPUT_BYTES_MAX: usize = 100;
