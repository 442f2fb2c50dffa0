//! Wills: what a client leaves behind when it goes without a goodbye (`device-protocol.md` §3.13).

use mqtt::packet::Will;

use super::*;

fn will(topic: &str, retain: bool) -> Will {
    Will {
        topic: Topic::new(topic).unwrap(),
        payload: Bytes::from_static(b"bye"),
        qos: QoS::AtLeastOnce,
        retain,
    }
}

const OWN: &str = "devices/dev1/messages/events/%24.mid=w&a=1";
const LEFT: &str = r#"telemetry bye [("a", "1"), ("iothub-MessageType", "Will")]"#;

/// Every ending without DISCONNECT leaves it, once; a goodbye does not.
#[tokio::test]
async fn a_will_is_left_when_the_client_is_lost() {
    for ending in ["cut", "taken over", "silent", "violation", "shutdown", "changed"] {
        let bench = Bench::new();
        let mut client = bench
            .connected_with(|connect| {
                connect.will = Some(will(OWN, false));
                connect.keep_alive_s = 10;
            })
            .await;
        match ending {
            "cut" => drop(client),
            "taken over" => bench.session().close(CloseReason::TakenOver),
            "shutdown" => bench.session().close(CloseReason::Shutdown),
            "changed" => bench.session().close(CloseReason::IdentityChanged),
            "silent" => {
                while bench.clock.sleepers() == 0 {
                    tokio::task::yield_now().await;
                }
                bench.clock.advance(Duration::from_secs(15));
            }
            _ => client.publish("devices/dev2/messages/events/", b"x", 1).await,
        }
        bench.hears("close graceful=false").await;
        let left = bench.heard().iter().filter(|heard| *heard == LEFT).count();
        assert_eq!(left, 1, "{ending}: {:?}", bench.heard());
    }
    let bench = Bench::new();
    let mut client = bench.connected_with(|connect| connect.will = Some(will(OWN, false))).await;
    client.send(Packet::Disconnect).await;
    assert_eq!(client.next().await, None);
    bench.hears("close graceful=true").await;
    assert!(!bench.heard().iter().any(|heard| heard.contains("telemetry")));
}

/// It is telemetry, so it is not retained either.
#[tokio::test]
async fn a_retained_will_says_so() {
    let bench = Bench::new();
    let topic = "devices/dev1/messages/events/";
    let client = bench.connected_with(|connect| connect.will = Some(will(topic, true))).await;
    drop(client);
    let properties = r#"[("mqtt-retain", "true"), ("iothub-MessageType", "Will")]"#;
    bench.hears(&format!("telemetry bye {properties}")).await;
}

/// A will with another topic than the identity's own telemetry is not taken, and no session opened.
#[tokio::test]
async fn a_will_is_the_identitys_own_telemetry() {
    for topic in [
        "devices/dev2/messages/events/",
        "devices/dev1/modules/mod1/messages/events/",
        "devices/dev1/messages/devicebound/",
        "$iothub/twin/GET/?$rid=1",
        "somewhere",
        "devices/dev1/messages/events/=novalue",
    ] {
        let bench = Bench::new();
        let mut client = bench.dial();
        let mut connect = bench.connect("dev1", &key(), 60);
        connect.will = Some(will(topic, false));
        client.send(Packet::Connect(Box::new(connect))).await;
        let refused = ConnackCode::NotAuthorized;
        assert!(
            matches!(client.next().await, Some(Packet::Connack(c)) if c.code == refused),
            "{topic}"
        );
        assert_eq!(client.next().await, None);
        assert!(bench.heard().is_empty());
    }
}
