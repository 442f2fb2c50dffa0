//! Shared access policies.

use super::*;
use crate::policies::{Policy, Rights};

/// Every right and the exact text of the keys.
pub async fn policies_are_kept_and_replaced(fixture: &Fixture) {
    let policies = &fixture.stores.policies;
    assert_eq!(policies.policies().await.unwrap(), []);
    let rights = |bits: u8| Rights {
        registry_read: bits & 1 != 0,
        registry_write: bits & 2 != 0,
        service_connect: bits & 4 != 0,
        device_connect: bits & 8 != 0,
    };
    let policy =
        |name: &str, bits| Policy { name: name.into(), keys: keys(name), rights: rights(bits) };
    for bits in 0..16 {
        policies.put_policy(policy("owner", bits)).await.unwrap();
        assert_eq!(policies.policies().await.unwrap(), [policy("owner", bits)]);
    }
    policies.put_policy(policy("device", 8)).await.unwrap();
    let rolled = Policy { keys: keys("rolled"), ..policy("owner", 15) };
    policies.put_policy(rolled.clone()).await.unwrap();
    let mut all = policies.policies().await.unwrap();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(all, [policy("device", 8), rolled]);
}
