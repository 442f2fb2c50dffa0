//! Consumer groups.

use model::ConsumerGroup;

use super::*;
use crate::StoreError;
use crate::consumer_groups::StoredGroup;

/// In the order of their names, whatever the case.
pub async fn groups_are_kept_and_deleted(fixture: &Fixture) {
    let groups = &fixture.stores.consumer_groups;
    assert_eq!(groups.consumer_groups().await.unwrap(), []);
    let stored =
        |text: &str, seconds| StoredGroup { name: name(text), created: fixture.later(seconds) };
    groups.create_consumer_group(stored("storage", 0), 20).await.unwrap();
    groups.create_consumer_group(stored("Alerts", 1), 20).await.unwrap();
    let all = groups.consumer_groups().await.unwrap();
    assert_eq!(all, [stored("Alerts", 1), stored("storage", 0)]);
    assert_eq!(all[0].name.as_str(), "Alerts");
    groups.delete_consumer_group(&name("aLERTS")).await.unwrap();
    assert_eq!(groups.consumer_groups().await.unwrap(), [stored("storage", 0)]);
    let gone = groups.delete_consumer_group(&name("alerts")).await;
    assert!(matches!(gone, Err(StoreError::NotFound)));
}

/// A second of the same name, and one more than there may be.
pub async fn groups_are_refused_on_conditions(fixture: &Fixture) {
    let groups = &fixture.stores.consumer_groups;
    let create = |text: &str, limit| {
        let group = StoredGroup { name: name(text), created: fixture.now() };
        groups.create_consumer_group(group, limit)
    };
    create("a", 2).await.unwrap();
    assert!(matches!(create("A", 2).await, Err(StoreError::Exists)));
    create("b", 2).await.unwrap();
    assert!(matches!(create("c", 2).await, Err(StoreError::Full { limit: 2, .. })));
    assert_eq!(groups.consumer_groups().await.unwrap().len(), 2);
}

fn name(text: &str) -> ConsumerGroup {
    text.parse().unwrap()
}
