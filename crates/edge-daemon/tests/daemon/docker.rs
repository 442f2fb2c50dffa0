//! A module in a real container goes on through a restart of the daemon; old images go.
//!
//! Needs an engine at `FARSHORE_TEST_DOCKER` (default `unix:///var/run/docker.sock`); nothing is
//! pulled: the image is made of this very test binary. Without an engine this fails, unless
//! `FARSHORE_TEST_WITHOUT` names `docker`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client::edge::ManagementClient;
use containers::image::{ImageConfig, ImageStore};
use containers::{
    Catalogue, DockerRuntime, DockerSettings, ImageReference, ImageRemoval, ModuleRuntime,
    NetworkSettings,
};
use edge_daemon::{Daemon, DaemonSettings};
use host::clock::Clock;
use iot_proto::management::{IdentityCreate, LogsQuery, ModuleSpec};
use serde_json::json;

use crate::support::Place;

const MODULE: &str = "farshore-test-workload";
const DAY_SECONDS: u64 = 24 * 3600;
/// And than the record of an image in use lags behind.
const LONGER_THAN_A_LOOK: Duration = Duration::from_secs(2 * 3600);
const MODULE_OF_IMAGES: &str = "farshore-test-images";
const OTHER: &str = "farshore-test-images-other";
const IMAGE: &str = "farshore-test-edge-daemon:1";

#[tokio::test]
async fn a_container_signs_before_and_after_a_restart_of_the_daemon_and_never_as_another() {
    let Some(runtime) = engine().await else { return };
    let place = Place::new().await;
    // So that the engine's other modules, of other tests, are not taken for a former device's.
    place.start().await.end().await;
    let settings = DaemonSettings { runtime, ..place.settings("") };
    let client = place.management();

    let daemon = Daemon::start(settings.clone()).await.unwrap();
    let create = IdentityCreate { module_id: MODULE.into(), managed_by: None };
    client.create_identity(&create).await.unwrap();
    client.update_module(&spec(), true).await.unwrap();
    let started = client.module(MODULE).await.unwrap().status.start_time;
    let before = wait_for(&client, 0).await;

    drop(daemon);
    let daemon = Daemon::start(settings).await.unwrap();
    // The one that was there counts among the answers, so one more is needed.
    wait_for(&client, before).await;
    let state = client.module(MODULE).await.unwrap();
    assert_eq!(state.status.start_time, started, "the module was never touched");
    client.delete_module(MODULE).await.unwrap();
    drop(daemon);
}

#[tokio::test]
async fn old_images_go_and_those_that_something_needs_stay() {
    let Some(runtime) = engine().await else { return };
    let place = Place::new().await;
    place.start().await.end().await;
    let images = ["deployed", "elsewhere", "foreign", "old"].map(image);
    let [deployed, elsewhere, _foreign, old] = &images;
    for image in &images {
        build(image, image).await;
    }
    // The same image under another name, which is ours too.
    let old_too = image("old-too");
    build(&old_too, old).await;
    assert_eq!(runtime.image_id(&old_too).await.unwrap(), runtime.image_id(old).await.unwrap());
    let clock = Clock::manual(Clock::system().wall());
    let (agent, deployed_images) = tokio::sync::watch::channel(None);
    let settings = DaemonSettings {
        runtime: runtime.clone(),
        clock: clock.clone(),
        deployed_images,
        deployed_options: tokio::sync::watch::channel(None).1,
        ..place.settings("")
    };
    let daemon = Daemon::start(settings).await.unwrap();
    let client = place.management();
    // Used by modules that are removed again, `old` last, so that it is the last to go; `foreign`
    // is only there.
    for image in [deployed, elsewhere, &old_too, old] {
        client.create_module(&never_started(image)).await.unwrap();
        client.delete_module(MODULE_OF_IMAGES).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    // Since then a container that the daemon was not asked for is made of it.
    let other = containers::ModuleSpec::new(OTHER.parse().unwrap(), elsewhere.clone());
    runtime.create(&other).await.unwrap();

    let record = || host::fs::read_to_string(&place.path("home/gc/image_use")).unwrap();
    let in_use = runtime.image_id(elsewhere).await.unwrap().unwrap();
    let passes = async {
        clock.advance(Duration::from_secs(8 * DAY_SECONDS));
        // Each pass notes that an image is still in use; the one before the last has ended.
        let mut noted = BTreeSet::new();
        while noted.len() < 4 {
            clock.advance(LONGER_THAN_A_LOOK);
            Clock::system().sleep(Duration::from_millis(100)).await;
            noted
                .extend(record().lines().find(|line| line.starts_with(&in_use)).map(str::to_owned));
        }
        let before = runtime.has_image(old).await.unwrap();
        agent.send_replace(Some([deployed.to_string()].into()));
        while runtime.has_image(old).await.unwrap() {
            clock.advance(LONGER_THAN_A_LOOK);
            Clock::system().sleep(Duration::from_millis(100)).await;
        }
        // It is forgotten a moment after it is gone.
        while record().lines().count() > 2 {
            Clock::system().sleep(Duration::from_millis(100)).await;
        }
        before
    };
    let outcome = Box::pin(Clock::system().timeout(Duration::from_secs(60), passes)).await;
    let record = record();
    drop(daemon);
    let mut here = Vec::new();
    let is_left = runtime.has_image(&old_too).await.unwrap();
    runtime.remove_image(&old_too.to_string()).await.unwrap();
    for image in &images {
        here.push(runtime.has_image(image).await.unwrap());
    }
    // What this test made goes, whatever came of it.
    runtime.remove(&other.name).await.unwrap();
    for image in &images {
        if let Some(id) = runtime.image_id(image).await.unwrap() {
            assert_eq!(runtime.remove_image(&id).await.unwrap(), ImageRemoval::Removed);
        }
    }
    let before = outcome.unwrap_or_else(|_| panic!("{here:?}, the record:\n{record}"));
    assert!(before, "nothing goes before the deployments are known");
    assert_eq!(here, [true, true, true, false], "deployed, elsewhere, foreign, old");
    assert!(!is_left, "the other name of the old one");
}

fn image(name: &str) -> ImageReference {
    format!("farshore-test-images:{name}").parse().unwrap()
}

/// An image like no other but those with the same content.
async fn build(image: &ImageReference, content: &ImageReference) {
    let uri = engine_uri();
    let config = ImageConfig {
        env: [("IMAGE".to_owned(), content.to_string())].into(),
        ..ImageConfig::default()
    };
    let program = host::env::current_exe().unwrap();
    let store = ImageStore::connect(&uri).await.unwrap();
    store.build(image, &program, &config).await.unwrap();
}

fn never_started(image: &ImageReference) -> ModuleSpec {
    serde_json::from_value(json!({
        "name": MODULE_OF_IMAGES, "type": "docker", "imagePullPolicy": "never",
        "config": {"settings": {"image": image.to_string()}, "env": []},
    }))
    .unwrap()
}

fn spec() -> ModuleSpec {
    serde_json::from_value(json!({
        "name": MODULE, "type": "docker", "imagePullPolicy": "never",
        "config": {
            "settings": {"image": IMAGE, "createOptions": {
                "Cmd": ["--exact", "another::signs_in_a_container", "--nocapture"],
            }},
            "env": [
                {"key": "IOTEDGE_WORKLOADURI", "value": "unix:///var/run/iotedge/workload.sock"},
                {"key": "IOTEDGE_MODULEID", "value": MODULE},
            ],
        },
    }))
    .unwrap()
}

/// Waits until the container was answered more often than `before`; gives how often it was.
async fn wait_for(client: &ManagementClient, before: usize) -> usize {
    let clock = Clock::system();
    let answered = async {
        loop {
            let log = log(client).await;
            let answers: Vec<&str> =
                log.lines().filter_map(|line| line.strip_prefix("ANSWER ")).collect();
            let expected = ["200 403", "none none"];
            // One request may meet the daemon and the next one not.
            let odd: Vec<_> = answers.iter().filter(|answer| !expected.contains(*answer)).collect();
            assert!(odd.iter().all(|answer| answer.contains("none")), "{log}");
            let good = answers.iter().filter(|answer| **answer == "200 403").count();
            if good > before {
                return good;
            }
            clock.sleep(Duration::from_millis(100)).await;
        }
    };
    match Box::pin(clock.timeout(Duration::from_secs(60), answered)).await {
        Ok(count) => count,
        Err(_) => panic!("no answer reached the container:\n{}", log(client).await),
    }
}

async fn log(client: &ManagementClient) -> String {
    let mut log = client.logs(MODULE, &LogsQuery::default()).await.unwrap();
    let mut text = String::new();
    while let Some(chunk) = log.next().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk.bytes));
    }
    text
}

fn engine_uri() -> String {
    let uri = host::env::var("FARSHORE_TEST_DOCKER").unwrap();
    uri.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

/// An engine with the test's image; none when this group is left out.
async fn engine() -> Option<Arc<DockerRuntime>> {
    let left_out = host::env::var("FARSHORE_TEST_WITHOUT").unwrap().unwrap_or_default();
    if left_out.split(',').any(|group| group == "docker") {
        return None;
    }
    let uri = engine_uri();
    let settings = DockerSettings {
        uri: uri.clone(),
        network: NetworkSettings { name: "farshore-test-daemon".into(), ..Default::default() },
        allow_elevated: false,
        policy: containers::HostPolicy::default(),
        protected_paths: Vec::new(),
        catalogue: Catalogue::empty(),
    };
    let runtime = DockerRuntime::connect(settings).await.unwrap_or_else(|error| {
        panic!("{error}\nThis test needs a container engine: start `dockerd`, or set FARSHORE_TEST_WITHOUT=docker")
    });
    let store = ImageStore::connect(&uri).await.unwrap();
    let program = host::env::current_exe().unwrap();
    store.build(&IMAGE.parse().unwrap(), &program, &ImageConfig::default()).await.unwrap();
    Some(Arc::new(runtime))
}
