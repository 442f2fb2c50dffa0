"""Cloud-to-device messages: sent over REST, received with the device SDK."""

import datetime

import pytest

from harness import mqtt, sdk
from harness.wait import until


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
def test_a_message_reaches_a_connected_device(hub, device, websockets):
    with sdk.connected(device, websockets=websockets) as client:
        inbox = sdk.listen_for_messages(client)
        headers = {
            "iothub-messageid": "m 1",
            "iothub-correlationid": "c/1",
            "iothub-ack": "none",
            "iothub-app-prop": "v/1 ü".encode(),
        }
        hub.send_c2d(device.device_id, b"\x00\x01body", headers)
        message = inbox.next()
    assert message.data == b"\x00\x01body"
    assert (message.message_id, message.correlation_id) == ("m 1", "c/1")
    assert message.custom_properties["prop"] == "v/1 ü"


def test_messages_wait_for_the_device_in_order(hub, device):
    for number in range(5):
        hub.send_c2d(device.device_id, str(number))
    assert hub.registry().get_twin(device.device_id).cloud_to_device_message_count == 5
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_messages(client)
        assert [inbox.next().data for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
        until("queue is empty", lambda: hub.registry().get_device(device.device_id).cloud_to_device_message_count == 0)


def test_a_message_that_was_not_acknowledged_comes_again(hub, device):
    hub.send_c2d(device.device_id, b"important")
    topic = f"devices/{device.device_id}/messages/devicebound/#"
    with mqtt.connected(device, clean=False) as wire:
        wire.send(mqtt.subscribe(topic))
        wire.expect(mqtt.PUBLISH)
        # The cable is pulled before the PUBACK.
    with mqtt.connected(device, clean=False) as wire:
        body = wire.expect(mqtt.PUBLISH)
        assert body.endswith(b"important")
        length = int.from_bytes(body[:2], "big")
        wire.send(mqtt.puback(int.from_bytes(body[2 + length : 4 + length], "big")))
        until("queue is empty", lambda: hub.registry().get_device(device.device_id).cloud_to_device_message_count == 0)


def test_a_connection_that_takes_over_gets_what_the_other_held(hub, device):
    """Whichever comes first: the new connection's look into the queue, or the end of the old one."""
    topic = f"devices/{device.device_id}/messages/devicebound/#"
    with mqtt.connected(device, clean=False) as wire:
        wire.send(mqtt.subscribe(topic))
        wire.expect(mqtt.SUBACK)
    hub.send_c2d(device.device_id, b"held")
    with mqtt.connected(device, clean=False) as first:
        first.expect(mqtt.PUBLISH)
        with mqtt.connected(device, clean=False) as second:
            assert second.expect(mqtt.PUBLISH).endswith(b"held")


def test_a_message_that_has_expired_is_not_delivered(hub, device):
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    hub.send_c2d(device.device_id, b"stale", {"iothub-expiry": soon.isoformat(timespec="milliseconds")})
    hub.send_c2d(device.device_id, b"fresh")

    def has_expired():
        return datetime.datetime.now(datetime.UTC) > soon + datetime.timedelta(seconds=1)

    until("the first has expired", has_expired)
    with sdk.connected(device) as client:
        assert sdk.listen_for_messages(client).next().data == b"fresh"


def test_the_queue_has_a_bound_that_is_told(hub, device):
    for number in range(50):
        hub.send_c2d(device.device_id, str(number))
    answer = hub.rest("POST", f"/devices/{device.device_id}/messages/deviceBound", data=b"one too many")
    assert answer.status_code == 403
    assert answer.headers["iothub-errorcode"] == "DeviceMaximumQueueDepthExceeded"


def test_purging_empties_the_queue(hub, device):
    for number in range(3):
        hub.send_c2d(device.device_id, str(number))
    answer = hub.rest("DELETE", f"/devices/{device.device_id}/commands")
    assert (answer.status_code, answer.json()["totalMessagesPurged"]) == (200, 3)
    assert hub.registry().get_device(device.device_id).cloud_to_device_message_count == 0


def test_a_message_for_nobody_is_not_found(hub):
    answer = hub.rest("POST", "/devices/nobody/messages/deviceBound", data=b"x")
    assert answer.status_code == 404
    assert answer.headers["iothub-errorcode"] == "DeviceNotFound"


def test_a_message_beyond_the_limit_is_refused(hub, device):
    path = f"/devices/{device.device_id}/messages/deviceBound"
    answer = hub.rest("POST", path, data=b"x" * (64 * 1024 + 1))
    assert answer.status_code == 413
    assert hub.registry().get_device(device.device_id).cloud_to_device_message_count == 0
