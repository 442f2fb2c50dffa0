"""A Python module, written with the real SDK and made from its environment, in a real container."""

from pathlib import Path

import pytest
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import docker, image, manifest
from harness.wait import until

pytestmark = pytest.mark.docker

PROGRAM = Path(__file__).parent / "module" / "relay.py"
ROUTES = {
    "up": "FROM /messages/modules/relay/outputs/out INTO $upstream",
    "sensor": "FROM /messages/modules/sensor/outputs/temperatureOutput INTO BrokeredEndpoint(\"/modules/relay/inputs/readings\")",
}


@pytest.fixture(scope="module")
def edge(container_edge):
    relay = manifest.module(image.ensure(PROGRAM), imagePullPolicy="never")
    modules = {"relay": relay, "sensor": manifest.sensor(count=3)}
    container_edge.deploy(manifest.deployment(modules, ROUTES, twins={"relay": {"colour": "red"}}))
    return container_edge


def call(edge, name, payload=None):
    request = CloudToDeviceMethod(method_name=name, payload=payload, connect_timeout_in_seconds=30)
    return edge.hub.registry().invoke_device_module_method(edge.device_id, "relay", request)


def test_it_answers_a_method(edge):
    answer = call(edge, "echo", {"x": [1, "ü"]})
    assert (answer.status, answer.payload) == (200, {"x": [1, "ü"]})
    assert call(edge, "nonsense").status == 404


def test_what_it_sends_to_an_output_is_carried_upstream(edge):
    since = edge.hub.events.mark()
    assert call(edge, "send", {"count": 10}).payload == {"sent": 10}
    sender = f"{edge.device_id}/relay"

    def numbers():
        events = edge.hub.events.telemetry(sender, since)
        return [e for e in events if "number" in e.json]

    events = until("ten messages", lambda: (found := numbers()) and len(found) >= 10 and found, 30)
    assert [event.json["number"] for event in events] == list(range(10))
    assert events[0].properties == {"by": "relay"}
    assert events[0].system["content-type"] == "application/json"


def test_what_another_module_sends_comes_to_its_input(edge):
    sender = f"{edge.device_id}/relay"

    def passed_on():
        return [e for e in edge.hub.events.telemetry(sender) if "passed on" in e.json]

    events = until("three readings were passed on", lambda: len(passed_on()) >= 3 and passed_on(), 60)
    assert '"machine"' in events[0].json["passed on"]
    assert edge.hub.events.telemetry(f"{edge.device_id}/sensor") == []


def test_its_twin_is_its_own(edge):
    registry = edge.hub.registry()
    assert registry.get_module_twin(edge.device_id, "relay").properties.desired["colour"] == "red"
    patch = Twin(properties=TwinProperties(desired={"colour": "blue"}))
    registry.update_module_twin(edge.device_id, "relay", patch)

    def seen():
        reported = registry.get_module_twin(edge.device_id, "relay").properties.reported
        return reported.get("started") and reported.get("seen", {}).get("colour") == "blue"

    until("the module reports the change", seen, 30)


def test_it_runs_as_a_container_in_the_devices_network(edge):
    facts = docker.inspect("relay")
    assert edge.network in facts["NetworkSettings"]["Networks"]
    environment = dict(entry.split("=", 1) for entry in facts["Config"]["Env"])
    assert environment["IOTEDGE_MODULEID"] == "relay"
    assert environment["IOTEDGE_GATEWAYHOSTNAME"] == edge.host_name
    # The key is the daemon's: it is not in the container.
    assert edge.hub.module(edge.device_id, "relay").key not in str(facts)
    assert "relay is running" in docker.logs("relay")


def test_it_goes_on_after_the_daemon_was_killed(edge):
    before = docker.inspect("relay")["State"]["StartedAt"]
    edge.kill()
    # The edge hub and the module do not need the daemon to talk.
    assert call(edge, "echo", 1).payload == 1
    edge.start()
    edge.wait_until_applied()
    assert docker.inspect("relay")["State"]["StartedAt"] == before
    assert call(edge, "echo", 2).payload == 2


def test_it_goes_on_after_the_edge_hub_was_killed(edge):
    docker.docker("kill", "--signal", "KILL", "edgeHub")
    result = edge.iotedge("restart", "edgeHub")
    assert result.returncode == 0, result.stderr
    assert until("the module answers again", lambda: answers(edge), 60)


def answers(edge):
    from msrest.exceptions import HttpOperationError

    try:
        return call(edge, "echo", "back").payload == "back"
    except HttpOperationError:
        return False


def test_a_module_that_is_no_longer_wanted_is_removed(edge):
    edge.deploy(manifest.deployment())
    names = docker.docker("ps", "-a", "--format", "{{.Names}}", "--filter", f"network={edge.network}").split()
    assert names == ["edgeHub"]
