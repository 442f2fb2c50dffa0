//! Where `farshore up` keeps things.
//!
//! ```text
//! hub/          the hub's data directory
//! edge/         the edge daemon's and the agent's
//! edge-hub/     the edge hub's store, when it is a container
//! processes/    modules that are processes
//! config.toml   the device's configuration, in Azure's form
//! login.toml    how the operator's commands reach the hub; mode 0600
//! run/          sockets
//! ```

use std::path::{Path, PathBuf};

use host::fs::{self, FsError};

use crate::commands::{FAILED, Failure, USAGE};
use crate::compose::hub::RunningHub;

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

/// Tells a directory of ours from one that `--reset` must not touch.
const MARK: &str = "farshore-up";

impl Paths {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn hub(&self) -> PathBuf {
        self.root.join("hub")
    }

    pub(crate) fn edge(&self) -> PathBuf {
        self.root.join("edge")
    }

    pub(crate) fn processes(&self) -> PathBuf {
        self.root.join("processes")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    pub(crate) fn login(&self) -> PathBuf {
        self.root.join("login.toml")
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.root.join("run/modules")
    }

    pub(crate) fn management_socket(&self) -> PathBuf {
        self.root.join("run/mgmt.sock")
    }

    /// What no module may see: keys, stores and sockets.
    pub(crate) fn secret(&self) -> Vec<PathBuf> {
        vec![
            self.hub(),
            self.edge(),
            self.processes(),
            self.root.join("run"),
            self.config(),
            self.login(),
        ]
    }

    /// The host folder of the edge hub's journal; made here, so that the engine does not.
    pub(crate) fn edge_hub_storage(&self) -> Result<PathBuf, FsError> {
        let path = self.root.join("edge-hub");
        fs::create_private_dir(&path)?;
        Ok(path)
    }

    /// Whether a device ran from here before: then the engine's containers are its own.
    pub(crate) fn has_device(&self) -> Result<bool, FsError> {
        fs::exists(&self.edge().join("cache/provisioning_state"))
    }

    pub(crate) fn create(&self) -> Result<(), Failure> {
        if fs::exists(&self.root)? && !self.is_ours()? && !fs::list(&self.root)?.is_empty() {
            let root = self.root.display();
            return Err(Failure::new(
                USAGE,
                format!("{root} holds other files; choose an empty directory with --data"),
            ));
        }
        fs::create_dir(&self.root)?;
        fs::write_atomic(&self.root.join(MARK), b"data of `farshore up`\n", 0o644)?;
        fs::create_dir(&self.root.join("run"))?;
        Ok(fs::create_dir(&self.sockets())?)
    }

    /// Removes everything of an earlier run.
    pub(crate) fn reset(&self) -> Result<(), Failure> {
        if !fs::exists(&self.root)? {
            return Ok(());
        }
        if !self.is_ours()? {
            let root = self.root.display();
            return Err(Failure::new(
                USAGE,
                format!("{root} was not made by `farshore up`; it is left alone"),
            ));
        }
        let store = self.hub().join("store/lock");
        if fs::exists(&store)? && fs::lock_exclusive(&store).is_err() {
            return Err(Failure::new(
                FAILED,
                "another `farshore up` uses this data; stop it first",
            ));
        }
        fs::remove_dir_all(&self.root)?;
        Ok(())
    }

    fn is_ours(&self) -> Result<bool, FsError> {
        fs::exists(&self.root.join(MARK))
    }

    /// The device's configuration; it holds the device's key.
    pub(crate) fn write_config(
        &self,
        connection_string: &str,
        host_name: &str,
    ) -> Result<(), FsError> {
        let text = edge_daemon::Config::minimal(connection_string, Some(host_name));
        fs::write_atomic(&self.config(), text.as_bytes(), 0o600)
    }

    /// What the operator's commands need, so that they work in another terminal without a word.
    pub(crate) fn write_login(&self, login: &str, hub: &RunningHub) -> Result<(), FsError> {
        let ca = self.hub().join("ca.pem").display().to_string();
        let value = |text: &str| toml::Value::from(text);
        let text = format!(
            "# Written by `farshore up`; read by the operator's commands.\nlogin = {}\nca = {}\nhttps_port = {}\nmqtt_port = {}\namqp_port = {}\n",
            value(login),
            value(&ca),
            hub.https_port,
            hub.mqtt_port,
            hub.amqp_port
        );
        fs::write_atomic(&self.login(), text.as_bytes(), 0o600)
    }
}

/// `$XDG_DATA_HOME/farshore`, or `~/.local/share/farshore`.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    if let Some(dir) = host::env::var("XDG_DATA_HOME")? {
        return Ok(Path::new(&dir).join("farshore"));
    }
    match host::env::var("HOME")? {
        Some(home) => Ok(Path::new(&home).join(".local/share/farshore")),
        None => Err(Failure::new(
            USAGE,
            "neither XDG_DATA_HOME nor HOME is set; name a directory with --data",
        )),
    }
}

/// The machine's name, as certificates take it.
pub(crate) fn machine_name() -> Result<String, Failure> {
    let name = fs::read_to_string(Path::new("/proc/sys/kernel/hostname"))?;
    Ok(name.trim().to_ascii_lowercase())
}
