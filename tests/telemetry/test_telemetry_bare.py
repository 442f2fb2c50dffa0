"""Telemetry with bytes of our own choosing: what no SDK does, but the protocol allows."""

from harness import mqtt


def topic(device):
    return f"devices/{device.device_id}/messages/events/"


def test_what_was_said_before_goodbye_counts(hub, device):
    """QoS 0 messages and DISCONNECT in one piece, as `mosquitto_pub` sends them."""
    since = hub.events.mark()
    with mqtt.connected(device) as wire:
        messages = b"".join(mqtt.publish(topic(device), str(n).encode(), qos=0) for n in range(5))
        wire.send(messages + mqtt.DISCONNECT)
        assert wire.is_closed_by_server()
    events = hub.events.wait_for(device.sender, count=5, since=since)
    assert [event.body for event in events] == [b"0", b"1", b"2", b"3", b"4"]


def test_many_messages_in_one_piece_are_acknowledged_in_order(hub, device):
    since = hub.events.mark()
    with mqtt.connected(device) as wire:
        wire.send(b"".join(mqtt.publish(topic(device), str(n).encode(), packet_id=n) for n in range(1, 301)))
        acknowledged = [int.from_bytes(wire.expect(mqtt.PUBACK), "big") for _ in range(300)]
    assert acknowledged == list(range(1, 301))
    assert [int(e.body) for e in hub.events.telemetry(device.sender, since)] == acknowledged


def test_a_packet_may_come_byte_by_byte(hub, device):
    since = hub.events.mark()
    with mqtt.connected(device) as wire:
        for byte in mqtt.publish(topic(device) + "a=1", b"slowly"):
            wire.send(bytes([byte]))
        wire.expect(mqtt.PUBACK)
    (event,) = hub.events.telemetry(device.sender, since)
    assert (event.body, event.properties) == (b"slowly", {"a": "1"})


def test_a_retained_message_is_told_and_not_retained(hub, device):
    since = hub.events.mark()
    with mqtt.connected(device) as wire:
        wire.send(mqtt.publish(topic(device), b"x", flags=1))
        wire.expect(mqtt.PUBACK)
    (event,) = hub.events.telemetry(device.sender, since)
    assert event.properties == {"mqtt-retain": "true"}
