//! Pulls that end in every way there is, and leave nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use containers::{
    BoxFuture, EngineInfo, EventStream, LogOptions, LogStream, ModuleRuntime, ModuleSpec,
    ModuleState, Notice, RuntimeError, RuntimeKind, Watcher,
};

use super::*;
use crate::config::GarbageCollection;
use crate::images::Settings;

/// A runtime that can only pull: `hang:1` never ends, `panic:1` falls over, `no:1` is refused.
struct Puller;

fn no<T>() -> BoxFuture<'static, T> {
    Box::pin(async { Err(RuntimeError::NotFound { name: "nothing".into() }) })
}

impl ModuleRuntime for Puller {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }
    fn info(&self) -> BoxFuture<'_, EngineInfo> {
        no()
    }
    fn list(&self) -> BoxFuture<'_, Vec<ModuleState>> {
        no()
    }
    fn get<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ModuleState> {
        no()
    }
    fn has_image<'a>(&'a self, _: &'a ImageReference) -> BoxFuture<'a, bool> {
        no()
    }
    fn pull<'a>(&'a self, _: &'a ImageReference, _: Option<&'a RegistryAuth>) -> BoxFuture<'a, ()> {
        no()
    }
    fn pull_watched<'a>(
        &'a self,
        image: &'a ImageReference,
        _: Option<&'a RegistryAuth>,
        watcher: Watcher<'a>,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            watcher(PullProgress { layers: 3, layers_done: 1, bytes: 100, bytes_done: 7 });
            match image.to_string().as_str() {
                "panic:1" => panic!("on purpose"),
                "no:1" => Err(RuntimeError::Engine { status: 404, message: "no".into() }),
                "hang:1" => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }
    fn create<'a>(&'a self, _: &'a ModuleSpec) -> BoxFuture<'a, Vec<Notice>> {
        no()
    }
    fn start<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ()> {
        no()
    }
    fn stop<'a>(&'a self, _: &'a ModuleName, _: Duration) -> BoxFuture<'a, ()> {
        no()
    }
    fn restart<'a>(&'a self, _: &'a ModuleName, _: Duration) -> BoxFuture<'a, ()> {
        no()
    }
    fn remove<'a>(&'a self, _: &'a ModuleName) -> BoxFuture<'a, ()> {
        no()
    }
    fn logs<'a>(&'a self, _: &'a ModuleName, _: LogOptions) -> BoxFuture<'a, LogStream> {
        no()
    }
    fn contains_process<'a>(&'a self, _: &'a ModuleName, _: u32) -> BoxFuture<'a, bool> {
        no()
    }
    fn events(&self) -> BoxFuture<'_, EventStream> {
        no()
    }
}

fn pulls(dir: &std::path::Path) -> Pulls {
    let runtime: SharedRuntime = Arc::new(Puller);
    let day = Duration::from_secs(24 * 3600);
    let settings = Settings {
        collection: GarbageCollection { enabled: false, recurrence: day, age: day, at: day },
        file: dir.join("image_use"),
        upstream: "hub.test".into(),
        deployed: watch::channel(Some(BTreeSet::new())).1,
    };
    let images = Images::open(settings, Arc::clone(&runtime), Clock::system()).unwrap();
    Pulls::new(runtime, Arc::new(images), Clock::system())
}

async fn pull(pulls: &Pulls, image: &str) -> Outcome {
    let (module, image) = ("sensor".parse().unwrap(), image.parse().unwrap());
    pulls.pull(&module, &image, None).await
}

#[tokio::test]
async fn however_a_pull_ends_its_entry_goes() {
    let dir = tempfile::tempdir().unwrap();
    let pulls = pulls(dir.path());
    for (image, expected) in
        [("yes:1", None), ("no:1", Some("no")), ("panic:1", Some("ended early"))]
    {
        // Twice: what an entry left behind would be joined, and its end waited for in vain.
        for _ in 0..2 {
            let outcome = pull(&pulls, image).await;
            match expected {
                None => assert!(outcome.is_ok(), "{image}"),
                Some(words) => {
                    let message = outcome.unwrap_err().message().to_owned();
                    assert!(message.contains(words), "{image}: {message}");
                }
            }
            assert_eq!(pulls.list().pulls, []);
        }
    }
}

#[tokio::test]
async fn who_waits_and_how_far_it_is_can_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let pulls = pulls(dir.path());
    let image: ImageReference = "hang:1".parse().unwrap();
    let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
    let mut first = Box::pin(pulls.pull(&one, &image, None));
    let mut second = Box::pin(pulls.pull(&two, &image, None));
    let expected = |modules: &[&str]| management::Pull {
        image: "hang:1".into(),
        modules: modules.iter().map(|module| (*module).to_owned()).collect(),
        layers: 3,
        layers_done: 1,
        bytes: 100,
        bytes_done: 7,
    };
    while pulls.list().pulls != [expected(&["one", "two"])] {
        tokio::select! {
            biased;
            _ = &mut first => panic!("it ended"),
            _ = &mut second => panic!("it ended"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(first);
    assert_eq!(pulls.list().pulls, [expected(&["two"])]);
    drop(second);
    assert_eq!(pulls.list().pulls, [expected(&[])]);
}
