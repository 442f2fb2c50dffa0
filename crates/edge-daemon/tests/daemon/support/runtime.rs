//! A module runtime that remembers what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use containers::{
    BoxError, EngineInfo, EventStream, ImageReference, LogFrame, LogOptions, LogSource, LogStream,
    ModuleName, ModuleRuntime, ModuleSpec, ModuleState, Notice, RegistryAuth, RuntimeError,
    RuntimeKind, RuntimeStatus,
};
use futures_util::stream;
use parking_lot::Mutex;

type BoxFuture<'a, T> =
    std::pin::Pin<Box<dyn Future<Output = Result<T, RuntimeError>> + Send + 'a>>;

#[derive(Default)]
pub(crate) struct FakeRuntime {
    /// Whether pulls wait.
    pub(crate) holds_pulls: tokio::sync::watch::Sender<bool>,
    state: Mutex<State>,
    /// Held by a test that wants stopping to take long.
    pub(crate) stopping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    modules: BTreeMap<ModuleName, (ModuleSpec, ModuleState)>,
    processes: BTreeSet<(String, u32)>,
    images: BTreeSet<String>,
    calls: Vec<String>,
    options: Vec<LogOptions>,
    is_registry_down: bool,
    is_engine_down: bool,
}

impl FakeRuntime {
    pub(crate) fn add_process(&self, module: &str, pid: u32) {
        self.state.lock().processes.insert((module.to_owned(), pid));
    }

    pub(crate) fn remove_process(&self, module: &str, pid: u32) {
        self.state.lock().processes.remove(&(module.to_owned(), pid));
    }

    pub(crate) fn set_registry_down(&self, down: bool) {
        self.state.lock().is_registry_down = down;
    }

    pub(crate) fn set_engine_down(&self, down: bool) {
        self.state.lock().is_engine_down = down;
    }

    /// What was done to modules since the last question.
    pub(crate) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().calls)
    }

    pub(crate) fn take_log_options(&self) -> Vec<LogOptions> {
        std::mem::take(&mut self.state.lock().options)
    }

    pub(crate) fn spec(&self, name: &str) -> ModuleSpec {
        self.state.lock().modules[&name.parse().unwrap()].0.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().modules.keys().map(ToString::to_string).collect()
    }

    /// A module that is there already, running.
    pub(crate) fn put(&self, name: &str) {
        let spec = ModuleSpec::new(name.parse().unwrap(), "there:1".parse().unwrap());
        let mut state = self.state.lock();
        let mut module = module_state(&spec);
        module.status = RuntimeStatus::Running;
        state.modules.insert(spec.name.clone(), (spec, module));
    }

    fn call<T>(
        &self,
        what: &str,
        name: &ModuleName,
        act: impl FnOnce(&mut State) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut state = self.state.lock();
        // Candidates have random names.
        let shown = match name.as_str().starts_with("farshore-candidate-") {
            true => "candidate",
            false => name.as_str(),
        };
        state.calls.push(format!("{what} {shown}"));
        if state.is_engine_down {
            return Err(unreachable());
        }
        act(&mut state)
    }

    fn set_status(
        &self,
        what: &str,
        name: &ModuleName,
        status: RuntimeStatus,
    ) -> Result<(), RuntimeError> {
        self.call(what, name, |state| {
            let module = state.modules.get_mut(name).ok_or_else(|| not_found(name))?;
            module.1.status = status;
            Ok(())
        })
    }
}

fn unreachable() -> RuntimeError {
    let source: BoxError = "connection refused".into();
    RuntimeError::EngineUnreachable { uri: "unix:///fake.sock".into(), source }
}

fn not_found(name: &ModuleName) -> RuntimeError {
    RuntimeError::NotFound { name: name.to_string() }
}

fn module_state(spec: &ModuleSpec) -> ModuleState {
    ModuleState {
        name: spec.name.clone(),
        image: spec.image.to_string(),
        image_id: Some("sha256:1234".into()),
        status: RuntimeStatus::Stopped,
        exit_code: None,
        started_at: Some("2026-11-25T00:00:00Z".parse().unwrap()),
        finished_at: None,
        description: Some("created".into()),
        pid: None,
        labels: spec.labels.clone(),
        env: spec.env.clone(),
    }
}

impl ModuleRuntime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn info(&self) -> BoxFuture<'_, EngineInfo> {
        Box::pin(async move {
            if self.state.lock().is_engine_down {
                return Err(unreachable());
            }
            Ok(EngineInfo {
                name: "fake".into(),
                version: "20.1".into(),
                os_type: "linux".into(),
                architecture: "x86_64".into(),
                cpus: 2,
                memory_bytes: 1024,
                ..EngineInfo::default()
            })
        })
    }

    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>> {
        Box::pin(async move {
            let state = self.state.lock();
            if state.is_engine_down {
                return Err(unreachable());
            }
            Ok(state.modules.values().map(|(_, module)| module.clone()).collect())
        })
    }

    fn get<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ModuleState> {
        Box::pin(async move {
            let state = self.state.lock();
            let module = state.modules.get(name).ok_or_else(|| not_found(name))?;
            Ok(module.1.clone())
        })
    }

    fn has_image<'a>(&'a self, image: &'a ImageReference) -> BoxFuture<'a, bool> {
        Box::pin(async move { Ok(self.state.lock().images.contains(&image.to_string())) })
    }

    fn pull<'a>(
        &'a self,
        image: &'a ImageReference,
        _auth: Option<&'a RegistryAuth>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.state.lock().calls.push(format!("pull {image}"));
            let _ = self.holds_pulls.subscribe().wait_for(|holds| !holds).await;
            let mut state = self.state.lock();
            if state.is_registry_down {
                return Err(RuntimeError::ImageUnavailable {
                    image: image.to_string(),
                    what: "no route".into(),
                });
            }
            state.images.insert(image.to_string());
            Ok(())
        })
    }

    fn create<'a>(&'a self, spec: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>> {
        Box::pin(async move {
            self.call("create", &spec.name, |state| {
                if spec.create_options.pointer("/HostConfig/PidMode").is_some() {
                    let (name, keys) = (spec.name.to_string(), "HostConfig.PidMode".to_owned());
                    return Err(RuntimeError::Elevated { name, keys });
                }
                if state.modules.contains_key(&spec.name) {
                    return Err(RuntimeError::Conflict { what: "name is taken".into() });
                }
                state.modules.insert(spec.name.clone(), (spec.clone(), module_state(spec)));
                Ok(Vec::new())
            })
        })
    }

    fn start<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.set_status("start", name, RuntimeStatus::Running) })
    }

    fn stop<'a>(&'a self, name: &'a ModuleName, _grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let _lasting = self.stopping.lock().await;
            self.set_status("stop", name, RuntimeStatus::Stopped)
        })
    }

    fn restart<'a>(&'a self, name: &'a ModuleName, _grace: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.set_status("restart", name, RuntimeStatus::Running) })
    }

    fn remove<'a>(&'a self, name: &'a ModuleName) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.call("remove", name, |state| {
                state.modules.remove(name);
                Ok(())
            })
        })
    }

    fn logs<'a>(&'a self, name: &'a ModuleName, options: LogOptions) -> BoxFuture<'a, LogStream> {
        Box::pin(async move {
            let mut state = self.state.lock();
            state.modules.get(name).ok_or_else(|| not_found(name))?;
            let follow = options.follow;
            state.options.push(options);
            let frame =
                |source, text: &'static str| Ok(LogFrame { source, bytes: text.as_bytes().into() });
            let frames = [frame(LogSource::Stdout, "hello\n"), frame(LogSource::Stderr, "oh\n")];
            let end = stream::iter(match follow {
                true => vec![Err(unreachable())],
                false => Vec::new(),
            });
            Ok(Box::pin(futures_util::StreamExt::chain(stream::iter(frames), end)) as LogStream)
        })
    }

    fn contains_process<'a>(&'a self, name: &'a ModuleName, pid: u32) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let state = self.state.lock();
            if state.is_engine_down {
                return Err(unreachable());
            }
            Ok(state.processes.contains(&(name.to_string(), pid)))
        })
    }

    fn events(&self) -> BoxFuture<'_, EventStream> {
        Box::pin(async move { Ok(Box::pin(stream::pending()) as EventStream) })
    }
}
