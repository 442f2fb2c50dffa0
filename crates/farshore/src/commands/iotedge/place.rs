//! Where this machine's edge runtime is: installed, or started by `farshore up`.

use std::path::{Path, PathBuf};

use crate::commands::operator::connection::{LoginFile, data_dir, read_login};
use crate::commands::up::Paths;
use crate::commands::{Failure, USAGE};

/// The files of an edge runtime.
pub(super) struct Place {
    /// The management API's socket.
    pub(super) management_socket: PathBuf,
    /// The device's `config.toml`.
    pub(super) config: PathBuf,
    /// The daemon's directory.
    pub(super) homedir: PathBuf,
    /// Whether it is the installed one, which the service manager may run.
    pub(super) is_installed: bool,
    /// Whether its socket was named by the user; then its files are not known.
    pub(super) is_named: bool,
    /// How `farshore up` reaches its hub, when it is its device.
    pub(super) up: Option<LoginFile>,
}

impl Place {
    /// The installed runtime; that of `farshore up` when none is installed; with the socket that
    /// `host` names.
    pub(super) fn find(host: Option<&str>, data: Option<&Path>) -> Result<Self, Failure> {
        let mut place = match data {
            Some(data) => Self::up(data)?,
            None if is_there(INSTALLED_SOCKET) || is_there(INSTALLED_CONFIG) => Self::installed(),
            None => {
                let data = data_dir(None)?;
                match host::fs::exists(&Paths::new(data.clone()).config()) {
                    Ok(true) => Self::up(&data)?,
                    _ => Self::installed(),
                }
            }
        };
        if let Some(uri) = host {
            (place.is_installed, place.is_named) = (false, true);
            let path = client::edge::socket_path(uri);
            place.management_socket =
                path.map_err(|error| Failure::new(USAGE, error.to_string()))?;
        }
        Ok(place)
    }

    fn installed() -> Self {
        Self {
            management_socket: INSTALLED_SOCKET.into(),
            config: INSTALLED_CONFIG.into(),
            homedir: INSTALLED_HOMEDIR.into(),
            is_installed: true,
            is_named: false,
            up: None,
        }
    }

    fn up(data: &Path) -> Result<Self, Failure> {
        let paths = Paths::new(data.to_owned());
        Ok(Self {
            management_socket: paths.management_socket(),
            config: paths.config(),
            homedir: paths.edge(),
            is_installed: false,
            is_named: false,
            up: read_login(&paths.login())?,
        })
    }
}

/// What cannot be looked at is there: saying so is the opening's part.
fn is_there(path: &str) -> bool {
    host::fs::exists(Path::new(path)).unwrap_or(true)
}

const INSTALLED_SOCKET: &str = "/var/run/iotedge/mgmt.sock";
const INSTALLED_CONFIG: &str = "/etc/aziot/config.toml";
const INSTALLED_HOMEDIR: &str = "/var/lib/aziot/edged";
