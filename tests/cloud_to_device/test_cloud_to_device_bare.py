"""Messages to devices, as they look on the wire: topics, qualities, sessions."""

import pytest

from harness import mqtt
from harness.wait import until


def listen(wire, device, qos=1):
    wire.send(mqtt.subscribe(f"devices/{device.device_id}/messages/devicebound/#", qos=qos))
    assert wire.expect(mqtt.SUBACK)[2:] == bytes([min(qos, 1)])


def receive(wire, qos=1):
    """The next message: its topic, packet id and body."""
    kind, flags, packet = wire.receive()
    assert (kind, flags & 0b0110) == (mqtt.PUBLISH, qos << 1)
    end = 2 + int.from_bytes(packet[:2], "big")
    topic, rest = packet[2:end].decode(), packet[end:]
    if qos == 0:
        return topic, None, rest
    return topic, int.from_bytes(rest[:2], "big"), rest[2:]


def waiting(hub, device):
    return hub.registry().get_device(device.device_id).cloud_to_device_message_count


def test_the_topic_is_as_every_sdk_reads_it(hub, device):
    headers = {
        "iothub-messageid": "m 1",
        "iothub-correlationid": "c/1",
        "iothub-userid": "u",
        "iothub-expiry": "2099-01-01T00:00:00Z",
        "iothub-contenttype": "application/json",
        "iothub-contentencoding": "utf-8",
        "iothub-ack": "full",
        "iothub-app-key": "v&=/ü".encode(),
    }
    # Two days are the longest life.
    answer = hub.rest("POST", f"/devices/{device.device_id}/messages/deviceBound", headers=headers, data=b"{}")
    assert answer.headers["iothub-errorcode"] == "InvalidMessageExpiryTime"
    del headers["iothub-expiry"]
    hub.send_c2d(device.device_id, b"{}", headers)
    with mqtt.connected(device) as wire:
        listen(wire, device)
        topic, packet_id, body = receive(wire)
        assert body == b"{}"
        prefix = f"devices/{device.device_id}/messages/devicebound/"
        assert topic.startswith(f"{prefix}%24.to=%2Fdevices%2F{device.device_id}%2Fmessages%2FdeviceBound&")
        pairs = topic.removeprefix(prefix).split("&")
        assert all(pair.count("=") == 1 and not pair.endswith("=") for pair in pairs), topic
        expected = {
            "%24.mid=m%201",
            "%24.cid=c%2F1",
            "%24.uid=u",
            "%24.ct=application%2Fjson",
            "%24.ce=utf-8",
            "iothub-ack=full",
            "key=v%26%3D%2F%C3%BC",
        }
        assert set(pairs[1:]) == expected
        assert pairs[-1].startswith("key="), "system properties come first"
        wire.send(mqtt.puback(packet_id))
        until("queue is empty", lambda: waiting(hub, device) == 0)


def test_without_acknowledgements_a_message_is_done_when_it_is_written(hub, device):
    with mqtt.connected(device) as wire:
        listen(wire, device, qos=0)
        hub.send_c2d(device.device_id, b"fire and forget")
        assert receive(wire, qos=0)[2] == b"fire and forget"
        until("queue is empty", lambda: waiting(hub, device) == 0)


def test_a_clean_session_gets_what_waits_only_after_its_subscribe(hub, device):
    hub.send_c2d(device.device_id, b"kept")
    for _ in range(2):
        with mqtt.connected(device, clean=True) as wire:
            wire.send(mqtt.PINGREQ)
            assert wire.receive()[0] == mqtt.PINGRESP, "nothing came before"
    with mqtt.connected(device, clean=True) as wire:
        listen(wire, device)
        _, packet_id, body = receive(wire)
        assert body == b"kept"
        wire.send(mqtt.puback(packet_id))
        until("queue is empty", lambda: waiting(hub, device) == 0)


def test_a_window_of_messages_is_on_its_way(hub, device):
    """Sixteen without an acknowledgement; each one acknowledged makes room for one more, in any order."""
    for number in range(20):
        hub.send_c2d(device.device_id, str(number))
    with mqtt.connected(device) as wire:
        listen(wire, device)
        ids = {}
        for number in range(16):
            _, packet_id, body = receive(wire)
            assert body == str(number).encode()
            ids[number] = packet_id
        wire.send(mqtt.PINGREQ)
        assert wire.receive()[0] == mqtt.PINGRESP, "the window is full"
        for number, acknowledged in zip(range(16, 20), [7, 0, 15, 3], strict=True):
            wire.send(mqtt.puback(ids.pop(acknowledged)))
            _, ids[number], body = receive(wire)
            assert body == str(number).encode()
        for packet_id in ids.values():
            wire.send(mqtt.puback(packet_id))
        until("queue is empty", lambda: waiting(hub, device) == 0)


@pytest.mark.parametrize("suffix", ["messages/devicebound/#", "inputs/#", "#"])
def test_a_module_may_ask_and_gets_none(hub, device, suffix):
    """Java's modules subscribe by themselves; the messages are the device's."""
    module = hub.new_module(device.device_id, "m1")
    hub.send_c2d(device.device_id, b"for the device")
    with mqtt.connected(module) as wire:
        wire.send(mqtt.subscribe(f"devices/{device.device_id}/modules/m1/{suffix}"))
        assert wire.expect(mqtt.SUBACK)[2:] == b"\x01"
        wire.send(mqtt.PINGREQ)
        assert wire.receive()[0] == mqtt.PINGRESP
    assert waiting(hub, device) == 1
