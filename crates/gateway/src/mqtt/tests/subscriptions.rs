//! What may be subscribed to and what a subscription gets (`device-protocol.md` §3.12, §3.13).

use mqtt::packet::Unsubscribe;

use super::*;

const AT_MOST_ONCE: SubackCode = SubackCode::Granted(QoS::AtMostOnce);
const AT_LEAST_ONCE: SubackCode = SubackCode::Granted(QoS::AtLeastOnce);

/// Each filter of each SDK, for a device and a module, alone and with others in one packet; what
/// is refused costs nothing but its own code.
#[tokio::test]
async fn every_documented_filter_has_its_code() {
    let of_all = [
        ("$iothub/methods/POST/#", true),
        ("$iothub/methods/POST/reboot/#", true),
        ("$iothub/twin/res/#", true),
        ("$iothub/twin/PATCH/properties/desired/#", true),
        ("$iothub/methods/res/#", false),
        ("$iothub/twin/GET/#", false),
        ("$iothub/#", false),
        ("#", false),
        ("+/#", false),
        ("devices/#", false),
        ("$SYS/#", false),
        ("$dps/registrations/res/#", false),
    ];
    let of_device = [
        ("devices/dev1/messages/devicebound/#", true),
        ("devices/dev1/messages/devicebound/", false),
        ("devices/dev1/messages/events/#", false),
        ("devices/dev1/modules/mod1/inputs/#", false),
        ("devices/dev2/messages/devicebound/#", false),
        ("devices/+/messages/devicebound/#", false),
    ];
    let of_module = [
        ("devices/dev1/modules/mod1/inputs/#", true),
        ("devices/dev1/modules/mod1/inputs/in1/#", true),
        ("devices/dev1/modules/mod1/#", true),
        ("devices/dev1/modules/mod1/messages/devicebound/#", true),
        ("devices/dev1/modules/mod2/inputs/#", false),
        ("devices/dev1/messages/devicebound/#", false),
        ("devices/dev1/#", false),
    ];
    for (who, own) in [("dev1", &of_device[..]), ("dev1/mod1", &of_module[..])] {
        let bench = Bench::new();
        let mut client = bench.connected(who).await;
        let filters: Vec<_> = of_all.iter().chain(own).copied().collect();
        let expected = |granted| if granted { AT_LEAST_ONCE } else { SubackCode::Failure };
        for (filter, granted) in &filters {
            assert_eq!(client.subscribe(&[filter]).await, [expected(*granted)], "{who}: {filter}");
        }
        let texts: Vec<_> = filters.iter().map(|(filter, _)| *filter).collect();
        let codes: Vec<_> = filters.iter().map(|(_, granted)| expected(*granted)).collect();
        assert_eq!(client.subscribe(&texts).await, codes, "{who}");
        client.send(Packet::Pingreq).await;
        assert_eq!(client.next().await, Some(Packet::Pingresp), "the connection lives");
    }
}

#[tokio::test]
async fn the_asked_quality_is_granted_up_to_one() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    let filter = ["devices/dev1/messages/devicebound/#"];
    for (asked, granted) in [
        (QoS::AtMostOnce, AT_MOST_ONCE),
        (QoS::AtLeastOnce, AT_LEAST_ONCE),
        (QoS::ExactlyOnce, AT_LEAST_ONCE),
    ] {
        assert_eq!(client.subscribe_with(&filter, asked).await, [granted]);
    }
    bench.hears("subscribed 1 d=false m=false c=true").await;
}

/// What waited comes after the answer: SDKs set up their handlers between.
#[tokio::test]
async fn a_subscribe_is_answered_before_what_it_asked_for() {
    let bench = Bench::new();
    bench.state.lock().waiting = Some(Message::from_body("waited"));
    let mut client = bench.connected("dev1").await;
    let filter = "devices/dev1/messages/devicebound/#";
    assert_eq!(client.subscribe(&[filter]).await, [AT_LEAST_ONCE]);
    assert_eq!(client.delivery().await.1, "waited");
}

/// One more than fits is refused, the connection and the others stay; one that is there may be
/// asked for again.
#[tokio::test]
async fn subscriptions_have_a_bound() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    let max = Settings::default().subscriptions_max;
    let filters: Vec<_> = (0..=max).map(|n| format!("$iothub/methods/POST/m{n}/#")).collect();
    for filter in &filters[..max] {
        assert_eq!(client.subscribe(&[filter]).await, [AT_LEAST_ONCE]);
    }
    assert_eq!(client.subscribe(&[&filters[max]]).await, [SubackCode::Failure]);
    assert_eq!(client.subscribe(&[&filters[0]]).await, [AT_LEAST_ONCE]);
    client.unsubscribe(&[&filters[0]]).await;
    assert_eq!(client.subscribe(&[&filters[max]]).await, [AT_LEAST_ONCE]);
}

#[tokio::test]
async fn an_unsubscribe_is_answered_and_ends_what_it_names() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    let desired = "$iothub/twin/PATCH/properties/desired/#";
    client.subscribe(&[desired, "$iothub/methods/POST/#"]).await;
    client.unsubscribe(&["never/asked/for", desired]).await;
    bench.hears("subscribed 1 d=false m=true c=false").await;
    // Not even what was on its way.
    bench.session().send(Downlink::Desired { patch: Object::new(), version: 2 }).unwrap();
    client.send(Packet::Pingreq).await;
    assert_eq!(client.next().await, Some(Packet::Pingresp));
}

/// A topic under two filters is delivered once, with the better quality; a narrow filter takes its
/// own method only.
#[tokio::test]
async fn overlapping_filters_deliver_once_and_narrow_ones_only_theirs() {
    let bench = Bench::new();
    let mut client = bench.connected("dev1").await;
    client.subscribe_with(&["devices/dev1/#"], QoS::AtMostOnce).await;
    client.subscribe(&["devices/dev1/messages/devicebound/#", "$iothub/methods/POST/a/#"]).await;
    let lock = Uuid::from_u128(1);
    let message = delivery(lock, Message::from_body("once"));
    bench.session().send(Downlink::CloudToDevice(message)).unwrap();
    let (_, body, packet_id) = client.delivery().await;
    assert_eq!((body.as_str(), packet_id.is_some()), ("once", true));
    for name in ["b", "a"] {
        let request = MethodRequest {
            name: name.into(),
            payload: Bytes::from_static(b"null"),
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::ZERO,
        };
        bench.session().send(Downlink::Method { call: Uuid::from_u128(2), request }).unwrap();
    }
    let (topic, ..) = client.delivery().await;
    assert_eq!(topic, "$iothub/methods/POST/a/?$rid=2");
}

impl Client {
    async fn unsubscribe(&mut self, filters: &[&str]) {
        let packet_id = PacketId::new(901).unwrap();
        let filters = filters.iter().map(|f| Filter::with_levels_max(f, 64).unwrap()).collect();
        self.send(Packet::Unsubscribe(Unsubscribe { packet_id, filters })).await;
        assert_eq!(self.next().await, Some(Packet::Unsuback(packet_id)));
    }
}
