//! On what this device runs, and how well that is tested (`docs/reference/platforms.md`): tier 1 is
//! what CI runs on, tier 2 is everything else on which it should work.

use serde_json::{Value, json};

use super::facts::Facts;

/// Operating system, engine and architecture, as far as they could be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Platform {
    /// Name and version, as in `/etc/os-release`.
    pub(super) system: Option<(String, String)>,
    pub(super) engine: Option<EngineKind>,
    /// As the engine or the kernel names it.
    pub(super) architecture: Option<String>,
}

/// What runs the modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineKind {
    /// An engine with Docker's API, and its version.
    Engine(String),
    /// None: they are processes.
    Processes,
}

impl Platform {
    pub(super) fn of(facts: &Facts) -> Self {
        let info = facts.daemon.as_ref().ok().map(|daemon| &daemon.info);
        let engine = facts.engine.as_ref().and_then(|engine| engine.as_ref().ok());
        let kind = match facts.modules_are_processes() {
            Some(true) => Some(EngineKind::Processes),
            _ => engine.map(|engine| EngineKind::Engine(engine.version.clone())),
        };
        Self {
            system: info.and_then(|info| {
                let version = info.operating_system_version.clone().unwrap_or_default();
                Some((info.operating_system.clone()?, version))
            }),
            engine: kind,
            architecture: info.map(|info| info.architecture.clone()),
        }
    }

    /// 1 or 2; none when something could not be seen.
    pub(super) fn tier(&self) -> Option<u8> {
        let (name, version) = self.system.as_ref()?;
        let engine_is_tested = match self.engine.as_ref()? {
            EngineKind::Processes => true,
            EngineKind::Engine(version) => {
                TESTED_ENGINES.iter().any(|tested| begins_with(version, tested))
            }
        };
        let architecture = self.architecture.as_deref()?;
        let is_tested = TESTED_SYSTEMS.contains(&(name.as_str(), version.as_str()))
            && TESTED_ARCHITECTURES.contains(&architecture)
            && engine_is_tested;
        Some(if is_tested { 1 } else { 2 })
    }

    /// In one line, for people.
    pub(super) fn words(&self) -> String {
        let unseen = || "?".to_owned();
        let system = self.system.as_ref().map(|(name, version)| format!("{name} {version}"));
        let engine = self.engine.as_ref().map(|engine| match engine {
            EngineKind::Engine(version) => format!("engine {version}"),
            EngineKind::Processes => "no engine".to_owned(),
        });
        let tier = match self.tier() {
            Some(1) => "tier 1 (tested with every change)",
            Some(_) => "tier 2 (should work, and is not tested)",
            None => "tier unknown (not everything could be seen)",
        };
        format!(
            "{}, {}, {}: {tier}",
            system.unwrap_or_else(unseen),
            engine.unwrap_or_else(unseen),
            self.architecture.clone().unwrap_or_else(unseen),
        )
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        json!({ "tier": self.tier(), "description": self.words() })
    }
}

/// Whether a version is this one, whatever comes after its second number.
fn begins_with(version: &str, tested: &str) -> bool {
    version.strip_prefix(tested).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// As `/etc/os-release` names them.
const TESTED_SYSTEMS: [(&str, &str); 1] = [("debian", "12")];
/// Debian's Docker and podman.
const TESTED_ENGINES: [&str; 2] = ["20.10", "4.3"];
/// As the engine names it, and as the kernel does.
const TESTED_ARCHITECTURES: [&str; 2] = ["x86_64", "amd64"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_is_that_of_the_weakest_part() {
        let check = |system: (&str, &str), engine: EngineKind, architecture: &str, tier| {
            let platform = Platform {
                system: Some((system.0.to_owned(), system.1.to_owned())),
                engine: Some(engine),
                architecture: Some(architecture.to_owned()),
            };
            assert_eq!(platform.tier(), Some(tier), "{platform:?}");
        };
        let docker = || EngineKind::Engine("20.10.24+dfsg1".to_owned());
        check(("debian", "12"), docker(), "x86_64", 1);
        check(("debian", "12"), EngineKind::Engine("4.3.1".to_owned()), "amd64", 1);
        check(("debian", "12"), EngineKind::Processes, "x86_64", 1);
        check(("debian", "13"), docker(), "x86_64", 2);
        check(("ubuntu", "24.04"), docker(), "x86_64", 2);
        check(("debian", "12"), docker(), "aarch64", 2);
        check(("debian", "12"), EngineKind::Engine("4.30.1".to_owned()), "x86_64", 2);
        check(("debian", "12"), EngineKind::Engine("28.2.2".to_owned()), "x86_64", 2);
    }

    #[test]
    fn what_was_not_seen_is_not_judged() {
        let platform = Platform { architecture: Some("x86_64".to_owned()), ..Platform::default() };
        assert_eq!(platform.tier(), None);
        assert_eq!(platform.words(), "?, ?, x86_64: tier unknown (not everything could be seen)");
        assert_eq!(platform.to_json()["tier"], Value::Null);
    }
}
