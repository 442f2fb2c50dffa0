//! Module identities, at the hub and without it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::edge::ManagementClient;
use iot_proto::management::{IdentityCreate, IdentityUpdate};

use crate::support::Place;

fn create(module: &str, managed_by: Option<&str>) -> IdentityCreate {
    IdentityCreate { module_id: module.into(), managed_by: managed_by.map(str::to_owned) }
}

const UPDATE: IdentityUpdate = IdentityUpdate { generation_id: String::new(), managed_by: None };

async fn shown(client: &ManagementClient) -> Vec<String> {
    let identities = client.identities().await.unwrap();
    let text = |i: iot_proto::management::Identity| {
        format!("{} {} by {:?} with {}", i.module_id, i.generation_id, i.managed_by, i.auth_type)
    };
    identities.into_iter().map(text).collect()
}

#[tokio::test]
async fn an_identity_is_created_with_derived_keys_and_keeps_its_manager() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let client = place.management();
    place.hub.put("byHand", None);
    let created = client.create_identity(&create("sensor", Some("IotEdge"))).await.unwrap();
    assert_eq!((created.managed_by.as_str(), created.auth_type.as_str()), ("IotEdge", "sas"));
    assert_eq!(
        place.hub.take_requests(),
        [
            "PUT /devices/edge1/modules/sensor?api-version=2017-11-08-preview",
            "PUT /devices/edge1/modules/sensor?api-version=2017-11-08-preview if-match *",
        ]
    );
    let key = place.hub.module("sensor").unwrap().primary_key.unwrap();
    assert_eq!(STANDARD.decode(&key).unwrap().len(), 32);
    client.create_identity(&create("plain", None)).await.unwrap();
    assert_eq!(
        shown(&client).await,
        [
            "$edgeAgent 601 by \"\" with sas",
            "byHand 602 by \"\" with sas",
            "plain 604 by \"iotedge\" with sas",
            "sensor 603 by \"IotEdge\" with sas",
        ]
    );
    // The same generation gives the same key, another one another.
    client.update_identity("sensor", &UPDATE).await.unwrap();
    assert_eq!(place.hub.module("sensor").unwrap().primary_key.as_ref(), Some(&key));
    assert_eq!(place.hub.module("sensor").unwrap().managed_by.as_deref(), Some("IotEdge"));
    place.hub.remove("sensor");
    client.create_identity(&create("sensor", Some("IotEdge"))).await.unwrap();
    assert_ne!(place.hub.module("sensor").unwrap().primary_key.as_ref(), Some(&key));

    client.delete_identity("sensor").await.unwrap();
    assert!(place.hub.module("sensor").is_none());
    client.delete_identity("sensor").await.unwrap();
    daemon.end().await;
}

#[tokio::test]
async fn what_exists_at_the_hub_is_taken_over() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let generation = place.hub.put("$edgeHub", Some("IotEdge"));
    let taken =
        place.management().create_identity(&create("$edgeHub", Some("IotEdge"))).await.unwrap();
    assert_eq!(taken.generation_id, generation);
    assert!(place.hub.module("$edgeHub").unwrap().primary_key.is_some());
    daemon.end().await;
}

#[tokio::test]
async fn refusals_of_the_hub_are_told() {
    let place = Place::new().await;
    let daemon = place.start().await;
    let client = place.management();
    let error = client.update_identity("none", &UPDATE).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert!(error.to_string().contains("ModuleNotFound"), "{error}");
    for system in ["$edgeAgent", "$edgeHub"] {
        let error = client.delete_identity(system).await.unwrap_err();
        assert_eq!(error.status(), Some(400));
        assert!(error.to_string().contains("comes and goes with the device"), "{error}");
    }
    let error = client.create_identity(&create("a/b", None)).await.unwrap_err();
    assert_eq!(error.status(), Some(400));
    place.hub.set_fault(Some((401, "IotHubUnauthorizedAccess")));
    let error = client.create_identity(&create("sensor", None)).await.unwrap_err();
    assert_eq!(error.status(), Some(500));
    assert!(error.to_string().contains("caused by: "), "{error}");
    assert!(error.to_string().contains("401"), "{error}");
    place.hub.set_fault(Some((429, "ThrottlingException")));
    let place_without_retry = client.delete_identity("sensor");
    let error = place_without_retry.await.unwrap_err();
    assert_eq!(error.status(), Some(429));
    daemon.end().await;
}

#[tokio::test]
async fn a_device_works_without_its_hub_after_it_was_known_once() {
    let place = Place::new().await;
    let top = "cloud_retries = 0";
    let daemon = place.start_with(top).await;
    let client = place.management();
    client.create_identity(&create("sensor", Some("IotEdge"))).await.unwrap();
    let known = shown(&client).await;
    place.hub.set_fault(Some((503, "ServiceUnavailable")));
    assert_eq!(shown(&client).await, known);
    // Taken to be away for a while: local callers need not wait each time.
    place.hub.take_requests();
    assert_eq!(shown(&client).await, known);
    assert_eq!(
        client.create_identity(&create("sensor", Some("IotEdge"))).await.unwrap().managed_by,
        "IotEdge"
    );
    assert_eq!(place.hub.take_requests(), Vec::<String>::new());
    let error = client.create_identity(&create("new", None)).await.unwrap_err();
    assert_eq!(error.status(), Some(500));
    daemon.end().await;

    // The next daemon knows it too, and signs.
    place.runtime.put("sensor");
    place.act_as("sensor");
    let key = place.hub.module("sensor").unwrap().primary_key.unwrap();
    let daemon = place.try_start(top).await.unwrap();
    let generation = daemon.provisioned(&host::signals::Shutdown::new()).await.unwrap();
    assert_eq!(generation.as_str(), "601");
    let signature = place.workload("sensor").sign(b"x").await.unwrap();
    let key =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &STANDARD.decode(key).unwrap());
    aws_lc_rs::hmac::verify(&key, b"x", &signature).unwrap();
    assert_eq!(shown(&place.management()).await, known);
    drop(daemon);
}

#[tokio::test]
async fn a_short_failure_is_tried_again() {
    let place = Place::new().await;
    let daemon = place.start().await;
    place.hub.set_fault(Some((503, "ServiceUnavailable")));
    let client = place.management();
    let asked = tokio::spawn(async move { client.create_identity(&create("sensor", None)).await });
    let clock = host::clock::Clock::system();
    while place.hub.take_requests().is_empty() {
        clock.sleep(std::time::Duration::from_millis(5)).await;
    }
    place.hub.set_fault(None);
    asked.await.unwrap().unwrap();
    daemon.end().await;
}

#[tokio::test]
async fn what_is_known_suffices_when_the_owner_says_so() {
    let place = Place::new().await;
    let daemon = place.start_with("prefer_module_identity_cache = true").await;
    let client = place.management();
    client.create_identity(&create("sensor", None)).await.unwrap();
    place.hub.take_requests();
    client.create_identity(&create("sensor", None)).await.unwrap();
    client.update_identity("sensor", &UPDATE).await.unwrap();
    assert_eq!(place.hub.take_requests(), Vec::<String>::new());
    daemon.end().await;
}
