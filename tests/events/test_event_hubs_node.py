"""The event endpoint, read with `@azure/event-hubs`, checkpoints included."""

import json
import subprocess
from pathlib import Path

import pytest
from azure.iot.device import Message

from harness import sdk
from harness.drivers import environment


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_a_consumer_with_checkpoints_goes_on_where_it_was(hub, device, events_login, transport):
    with sdk.connected(device) as client:
        for number in range(3):
            message = Message(json.dumps({"number": number}), "utf-8", "application/json")
            message.custom_properties["alert"] = "true"
            client.send_message(message)
    script = Path(__file__).with_name("event_hubs.js")
    result = subprocess.run(
        ["node", script, events_login, device.device_id, "3", transport],
        capture_output=True, text=True, timeout=60,
        env=environment(NODE_EXTRA_CA_CERTS=str(hub.ca_path)),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert seen["about"]["name"] == "hub"
    assert len(seen["partitions"]) == len(hub.events.partitions())
    assert [event["body"] for event in seen["events"]] == [{"number": n} for n in range(3)]
    for event in seen["events"]:
        assert event["key"] == device.device_id and event["properties"] == {"alert": "true"}
        assert event["offset"] == str(event["sequence"]) and event["last"] >= event["sequence"]
    (checkpoint,) = seen["checkpoints"]
    assert checkpoint["sequenceNumber"] == seen["events"][1]["sequence"]
    assert [event["sequence"] for event in seen["rest"]] == [seen["events"][2]["sequence"]]
