//! Checks of the device's own configuration and of its daemon.

use jiff::SignedDuration;

use super::facts::{ConfigProblem, Facts};
use super::report::Outcome;

/// The id that others are skipped by without a configuration.
pub(super) const WELL_FORMED: &str = "aziot-edged-config-well-formed";
/// The id that others are skipped by when the daemon does not answer.
pub(super) const MANAGEMENT: &str = "connect-management-uri";

/// `aziot-edged-config-well-formed`.
pub(super) fn well_formed(facts: &Facts) -> Outcome {
    match &facts.config {
        Ok(_) => Outcome::Ok,
        Err(ConfigProblem::Denied(texts)) => Outcome::Fatal(texts.clone()),
        Err(ConfigProblem::Wrong(texts)) => Outcome::Error(texts.clone()),
    }
}

/// `hostname`: others have to find this device under that name.
pub(super) fn hostname(facts: &Facts) -> Outcome {
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    let machine = &facts.machine;
    let Some(name) = &config.hostname else {
        return match machine.parse::<pki::ServerName>() {
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::error(format!(
                "the machine's name {machine:?} cannot be used by others; set hostname in config.toml"
            )),
        };
    };
    if name.len() > HOST_NAME_LENGTH_MAX {
        return Outcome::warning(format!(
            "hostname has {} characters; more than {HOST_NAME_LENGTH_MAX} do not fit into a certificate's common name",
            name.len()
        ));
    }
    let first_label = |text: &str| text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let is_local = name.eq_ignore_ascii_case("localhost");
    if is_address
        || is_local
        || first_label(name) == machine.to_ascii_lowercase()
        || name.eq_ignore_ascii_case(machine)
    {
        return Outcome::Ok;
    }
    Outcome::error(format!(
        "hostname is {name:?} but the machine is called {machine:?}; devices would not find it: set hostname in \
         config.toml to {machine:?} or to a name that begins with \"{machine}.\""
    ))
}

/// `connect-management-uri`: the daemon answers at its management socket.
pub(super) fn management(facts: &Facts) -> Outcome {
    match &facts.daemon {
        Ok(_) => Outcome::Ok,
        Err(texts) => Outcome::Error(texts.clone()),
    }
}

/// `config-up-to-date`, `configs-up-to-date`: what is in the file is in effect.
pub(super) fn up_to_date(facts: &Facts) -> Outcome {
    if facts.config.is_err() {
        return Outcome::Skipped(WELL_FORMED);
    }
    match facts.applied {
        None => Outcome::Skipped(MANAGEMENT),
        // Both are known to the second.
        Some(applied) if applied.changed > applied.began + SignedDuration::from_secs(2) => {
            Outcome::warning(format!(
                "config.toml was changed at {}, after the runtime began at {}; bring it into effect with: \
                 sudo iotedge config apply",
                applied.changed, applied.began
            ))
        }
        Some(_) => Outcome::Ok,
    }
}

/// `keyd-running` and others: the daemon plays them all.
pub(super) fn service(facts: &Facts) -> Outcome {
    match facts.daemon {
        Ok(_) => Outcome::Ok,
        Err(_) => Outcome::Skipped(MANAGEMENT),
    }
}

/// `aziot-edge-version`.
pub(super) fn edge_version(facts: &Facts) -> Outcome {
    version(facts, facts.expected.daemon.as_deref(), "--expected-aziot-edged-version")
}

/// `aziot-version`.
pub(super) fn services_version(facts: &Facts) -> Outcome {
    version(facts, facts.expected.services.as_deref(), "--expected-aziot-version")
}

/// Nobody is asked over the network which version is the newest.
fn version(facts: &Facts, expected: Option<&str>, option: &str) -> Outcome {
    let Ok(daemon) = &facts.daemon else { return Outcome::Skipped(MANAGEMENT) };
    let running = &daemon.info.version;
    match expected {
        None if running != OWN_VERSION => Outcome::warning(format!(
            "the runtime that runs is {running}, the installed one {OWN_VERSION}; restart it with: \
             sudo iotedge system restart"
        )),
        None => Outcome::ignored(format!("name the version to compare with by {option}")),
        Some(expected) if expected != running => Outcome::warning(format!(
            "the runtime that runs is {running}, but {expected} is expected; update it"
        )),
        Some(_) => Outcome::Ok,
    }
}

/// `edge-ca-expiry`.
pub(super) fn edge_ca_expiry(facts: &Facts) -> Outcome {
    if facts.config.is_err() {
        return Outcome::Skipped(WELL_FORMED);
    }
    let end = match &facts.edge_ca_end {
        Some(Ok(end)) => *end,
        Some(Err(texts)) => return Outcome::Error(texts.clone()),
        None => {
            return Outcome::ignored(
                "the daemon's own Edge CA is renewed by it, and is not readable for this user",
            );
        }
    };
    if end <= facts.now {
        return Outcome::error(format!(
            "the Edge CA certificate expired at {end}; renew it, and check this machine's clock"
        ));
    }
    let left = end.duration_since(facts.now);
    if left < WARN_BEFORE {
        let hours = left.as_hours();
        return Outcome::warning(format!(
            "the Edge CA certificate ends in {hours} hours, at {end}; renew it"
        ));
    }
    Outcome::Ok
}

/// `check-agent-image`: there is nothing to pull, unless somebody expects another agent.
pub(super) fn agent_image(facts: &Facts) -> Outcome {
    let Ok(config) = &facts.config else { return Outcome::Skipped(WELL_FORMED) };
    let image = &config.agent.image;
    if image.starts_with(KNOWN_AGENT) {
        return Outcome::Ok;
    }
    Outcome::warning(format!(
        "[agent.config] names the image {image:?}, but the agent is part of the daemon; take the line out"
    ))
}

/// A common name has no more (RFC 5280, ub-common-name).
const HOST_NAME_LENGTH_MAX: usize = 64;
/// As the original (`edge-runtime.md` §6.3).
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(7 * 24);
const KNOWN_AGENT: &str = "mcr.microsoft.com/azureiotedge-agent";
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");
