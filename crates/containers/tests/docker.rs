//! The Docker runtime and the image making against a real engine.
//!
//! Needs an engine at `FARSHORE_TEST_DOCKER` (default
//! `unix:///var/run/docker.sock`) and a static busybox (Debian's
//! `busybox-static`); nothing is pulled. Without an engine these tests fail,
//! unless `FARSHORE_TEST_WITHOUT` names `docker`.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail a test")]

use std::path::Path;
use std::time::Duration;

use containers::image::{ImageConfig, ImageStore};
use containers::{
    Bind, Catalogue, DockerRuntime, DockerSettings, HostPolicy, ImageReference, LogOptions,
    LogSource, ModuleEventKind, ModuleName, ModuleRuntime, ModuleSpec, NetworkSettings, Notice,
    RuntimeError, RuntimeStatus,
};
use futures_util::{StreamExt, TryStreamExt};
use host::clock::Clock;
use serde_json::json;

/// An engine with the test's image, and one module that is removed at the end.
struct Fixture {
    runtime: DockerRuntime,
    name: ModuleName,
}

/// `None` when the caller asked for leaving these tests out.
async fn fixture(name: &str, allow_elevated: bool) -> Option<Fixture> {
    let left_out = host::env::var("FARSHORE_TEST_WITHOUT").unwrap().unwrap_or_default();
    if left_out.split(',').any(|group| group == "docker") {
        return None;
    }
    let uri = engine_uri();
    let runtime = DockerRuntime::connect(DockerSettings {
        uri: uri.clone(),
        network: NetworkSettings { name: NETWORK.to_owned(), ..Default::default() },
        allow_elevated,
        policy: HostPolicy::default(),
            protected_paths: Vec::new(),
        catalogue: Catalogue::empty(),
    })
    .await
    .unwrap_or_else(|error| {
        panic!("{error}\nThese tests need a container engine: start `dockerd`, or set FARSHORE_TEST_WITHOUT=docker")
    });
    let store = ImageStore::connect(&uri).await.unwrap();
    let config = ImageConfig {
        binary_name: "busybox".into(),
        entrypoint: vec!["/busybox".into(), "sh".into(), "-c".into()],
        ..Default::default()
    };
    store
        .build(&image(), Path::new("/bin/busybox"), &config)
        .await
        .expect("busybox-static is installed");

    let name: ModuleName = name.parse().unwrap();
    runtime.remove(&name).await.unwrap();
    Some(Fixture { runtime, name })
}

impl Fixture {
    fn spec(&self, script: &str) -> ModuleSpec {
        ModuleSpec {
            create_options: json!({ "Cmd": [script] }),
            ..ModuleSpec::new(self.name.clone(), image())
        }
    }

    async fn run(&self, spec: &ModuleSpec) {
        self.runtime.create(spec).await.unwrap();
        self.runtime.start(&self.name).await.unwrap();
    }

    /// Everything logged, following to the end of the module.
    async fn output(&self, options: LogOptions) -> String {
        let frames = self.runtime.logs(&self.name, options).await.unwrap();
        let frames = Clock::system().timeout(PATIENCE, frames.try_collect::<Vec<_>>()).await;
        let frames = frames.expect("the module ends").unwrap();
        frames.iter().map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect()
    }

    async fn finish(self) {
        self.runtime.remove(&self.name).await.unwrap();
        assert!(self.runtime.get(&self.name).await.unwrap_err().is_not_found());
    }
}

fn following() -> LogOptions {
    LogOptions { follow: true, ..Default::default() }
}

#[tokio::test]
async fn a_module_lives_from_create_to_remove() {
    let Some(fixture) = fixture("farshore-test-life", true).await else { return };
    let (runtime, name) = (&fixture.runtime, &fixture.name);
    let mut spec = fixture.spec("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done");
    spec.labels.insert("x".to_owned(), "y".to_owned());
    runtime.create(&spec).await.unwrap();
    let created = runtime.get(name).await.unwrap();
    assert_eq!(
        (created.status, created.exit_code, created.started_at),
        (RuntimeStatus::Stopped, None, None)
    );
    assert_eq!(created.image, image().to_string());
    assert_eq!(created.labels["x"], "y");
    assert!(matches!(runtime.create(&spec).await, Err(RuntimeError::Conflict { .. })));

    let mut events = runtime.events().await.unwrap();
    runtime.start(name).await.unwrap();
    runtime.start(name).await.unwrap();
    let started = runtime.get(name).await.unwrap();
    assert_eq!((started.status, started.exit_code), (RuntimeStatus::Running, None));
    let pid = started.pid.unwrap();
    assert!(runtime.contains_process(name, pid).await.unwrap());
    assert!(!runtime.contains_process(name, std::process::id()).await.unwrap());
    assert!(runtime.list().await.unwrap().iter().any(|module| module.name == *name));

    // "up" means that the trap is set.
    let mut log = runtime.logs(name, following()).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap().bytes, "up\n");
    runtime.stop(name, Duration::from_secs(20)).await.unwrap();
    runtime.stop(name, Duration::from_secs(20)).await.unwrap();
    let stopped = runtime.get(name).await.unwrap();
    assert_eq!((stopped.status, stopped.exit_code), (RuntimeStatus::Failed, Some(3)));
    assert!(stopped.finished_at.unwrap() >= started.started_at.unwrap());

    runtime.restart(name, Duration::from_secs(1)).await.unwrap();
    let restarted = runtime.get(name).await.unwrap();
    assert_eq!(restarted.status, RuntimeStatus::Running);
    assert!(restarted.started_at > started.started_at);
    // Running modules are removed too.
    runtime.remove(name).await.unwrap();
    runtime.remove(name).await.unwrap();

    let mut kinds = Vec::new();
    while kinds.last() != Some(&ModuleEventKind::Removed) {
        let event = events.next().await.unwrap().unwrap();
        if event.name == *name {
            kinds.push(event.kind);
        }
    }
    use ModuleEventKind::{Ended, Removed, Started};
    assert_eq!(kinds, [Started, Ended, Started, Ended, Removed]);
    fixture.finish().await;
}

#[tokio::test]
async fn logs_keep_source_and_answer_tail_since_and_timestamps() {
    let Some(fixture) = fixture("farshore-test-logs", true).await else { return };
    fixture.run(&fixture.spec("echo one; sleep 1.1; echo two >&2; echo three")).await;
    let frames = fixture.runtime.logs(&fixture.name, following()).await.unwrap();
    let frames: Vec<_> = frames.try_collect().await.unwrap();
    let on = |source| {
        let frames = frames.iter().filter(move |frame| frame.source == source);
        frames.map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect::<String>()
    };
    assert_eq!(on(LogSource::Stdout), "one\nthree\n");
    assert_eq!(on(LogSource::Stderr), "two\n");
    let wire = frames.iter().find(|frame| frame.source == LogSource::Stderr).unwrap().to_wire();
    assert_eq!(&wire[..], b"\x02\0\0\0\0\0\0\x04two\n");

    let all = fixture.output(LogOptions { timestamps: true, ..Default::default() }).await;
    let time_of = |word: &str| {
        let line = all.lines().find(|line| line.ends_with(word)).unwrap();
        line.split_once(' ').unwrap().0.parse::<jiff::Timestamp>().unwrap()
    };
    let tail = fixture.output(LogOptions { tail: Some(1), ..Default::default() }).await;
    assert!(tail == "three\n" || tail == "two\n", "{tail}");
    // podman tells whole seconds.
    let is_podman = fixture.runtime.info().await.unwrap().name == "podman";
    let step = if is_podman { Duration::from_secs(1) } else { Duration::from_nanos(1) };
    let just_after_one = time_of("one") + step;
    let since =
        fixture.output(LogOptions { since: Some(just_after_one), ..Default::default() }).await;
    assert!(!since.contains("one") && since.contains("two") && since.contains("three"), "{since}");
    let until =
        fixture.output(LogOptions { until: Some(just_after_one), ..Default::default() }).await;
    assert_eq!(until, "one\n");
    fixture.finish().await;
}

#[tokio::test]
async fn environment_labels_and_unknown_options_arrive() {
    let Some(fixture) = fixture("farshore-test-env", true).await else { return };
    let mut spec = fixture.spec("");
    spec.env = [("A".to_owned(), "ours".to_owned()), ("B".to_owned(), "ours".to_owned())].into();
    spec.create_options = json!({
        "Cmd": ["echo $A $B"], "Env": ["A=theirs"], "KeyOfTheFuture": { "x": 1 },
        "HostConfig": { "AlsoOfTheFuture": true, "RestartPolicy": { "Name": "no" } },
    });
    fixture.run(&spec).await;
    assert_eq!(fixture.output(following()).await, "theirs ours\n");
    let state = fixture.runtime.get(&fixture.name).await.unwrap();
    assert_eq!(state.env["A"], "theirs");
    assert_eq!((state.status, state.exit_code), (RuntimeStatus::Stopped, Some(0)));
    fixture.finish().await;
}

#[tokio::test]
async fn modules_reach_each_other_by_name_and_alias_and_the_host_by_gateway() {
    let Some(server) = fixture("farshore-test-server", true).await else { return };
    let Some(client) = fixture("farshore-test-client", true).await else { return };
    let mut spec = server.spec("echo hello | nc -l -p 8080; echo again | nc -l -p 8080");
    spec.network_aliases = vec!["my.gateway.host".to_owned()];
    server.run(&spec).await;
    let script = "ask() { until nc $1 8080 < /dev/null 2> /dev/null; do sleep 0.1; done; }; ask my.gateway.host; ask farshore-test-server";
    client.run(&client.spec(script)).await;
    assert_eq!(client.output(following()).await, "hello\nagain\n");
    assert!(server.runtime.network_gateway().await.unwrap().is_some());
    client.finish().await;
    server.finish().await;
}

#[tokio::test]
async fn binds_carry_a_socket_into_the_module() {
    let Some(fixture) = fixture("farshore-test-bind", true).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("workload.sock");
    let _listener = host::net::listen_unix(&socket, 0o666).unwrap();
    let mut spec = fixture
        .spec("test -S /var/run/iotedge/workload.sock && echo there; touch /ro/x || echo kept");
    spec.binds = vec![
        Bind::new(&socket, "/var/run/iotedge/workload.sock"),
        Bind { read_only: true, ..Bind::new(dir.path(), "/ro") },
    ];
    fixture.run(&spec).await;
    let output = fixture.output(following()).await;
    assert!(output.contains("there\n") && output.contains("kept\n"), "{output}");
    fixture.finish().await;
}

#[tokio::test]
async fn elevated_permissions_are_taken_away_on_the_engine_too() {
    let Some(fixture) = fixture("farshore-test-caps", false).await else { return };
    let mut spec = fixture.spec("");
    spec.create_options =
        json!({ "Cmd": ["grep CapBnd /proc/self/status"], "hostconfig": { "privileged": true } });
    let notices = fixture.runtime.create(&spec).await.unwrap();
    assert_eq!(
        notices,
        [Notice::ElevatedRemoved { keys: vec!["HostConfig.Privileged".to_owned()] }]
    );
    fixture.runtime.start(&fixture.name).await.unwrap();
    let output = fixture.output(following()).await;
    let bounding = u64::from_str_radix(output.split_whitespace().last().unwrap(), 16).unwrap();
    for (capability, name) in [(0, "CHOWN"), (7, "SETUID"), (21, "SYS_ADMIN")] {
        assert_eq!(bounding & (1 << capability), 0, "{name} in {bounding:x}");
    }
    assert_ne!(bounding & (1 << 5), 0, "KILL is usual");
    fixture.finish().await;
}

#[tokio::test]
async fn failures_name_what_is_wrong() {
    let Some(fixture) = fixture("farshore-test-fail", true).await else { return };
    let missing = ModuleSpec::new(fixture.name.clone(), "farshore-test/missing:1".parse().unwrap());
    let error = fixture.runtime.create(&missing).await.unwrap_err();
    assert!(matches!(error, RuntimeError::ImageUnavailable { .. }), "{error}");
    assert!(!fixture.runtime.has_image(&missing.image).await.unwrap());
    assert!(fixture.runtime.has_image(&image()).await.unwrap());

    let mut pinned = fixture.spec("true");
    pinned.digest = Some(format!("sha256:{}", "0".repeat(64)));
    let error = fixture.runtime.create(&pinned).await.unwrap_err();
    assert!(error.to_string().contains("does not have digest"), "{error}");

    let mut wrong = fixture.spec("true");
    wrong.create_options["HostConfig"] = json!({ "Memory": "much" });
    let error = fixture.runtime.create(&wrong).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Engine { .. }), "{error}");
    assert!(error.to_string().contains("Memory"), "{error}");

    let mut no_program = fixture.spec("true");
    no_program.create_options["Entrypoint"] = json!(["/no/such/program"]);
    fixture.runtime.create(&no_program).await.unwrap();
    let error = fixture.runtime.start(&fixture.name).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let state = fixture.runtime.get(&fixture.name).await.unwrap();
    // podman forgets why.
    if fixture.runtime.info().await.unwrap().name == "docker" {
        assert!(state.description.unwrap().contains("/no/such/program"));
    }
    fixture.finish().await;
}

#[tokio::test]
async fn images_are_loaded_once_and_again_when_they_change() {
    let Some(fixture) = fixture("farshore-test-image", true).await else { return };
    let store = ImageStore::connect(&engine_uri()).await.unwrap();
    let reference: ImageReference = "farshore-test/content:1".parse().unwrap();
    let build = |cmd: &str| {
        let config = ImageConfig {
            binary_name: "busybox".into(),
            entrypoint: vec!["/busybox".into(), "sh".into(), "-c".into()],
            cmd: vec![cmd.to_owned()],
            user: "13623:13623".to_owned(),
            directories: vec![containers::image::Directory {
                path: "/data".into(),
                mode: 0o700,
                owner: 13623,
            }],
            ..Default::default()
        };
        let (store, reference) = (&store, &reference);
        async move { store.build(reference, Path::new("/bin/busybox"), &config).await.unwrap() }
    };
    // From an earlier run of this test, the engine may have either.
    build("echo other").await;
    let script = "id -u; touch /data/x /tmp/y && stat -c %a /tmp /data";
    assert!(build(script).await);
    assert!(!build(script).await);

    fixture.run(&ModuleSpec::new(fixture.name.clone(), reference.clone())).await;
    assert_eq!(fixture.output(following()).await, "13623\n1777\n700\n");
    let info = fixture.runtime.info().await.unwrap();
    assert_eq!(info.os_type, "linux");
    assert!(!info.version.is_empty() && info.cpus > 0 && info.memory_bytes > 0);
    fixture.finish().await;
}

fn engine_uri() -> String {
    host::env::var("FARSHORE_TEST_DOCKER")
        .unwrap()
        .unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

fn image() -> ImageReference {
    "farshore-test/busybox:1".parse().unwrap()
}

/// A module that hangs fails its test after this.
const PATIENCE: Duration = Duration::from_secs(60);
const NETWORK: &str = "farshore-test";
