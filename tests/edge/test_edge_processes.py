"""An edge device whose modules are processes: what modules and leaf devices see of its edge hub."""

import pytest
from azure.iot.device import Message
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import manifest, sdk
from harness.edge import running
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
ROUTES = {
    "upstream": "FROM /messages/* INTO $upstream",
    "up": {"route": "FROM /messages/modules/m1/outputs/up INTO $upstream", "priority": 0, "timeToLiveSecs": 3600},
    "alarm": "FROM /messages/modules/m1/outputs/alarm INTO BrokeredEndpoint(\"/modules/m2/inputs/alarm\")",
    "back": "FROM /messages/modules/m2/outputs/* INTO BrokeredEndpoint(\"/modules/m1/inputs/back\")",
}


@pytest.fixture(scope="module")
def edge(hub):
    with running(hub, manifest.deployment({SENSOR: manifest.sensor()}, ROUTES)) as edge:
        yield edge
        assert edge.service.is_running


@pytest.fixture(scope="module")
def modules(hub, edge):
    """Two modules with identities made by the back end. They stay: an edge hub asks for new keys of
    one it knows at most every two minutes."""
    return [hub.new_module(edge.device_id, name) for name in ("m1", "m2")]


def test_the_sensors_messages_arrive(hub, edge):
    events = hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=3, deadline=30)
    numbers = [int(event.properties["sequenceNumber"]) for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert len({event.properties["batchId"] for event in events}) == 1
    body = events[0].json
    assert list(body) == ["machine", "ambient", "timeCreated"]
    assert 24 <= body["ambient"]["humidity"] <= 26
    assert events[0].system["content-type"] == "application/json"


def test_the_sensor_answers_its_method_and_its_twin(hub, edge):
    registry = hub.registry()
    call = CloudToDeviceMethod(method_name="reset", payload=None, connect_timeout_in_seconds=15)
    assert registry.invoke_device_module_method(edge.device_id, SENSOR, call).status == 200
    wanted = {"SendData": True, "SendInterval": 2}
    patch = Twin(properties=TwinProperties(desired=wanted))
    registry.update_module_twin(edge.device_id, SENSOR, patch)

    def reported():
        twin = registry.get_module_twin(edge.device_id, SENSOR).properties.reported
        return {name: twin.get(name) for name in wanted} == wanted

    until("the sensor reports its settings", reported, 20)


def test_the_device_reports_what_runs(edge):
    reported = edge.agent_twin().reported
    sensor = reported["modules"][SENSOR]
    assert (sensor["runtimeStatus"], sensor["restartCount"]) == ("running", 0)
    assert sensor["settings"]["image"] == manifest.SENSOR
    hub = edge.hub_twin().reported
    assert hub["lastDesiredStatus"]["code"] == 200
    clients = until("the hub reports its clients", lambda: edge.hub_twin().reported.get("clients"), 30)
    assert clients[f"{edge.device_id}/{SENSOR}"]["status"] == "Connected"


def test_outputs_are_routed_upstream_and_to_inputs(hub, edge, modules):
    one, two = modules
    with edge.connected(one) as first, edge.connected(two) as second:
        alarms, back = sdk.Inbox(), sdk.Inbox()
        second.on_message_received = alarms
        first.on_message_received = back
        for number in range(4):
            message = Message(f"{number}")
            message.custom_properties["temperature"] = "high"
            first.send_message_to_output(message, "alarm" if number % 2 else "up")
        got = [alarms.next(), alarms.next()]
        assert [(m.input_name, m.data) for m in got] == [("alarm", b"1"), ("alarm", b"3")]
        assert got[0].custom_properties["temperature"] == "high"
        second.send_message_to_output(Message("answer"), "x")
        answer = back.next()
        assert (answer.input_name, answer.data) == ("back", b"answer")
        # One copy for each endpoint, however many routes lead there.
        hub.events.wait_for(two.sender)
        events = hub.events.wait_for(one.sender, count=4)
        assert sorted(event.body for event in events) == [b"0", b"1", b"2", b"3"]
        assert back.is_empty and alarms.is_empty


def test_modules_and_device_never_see_each_others_twins(hub, edge, modules):
    leaf = edge.new_leaf()
    everyone = [*modules, leaf]
    registry = hub.registry()
    clients = [sdk.new_client(who, edge.trust_pem(), edge.host_name) for who in everyone]
    try:
        inboxes = []
        for client, who in zip(clients, everyone, strict=True):
            client.connect()
            inboxes.append(sdk.listen_for_desired(client))
            client.get_twin()
            client.patch_twin_reported_properties({"mine": who.sender})
        for who in modules:
            patch = Twin(properties=TwinProperties(desired={"for": who.sender}))
            registry.update_module_twin(who.device_id, who.module_id, patch)
        registry.update_twin(leaf.device_id, Twin(properties=TwinProperties(desired={"for": leaf.sender})))
        for client, inbox, who in zip(clients, inboxes, everyone, strict=True):
            assert inbox.next(20)["for"] == who.sender
            twin = client.get_twin()
            assert (twin["desired"]["for"], twin["reported"]["mine"]) == (who.sender, who.sender)
            assert inbox.is_empty
    finally:
        for client in clients:
            client.shutdown()

    def stored(who):
        twin = registry.get_module_twin(who.device_id, who.module_id) if who.module_id else registry.get_twin(who.device_id)
        return twin.properties.reported.get("mine")

    for who in everyone:
        until(f"{who.sender} is stored", lambda who=who: stored(who) == who.sender, 20)
    assert "mine" not in registry.get_twin(edge.device_id).properties.reported


def test_a_module_is_called_through_the_edge_hub(hub, edge, modules):
    one, two = modules
    with edge.connected(one) as first, edge.connected(two) as second:
        sdk.answer_methods(first, lambda name, payload: (200, {"one": payload}))
        sdk.answer_methods(second, lambda name, payload: (201, {"two": payload}))
        for who, status, key in [(one, 200, "one"), (two, 201, "two")]:
            call = CloudToDeviceMethod(method_name="m", payload=5, connect_timeout_in_seconds=15)
            answer = hub.registry().invoke_device_module_method(who.device_id, who.module_id, call)
            assert (answer.status, answer.payload) == (status, {key: 5})


def test_a_leaf_device_sends_and_receives_through_the_edge_hub(hub, edge):
    leaf = edge.new_leaf()
    with edge.connected(leaf) as client:
        inbox = sdk.listen_for_messages(client)
        sdk.answer_methods(client, lambda name, payload: (200, name))
        client.send_message("from below")
        (event,) = hub.events.wait_for(leaf.sender)
        assert event.body == b"from below"
        hub.send_c2d(leaf.device_id, b"from above")
        assert inbox.next(20).data == b"from above"
        call = CloudToDeviceMethod(method_name="hello", payload=None, connect_timeout_in_seconds=15)
        assert hub.registry().invoke_device_method(leaf.device_id, call).payload == "hello"


def test_strangers_are_not_let_in(hub, edge, device):
    """`device` is good at the hub, but not below this edge device."""
    from azure.iot.device.exceptions import ClientError, CredentialError

    forged = edge.new_leaf()
    forged.key = device.key
    for who in (device, forged):
        client = sdk.new_client(who, edge.trust_pem(), edge.host_name)
        try:
            with pytest.raises((CredentialError, ClientError)):
                client.connect()
        finally:
            client.shutdown()
