//! `runtime.settings`: logging options and registry credentials (er §4.1, 4.6).

use std::fmt;

use crate::fields::{FieldError, Fields};
use crate::image::Image;

/// Settings of the container runtime.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuntimeConfig {
    /// Echoed in the report; not enforced.
    pub min_docker_version: Option<String>,
    /// Echoed in the report; not applied (use `HostConfig.LogConfig`).
    pub logging_options: Option<String>,
    /// Credentials for registries.
    pub registry_credentials: Vec<RegistryCredential>,
}

/// Credentials for one registry. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredential {
    /// Key in `registryCredentials`.
    pub name: String,
    /// The registry's address.
    pub address: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for RegistryCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredential")
            .field("name", &self.name)
            .field("address", &self.address)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl RuntimeConfig {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, FieldError> {
        fields
            .choice("type", &[("docker", ())])?
            .ok_or_else(|| fields.error("type", "is missing; set docker"))?;
        let Some(settings) = fields.object("settings")? else { return Ok(Self::default()) };
        Ok(Self {
            min_docker_version: settings.text("minDockerVersion")?,
            logging_options: settings.text("loggingOptions")?,
            registry_credentials: parse_credentials(&settings)?,
        })
    }

    /// The credentials for the image's registry, if there are any.
    pub fn credentials_for(&self, image: &Image) -> Option<&RegistryCredential> {
        let registry = image.registry()?;
        self.registry_credentials.iter().find(|entry| entry.address.eq_ignore_ascii_case(registry))
    }
}

fn parse_credentials(settings: &Fields<'_>) -> Result<Vec<RegistryCredential>, FieldError> {
    let Some(entries) = settings.object("registryCredentials")? else { return Ok(Vec::new()) };
    entries
        .entries()
        .map(|(name, value)| {
            let entry = entries.child(name, value)?;
            Ok(RegistryCredential {
                name: name.to_owned(),
                address: entry.required_text("address")?,
                username: entry.required_text("username")?,
                password: entry.required_text("password")?,
            })
        })
        .collect()
}
