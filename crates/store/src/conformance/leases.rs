//! Leases.

use super::*;

/// Others wait; the owner renews under the same epoch; other names are free.
pub async fn one_owner_at_a_time(fixture: &Fixture) {
    let first = acquire(fixture, "chore", "a").await;
    assert!(first.is_some());
    assert_eq!(acquire(fixture, "chore", "b").await, None);
    fixture.advance(LASTS_S - 1);
    assert_eq!(acquire(fixture, "chore", "a").await, first);
    fixture.advance(LASTS_S - 1);
    assert_eq!(acquire(fixture, "chore", "b").await, None);
    assert!(acquire(fixture, "other", "b").await.is_some());
}

/// Then the next owner takes it, and the former one has to see that.
pub async fn a_lease_runs_out(fixture: &Fixture) {
    let first = acquire(fixture, "chore", "a").await.unwrap();
    fixture.advance(LASTS_S);
    let second = acquire(fixture, "chore", "b").await.unwrap();
    assert!(second > first);
    assert_eq!(acquire(fixture, "chore", "a").await, None);
}

/// By its owner only.
pub async fn a_lease_is_given_back(fixture: &Fixture) {
    let leases = &fixture.stores.leases;
    let first = acquire(fixture, "chore", "a").await.unwrap();
    leases.release("chore", "b").await.unwrap();
    assert_eq!(acquire(fixture, "chore", "b").await, None);
    leases.release("chore", "a").await.unwrap();
    assert!(acquire(fixture, "chore", "b").await.unwrap() > first);
    leases.release("chore", "a").await.unwrap();
    assert_eq!(acquire(fixture, "chore", "a").await, None);
    leases.release("unknown", "a").await.unwrap();
}

/// Also for the same owner, when it lost the lease in between.
pub async fn epochs_grow(fixture: &Fixture) {
    let mut last = 0;
    for owner in ["a", "a", "b", "a"] {
        let epoch = acquire(fixture, "chore", owner).await.unwrap();
        assert!(epoch > last);
        last = epoch;
        fixture.advance(LASTS_S);
    }
}

async fn acquire(fixture: &Fixture, name: &str, owner: &str) -> Option<u64> {
    let lasts = Duration::from_secs(LASTS_S);
    fixture.stores.leases.acquire(name, owner, lasts).await.unwrap()
}

const LASTS_S: u64 = 30;
