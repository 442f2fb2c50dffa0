"""Routes of an edge hub with conditions: the sensor's messages by property, a leaf device's by body."""

import pytest
from azure.iot.device import Message

from harness import manifest
from harness.edge import running

SENSOR = "SimulatedTemperatureSensor"
ROUTES = {
    "even": f"FROM /messages/modules/{SENSOR}/* WHERE as_number(SequenceNumber) % 2 = 0 INTO $upstream",
    "cold": "FROM /messages/* WHERE $body.machine.temperature < -100 OR $body.nothing = 'x' INTO $upstream",
    "leaf": "FROM /messages/* WHERE $body.value >= 3 AND $edgeHubOriginInterface = 'downstream' INTO $upstream",
}


@pytest.fixture(scope="module")
def edge(hub):
    with running(hub, manifest.deployment({SENSOR: manifest.sensor()}, ROUTES)) as edge:
        yield edge


def test_conditions_choose_by_property_and_body(hub, edge):
    events = hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=3, deadline=40)
    numbers = [int(event.properties["sequenceNumber"]) for event in events]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)
    assert all(number % 2 == 0 for number in numbers), numbers


def test_conditions_choose_among_a_leaf_devices_messages(hub, edge):
    leaf = edge.new_leaf()
    with edge.connected(leaf) as client:
        for value in (1, 3, 2, 4):
            message = Message(f'{{"value": {value}}}', content_type="application/json", content_encoding="utf-8")
            client.send_message(message)
        client.send_message(Message('{"value": 5}'))
        events = hub.events.wait_for(leaf.sender, count=2)
    assert [event.json["value"] for event in events] == [3, 4]
