//! Presence.

use super::*;
use crate::presence::PresenceInfo;

/// Connected, away, connected again; when it changed is kept.
pub async fn a_connection_comes_and_goes(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let (presence, id) = (&fixture.stores.presence, identity("d"));
    assert_eq!(presence.presence(&id).await.unwrap(), PresenceInfo::default());
    for _ in 0..2 {
        let came = fixture.now();
        let epoch = presence.claim(&id, came).await.unwrap();
        let info = presence.presence(&id).await.unwrap();
        assert_eq!((info.connected, info.updated), (true, Some(came)));
        assert_eq!(info.last_activity, Some(came));
        fixture.advance(60);
        let left = fixture.now();
        presence.release(&id, epoch, left).await.unwrap();
        let info = presence.presence(&id).await.unwrap();
        assert_eq!((info.connected, info.updated), (false, Some(left)));
        assert_eq!(info.last_activity, Some(left));
        fixture.advance(60);
    }
}

/// The new connection's claim fences the old one.
pub async fn an_older_epoch_changes_nothing(fixture: &Fixture) {
    fixture.register(&["d", "e"]).await;
    let (presence, id) = (&fixture.stores.presence, identity("d"));
    let old = presence.claim(&id, fixture.now()).await.unwrap();
    fixture.advance(1);
    let new = presence.claim(&id, fixture.now()).await.unwrap();
    assert!(new > old);
    let info = presence.presence(&id).await.unwrap();
    fixture.advance(1);
    presence.release(&id, old, fixture.now()).await.unwrap();
    presence.release(&identity("e"), new, fixture.now()).await.unwrap();
    assert_eq!(presence.presence(&id).await.unwrap(), info);
    presence.release(&id, new, fixture.now()).await.unwrap();
    assert!(!presence.presence(&id).await.unwrap().connected);
    let left = presence.presence(&id).await.unwrap();
    fixture.advance(1);
    presence.release(&id, new, fixture.now()).await.unwrap();
    assert_eq!(presence.presence(&id).await.unwrap(), left);
    assert!(presence.claim(&id, fixture.now()).await.unwrap() > new);
}

/// Once each, modules not.
pub async fn devices_are_counted(fixture: &Fixture) {
    fixture.register(&["d", "d/m", "e"]).await;
    let presence = &fixture.stores.presence;
    let now = fixture.now();
    assert_eq!(presence.connected_devices().await.unwrap(), 0);
    presence.claim(&identity("d"), now).await.unwrap();
    presence.claim(&identity("d/m"), now).await.unwrap();
    let e = presence.claim(&identity("e"), now).await.unwrap();
    assert_eq!(presence.connected_devices().await.unwrap(), 2);
    let again = presence.claim(&identity("e"), now).await.unwrap();
    presence.release(&identity("e"), e, now).await.unwrap();
    assert_eq!(presence.connected_devices().await.unwrap(), 2);
    presence.release(&identity("e"), again, now).await.unwrap();
    presence.release(&identity("e"), again, now).await.unwrap();
    assert_eq!(presence.connected_devices().await.unwrap(), 1);
}

/// Also while it is connected; its late release harms nobody of the same name.
pub async fn a_deleted_identity_is_forgotten(fixture: &Fixture) {
    fixture.register(&["d", "d/m", "d/n", "e"]).await;
    let (presence, now) = (&fixture.stores.presence, fixture.now());
    let mut epochs = Vec::new();
    for id in ["d", "d/m", "d/n", "e"] {
        epochs.push(presence.claim(&identity(id), now).await.unwrap());
    }
    let (d, n) = (device_id("d"), module_id("n"));
    let registry = &fixture.stores.registry;
    registry.delete_module(&d, &n, Precondition::None, Vec::new()).await.unwrap();
    assert_eq!(presence.presence(&identity("d/n")).await.unwrap(), PresenceInfo::default());
    assert!(presence.presence(&identity("d/m")).await.unwrap().connected);
    fixture.delete_device("d").await;
    for id in ["d", "d/m"] {
        assert_eq!(presence.presence(&identity(id)).await.unwrap(), PresenceInfo::default());
    }
    assert_eq!(presence.connected_devices().await.unwrap(), 1);
    fixture.register(&["d"]).await;
    presence.claim(&identity("d"), now).await.unwrap();
    presence.release(&identity("d"), epochs[0], now).await.unwrap();
    assert!(presence.presence(&identity("d")).await.unwrap().connected);
    assert_eq!(presence.connected_devices().await.unwrap(), 2);
}
