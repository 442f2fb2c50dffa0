//! Writing a `config.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use toml::Value;

/// What a small `config.toml` says. Everything left out has its default.
#[derive(Clone, Copy, Default)]
pub struct Minimal<'a> {
    /// The device's connection string.
    pub connection_string: &'a str,
    /// The name under which modules and leaf devices reach the device.
    pub hostname: Option<&'a str>,
    /// A file with CAs that modules shall trust too.
    pub trust_bundle_cert: Option<&'a Path>,
    /// Variables that modules inherit.
    pub agent_env: Option<&'a BTreeMap<String, String>>,
}

impl Minimal<'_> {
    /// The file's text. It holds the device's key: write it with mode 0600.
    pub fn to_toml(&self) -> String {
        let mut text = String::from(HEAD);
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} = {}", Value::from(value));
        };
        if let Some(hostname) = self.hostname {
            line("hostname", hostname);
        }
        if let Some(path) = self.trust_bundle_cert {
            line("trust_bundle_cert", &format!("file://{}", path.display()));
        }
        text.push_str(POLICY);
        let _ = writeln!(text, "connection_string = {}", Value::from(self.connection_string));
        if let Some(env) = self.agent_env.filter(|env| !env.is_empty()) {
            text.push_str("\n[agent.env]\n");
            for (name, value) in env {
                let _ = writeln!(
                    text,
                    "{} = {}",
                    Value::from(name.as_str()),
                    Value::from(value.as_str())
                );
            }
        }
        text
    }
}

impl std::fmt::Debug for Minimal<'_> {
    /// Keys never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minimal").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

const HEAD: &str = "\
# Settings of this edge device, in the form of Azure IoT Edge.
# The file holds the device's key: keep it readable by its owner only (mode 0600).

";

const POLICY: &str = "
# Deployments may not ask for power over this machine (Privileged, CapAdd, host paths).
allow_elevated_docker_permissions = false
auto_reprovisioning_mode = \"OnErrorOnly\"

[provisioning]
source = \"manual\"
";
