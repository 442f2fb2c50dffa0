"""What the operator of an edge hub sees and does: metrics, and messages that can never be delivered."""

import json

import requests
from azure.iot.device import Message

from harness import manifest
from harness.edge import Edge
from harness.wait import until

# What a topic of MQTT holds is 65535; the one to the input is longer than the one from the sender.
TOPIC_BYTES = 65530


def test_a_message_that_fits_no_topic_can_be_looked_into(new_hub):
    edge = Edge(new_hub().start()).start()
    try:
        module = edge.hub.new_module(edge.device_id, "m1")
        edge.hub.new_module(edge.device_id, "m2")
        routes = {
            "input": 'FROM /messages/modules/m1/outputs/big INTO BrokeredEndpoint("/modules/m2/inputs/in")',
            "up": "FROM /messages/modules/m1/outputs/out INTO $upstream",
        }
        edge.deploy(manifest.deployment(routes=routes))
        edge.wait_until_hub_listens()
        topic = f"devices/{edge.device_id}/modules/m1/messages/events/%24.on=big&fill="
        message = Message("too much")
        message.custom_properties["fill"] = "x" * (TOPIC_BYTES - len(topic))
        with edge.connected(module) as client:
            client.send_message_to_output(message, "big")
            client.send_message_to_output("7", "out")
        # Without a store's name the running edge hub is found.
        found = edge.iotedge("dead-letter", "list")
        assert found.returncode == 0, found.stderr
        (letter,) = until("the dead letter", lambda: letters(edge), 30)
        assert letter["sender"] == module.sender and "topic" in letter["reason"]
        number = str(letter["number"])
        shown = run(edge, "show", number)
        assert "too much" in shown and letter["queue"] in shown
        metrics = requests.get(f"http://{edge.address}:9600/metrics", timeout=5).text
        assert count(metrics, "edgehub_dead_letters") == 1
        until(
            "the other message arrives",
            lambda: [event.body for event in edge.hub.events.telemetry(module.sender)] == [b"7"],
            30,
        )
        assert run(edge, "drop", number) == f"Dropped dead letter {number}\n"
        gone = edge.iotedge("dead-letter", "--store", edge.dir / "store", "show", number)
        assert gone.returncode == 5 and f"no dead letter {number}" in gone.stderr
        assert run(edge, "list") == "No dead letters\n"
    finally:
        edge.stop()


def run(edge, *arguments):
    result = edge.iotedge("dead-letter", "--store", edge.dir / "store", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def letters(edge):
    return json.loads(run(edge, "list", "-o", "json"))


def count(metrics, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name + "{"))
