//! Starting, being killed, starting again, and ending.

use std::path::Path;

use edge_daemon::{AtEnd, Config, Daemon, DaemonError};
use host::signals::Shutdown;
use iot_proto::management::IdentityCreate;

use crate::support::Place;

#[tokio::test]
async fn a_device_is_provisioned_with_keys_of_its_own() {
    let place = Place::new().await;
    let daemon = place.try_start("").await.unwrap();
    let facts = daemon.device();
    assert_eq!(facts.hub_host_name, "hub.test");
    assert_eq!((facts.device.as_str(), facts.host_name.as_str()), ("edge1", "gw.local"));
    assert_eq!(daemon.management_socket(), place.path("mgmt.sock"));
    let generation = daemon.provisioned(&Shutdown::new()).await.unwrap();
    assert_eq!(generation.as_str(), place.hub.module("$edgeAgent").unwrap().generation);
    assert!(place.hub.module("$edgeAgent").unwrap().primary_key.is_some());
    assert!(daemon.edge_ca().is_own);
    daemon.hub_tls().unwrap();
}

#[tokio::test]
async fn a_refusal_at_provisioning_is_told_and_waiting_can_end() {
    let place = Place::new().await;
    let settings = edge_daemon::DaemonSettings {
        config: Config::parse(
            &Config::minimal(
                "HostName=hub.test;DeviceId=edge1;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAA==",
                None,
            ),
            Path::new("config.toml"),
        )
        .unwrap(),
        ..place.settings("")
    };
    let daemon = Daemon::start(settings).await.unwrap();
    let error = daemon.provision_once().await.unwrap_err();
    assert!(!error.is_transient());
    assert!(client::dial::chain(&error).contains("401"), "{}", client::dial::chain(&error));
    let shutdown = Shutdown::new();
    let (generation, ()) =
        tokio::join!(daemon.provisioned(&shutdown), async { shutdown.trigger() });
    assert_eq!(generation, None);
}

#[tokio::test]
async fn a_hub_that_is_not_trusted_gets_no_token() {
    let place = Place::new().await;
    let stranger = Place::new().await;
    let mut settings = place.settings("");
    settings.hub.trust = Some(stranger.hub.ca_pem.clone());
    let daemon = Daemon::start(settings).await.unwrap();
    let error = daemon.provision_once().await.unwrap_err();
    let text = client::dial::chain(&error);
    assert!(text.contains("is not trusted; give the CA that issued it"), "{text}");
    assert_eq!(place.hub.take_requests(), Vec::<String>::new());
}

#[tokio::test]
async fn one_directory_has_one_daemon() {
    let place = Place::new().await;
    let first = place.try_start("").await.unwrap();
    let error = place.try_start("").await.err().unwrap();
    assert!(matches!(error, DaemonError::Taken { .. }), "{error}");
    assert!(error.to_string().contains("end it first"));
    drop(first);
}

#[tokio::test]
async fn modules_of_another_device_are_removed_at_the_first_start_and_at_a_change() {
    let place = Place::new().await;
    place.runtime.put("stranger");
    place.start().await.end().await;
    assert_eq!(place.runtime.names(), Vec::<String>::new());

    place.runtime.put("sensor");
    place.start().await.end().await;
    assert_eq!(place.runtime.names(), ["sensor"]);

    let mut settings = place.settings("");
    let other = place.hub.connection_string().replace("DeviceId=edge1", "DeviceId=edge2");
    let text = Config::minimal(&other, Some("gw.local"));
    settings.config = Config::parse(&text, Path::new("config.toml")).unwrap();
    drop(Daemon::start(settings).await.unwrap());
    assert_eq!(place.runtime.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_restarted_daemon_finds_its_modules_and_they_find_it() {
    let place = Place::new().await;
    place.act_as("sensor");
    let daemon = place.start_with_module("sensor").await;
    let create = IdentityCreate { module_id: "sensor".into(), managed_by: None };
    place.management().create_identity(&create).await.unwrap();
    let client = place.workload("sensor");
    client.sign(b"x").await.unwrap();
    let directory = host::fs::facts(&place.path("home/mnt/sensor")).unwrap();
    assert_eq!(directory.mode, 0o755);
    let inode = inode(&place.path("home/mnt/sensor")).await;
    place.runtime.take_calls();
    daemon.end().await;

    // As after a kill: files of the old daemon lie about.
    host::fs::create_dir(&place.path("home/mnt/gone")).unwrap();
    host::fs::create_dir(&place.socket("sensor").join("made/by/an/engine")).unwrap();
    place.runtime.put(&format!("farshore-candidate-{}", "a".repeat(32)));
    let daemon = place.start().await;
    // The directory that is bound into the module is the same, and the socket in it answers.
    assert_eq!(self::inode(&place.path("home/mnt/sensor")).await, inode);
    client.sign(b"x").await.unwrap();
    assert!(!host::fs::exists(&place.path("home/mnt/gone")).unwrap());
    assert_eq!(place.runtime.names(), ["sensor"]);
    assert_eq!(place.runtime.take_calls(), ["remove candidate"]);
    daemon.end().await;
}

async fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&tokio::fs::metadata(path).await.unwrap())
}

#[tokio::test]
async fn a_socket_that_was_deleted_is_made_again_before_the_module_starts() {
    let place = Place::new().await;
    place.act_as("sensor");
    let daemon = place.start_with_module("sensor").await;
    host::fs::remove_dir_all(&place.path("home/mnt/sensor")).unwrap();
    place.management().start_module("sensor").await.unwrap();
    assert_eq!(place.workload("sensor").modules().await.unwrap().len(), 2);
    daemon.end().await;
}

#[tokio::test]
async fn modules_end_with_the_daemon_when_the_owner_says_so() {
    let mut place = Place::new().await;
    place.start().await.end().await;
    for module in ["edgeHub", "sensor", "other"] {
        place.runtime.put(module);
    }
    place.start().await.end().await;
    assert_eq!(place.runtime.take_calls(), Vec::<String>::new());
    place.at_end = AtEnd::StopModules;
    place.start().await.end().await;
    assert_eq!(place.runtime.take_calls(), ["stop other", "stop sensor", "stop edgeHub"]);
    assert!(!host::fs::exists(&place.path("mgmt.sock")).unwrap());
}

#[tokio::test]
async fn paths_of_sockets_are_short_enough_or_told() {
    let place = Place::new().await;
    let long = "m".repeat(120);
    place.start().await.end().await;
    place.runtime.put(&long);
    let daemon = place.start().await;
    let sockets = host::fs::list(&place.path("home/mnt")).unwrap();
    assert_eq!(sockets.len(), 2, "{sockets:?}");
    assert!(sockets.iter().all(|dir| dir.join("workload.sock").as_os_str().len() <= 106));
    assert!(host::fs::exists(&sockets[0].join("workload.sock")).unwrap());
    daemon.end().await;

    let mut settings = place.settings("");
    settings.socket_dir = Some(place.path(&"d".repeat(100)));
    let error = Daemon::start(settings).await.err().unwrap();
    assert!(error.to_string().contains("choose a shorter directory"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_used_is_told_before_anything_is_served() {
    let place = Place::new().await;
    for (top, message) in [
        ("trust_bundle_cert = \"file:///none.pem\"", "cannot use a certificate's file"),
        ("additional_info = \"file:///none.toml\"", "cannot use additional_info /none.toml"),
    ] {
        let error = place.try_start(top).await.err().unwrap();
        assert!(error.to_string().contains(message), "{error}");
    }
    place.runtime.set_engine_down(true);
    let error = place.try_start("").await.err().unwrap();
    let text = client::dial::chain(&error);
    assert!(text.contains("cannot reach the container engine"), "{text}");
}
