//! A place for a daemon: directory, runtime and hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::edge::{ManagementClient, WorkloadClient};
use edge_daemon::{AtEnd, Config, Daemon, DaemonError, DaemonSettings, HubDial};
use host::clock::Clock;
use host::http::{Client, Method, Request, Response};
use host::signals::Shutdown;
use tokio::task::JoinHandle;

pub(crate) mod hub;
pub(crate) mod runtime;

use hub::FakeHub;
use runtime::FakeRuntime;

/// The API version that requests name.
pub(crate) const VERSION: &str = "api-version=2022-08-03";

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) hub: FakeHub,
    pub(crate) at_end: AtEnd,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: Arc::new(FakeRuntime::default()),
            hub: FakeHub::start().await,
            at_end: AtEnd::LeaveModules,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn settings(&self, top: &str) -> DaemonSettings {
        let minimal = Config::minimal(&self.hub.connection_string(), Some("gw.local"));
        let text = format!("{top}\n{minimal}");
        DaemonSettings {
            config: Config::parse(&text, Path::new("config.toml"))
                .unwrap_or_else(|e| panic!("{e}")),
            homedir: self.path("home"),
            socket_dir: None,
            management_socket: self.path("mgmt.sock"),
            management_group: None,
            runtime: self.runtime.clone(),
            hub: HubDial {
                address: Some("127.0.0.1".into()),
                https_port: Some(self.hub.port),
                trust: Some(self.hub.ca_pem.clone()),
                proxy: None,
            },
            at_end: self.at_end,
            owner: None,
            deployed_images: tokio::sync::watch::channel(None).1,
            deployed_options: tokio::sync::watch::channel(None).1,
            version: "1.2.3".into(),
            clock: Clock::system(),
        }
    }

    pub(crate) async fn try_start(&self, top: &str) -> Result<Daemon, DaemonError> {
        Daemon::start(self.settings(top)).await
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with("").await
    }

    pub(crate) async fn start_with(&self, top: &str) -> Running {
        let daemon =
            self.try_start(top).await.unwrap_or_else(|e| panic!("{}", client::dial::chain(&e)));
        Running::new(daemon)
    }

    /// A daemon with a module that runs.
    pub(crate) async fn start_with_module(&self, name: &str) -> Running {
        let running = self.start().await;
        let spec = serde_json::from_value(serde_json::json!({
            "name": name, "type": "docker", "config": {"settings": {"image": "there:1"}, "env": []},
        }));
        self.management().create_module(&spec.unwrap()).await.unwrap();
        self.management().start_module(name).await.unwrap();
        self.runtime.take_calls();
        running
    }

    /// Workload socket of a module.
    pub(crate) fn socket(&self, module: &str) -> PathBuf {
        self.path("home/mnt").join(module).join("workload.sock")
    }

    /// This test's process counts as one of the module's.
    pub(crate) fn act_as(&self, module: &str) {
        self.runtime.add_process(module, std::process::id());
    }

    pub(crate) fn workload(&self, module: &str) -> WorkloadClient {
        WorkloadClient::new(&self.socket(module), module, "1")
    }

    pub(crate) fn management(&self) -> ManagementClient {
        ManagementClient::new(&self.path("mgmt.sock"))
    }

    /// A request as it is; `path` has its query.
    pub(crate) async fn ask(&self, socket: &Path, request: Request) -> Response {
        Client::unix(socket).send(request).await.unwrap_or_else(|e| panic!("{e:?}"))
    }

    pub(crate) async fn ask_management(&self, method: Method, path: &str) -> (u16, String) {
        let response = self.ask(&self.path("mgmt.sock"), Request::new(method, path)).await;
        (response.status.as_u16(), String::from_utf8(response.body.to_vec()).unwrap())
    }
}

/// A daemon that runs until it is told to end.
pub(crate) struct Running {
    pub(crate) shutdown: Shutdown,
    pub(crate) agent_socket: PathBuf,
    pub(crate) restarts: tokio::sync::watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Running {
    fn new(daemon: Daemon) -> Self {
        let shutdown = Shutdown::new();
        let agent_socket = daemon.agent_workload_socket();
        let restarts = daemon.agent_restarts();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { daemon.run(stop).await });
        Self { shutdown, agent_socket, restarts, task }
    }

    pub(crate) async fn end(self) {
        self.shutdown.trigger();
        self.task.await.unwrap();
    }
}
