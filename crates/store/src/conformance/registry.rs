//! Identities: preconditions, etags, cascades, lists.

use super::*;
use crate::StoreError;
use crate::registry::Statistics;
use model::limits;
use serde_json::json;

/// Every field and every way to authenticate reads back.
pub async fn devices_are_kept_as_they_are_written(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let thumbprint = Some("AB".repeat(20));
    for (number, authentication) in [
        Authentication::Sas(SymmetricKeys {
            primary: "\"k\\ey\u{e4}".into(),
            secondary: "".into(),
        }),
        Authentication::SelfSigned { primary: thumbprint.clone(), secondary: None },
        Authentication::SelfSigned { primary: None, secondary: thumbprint },
        Authentication::CertificateAuthority,
        Authentication::None,
    ]
    .into_iter()
    .enumerate()
    {
        let written = DeviceIdentity {
            status: if number % 2 == 0 { Status::Enabled } else { Status::Disabled },
            status_reason: Some("it's \u{1F527} \"broken\"".into()),
            status_updated: Some("2026-01-02T03:04:05.1234567Z".parse().unwrap()),
            authentication,
            edge: number % 2 == 0,
            scope: Some("ms-azure-iot-edge://p-1".into()),
            parent_scopes: vec!["ms-azure-iot-edge://p-1".into()],
            ..device("d", 1)
        };
        let put =
            registry.put_device(written.clone(), Vec::new(), Precondition::None, Vec::new()).await;
        let put = put.unwrap();
        assert_eq!(DeviceIdentity { etag: put.etag, ..written }, put);
        assert_eq!(registry.device(&device_id("d")).await.unwrap(), Some(put));
    }
    assert_eq!(registry.device(&device_id("other")).await.unwrap(), None);
}

/// The same for modules, in the order of their ids.
pub async fn modules_are_kept_as_they_are_written(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    fixture.register(&["d", "e", "e/m"]).await;
    let mut all = Vec::new();
    for id in ["d/z", "d/$edgeHub", "d/a"] {
        let managed_by = Some("IotEdge".into());
        let written = ModuleIdentity { managed_by, ..module(id, 5) };
        let put = registry.put_module(written.clone(), Precondition::None, Vec::new()).await;
        let put = put.unwrap();
        assert_eq!(ModuleIdentity { etag: put.etag, ..written }, put);
        assert_eq!(registry.module(&put.device, &put.id).await.unwrap(), Some(put.clone()));
        all.insert(0, put);
    }
    all.swap(0, 1);
    assert_eq!(registry.modules(&device_id("d")).await.unwrap(), all);
    assert_eq!(registry.modules(&device_id("nobody")).await.unwrap(), []);
    assert_eq!(registry.module(&device_id("d"), &module_id("m")).await.unwrap(), None);
}

/// What each precondition means for a device that is there and for one that is not.
pub async fn devices_are_written_on_conditions(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let put =
        |precondition| registry.put_device(device("d", 1), Vec::new(), precondition, Vec::new());
    assert_matches!(put(Precondition::Exists).await, Err(StoreError::NotFound));
    assert_matches!(put(Precondition::Matches(Etag(1))).await, Err(StoreError::NotFound));
    assert_eq!(registry.device(&device_id("d")).await.unwrap(), None);
    let first = put(Precondition::Absent).await.unwrap();
    assert_matches!(put(Precondition::Absent).await, Err(StoreError::Exists));
    let second = put(Precondition::Matches(first.etag)).await.unwrap();
    assert_matches!(put(Precondition::Matches(first.etag)).await, Err(StoreError::Precondition));
    assert_eq!(registry.device(&device_id("d")).await.unwrap(), Some(second));
    put(Precondition::Exists).await.unwrap();
    put(Precondition::None).await.unwrap();
}

/// The same for modules; and their device must be there.
pub async fn modules_are_written_on_conditions(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let put = |precondition| registry.put_module(module("d/m", 1), precondition, Vec::new());
    assert_matches!(put(Precondition::None).await, Err(StoreError::NotFound));
    assert_matches!(put(Precondition::Absent).await, Err(StoreError::NotFound));
    fixture.register(&["d"]).await;
    assert_matches!(put(Precondition::Exists).await, Err(StoreError::NotFound));
    assert_matches!(put(Precondition::Matches(Etag(1))).await, Err(StoreError::NotFound));
    let first = put(Precondition::Absent).await.unwrap();
    assert_matches!(put(Precondition::Absent).await, Err(StoreError::Exists));
    let second = put(Precondition::Matches(first.etag)).await.unwrap();
    assert_matches!(put(Precondition::Matches(first.etag)).await, Err(StoreError::Precondition));
    let stored = registry.module(&second.device, &second.id).await.unwrap();
    assert_eq!(stored, Some(second));
    put(Precondition::Exists).await.unwrap();
    put(Precondition::None).await.unwrap();
}

/// Deleting: what is not there cannot be deleted, a wrong version stays.
pub async fn identities_are_deleted_on_conditions(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let (d, m) = (device_id("d"), module_id("m"));
    let delete_device = |precondition| registry.delete_device(&d, precondition, Vec::new());
    let delete_module = |precondition| registry.delete_module(&d, &m, precondition, Vec::new());
    for missing in [Precondition::None, Precondition::Exists, Precondition::Matches(Etag(1))] {
        assert_matches!(delete_device(missing).await, Err(StoreError::NotFound));
        assert_matches!(delete_module(missing).await, Err(StoreError::NotFound));
    }
    for precondition in [Precondition::None, Precondition::Exists] {
        fixture.register(&["d", "d/m"]).await;
        delete_module(precondition).await.unwrap();
        assert_eq!(registry.module(&d, &m).await.unwrap(), None);
        delete_device(precondition).await.unwrap();
        assert_eq!(registry.device(&d).await.unwrap(), None);
    }
    fixture.register(&["d", "d/m"]).await;
    let etag = registry.module(&d, &m).await.unwrap().unwrap().etag;
    let wrong = Precondition::Matches(Etag(etag.0 + 1));
    assert_matches!(delete_module(wrong).await, Err(StoreError::Precondition));
    delete_module(Precondition::Matches(etag)).await.unwrap();
    let etag = registry.device(&d).await.unwrap().unwrap().etag;
    let wrong = Precondition::Matches(Etag(etag.0 + 1));
    assert_matches!(delete_device(wrong).await, Err(StoreError::Precondition));
    delete_device(Precondition::Matches(etag)).await.unwrap();
    assert_eq!(registry.device(&d).await.unwrap(), None);
}

/// Every write gives a new etag; neither does a re-created identity repeat one.
pub async fn etags_move_and_never_repeat(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let mut seen = std::collections::HashSet::new();
    for generation in 1..=5 {
        for _ in 0..5 {
            let device = device("d", generation);
            let put = registry.put_device(device, Vec::new(), Precondition::None, Vec::new());
            let etag = put.await.unwrap().etag;
            assert!(seen.insert(etag), "{etag:?} again");
            assert!(i64::try_from(etag.0).is_ok(), "{etag:?} does not fit databases' integers");
        }
        fixture.delete_device("d").await;
    }
    fixture.register(&["d"]).await;
    let mut seen = std::collections::HashSet::new();
    for generation in 1..=5 {
        for _ in 0..5 {
            let module = module("d/m", generation);
            let put = registry.put_module(module, Precondition::None, Vec::new());
            assert!(seen.insert(put.await.unwrap().etag));
        }
        let (d, m) = (device_id("d"), module_id("m"));
        registry.delete_module(&d, &m, Precondition::None, Vec::new()).await.unwrap();
    }
}

/// A change keeps the stored generation, whatever it says; a new identity has its own.
pub async fn the_generation_stays_until_the_identity_is_gone(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    for (generation, stored) in [(1, 1), (2, 1)] {
        let device = device("d", generation);
        let put = registry.put_device(device, Vec::new(), Precondition::None, Vec::new()).await;
        assert_eq!(put.unwrap().generation, GenerationId::from_number(stored));
        let put = registry.put_module(module("d/m", generation), Precondition::None, Vec::new());
        assert_eq!(put.await.unwrap().generation, GenerationId::from_number(stored));
    }
    fixture.delete_device("d").await;
    let put = registry.put_device(device("d", 3), Vec::new(), Precondition::None, Vec::new()).await;
    assert_eq!(put.unwrap().generation, GenerationId::from_number(3));
}

/// An edge device comes with its two system modules, in one write; a change brings none.
pub async fn a_new_device_brings_its_modules(fixture: &Fixture) {
    let stores = &fixture.stores;
    let modules = vec![module("d/$edgeAgent", 1), module("d/$edgeHub", 1)];
    let put = stores.registry.put_device(device("d", 1), modules, Precondition::Absent, Vec::new());
    put.await.unwrap();
    let stored = stores.registry.modules(&device_id("d")).await.unwrap();
    let ids: Vec<_> = stored.iter().map(|module| module.id.as_str()).collect();
    assert_eq!(ids, ["$edgeAgent", "$edgeHub"]);
    for id in ["d", "d/$edgeAgent", "d/$edgeHub"] {
        assert!(stores.twins.twin(&identity(id)).await.unwrap().is_some(), "{id}");
    }
    let modules = vec![module("d/m", 1)];
    let put = stores.registry.put_device(device("d", 1), modules, Precondition::Exists, Vec::new());
    put.await.unwrap();
    assert_eq!(stores.registry.modules(&device_id("d")).await.unwrap().len(), 2);
}

/// Modules, twins, sessions and queued messages go with the device, and do not come back with its
/// successor.
pub async fn a_device_takes_everything_with_it(fixture: &Fixture) {
    let stores = &fixture.stores;
    fixture.register(&["d", "d/m", "other", "other/m"]).await;
    fill(fixture, &["d", "d/m", "other", "other/m"]).await;
    fixture.delete_device("d").await;
    for _ in 0..2 {
        assert_eq!(stores.registry.modules(&device_id("d")).await.unwrap(), []);
        for id in ["d", "d/m"] {
            let twin = stores.twins.twin(&identity(id)).await.unwrap();
            assert!(twin.is_none_or(|record| record.twin.version == 2), "{id}");
            assert_eq!(stores.sessions.load(&identity(id)).await.unwrap(), None, "{id}");
        }
        assert_eq!(stores.cloud_to_device.pending(&device_id("d")).await.unwrap(), 0);
        // Now the same with a successor of the same name.
        let put =
            stores.registry.put_device(device("d", 9), Vec::new(), Precondition::None, Vec::new());
        put.await.unwrap();
    }
    check_filled(fixture, &["other", "other/m"]).await;
}

/// The same for a module; its device and its siblings keep what they have.
pub async fn a_module_takes_its_twin_and_session_with_it(fixture: &Fixture) {
    let stores = &fixture.stores;
    fixture.register(&["d", "d/m", "d/n"]).await;
    fill(fixture, &["d", "d/m", "d/n"]).await;
    let (d, m) = (device_id("d"), module_id("m"));
    stores.registry.delete_module(&d, &m, Precondition::None, Vec::new()).await.unwrap();
    assert_eq!(stores.twins.twin(&identity("d/m")).await.unwrap(), None);
    assert_eq!(stores.sessions.load(&identity("d/m")).await.unwrap(), None);
    check_filled(fixture, &["d", "d/n"]).await;
}

/// Twins, sessions, modules and queues stay when an identity changes.
pub async fn a_change_of_an_identity_touches_nothing_else(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    fixture.register(&["d", "d/m"]).await;
    fill(fixture, &["d", "d/m"]).await;
    let changed = DeviceIdentity { status: Status::Disabled, ..device("d", 1) };
    registry.put_device(changed, Vec::new(), Precondition::Exists, Vec::new()).await.unwrap();
    registry.put_module(module("d/m", 1), Precondition::Exists, Vec::new()).await.unwrap();
    assert_eq!(registry.modules(&device_id("d")).await.unwrap().len(), 1);
    check_filled(fixture, &["d", "d/m"]).await;
}

/// Pages in the order of the ids' bytes, without holes or repetitions.
pub async fn devices_are_listed_in_pages(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    fixture.register(&["b", "B", "a", "a-1", "a1", "Z", "$"]).await;
    let all = ["$", "B", "Z", "a", "a-1", "a1", "b"];
    for size in 1..=8 {
        let mut listed = Vec::new();
        loop {
            let after: Option<DeviceId> = listed.last().cloned();
            let page = registry.devices(after.as_ref(), size).await.unwrap();
            assert!(page.len() <= size);
            if page.is_empty() {
                break;
            }
            listed.extend(page.into_iter().map(|device| device.id));
        }
        assert_eq!(listed.iter().map(DeviceId::as_str).collect::<Vec<_>>(), all);
    }
    // A page may begin after a device that is not there.
    let page = registry.devices(Some(&device_id("a0")), 1).await.unwrap();
    assert_eq!(page[0].id.as_str(), "a1");
}

/// A scope finds its edge device, its leaves and its nested edge devices.
pub async fn devices_are_found_by_scope(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let put = |device| registry.put_device(device, Vec::new(), Precondition::None, Vec::new());
    let (p, q) = ("ms-azure-iot-edge://p-1", "ms-azure-iot-edge://q-1");
    let scoped = |id, scope: Option<&str>, parents: &[&str]| DeviceIdentity {
        scope: scope.map(str::to_owned),
        parent_scopes: parents.iter().map(|parent| (*parent).to_owned()).collect(),
        ..device(id, 1)
    };
    for device in [
        scoped("p", Some(p), &[]),
        scoped("leaf", Some(p), &[p]),
        scoped("q", Some(q), &[p]),
        scoped("leaf-of-q", Some(q), &[q]),
        scoped("free", None, &[]),
    ] {
        put(device).await.unwrap();
    }
    let found = async |scope, after: Option<&str>, limit| {
        let after = after.map(device_id);
        let found = registry.devices_in_scope(scope, after.as_ref(), limit).await.unwrap();
        found.into_iter().map(|device| device.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(p, None, 10).await, ["leaf", "p", "q"]);
    assert_eq!(found(p, None, 2).await, ["leaf", "p"]);
    assert_eq!(found(p, Some("p"), 2).await, ["q"]);
    assert_eq!(found(q, None, 10).await, ["leaf-of-q", "q"]);
    put(scoped("leaf", None, &[])).await.unwrap();
    put(scoped("q", Some(q), &[])).await.unwrap();
    assert_eq!(found(p, None, 10).await, ["p"]);
    fixture.delete_device("p").await;
    assert_eq!(found(p, None, 10).await, [""; 0]);
}

/// Case, and characters that mean something to databases.
pub async fn ids_are_compared_exactly(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let ids = ["a%", "a_", "ab", "Ab", "a'b", "a;b", "a*", "a?"];
    fixture.register(&ids).await;
    for id in ids {
        let stored = registry.device(&device_id(id)).await.unwrap().unwrap();
        assert_eq!(stored.authentication, Authentication::Sas(keys(id)));
    }
    fixture.delete_device("a%").await;
    assert_eq!(registry.devices(None, 10).await.unwrap().len(), ids.len() - 1);
}

/// System modules count; a change of a module is no new one.
pub async fn a_device_has_a_bounded_number_of_modules(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let modules = (0..limits::MODULES_PER_DEVICE_MAX - 1).map(|n| module(&format!("d/m{n}"), 1));
    let modules = modules.collect();
    registry.put_device(device("d", 1), modules, Precondition::Absent, Vec::new()).await.unwrap();
    let put = |id| registry.put_module(module(id, 1), Precondition::None, Vec::new());
    put("d/last").await.unwrap();
    assert_matches!(put("d/more").await, Err(StoreError::Full { limit: 50, .. }));
    assert_eq!(registry.modules(&device_id("d")).await.unwrap().len(), 50);
    put("d/last").await.unwrap();
    let (d, last) = (device_id("d"), module_id("last"));
    registry.delete_module(&d, &last, Precondition::None, Vec::new()).await.unwrap();
    put("d/more").await.unwrap();
}

/// Modules do not count.
pub async fn statistics_count_by_status(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    assert_eq!(registry.statistics().await.unwrap(), Statistics::default());
    fixture.register(&["a", "b", "c", "c/m"]).await;
    let disabled = DeviceIdentity { status: Status::Disabled, ..device("a", 1) };
    registry.put_device(disabled, Vec::new(), Precondition::Exists, Vec::new()).await.unwrap();
    let counted = Statistics { enabled: 2, disabled: 1 };
    assert_eq!(registry.statistics().await.unwrap(), counted);
}

/// The outbox has the events of writes that happened, in their order, and of no others.
pub async fn events_come_with_the_change_only(fixture: &Fixture) {
    let registry = &fixture.stores.registry;
    let created = |id| event(HubEventKind::IdentityCreated, id, json!({"of": id}));
    let deleted = |id| event(HubEventKind::IdentityDeleted, id, json!({}));
    let put = |precondition| {
        let events = vec![created("d"), created("d/a")];
        registry.put_device(device("d", 1), vec![module("d/a", 1)], precondition, events)
    };
    put(Precondition::Exists).await.unwrap_err();
    put(Precondition::Absent).await.unwrap();
    put(Precondition::Absent).await.unwrap_err();
    let put =
        |precondition| registry.put_module(module("d/b", 1), precondition, vec![created("d/b")]);
    put(Precondition::Exists).await.unwrap_err();
    put(Precondition::Absent).await.unwrap();
    let (d, b) = (device_id("d"), module_id("b"));
    let delete = |precondition| registry.delete_module(&d, &b, precondition, vec![deleted("d/b")]);
    delete(Precondition::Matches(Etag(0))).await.unwrap_err();
    delete(Precondition::None).await.unwrap();
    registry.delete_device(&d, Precondition::None, vec![deleted("d")]).await.unwrap();
    let expected = [created("d"), created("d/a"), created("d/b"), deleted("d/b"), deleted("d")];
    assert_eq!(fixture.outbox().await, expected);
}

/// Gives identities a changed twin, a session and (devices) a message.
async fn fill(fixture: &Fixture, ids: &[&str]) {
    let stores = &fixture.stores;
    for id in ids {
        let id = identity(id);
        let mutation = crate::twins::Mutation::Report(object(json!({"full": true})), None);
        let write = crate::twins::TwinWrite { id: id.clone(), mutation, now: fixture.now() };
        stores.twins.write(vec![write]).await.remove(0).unwrap();
        let subscriptions = [("topic/#".to_owned(), 1)].into();
        stores.sessions.save(&id, subscriptions).await.unwrap();
        if id.module.is_none() {
            let (now, expires) = (fixture.now(), fixture.later(3600));
            let message = model::message::Message::from_body("m");
            let queue = &stores.cloud_to_device;
            queue.enqueue(&id.device, message, expires, now, 50).await.unwrap();
        }
    }
}

/// What [`fill`] gave is still there.
async fn check_filled(fixture: &Fixture, ids: &[&str]) {
    let stores = &fixture.stores;
    for id in ids {
        let id = identity(id);
        let record = stores.twins.twin(&id).await.unwrap().unwrap();
        assert_eq!(record.twin.version, 3, "{id}");
        assert!(stores.sessions.load(&id).await.unwrap().is_some(), "{id}");
        if id.module.is_none() {
            assert_eq!(stores.cloud_to_device.pending(&id.device).await.unwrap(), 1, "{id}");
        }
    }
}
