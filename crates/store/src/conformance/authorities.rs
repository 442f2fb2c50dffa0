//! Registered certificate authorities.

use std::sync::Arc;

use model::AuthorityName;

use super::*;
use crate::StoreError;
use crate::authorities::AuthorityWrite;

/// In the order of their names; what was read stays as it was.
pub async fn authorities_are_kept_changed_and_deleted(fixture: &Fixture) {
    let authorities = &fixture.stores.authorities;
    assert_eq!(*authorities.authorities().await.unwrap(), []);
    let put = |write, precondition| authorities.put_authority(write, precondition, 25);
    let ship = put(authority(fixture, "ship", 1), Precondition::Absent).await.unwrap();
    let plant = put(authority(fixture, "plant", 2), Precondition::Absent).await.unwrap();
    let before = authorities.authorities().await.unwrap();
    assert_eq!(*before, [plant.clone(), ship.clone()]);
    assert!(Arc::ptr_eq(&before, &authorities.authorities().await.unwrap()), "made anew");
    assert_eq!((ship.created, ship.updated), (fixture.now(), fixture.now()));

    fixture.clock.advance(Duration::from_secs(5));
    let verified = AuthorityWrite { is_verified: true, ..authority(fixture, "ship", 1) };
    let coded = AuthorityWrite { verification_code: Some("c0de".into()), ..verified.clone() };
    let changed = put(coded, Precondition::Matches(ship.etag)).await.unwrap();
    assert_ne!(changed.etag, ship.etag);
    assert_eq!((changed.created, changed.updated), (ship.created, fixture.now()));
    assert_eq!((changed.is_verified, changed.verification_code.as_deref()), (true, Some("c0de")));
    assert_eq!(*before, [plant.clone(), ship.clone()]);
    assert_eq!(*authorities.authorities().await.unwrap(), [plant.clone(), changed]);

    authorities.delete_authority(&name("ship"), Precondition::Exists).await.unwrap();
    assert_eq!(*authorities.authorities().await.unwrap(), [plant]);
    let anew = put(verified, Precondition::Absent).await.unwrap();
    assert_ne!(anew.etag, ship.etag);
}

/// Versions, a second one with the same certificate, and one more than there may be.
pub async fn authorities_are_refused_on_conditions(fixture: &Fixture) {
    let authorities = &fixture.stores.authorities;
    let put = |write, precondition| authorities.put_authority(write, precondition, 2);
    let a = || authority(fixture, "a", 1);
    assert_matches!(put(a(), Precondition::Exists).await, Err(StoreError::NotFound));
    assert_matches!(put(a(), Precondition::Matches(Etag(1))).await, Err(StoreError::NotFound));
    let stored = put(a(), Precondition::Absent).await.unwrap();
    assert_matches!(put(a(), Precondition::Absent).await, Err(StoreError::Exists));
    let stale = Precondition::Matches(Etag(stored.etag.0 + 1));
    assert_matches!(put(a(), stale).await, Err(StoreError::Precondition));
    assert_matches!(
        authorities.delete_authority(&name("a"), stale).await,
        Err(StoreError::Precondition)
    );
    let twin = authority(fixture, "twin", 1);
    assert_matches!(put(twin, Precondition::Absent).await, Err(StoreError::Exists));
    put(authority(fixture, "b", 2), Precondition::Absent).await.unwrap();
    let third = authority(fixture, "c", 3);
    assert_matches!(put(third, Precondition::Absent).await, Err(StoreError::Full { limit: 2, .. }));
    // A full list can still be changed.
    put(a(), Precondition::Exists).await.unwrap();
    assert_matches!(
        authorities.delete_authority(&name("c"), Precondition::Exists).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(authorities.authorities().await.unwrap().len(), 2);
}

fn authority(fixture: &Fixture, text: &str, byte: u8) -> AuthorityWrite {
    AuthorityWrite {
        name: name(text),
        certificate: vec![byte; 700].into(),
        is_verified: false,
        verification_code: None,
        now: fixture.now(),
    }
}

fn name(text: &str) -> AuthorityName {
    text.parse().unwrap()
}
