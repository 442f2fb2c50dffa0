"""Direct methods: called with the service SDK, answered with the device SDK."""

import time

import pytest
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError

from harness import sdk
from harness.wait import until


def call(hub, device, name, payload=None, **timeouts):
    request = CloudToDeviceMethod(method_name=name, payload=payload, **timeouts)
    if device.module_id:
        return hub.registry().invoke_device_module_method(device.device_id, device.module_id, request)
    return hub.registry().invoke_device_method(device.device_id, request)


def listening(hub, device, client, answer):
    """Answers methods, and waits until the hub knows that this device listens."""
    sdk.answer_methods(client, answer)
    until("device listens", lambda: hub.registry().get_twin(device.device_id).connection_state == "Connected")


@pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])
def test_a_method_is_called_and_answered(hub, device, websockets):
    with sdk.connected(device, websockets=websockets) as client:
        listening(hub, device, client, lambda name, payload: (200, {"name": name, "got": payload}))
        answer = call(hub, device, "reboot", {"delay": 5, "why": ["ü"]}, connect_timeout_in_seconds=10)
    assert answer.status == 200
    assert answer.payload == {"name": "reboot", "got": {"delay": 5, "why": ["ü"]}}


def test_the_devices_status_is_handed_on(hub, device):
    with sdk.connected(device) as client:
        listening(hub, device, client, lambda name, payload: (418, None))
        answer = call(hub, device, "brew", connect_timeout_in_seconds=10)
    assert answer.status == 418
    assert answer.payload is None


def test_a_module_answers_for_itself(hub, device):
    module = hub.new_module(device.device_id, "m1")
    with sdk.connected(device) as one, sdk.connected(module) as other:
        listening(hub, device, one, lambda name, payload: (200, "device"))
        sdk.answer_methods(other, lambda name, payload: (200, "module"))
        assert call(hub, module, "who", connect_timeout_in_seconds=10).payload == "module"
        assert call(hub, device, "who", connect_timeout_in_seconds=10).payload == "device"


def test_calls_at_the_same_time_get_their_own_answers(hub, device):
    from concurrent.futures import ThreadPoolExecutor

    with sdk.connected(device) as client:
        listening(hub, device, client, lambda name, payload: (200, payload))
        call(hub, device, "echo", 0, connect_timeout_in_seconds=10)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda n: call(hub, device, "echo", {"n": n}).payload["n"], range(24))
            assert list(answers) == list(range(24))


def test_a_device_that_is_away_is_not_waited_for(hub, device):
    start = time.monotonic()
    with pytest.raises(HttpOperationError) as refusal:
        call(hub, device, "reboot")
    assert time.monotonic() - start < 5
    assert refusal.value.response.status_code == 404
    assert refusal.value.response.headers["iothub-errorcode"] == "DeviceNotOnline"
    assert "404103" in refusal.value.response.text


def test_a_device_that_comes_in_time_is_called(hub, device):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call, hub, device, "late", connect_timeout_in_seconds=20)
        with sdk.connected(device) as client:
            sdk.answer_methods(client, lambda name, payload: (200, "here"))
            assert calling.result(20).payload == "here"


def test_a_device_that_does_not_answer_in_time_is_told_of(hub, device):
    with sdk.connected(device) as client:
        called = sdk.Inbox()
        client.on_method_request_received = called
        until("connected", lambda: hub.registry().get_twin(device.device_id).connection_state == "Connected")
        start = time.monotonic()
        with pytest.raises(HttpOperationError) as refusal:
            call(hub, device, "slow", response_timeout_in_seconds=5, connect_timeout_in_seconds=10)
        assert 4 < time.monotonic() - start < 15
        assert called.next().name == "slow"
    assert refusal.value.response.status_code == 504
    assert "504101" in refusal.value.response.text


def test_a_call_for_nobody_is_not_found(hub):
    with pytest.raises(HttpOperationError) as refusal:
        hub.registry().invoke_device_method("nobody", CloudToDeviceMethod(method_name="x"))
    assert refusal.value.response.status_code == 404
    assert refusal.value.response.headers["iothub-errorcode"] == "DeviceNotFound"
