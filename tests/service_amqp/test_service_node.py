"""A back end with `azure-iothub`: registry, twins and methods over HTTPS, cloud-to-device messages and their
feedback over AMQP (service-api.md §5)."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from harness import sdk
from harness.drivers import environment

TRANSPORTS = pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])


def run(hub, step, **details):
    script = Path(__file__).with_name("service.js")
    result = subprocess.run(
        ["node", script, hub.login, step, json.dumps(details)],
        capture_output=True, text=True, timeout=60, env=environment(NODE_EXTRA_CA_CERTS=str(hub.ca_path)),
    )  # fmt: skip
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return json.loads(result.stdout.splitlines()[-1])


def test_identities_are_kept(hub):
    device_id = f"node-{uuid.uuid4().hex[:8]}"
    seen = run(hub, "registry", deviceId=device_id)
    made = seen["made"]
    assert (made["deviceId"], made["status"], made["authentication"]["type"]) == (device_id, "enabled", "sas")
    assert made["authentication"]["symmetricKey"]["primaryKey"]
    assert seen["again"] == {"error": "DeviceAlreadyExistsError", "status": 409}
    assert (seen["disabled"]["status"], seen["disabled"]["statusReason"]) == ("disabled", "spare")
    assert (seen["got"]["status"], seen["got"]["generationId"]) == ("disabled", made["generationId"])
    assert device_id in seen["listed"] and seen["counts"]["disabledDeviceCount"] >= 1
    assert seen["module"]["managedBy"] == "somebody"
    assert [module["moduleId"] for module in seen["modules"]] == ["m1"]
    assert seen["noModule"]["status"] == 404
    assert seen["gone"] == {"error": "DeviceNotFoundError", "status": 404}


def test_twins_are_read_and_changed(hub, device):
    hub.new_module(device.device_id, "m1")
    seen = run(hub, "twin", deviceId=device.device_id)
    assert seen["first"]["desired"]["$version"] == 1 and seen["first"]["tags"] in ({}, None)
    changed = seen["changed"]
    assert changed["tags"] == {"site": "north"}
    assert (changed["desired"]["interval"], changed["desired"]["$version"]) == (5, 2)
    assert seen["refused"] == {"error": "InvalidEtagError", "status": 412}
    assert hub.registry().get_twin(device.device_id).tags == {"site": "north"}
    assert (seen["moduleTwin"]["desired"]["a"], seen["moduleTwin"]["desired"]["$version"]) == (1, 2)


def test_a_method_is_called(hub, device):
    away = hub.new_device().device_id
    with sdk.connected(device) as client:
        sdk.answer_methods(client, lambda name, payload: (201, {"name": name, "got": payload}))
        seen = run(hub, "method", deviceId=device.device_id, away=away)
    assert seen["answer"] == {"status": 201, "payload": {"name": "reboot", "got": {"delay": 5}}}
    assert seen["away"]["status"] == 404


@TRANSPORTS
def test_a_message_is_sent(hub, device, websocket):
    messages = [{"deviceId": device.device_id, "messageId": f"m-{n}", "body": f"turn {n}"} for n in range(3)]
    messages.append({"deviceId": "nobody-here", "messageId": "x", "body": "x"})
    assert run(hub, "send", websocket=websocket, messages=messages) == ["sent"] * 3 + ["DeviceNotFoundError"]
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_messages(client)
        got = [inbox.next() for _ in range(3)]
    assert [(message.message_id, message.data) for message in got] == [(f"m-{n}", f"turn {n}".encode()) for n in range(3)]
    assert (got[0].correlation_id, got[0].content_type) == ("c-1", "text/plain")
    assert got[0].custom_properties["prop"] == "v/1 ü"


@TRANSPORTS
def test_feedback_is_received(hub, device, websocket):
    message_id = f"wanted-{device.device_id}"
    messages = [{"deviceId": device.device_id, "messageId": message_id, "body": "x"}]
    assert run(hub, "send", websocket=websocket, messages=messages) == ["sent"]
    with sdk.connected(device) as client:
        sdk.listen_for_messages(client).next()
    seen = run(hub, "feedback", websocket=websocket, messageId=message_id)
    (record,) = seen["records"]
    assert (record["deviceId"], record["statusCode"]) == (device.device_id, "Success")
    assert record["deviceGenerationId"] == device.document.generation_id
