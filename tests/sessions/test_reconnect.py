"""A device whose hub dies and comes back. The SDK never subscribes again after a reconnect: the hub
must have kept its subscriptions on disk (`device-protocol.md` §17, 1)."""

import pytest
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import ledger, mqtt, sdk
from harness.wait import until


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
def test_a_device_goes_on_after_its_hub_was_killed(new_hub, websockets):
    hub = new_hub().start()
    device = hub.new_device()
    with sdk.connected(device, websockets=websockets) as client:
        messages = sdk.listen_for_messages(client)
        desired = sdk.listen_for_desired(client)
        sdk.answer_methods(client, lambda name, payload: (200, {"echo": payload}))
        client.patch_twin_reported_properties({"before": True})
        client.send_message("before")
        hub.send_c2d(device.device_id, b"before")
        assert messages.next().data == b"before"
        # Else it would come again, as it should.
        until("the hub has its acknowledgement", lambda: not waiting(hub, device))

        hub.kill()
        until("the client has noticed", lambda: not client.connected)
        hub.start()
        until("the client is back", lambda: client.connected, 30)

        # Nothing of this is subscribed to again by the SDK.
        request = CloudToDeviceMethod(method_name="ping", payload=1, connect_timeout_in_seconds=15)
        answer = hub.registry().invoke_device_method(device.device_id, request)
        assert (answer.status, answer.payload) == (200, {"echo": 1})
        hub.send_c2d(device.device_id, b"after")
        assert messages.next().data == b"after"
        patch = Twin(properties=TwinProperties(desired={"after": True}))
        hub.registry().update_twin(device.device_id, patch)
        told = desired.next()
        while "after" not in told:
            told = desired.next()
        assert told["after"] is True
        client.send_message("after")
        twin = client.get_twin()
    assert twin["reported"]["before"] is True
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"before", b"after"]


def test_what_was_sent_around_a_fall_of_the_hub_arrives_in_order(new_hub):
    """The application sends again what the SDK could not send while nobody listened."""
    hub = new_hub().start()
    device = hub.new_device()
    with sdk.connected(device) as client:
        sender = ledger.Sender(device.sender, lambda number: client.send_message(str(number)))
        sender.start()
        until("ten messages", lambda: len(sender.acknowledged) > 10)
        hub.kill()
        until("the client has noticed", lambda: not client.connected)
        hub.start()
        count = len(sender.acknowledged)
        until("ten more messages", lambda: len(sender.acknowledged) > count + 10, 40)
        sender.finish()
    stored = [int(event.body) for event in hub.events.telemetry(device.sender)]
    assert ledger.missing(sender.acknowledged, stored) == []
    assert ledger.out_of_order(stored) == []


def test_a_session_outlives_its_connection_and_its_hub(new_hub):
    """Session present is true only where subscriptions are kept, and a clean session forgets."""
    hub = new_hub().start()
    device = hub.new_device()
    topic = f"devices/{device.device_id}/messages/devicebound/#"
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, clean=False) == (0, False)
        wire.send(mqtt.subscribe(topic))
        assert wire.expect(mqtt.SUBACK)[2:] == b"\x01"
    hub.kill()
    hub.start()
    hub.send_c2d(device.device_id, b"kept")
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, clean=False) == (0, True)
        assert wire.expect(mqtt.PUBLISH).endswith(b"kept")
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, clean=True) == (0, False)
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, clean=False) == (0, False)


def test_a_hub_that_is_asked_to_end_lets_the_devices_come_back(new_hub):
    hub = new_hub().start()
    device = hub.new_device()
    with sdk.connected(device) as client:
        client.send_message("before")
        assert hub.stop() == 0, hub.service.tail()
        hub.start()
        until("the client is back", lambda: client.connected, 30)
        client.send_message("after")
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"before", b"after"]


def test_a_change_of_keys_cuts_the_connection(hub, device):
    with mqtt.connected(device) as wire:
        hub.registry().update_device_with_sas(device.device_id, "*", None, None, "disabled")
        assert wire.is_closed_by_server()
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device)[0] == 5


def test_a_token_that_has_expired_is_refused(hub, device):
    """Beyond the allowance for clocks that differ."""
    import time

    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, password=device.token(expires=time.time() - 3600))[0] == 5


def waiting(hub, device):
    return hub.registry().get_device(device.device_id).cloud_to_device_message_count
