//! Rows about this machine and its configuration.

use edge_daemon::config::{DeviceCredential, EdgeCaConfig};
use jiff::SignedDuration;

use super::Finding;
use super::numbers::size_words;
use crate::commands::iotedge::check::facts::Facts;
use crate::commands::iotedge::check::facts::production::Production;
use crate::commands::iotedge::check::report::Outcome;
use crate::commands::iotedge::check::{configuration, connectivity, storage};

/// `prod-edge-ca-not-quickstart`.
pub(super) fn certificates(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    let plain = configuration::edge_ca_expiry(facts);
    if let Outcome::Error(_) | Outcome::Warning(_) = plain {
        return Finding::of(plain, CA_FIX);
    }
    match (&config.edge_ca, &facts.edge_ca) {
        (EdgeCaConfig::Own { .. }, _) => Finding::warn(
            "the Edge CA is made by the daemon itself (quickstart): leaf devices cannot know it beforehand",
            CA_FIX,
        ),
        (EdgeCaConfig::Files { .. }, Some(pair)) => match (&pair.fit, &pair.life) {
            (Some(Ok(())), Ok(life)) => {
                let left = life.end.duration_since(facts.now);
                let text = format!("the Edge CA ends at {}", life.end);
                match left < RENEW_BEFORE {
                    true => Finding::warn(text, CA_FIX),
                    false => Finding::pass(text),
                }
            }
            _ => Finding::fail(
                format!(
                    "{} and {} are no pair that can be read",
                    pair.certificate.display(),
                    pair.key.display()
                ),
                CA_FIX,
            ),
        },
        (EdgeCaConfig::Files { .. }, None) => {
            Finding::unknown("the Edge CA's files were not looked at")
        }
    }
}

/// `prod-update-channel`. The plan is the operator's; what shows here is whether it is carried out.
pub(super) fn updates(facts: &Facts, production: &Production) -> Finding {
    let care = production.care;
    let version = configuration::edge_version(facts);
    match (&version, care.restart_is_due, care.updates_itself) {
        (Outcome::Warning(_), ..) => Finding::of(version, "sudo iotedge system restart"),
        (_, true, _) => Finding::warn("updates of the system wait for a restart", "sudo reboot"),
        (_, false, Some(false)) => Finding::warn(
            "updates of the system are not installed by themselves, and no other plan shows here",
            "sudo apt-get install unattended-upgrades && sudo dpkg-reconfigure unattended-upgrades",
        ),
        (_, false, Some(true)) => {
            Finding::pass("updates of the system are installed by themselves")
        }
        (_, false, None) => Finding::unknown("this system does not tell how it is updated"),
    }
}

/// `prod-engine`.
pub(super) fn engine(facts: &Facts, _: &Production) -> Finding {
    if facts.modules_are_processes() == Some(true) {
        return Finding::warn(
            "modules run as processes, without a container engine: nothing separates them",
            "sudo apt-get install moby-engine && sudo iotedge system restart",
        );
    }
    let engine = match &facts.engine {
        None => return Finding::unknown(NO_CONFIG),
        Some(Err(texts)) => return Finding::fail(texts.join("; "), "sudo systemctl start docker"),
        Some(Ok(engine)) => engine,
    };
    let driver = engine.storage_driver.as_deref().unwrap_or("unknown");
    if driver == "vfs" {
        return Finding::warn(
            "the engine keeps layers with vfs, which copies every image whole",
            "set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json, then: sudo systemctl restart docker",
        );
    }
    if engine.cgroup_version.as_deref() == Some("1") {
        return Finding::warn(
            "the machine has control groups of version 1, which engines are about to drop",
            "boot with systemd.unified_cgroup_hierarchy=1",
        );
    }
    Finding::pass(format!("{} with {driver}", engine.version))
}

/// `prod-storage`.
pub(super) fn storage(facts: &Facts, production: &Production) -> Finding {
    for outcome in [storage::edge_agent(facts), storage::edge_hub(facts)] {
        if let Outcome::Warning(_) | Outcome::Error(_) | Outcome::Skipped(_) = outcome {
            return Finding::of(outcome, STORAGE_FIX);
        }
    }
    match &production.store_space {
        None => Finding::pass("no messages wait here yet"),
        Some(Err(texts)) => Finding::fail(texts.join("; "), STORAGE_FIX),
        Some(Ok(space)) => {
            let text = format!("{} has {} free", space.path.display(), size_words(space.free));
            match space.free < STORE_FREE_MIN {
                true => {
                    Finding::warn(text, "move storageFolder to a larger disk in the deployment")
                }
                false => Finding::pass(text),
            }
        }
    }
}

/// `prod-memory`: three quarters of the container's bound; without one, a quarter of the machine.
pub(super) fn memory(facts: &Facts, production: &Production) -> Finding {
    let Some(used) = production.edge_hub_memory else {
        return Finding::unknown("the engine does not tell how much memory edgeHub takes");
    };
    let bound = facts.containers.get("edgeHub").map(|container| container.host.memory);
    let bound = bound.filter(|bound| *bound > 0);
    let (bound, most, whose) = match (bound, production.memory_total) {
        (Some(bound), _) => (bound, bound / 4 * 3, "its bound"),
        (None, Some(total)) if total > 0 => (total, total / 4, "the machine's memory"),
        _ => return Finding::unknown("neither a bound nor the machine's memory is known"),
    };
    let text = format!("edgeHub takes {} of {}, {whose}", size_words(used), size_words(bound));
    match used > most {
        true => Finding::warn(
            text,
            "switch off what no client uses: amqpSettings__enabled, mqttSettings__enabled or httpSettings__enabled = false in edgeHub's env",
        ),
        false => Finding::pass(text),
    }
}

/// `prod-image-gc`.
pub(super) fn garbage_collection(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    let collection = config.image_garbage_collection;
    let days = |time: std::time::Duration| time.as_secs() / 86_400;
    if !collection.enabled {
        return Finding::warn(
            "images that nothing uses are kept for ever",
            "set enabled = true in [image_garbage_collection] of config.toml, then: sudo iotedge config apply",
        );
    }
    Finding::pass(format!(
        "images unused for {} day(s) go every {} day(s)",
        days(collection.age),
        days(collection.recurrence)
    ))
}

/// `prod-logs`.
pub(super) fn logs(facts: &Facts, production: &Production) -> Finding {
    let clock = connectivity::local_time(facts);
    if let Outcome::Warning(_) = clock {
        return Finding::of(clock, "sudo timedatectl set-ntp true");
    }
    match production.care.journal_persists {
        None => Finding::unknown("no systemd runs here: the logs' place is not known"),
        Some(true) => Finding::pass("the system's journal outlives a restart"),
        Some(false) => Finding::warn(
            "the system's journal is lost at a restart",
            "sudo mkdir -p /var/log/journal && sudo systemctl restart systemd-journald",
        ),
    }
}

/// `prod-identity`: keys can be copied, and one certificate cannot be rotated.
pub(super) fn identity(facts: &Facts, _: &Production) -> Finding {
    let Ok(config) = &facts.config else { return Finding::unknown(NO_CONFIG) };
    let device = &config.provisioning.device;
    match (&config.provisioning.credential, &facts.identity) {
        (DeviceCredential::Key(_) | DeviceCredential::KeyFile(_), _) => Finding::warn(
            "the device proves itself by a symmetric key, the weakest way",
            format!(
                "register {device} with a certificate, and name it in [provisioning.authentication]: method = \"x509\""
            ),
        ),
        (_, Some(pair)) => match &pair.life {
            Err(texts) => Finding::fail(texts.join("; "), "sudo iotedge config apply"),
            Ok(life) if life.is_self_issued => Finding::warn(
                "the device proves itself by a certificate's thumbprint: with one alone it cannot be \
                 rotated without a gap; whether a second is registered does not show here",
                format!(
                    "register a second thumbprint: farshore device update {device}; or use a CA"
                ),
            ),
            Ok(_) => {
                Finding::pass("the device proves itself by a certificate that an authority issued")
            }
        },
        (_, None) => Finding::unknown("the identity certificate was not looked at"),
    }
}

pub(super) const NO_CONFIG: &str = "there is no configuration";
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Less is filled within a day by few modules.
const STORE_FREE_MIN: u64 = 256 << 20;
const CA_FIX: &str =
    "name cert and pk of your own CA in [edge_ca] of config.toml, then: sudo iotedge config apply";
const STORAGE_FIX: &str = "bind a folder of the host to storageFolder of edgeAgent and edgeHub in the deployment, \
                           such as HostConfig.Binds [\"/var/lib/edgeHub:/storage\"]";
