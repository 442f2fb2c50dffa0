"""Telemetry from the real device SDK to the hub's event log."""

import json

import pytest
from azure.iot.device import Message
from azure.iot.device.exceptions import ClientError

from harness import sdk


def a_message():
    message = Message(json.dumps({"temperature": 21.5, "name": "Zoë"}), message_id="id 1")
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.correlation_id = "c/1"
    message.user_id = "operator"
    message.custom_properties["site"] = "north"
    message.custom_properties["b key"] = "v&=/ü %41"
    return message


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
def test_a_message_arrives_with_all_its_properties(hub, device, websockets):
    since = hub.events.mark()
    with sdk.connected(device, websockets=websockets) as client:
        client.send_message(a_message())
    # The PUBACK means that it is on disk: no waiting.
    events = hub.events.telemetry(device.sender, since)
    assert len(events) == 1
    event = events[0]
    assert event.json == {"temperature": 21.5, "name": "Zoë"}
    assert event.properties == {"site": "north", "b key": "v&=/ü %41"}
    expected = {
        "iothub-connection-device-id": device.device_id,
        "iothub-connection-auth-generation-id": device.document.generation_id,
        "iothub-message-source": "Telemetry",
        "message-id": "id 1",
        "correlation-id": "c/1",
        "user-id": "operator",
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    assert {name: event.system.get(name) for name in expected} == expected
    auth = json.loads(event.system["iothub-connection-auth-method"])
    assert (auth["scope"], auth["type"]) == ("device", "sas")


def test_messages_of_a_device_stay_in_order(hub, device):
    since = hub.events.mark()
    with sdk.connected(device) as client:
        for number in range(50):
            client.send_message(str(number))
    events = hub.events.telemetry(device.sender, since)
    assert [int(event.body) for event in events] == list(range(50))
    assert len({event.partition for event in events}) == 1
    sequence = [event.sequence for event in events]
    assert sequence == sorted(sequence)


def test_bytes_arrive_as_they_were_sent(hub, device):
    body = bytes(range(256)) * 1023
    since = hub.events.mark()
    with sdk.connected(device) as client:
        client.send_message(Message(body))
        client.send_message(Message(b""))
    assert [e.body for e in hub.events.telemetry(device.sender, since)] == [body, b""]


def test_a_module_sends_as_itself(hub, device):
    module = hub.new_module(device.device_id, "camera")
    since = hub.events.mark()
    with sdk.connected(module) as client:
        client.send_message("seen")
        client.send_message_to_output("seen at", "north")
    events = hub.events.telemetry(f"{device.device_id}/camera", since)
    assert [event.body for event in events] == [b"seen", b"seen at"]
    assert hub.events.telemetry(device.sender, since) == []


def test_a_reader_that_follows_gets_what_comes_later(hub, device):
    """`follow=true` keeps the answer open; so `farshore monitor` and ledgers read."""
    since = hub.events.mark()
    with sdk.connected(device) as client:
        client.send_message("first")
        partition = hub.events.telemetry(device.sender, since)[0].partition
        query = {"from": str(since[partition]), "follow": "true"}
        path = f"/events/partitions/{partition}"
        with hub.rest("GET", path, query=query, stream=True, timeout=20) as answer:
            assert answer.status_code == 200
            bodies = (
                line["bodyBase64"]
                for line in map(json.loads, answer.iter_lines(chunk_size=1))
                if line["systemProperties"]["iothub-connection-device-id"] == device.device_id
                and line["systemProperties"]["iothub-message-source"] == "Telemetry"
            )
            assert next(bodies) == "Zmlyc3Q="
            client.send_message("second")
            assert next(bodies) == "c2Vjb25k"


def test_a_message_of_another_size_limit_is_refused_by_the_sdk_itself(device):
    """The SDK's own bound is the hub's: what it lets through, the hub takes (see above)."""
    with sdk.connected(device) as client:
        with pytest.raises((ValueError, ClientError)):
            client.send_message(Message(b"x" * (256 * 1024 + 1)))
