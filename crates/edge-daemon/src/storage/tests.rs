//! Which place a deployment's words mean, and what keeps a store from going there.

use containers::{Catalogue, ProcessRuntime, ProcessSettings};
use host::clock::Clock;
use serde_json::{Value, json};

use super::*;

async fn processes(dir: &Path) -> Arc<Storage> {
    let settings = ProcessSettings::new(dir.join("modules"), Catalogue::empty(), Clock::system());
    let runtime = Arc::new(ProcessRuntime::open(settings).await.unwrap());
    Arc::new(Storage::open(&dir.join("home"), ("hub.test", "edge1"), runtime).unwrap())
}

fn spec(folder: Option<&str>, options: Value) -> ModuleSpec {
    let mut spec = ModuleSpec::new("edgeHub".parse().unwrap(), "hub:1".parse().unwrap());
    spec.env.extend(folder.map(|folder| ("storageFolder".to_owned(), folder.to_owned())));
    spec.create_options = options;
    spec
}

async fn dir_of(storage: &Storage, spec: &ModuleSpec) -> PathBuf {
    storage.wanted(Resident::EdgeHub, spec).await.unwrap().place.unwrap().dir
}

#[tokio::test]
async fn a_process_stores_in_the_hosts_folder() {
    let dir = tempfile::tempdir().unwrap();
    let storage = processes(dir.path()).await;
    let own = dir.path().join("modules/data/edgeHub/edgeHub");
    assert_eq!(dir_of(&storage, &spec(None, json!({}))).await, own);
    let plain = spec(Some("/srv/x"), json!({}));
    assert_eq!(dir_of(&storage, &plain).await, Path::new("/srv/x/edgeHub"));
    let binds = json!({"HostConfig": {"Binds": ["/srv/hub:/storage", "vol:/other"]}});
    let bound = spec(Some("/storage/deep"), binds.clone());
    assert_eq!(dir_of(&storage, &bound).await, Path::new("/srv/hub/deep/edgeHub"));
    let volume = spec(Some("/other"), binds);
    assert_eq!(dir_of(&storage, &volume).await, dir.path().join("modules/volumes/vol/edgeHub"));
}

#[tokio::test]
async fn a_store_goes_where_the_next_deployment_says() {
    let dir = tempfile::tempdir().unwrap();
    let storage = processes(dir.path()).await;
    let at = |name: &str| {
        let bind = format!("{}:/s", dir.path().join(name).display());
        spec(Some("/s"), json!({"HostConfig": {"Binds": [bind]}}))
    };
    let first = storage.wanted(Resident::EdgeHub, &at("a")).await.unwrap();
    storage.settle(Resident::EdgeHub, &first).await.unwrap();
    fs::write_atomic(&dir.path().join("a/edgeHub/state.db"), b"rows", 0o600).unwrap();
    let second = storage.wanted(Resident::EdgeHub, &at("b")).await.unwrap();
    storage.check(Resident::EdgeHub, &second).unwrap();
    storage.settle(Resident::EdgeHub, &second).await.unwrap();
    assert_eq!(fs::read(&dir.path().join("b/edgeHub/state.db")).unwrap(), b"rows");
    assert_eq!(fs::list(&dir.path().join("a")).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(storage.place(Resident::EdgeHub).unwrap().dir, dir.path().join("b/edgeHub"));

    // A file is in the way: it is told while the old place is in force.
    fs::write_atomic(&dir.path().join("file"), b"", 0o600).unwrap();
    let third = storage.wanted(Resident::EdgeHub, &at("file/c")).await.unwrap();
    let told = storage.check(Resident::EdgeHub, &third).unwrap_err().to_string();
    let stays = format!("the store of edgeHub stays in {}", dir.path().join("b").display());
    assert!(told.starts_with(&stays) && told.contains("bind another folder"), "{told}");
    storage.settle(Resident::EdgeHub, &third).await.unwrap_err();
    assert_eq!(storage.place(Resident::EdgeHub).unwrap().dir, dir.path().join("b/edgeHub"));
}

#[test]
fn each_device_of_each_hub_has_its_own() {
    assert_eq!(name_of("Hub.test", "a").len(), 16);
    assert_eq!(name_of("Hub.test", "a"), name_of("hub.test", "a"));
    assert_ne!(name_of("hub.test", "a"), name_of("hub.test", "b"));
    assert_ne!(name_of("hub.test", "a"), name_of("hub2.test", "a"));
}
