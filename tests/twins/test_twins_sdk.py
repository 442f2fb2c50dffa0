"""Twins: the device SDK on one side, the service SDK on the other."""

import pytest
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from harness import sdk
from harness.wait import until


def set_desired(hub, device_id, desired, etag=None):
    twin = Twin(properties=TwinProperties(desired=desired))
    return hub.registry().update_twin(device_id, twin, etag)


def test_a_new_twin_is_empty_and_counts_from_one(hub, device):
    with sdk.connected(device) as client:
        twin = client.get_twin()
    assert twin == {"desired": {"$version": 1}, "reported": {"$version": 1}}


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
def test_reported_properties_reach_the_back_end(hub, device, websockets):
    with sdk.connected(device, websockets=websockets) as client:
        client.patch_twin_reported_properties({"firmware": "1.2", "net": {"ip": "10.0.0.1", "up": True}})
        client.patch_twin_reported_properties({"firmware": None, "net": {"ip": "10.0.0.2"}})
        own = client.get_twin()["reported"]
    stored = hub.registry().get_twin(device.device_id).properties.reported
    assert own == {"net": {"ip": "10.0.0.2", "up": True}, "$version": 3}
    assert stored["net"]["ip"] == "10.0.0.2" and "firmware" not in stored
    assert stored["$version"] == 3
    assert "$lastUpdated" in stored["$metadata"]["net"]["ip"]


def test_a_device_is_told_about_desired_properties(hub, device):
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_desired(client)
        client.get_twin()
        set_desired(hub, device.device_id, {"interval": 5, "mode": "day"})
        assert inbox.next() == {"interval": 5, "mode": "day", "$version": 2}
        set_desired(hub, device.device_id, {"mode": None})
        assert inbox.next() == {"mode": None, "$version": 3}
        assert client.get_twin()["desired"] == {"interval": 5, "$version": 3}


def test_what_was_desired_while_away_is_there_on_return(hub, device):
    set_desired(hub, device.device_id, {"interval": 9})
    with sdk.connected(device) as client:
        assert client.get_twin()["desired"] == {"interval": 9, "$version": 2}


def test_tags_are_for_the_back_end_alone(hub, device):
    hub.registry().update_twin(device.device_id, Twin(tags={"site": "north"}))
    with sdk.connected(device) as client:
        assert "tags" not in client.get_twin()
    assert hub.registry().get_twin(device.device_id).tags == {"site": "north"}


def test_a_twin_that_changed_meanwhile_is_not_overwritten(hub, device):
    old = hub.registry().get_twin(device.device_id).etag
    set_desired(hub, device.device_id, {"a": 1}, old)
    with pytest.raises(HttpOperationError) as refusal:
        set_desired(hub, device.device_id, {"a": 2}, old)
    assert refusal.value.response.status_code == 412
    twin = hub.registry().get_twin(device.device_id)
    assert twin.properties.desired["a"] == 1
    set_desired(hub, device.device_id, {"a": 3}, twin.etag)
    set_desired(hub, device.device_id, {"b": 4}, "*")
    desired = hub.registry().get_twin(device.device_id).properties.desired
    assert (desired["a"], desired["b"], desired["$version"]) == (3, 4, 4)


def test_replacing_a_twin_forgets_what_is_not_named(hub, device):
    registry = hub.registry()
    first = Twin(tags={"site": "north"}, properties=TwinProperties(desired={"a": 1, "b": 2}))
    registry.update_twin(device.device_id, first)
    second = Twin(tags={"floor": 3}, properties=TwinProperties(desired={"b": 5}))
    registry.replace_twin(device.device_id, second)
    twin = registry.get_twin(device.device_id)
    assert twin.tags == {"floor": 3}
    desired = {k: v for k, v in twin.properties.desired.items() if not k.startswith("$")}
    assert desired == {"b": 5}


def test_a_module_has_a_twin_of_its_own(hub, device):
    """Two modules and their device never see each other's."""
    modules = [hub.new_module(device.device_id, name) for name in ("m1", "m2")]
    everyone = [device, *modules]
    registry = hub.registry()
    clients = [sdk.new_client(identity) for identity in everyone]
    try:
        inboxes = []
        for number, client in enumerate(clients):
            client.connect()
            inboxes.append(sdk.listen_for_desired(client))
            client.patch_twin_reported_properties({"mine": number})
        for module in modules:
            patch = Twin(properties=TwinProperties(desired={"for": module.module_id}))
            registry.update_module_twin(device.device_id, module.module_id, patch)
        set_desired(hub, device.device_id, {"for": "device"})
        for inbox, name in zip(inboxes, ["device", "m1", "m2"], strict=True):
            assert inbox.next() == {"for": name, "$version": 2}
        for number, (client, inbox) in enumerate(zip(clients, inboxes, strict=True)):
            assert client.get_twin()["reported"] == {"mine": number, "$version": 2}
            assert inbox.is_empty
    finally:
        for client in clients:
            client.shutdown()
    for number, module in enumerate(modules, 1):
        twin = registry.get_module_twin(device.device_id, module.module_id)
        assert twin.properties.reported["mine"] == number


def test_every_change_is_notified_once_and_in_order(hub, device):
    """Many changes in a row: every notification comes once, versions without a gap."""
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_desired(client)
        client.get_twin()
        for number in range(20):
            set_desired(hub, device.device_id, {"n": number})
        patches = [inbox.next() for _ in range(20)]
    assert [patch["n"] for patch in patches] == list(range(20))
    assert [patch["$version"] for patch in patches] == list(range(2, 22))


def test_the_twin_says_whether_the_device_is_connected(hub, device):
    def state():
        return hub.registry().get_twin(device.device_id).connection_state

    assert state() == "Disconnected"
    with sdk.connected(device):
        until("connected", lambda: state() == "Connected")
    until("disconnected", lambda: state() == "Disconnected")
