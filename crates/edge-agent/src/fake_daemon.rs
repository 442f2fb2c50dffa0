//! A daemon for tests: the management and workload APIs on real unix sockets, modules that are
//! entries in a table, and calls that can be made to fail or to hang.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use host::http::{self, Incoming, Limits, StatusCode};
use host::signals::Shutdown;
use iot_proto::management::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, ErrorBody, ExitStatus,
    Identities, Identity, IdentityCreate, ManagementRoute, ModuleDetails, ModuleList, ModuleSpec,
    ModuleStatus, Pull, Pulls, RuntimeStatus, SystemInfo, WorkloadRoute,
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// The daemon; ends when it is dropped.
pub(crate) struct FakeDaemon {
    dir: tempfile::TempDir,
    pub(crate) state: Arc<Mutex<State>>,
    /// Calls that hang until they are taken out.
    pub(crate) holds: watch::Sender<BTreeSet<String>>,
    shutdown: Shutdown,
}

/// What the daemon has.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) modules: BTreeMap<String, FakeModule>,
    /// Module ids with their generations.
    pub(crate) identities: BTreeMap<String, String>,
    /// Everything that was asked for, but looks.
    pub(crate) calls: Vec<String>,
    /// Calls that fail, with their message.
    pub(crate) failing: BTreeMap<String, String>,
    /// Of those, the ones that fail with 404.
    pub(crate) refusing: BTreeSet<String>,
    /// Pulls under way, as they are shown.
    pub(crate) pulls: Vec<Pull>,
    generations: u32,
    /// What it was told of the agent.
    pub(crate) agent: Option<ModuleSpec>,
}

/// A module of the daemon.
#[derive(Clone)]
pub(crate) struct FakeModule {
    pub(crate) spec: ModuleSpec,
    pub(crate) status: &'static str,
    pub(crate) exit_code: Option<i64>,
}

impl FakeModule {
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        let env = &self.spec.config.env;
        env.iter().find(|entry| entry.key == name).map(|entry| entry.value.as_str())
    }
}

impl FakeDaemon {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Self {
            dir,
            state: Arc::default(),
            holds: watch::Sender::default(),
            shutdown: Shutdown::new(),
        };
        daemon.serve(daemon.management_socket());
        daemon.serve(daemon.workload_socket());
        daemon
    }

    pub(crate) fn management_socket(&self) -> PathBuf {
        self.dir.path().join("mgmt.sock")
    }

    pub(crate) fn workload_socket(&self) -> PathBuf {
        self.dir.path().join("workload.sock")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    pub(crate) fn fail(&self, call: &str, message: &str) {
        self.state.lock().failing.insert(call.into(), message.into());
    }

    /// The same, as what stays so until something else is asked for.
    pub(crate) fn refuse(&self, call: &str, message: &str) {
        self.fail(call, message);
        self.state.lock().refusing.insert(call.into());
    }

    pub(crate) fn mend(&self, call: &str) {
        self.state.lock().failing.remove(call);
    }

    pub(crate) fn hold(&self, call: &str) {
        self.holds.send_modify(|holds| {
            holds.insert(call.into());
        });
    }

    pub(crate) fn let_go(&self, call: &str) {
        self.holds.send_modify(|holds| {
            holds.remove(call);
        });
    }

    /// A module ends by itself.
    pub(crate) fn end(&self, name: &str, exit_code: i64) {
        let mut state = self.state.lock();
        let module = state.modules.get_mut(name).unwrap();
        module.status = if exit_code == 0 { "stopped" } else { "failed" };
        module.exit_code = Some(exit_code);
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().calls.clone()
    }

    /// What was asked for since the last time.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().calls)
    }

    pub(crate) fn module(&self, name: &str) -> Option<FakeModule> {
        self.state.lock().modules.get(name).cloned()
    }

    fn serve(&self, socket: PathBuf) {
        let listener = host::net::listen_unix(&socket, 0o600).unwrap();
        let (state, holds) = (self.state.clone(), self.holds.subscribe());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    stream = listener.accept() => stream,
                    () = shutdown.wait() => return,
                };
                let (state, holds) = (state.clone(), holds.clone());
                let service = http::service_fn(move |request| {
                    let (state, holds) = (state.clone(), holds.clone());
                    async move { Ok::<_, http::Never>(answer(request, state, holds).await) }
                });
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of the tests.
                    let _ =
                        http::serve_connection(stream, service, Limits::default(), &shutdown).await;
                });
            }
        });
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

type HttpRequest = hyper::Request<Incoming>;
type HttpResponse = hyper::Response<http::Full<bytes::Bytes>>;

async fn answer(
    request: HttpRequest,
    state: Arc<Mutex<State>>,
    mut holds: watch::Receiver<BTreeSet<String>>,
) -> HttpResponse {
    let (parts, body) = request.into_parts();
    assert!(parts.uri.query().is_some_and(|query| query.contains("api-version=")));
    let body = http::read_body(body, 1 << 20, Duration::from_secs(10)).await.unwrap();
    let path = parts.uri.path();
    if let Ok(route) = WorkloadRoute::parse(&parts.method, path)
        && route.module().is_some()
    {
        return workload(&route, &body);
    }
    let route = ManagementRoute::parse(&parts.method, path).unwrap();
    if let Some(call) = call_text(&route, &body) {
        state.lock().calls.push(call.clone());
        let watcher = Cancelled(Some((state.clone(), call.clone())));
        let _ = holds.wait_for(|holds| !holds.contains(&call)).await;
        watcher.done();
        let state = state.lock();
        if let Some(message) = state.failing.get(&call).cloned() {
            return match state.refusing.contains(&call) {
                true => refuse(StatusCode::NOT_FOUND, message),
                false => refuse(StatusCode::INTERNAL_SERVER_ERROR, message),
            };
        }
    }
    management(&route, &body, &mut state.lock())
}

/// Writes down that a call's client went away before its end.
struct Cancelled(Option<(Arc<Mutex<State>>, String)>);

impl Cancelled {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some((state, call)) = self.0.take() {
            state.lock().calls.push(format!("{call} given up"));
        }
    }
}

fn call_text(route: &ManagementRoute, body: &[u8]) -> Option<String> {
    use ManagementRoute as Route;
    let text = match route {
        Route::CreateModule => format!("create {}", read::<ModuleSpec>(body).name),
        Route::PrepareUpdate(name) => format!("pull {name}"),
        Route::DeleteModule(name) => format!("remove {name}"),
        Route::StartModule(name) => format!("start {name}"),
        Route::StopModule(name) => format!("stop {name}"),
        Route::RestartModule(name) => format!("restart {name}"),
        Route::CreateIdentity => format!("identity {}", read::<IdentityCreate>(body).module_id),
        Route::DeleteIdentity(id) => format!("no identity {id}"),
        _ => return None,
    };
    Some(text)
}

fn management(route: &ManagementRoute, body: &[u8], state: &mut State) -> HttpResponse {
    use ManagementRoute as Route;
    match route {
        Route::ListModules => {
            let modules = state.modules.values().map(details).collect();
            json(StatusCode::OK, &ModuleList { modules })
        }
        Route::ListIdentities => match state.failing.get("identities").cloned() {
            Some(message) => refuse(StatusCode::NOT_FOUND, message),
            None => {
                let identities = state.identities.iter().map(identity).collect();
                json(StatusCode::OK, &Identities { identities })
            }
        },
        Route::SystemInfo => {
            let info = SystemInfo {
                os_type: "linux".into(),
                architecture: "x86_64".into(),
                version: "1".into(),
                ..SystemInfo::default()
            };
            json(StatusCode::OK, &info)
        }
        Route::CreateIdentity => {
            let id = read::<IdentityCreate>(body).module_id;
            state.generations += 1;
            let generation = state.generations.to_string();
            state.identities.insert(id.clone(), generation.clone());
            json(StatusCode::OK, &identity((&id, &generation)))
        }
        Route::UpdateIdentity(id) => match state.identities.get_key_value(id) {
            Some(known) => json(StatusCode::OK, &identity(known)),
            None => refuse(StatusCode::BAD_REQUEST, "no such identity".into()),
        },
        Route::DeleteIdentity(id) => {
            state.identities.remove(id);
            empty()
        }
        Route::CreateModule => {
            let spec: ModuleSpec = read(body);
            let module = FakeModule { spec, status: "stopped", exit_code: None };
            let shown = details(&module);
            if state.modules.contains_key(&module.spec.name) {
                return refuse(StatusCode::CONFLICT, "name is in use".into());
            }
            state.modules.insert(module.spec.name.clone(), module);
            json(StatusCode::CREATED, &shown)
        }
        Route::PrepareUpdate(_) => empty(),
        Route::ListPulls => json(StatusCode::OK, &Pulls { pulls: state.pulls.clone() }),
        Route::UpdateModule(name) if name == "edgeAgent" => {
            let module = FakeModule { spec: read(body), status: "running", exit_code: None };
            let shown = details(&module);
            state.agent = Some(module.spec);
            json(StatusCode::CREATED, &shown)
        }
        Route::DeleteModule(name) => match state.modules.remove(name) {
            Some(_) => empty(),
            None => refuse(StatusCode::NOT_FOUND, "no such module".into()),
        },
        Route::StartModule(name) | Route::RestartModule(name) => set(state, name, "running"),
        Route::StopModule(name) => set(state, name, "stopped"),
        other => panic!("the agent asked for {other:?}"),
    }
}

fn set(state: &mut State, name: &str, status: &'static str) -> HttpResponse {
    match state.modules.get_mut(name) {
        Some(module) => {
            (module.status, module.exit_code) = (status, None);
            empty()
        }
        None => refuse(StatusCode::NOT_FOUND, "no such module".into()),
    }
}

/// Signs with zeros; "encrypts" by turning bits round.
fn workload(route: &WorkloadRoute, body: &[u8]) -> HttpResponse {
    let turned = |text: &str| {
        let bytes: Vec<u8> = STANDARD.decode(text).unwrap().iter().map(|byte| !byte).collect();
        STANDARD.encode(bytes)
    };
    match route {
        WorkloadRoute::Sign { .. } => {
            let digest = STANDARD.encode([0; 32]);
            json(StatusCode::OK, &iot_proto::management::SignResponse { digest })
        }
        WorkloadRoute::Encrypt { .. } => {
            let ciphertext = turned(&read::<EncryptRequest>(body).plaintext);
            json(StatusCode::OK, &EncryptResponse { ciphertext })
        }
        WorkloadRoute::Decrypt { .. } => {
            let plaintext = turned(&read::<DecryptRequest>(body).ciphertext);
            json(StatusCode::OK, &DecryptResponse { plaintext })
        }
        other => panic!("the agent asked for {other:?}"),
    }
}

fn details(module: &FakeModule) -> ModuleDetails {
    let mut config = module.spec.config.clone();
    config.env.clear();
    config.settings.insert("imageHash".into(), "sha256:1".into());
    let exit = module.exit_code.map(|code| ExitStatus {
        exit_time: "2026-11-25T00:00:01Z".into(),
        status_code: code.to_string(),
    });
    ModuleDetails {
        id: ModuleDetails::ID.into(),
        name: module.spec.name.clone(),
        r#type: module.spec.r#type.clone(),
        config,
        status: ModuleStatus {
            start_time: Some("2026-11-25T00:00:00Z".into()),
            exit_status: exit,
            runtime_status: RuntimeStatus { status: module.status.into(), description: None },
        },
    }
}

fn identity((id, generation): (&String, &String)) -> Identity {
    Identity {
        module_id: id.clone(),
        managed_by: Identity::MANAGED_BY_DEFAULT.into(),
        generation_id: generation.clone(),
        auth_type: "sas".into(),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap()
}

fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    let body = http::full(serde_json::to_vec(body).unwrap());
    hyper::Response::builder().status(status).body(body).unwrap()
}

fn empty() -> HttpResponse {
    hyper::Response::builder().status(StatusCode::NO_CONTENT).body(http::full("")).unwrap()
}

fn refuse(status: StatusCode, message: String) -> HttpResponse {
    json(status, &ErrorBody { message })
}
