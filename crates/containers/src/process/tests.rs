use std::path::Path;

use futures_util::{StreamExt, TryStreamExt};
use host::process::Program;
use serde_json::json;

use super::*;
use crate::{Bind, Builtin};

fn settings(root: &Path) -> ProcessSettings {
    let shell = Builtin {
        image: "farshore:1".parse().unwrap(),
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), "echo default; exec sleep 600".to_owned()],
    };
    let missing = Builtin { program: "/no/such/program".into(), ..shell.clone() };
    let catalogue = Catalogue::empty().with("reg.io/shell", shell).with("reg.io/missing", missing);
    ProcessSettings::new(root, catalogue, Clock::system())
}

async fn open(dir: &tempfile::TempDir) -> ProcessRuntime {
    opened(dir).await.unwrap()
}

/// Opens as soon as the lock is free. A child that another test is just starting
/// has a copy of it, from fork until exec.
async fn opened(dir: &tempfile::TempDir) -> Result<ProcessRuntime, RuntimeError> {
    loop {
        match ProcessRuntime::open(settings(dir.path())).await {
            Err(RuntimeError::Conflict { .. }) => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

fn name() -> ModuleName {
    "tempSensor".parse().unwrap()
}

fn spec(script: &str) -> ModuleSpec {
    ModuleSpec {
        create_options: json!({ "Cmd": ["-c", script] }),
        ..ModuleSpec::new(name(), "reg.io/shell:1".parse().unwrap())
    }
}

async fn run(runtime: &ProcessRuntime, spec: &ModuleSpec) {
    assert_eq!(runtime.create(spec).await.unwrap(), []);
    runtime.start(&spec.name).await.unwrap();
}

/// Everything that the module writes until it ends.
async fn output(runtime: &ProcessRuntime) -> String {
    let options = LogOptions { follow: true, ..Default::default() };
    let frames: Vec<_> = runtime.logs(&name(), options).await.unwrap().try_collect().await.unwrap();
    frames.iter().map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect()
}

/// Waits for a line; says that the module has come so far.
async fn wait_for_line(runtime: &ProcessRuntime, line: &str) {
    wait_for_lines(runtime, line, 1).await;
}

/// Waits until the log has a line so often.
async fn wait_for_lines(runtime: &ProcessRuntime, line: &str, mut times: usize) {
    let options = LogOptions { follow: true, ..Default::default() };
    let mut log = runtime.logs(&name(), options).await.unwrap();
    while times > 0 {
        let frame = log.next().await.expect("the module still runs").unwrap();
        times -= usize::from(frame.bytes == format!("{line}\n"));
    }
}

fn is_process(pid: u32) -> bool {
    host::fs::exists(Path::new(&format!("/proc/{pid}"))).unwrap()
}

async fn ended(events: &mut EventStream) {
    while events.next().await.unwrap().unwrap().kind != ModuleEventKind::Ended {}
}

#[tokio::test]
async fn a_module_lives_from_create_to_remove() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    let events = runtime.events().await.unwrap();
    let mut spec = spec("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done");
    spec.labels.insert("x".to_owned(), "y".to_owned());
    runtime.create(&spec).await.unwrap();
    assert!(matches!(runtime.create(&spec).await, Err(RuntimeError::Conflict { .. })));
    let created = runtime.get(&name()).await.unwrap();
    assert_eq!((created.status, created.exit_code), (RuntimeStatus::Stopped, None));
    assert_eq!((created.image.as_str(), created.labels["x"].as_str()), ("reg.io/shell:1", "y"));

    runtime.start(&name()).await.unwrap();
    runtime.start(&name()).await.unwrap();
    wait_for_line(&runtime, "up").await;
    let running = runtime.get(&name()).await.unwrap();
    assert_eq!((running.status, running.exit_code), (RuntimeStatus::Running, None));
    assert!(runtime.contains_process(&name(), running.pid.unwrap()).await.unwrap());
    assert!(!runtime.contains_process(&name(), std::process::id()).await.unwrap());
    assert!(!runtime.contains_process(&name(), u32::MAX).await.unwrap());

    runtime.stop(&name(), Duration::from_secs(20)).await.unwrap();
    runtime.stop(&name(), Duration::from_secs(20)).await.unwrap();
    let stopped = runtime.get(&name()).await.unwrap();
    assert_eq!(
        (stopped.status, stopped.exit_code, stopped.pid),
        (RuntimeStatus::Failed, Some(3), None)
    );
    assert!(stopped.finished_at >= stopped.started_at);

    runtime.restart(&name(), Duration::ZERO).await.unwrap();
    assert_eq!(runtime.list().await.unwrap()[0].status, RuntimeStatus::Running);
    runtime.remove(&name()).await.unwrap();
    runtime.remove(&name()).await.unwrap();
    assert!(runtime.get(&name()).await.unwrap_err().is_not_found());
    assert!(!host::fs::exists(&dir.path().join("modules/tempSensor")).unwrap());

    use ModuleEventKind::{Ended, Removed, Started};
    let kinds: Vec<_> = events.take(5).map(|event| event.unwrap().kind).collect().await;
    assert_eq!(kinds, [Started, Ended, Started, Ended, Removed]);
}

#[tokio::test]
async fn environment_directory_and_exit_code_are_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    let storage = dir.path().join("storage");
    let mut spec = spec("");
    spec.env = [("A", "ours"), ("IOTEDGE_WORKLOADURI", "unix:///var/run/iotedge/workload.sock")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    spec.binds = vec![Bind::new("/h/x.sock", "/var/run/iotedge/workload.sock")];
    spec.create_options = json!({
        "Env": ["A=theirs", "storageFolder=/store"],
        "Cmd": ["-c", "echo $A $IOTEDGE_WORKLOADURI; cd $storageFolder && pwd; cd; pwd; echo bad >&2; exit 7"],
        "HostConfig": { "Binds": [format!("{}:/store", storage.display())] },
    });
    let mut events = runtime.events().await.unwrap();
    run(&runtime, &spec).await;
    ended(&mut events).await;
    let home = dir.path().join("data/tempSensor");
    let expected = format!("theirs unix:///h/x.sock\n{}\n{}\n", storage.display(), home.display());
    let frames: Vec<_> =
        runtime.logs(&name(), LogOptions::default()).await.unwrap().try_collect().await.unwrap();
    let on = |source| {
        let frames = frames.iter().filter(move |frame| frame.source == source);
        frames.map(|frame| String::from_utf8(frame.bytes.to_vec()).unwrap()).collect::<String>()
    };
    assert_eq!(on(crate::LogSource::Stdout), expected);
    assert_eq!(on(crate::LogSource::Stderr), "bad\n");
    assert_eq!(host::fs::facts(&home).unwrap().mode, 0o700);
    let state = runtime.get(&name()).await.unwrap();
    assert_eq!((state.status, state.exit_code), (RuntimeStatus::Failed, Some(7)));
}

#[tokio::test]
async fn a_module_that_does_not_stop_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime =
        ProcessRuntime::open(ProcessSettings { clock: clock.clone(), ..settings(dir.path()) })
            .await
            .unwrap();
    run(&runtime, &spec("trap 'echo no' TERM; echo up; while :; do sleep 0.05; done")).await;
    wait_for_line(&runtime, "up").await;
    let (module, grace) = (name(), Duration::from_secs(30));
    let stop = runtime.stop(&module, grace);
    let rest = async {
        wait_for_line(&runtime, "no").await;
        assert_eq!(runtime.get(&name()).await.unwrap().status, RuntimeStatus::Running);
        // While it stops, its peers are still known.
        let pid = runtime.get(&name()).await.unwrap().pid.unwrap();
        assert!(runtime.contains_process(&name(), pid).await.unwrap());
        clock.advance(grace);
        // It must end before its outputs are waited for by this clock.
        runtime.get(&name()).await.unwrap();
    };
    let (stopped, ()) = tokio::join!(stop, rest);
    stopped.unwrap();
    let state = runtime.get(&name()).await.unwrap();
    assert_eq!((state.status, state.exit_code), (RuntimeStatus::Failed, Some(137)));
}

#[tokio::test]
async fn a_start_during_a_stop_starts_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    run(&runtime, &spec("trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.05; done"))
        .await;
    wait_for_line(&runtime, "up").await;
    let first = runtime.get(&name()).await.unwrap();
    let module = name();
    let (stopped, started) =
        tokio::join!(runtime.stop(&module, Duration::from_secs(20)), runtime.start(&module));
    stopped.unwrap();
    started.unwrap();
    let second = runtime.get(&name()).await.unwrap();
    assert_eq!(second.status, RuntimeStatus::Running);
    assert_ne!(first.pid, second.pid);
}

#[tokio::test]
async fn modules_are_known_again_after_the_runtime_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    run(&runtime, &spec("echo first; exec sleep 600")).await;
    wait_for_line(&runtime, "first").await;
    let before = runtime.get(&name()).await.unwrap();
    let second = ProcessRuntime::open(settings(dir.path())).await.err().unwrap();
    assert!(matches!(second, RuntimeError::Conflict { .. }), "{second}");
    runtime.close().await;
    assert!(!is_process(before.pid.unwrap()), "nothing runs twice");

    let runtime = open(&dir).await;
    let known = runtime.get(&name()).await.unwrap();
    assert_eq!((known.status, known.exit_code), (RuntimeStatus::Failed, Some(137)));
    assert_eq!(known.started_at, before.started_at);
    runtime.start(&name()).await.unwrap();
    assert_eq!(runtime.get(&name()).await.unwrap().status, RuntimeStatus::Running);
    // The log goes on where the first run left it; its line stands there already.
    wait_for_lines(&runtime, "first", 2).await;
    runtime.stop(&name(), Duration::ZERO).await.unwrap();
    assert_eq!(output(&runtime).await, "first\nfirst\n");
}

#[tokio::test]
async fn what_a_killed_runtime_left_behind_is_ended_and_counts_as_killed() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    runtime.create(&spec("exec sleep 600")).await.unwrap();
    runtime.close().await;
    // As after a SIGKILL: a grandchild lives on, and the run has no end.
    let mark = dir.path().join("data/tempSensor").display().to_string();
    let left = Program {
        args: vec!["600".to_owned()],
        env: vec![(leftovers::MARK.to_owned(), mark)],
        ..Program::new("/bin/sleep")
    };
    let mut left = left.spawn().await.unwrap();
    let bystander = Program {
        args: vec!["600".to_owned()],
        env: vec![(leftovers::MARK.to_owned(), "/elsewhere".to_owned())],
        ..Program::new("/bin/sleep")
    };
    let bystander = bystander.spawn().await.unwrap();
    let run = json!({ "pid": left.pid(), "exit_code": null, "started_at": "2026-01-01T00:00:00Z", "finished_at": null, "failure": null });
    host::fs::write_atomic(
        &dir.path().join("modules/tempSensor/run.json"),
        run.to_string().as_bytes(),
        0o600,
    )
    .unwrap();

    let runtime = open(&dir).await;
    assert_eq!(left.wait().await.unwrap(), host::process::Exit::Signal(9));
    assert!(is_process(bystander.pid().try_into().unwrap()));
    let state = runtime.get(&name()).await.unwrap();
    assert_eq!((state.status, state.exit_code), (RuntimeStatus::Failed, Some(137)));
    assert!(state.description.unwrap().contains("edge runtime"));
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    let unknown = ModuleSpec::new(name(), "reg.io/other:1".parse().unwrap());
    for error in [
        runtime.create(&unknown).await.unwrap_err(),
        runtime.pull(&unknown.image, None).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(
            text.contains("reg.io/other:1") && text.contains("install a container engine"),
            "{text}"
        );
    }
    assert!(!runtime.has_image(&unknown.image).await.unwrap());

    let missing = ModuleSpec::new(name(), "reg.io/missing:1".parse().unwrap());
    runtime.create(&missing).await.unwrap();
    let error = runtime.start(&name()).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    let state = runtime.get(&name()).await.unwrap();
    assert_eq!((state.status, state.exit_code), (RuntimeStatus::Failed, Some(127)));
    assert!(state.description.unwrap().contains("/no/such/program"));
    assert!(runtime.start(&"other".parse().unwrap()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_damaged_or_newer_module_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = open(&dir).await;
    runtime.create(&spec("")).await.unwrap();
    runtime.close().await;
    let file = dir.path().join("modules/tempSensor/module.json");
    for damage in ["{", r#"{"format":2,"image":"a:1","cmd":null,"env":{},"labels":{}}"#] {
        host::fs::write_atomic(&file, damage.as_bytes(), 0o600).unwrap();
        let error = opened(&dir).await.err().unwrap();
        assert!(error.to_string().contains("module.json"), "{error}");
    }
    // A create that was cut short leaves no module.
    host::fs::remove(&file).unwrap();
    assert_eq!(open(&dir).await.list().await.unwrap(), []);
}
