//! MQTT sessions.

use super::*;
use crate::StoreError;
use crate::sessions::Subscriptions;

/// A session without subscriptions is one, too.
pub async fn a_session_is_kept_replaced_and_cleared(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let (sessions, id) = (&fixture.stores.sessions, identity("d"));
    assert_eq!(sessions.load(&id).await.unwrap(), None);
    let first: Subscriptions =
        [("devices/d/messages/devicebound/#".into(), 1), ("$iothub/\"\u{e4}\"/+/#".into(), 0)]
            .into();
    let second: Subscriptions = [("$iothub/methods/POST/#".into(), 0)].into();
    for stored in [first, second, Subscriptions::new()] {
        sessions.save(&id, stored.clone()).await.unwrap();
        assert_eq!(sessions.load(&id).await.unwrap(), Some(stored));
    }
    sessions.clear(&id).await.unwrap();
    assert_eq!(sessions.load(&id).await.unwrap(), None);
    sessions.clear(&id).await.unwrap();
}

/// A device, its module, another device's module of the same name.
pub async fn sessions_are_apart(fixture: &Fixture) {
    let ids = ["d", "d/m", "e", "e/m"];
    fixture.register(&ids).await;
    let sessions = &fixture.stores.sessions;
    let of = |id: &str| -> Subscriptions { [(id.to_owned(), 0)].into() };
    for id in ids {
        sessions.save(&identity(id), of(id)).await.unwrap();
    }
    sessions.clear(&identity("d")).await.unwrap();
    assert_eq!(sessions.load(&identity("d")).await.unwrap(), None);
    for id in &ids[1..] {
        assert_eq!(sessions.load(&identity(id)).await.unwrap(), Some(of(id)));
    }
}

/// An identity that is not registered.
pub async fn nobody_has_no_session(fixture: &Fixture) {
    fixture.register(&["d"]).await;
    let sessions = &fixture.stores.sessions;
    for id in ["nobody", "d/nobody"] {
        let id = identity(id);
        let saved = sessions.save(&id, Subscriptions::new()).await;
        assert_matches!(saved, Err(StoreError::NotFound));
        assert_eq!(sessions.load(&id).await.unwrap(), None);
        sessions.clear(&id).await.unwrap();
    }
}
