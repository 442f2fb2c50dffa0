"""Every protocol of an edge device towards its hub. What leaf devices and modules speak to it is in
`matrix/`."""

from pathlib import Path

import pytest
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import ledger, manifest
from harness.drivers import Driver
from harness.edge import Edge
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
PORTS = {"Amqp": 5671, "AmqpWs": 443, "Mqtt": 8883, "MqttWs": 443}
ECHO = CloudToDeviceMethod(method_name="echo", payload=7, connect_timeout_in_seconds=30)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    driver = Driver("node", tmp_path_factory.mktemp("drivers") / "node.log")
    yield driver
    driver.stop()


def dialled(pid, address):
    """The ports of `address` to which a process has connections."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink()) if entry.is_symlink() else ""
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[3] == "01" and row[9] in inodes]
    remotes = [row[2].split(":") for row in established]
    return {int(port, 16) for host, port in remotes if host == wanted}


def values(hub, sender):
    return ledger.without_copies([int(event.body) for event in hub.events.telemetry(sender)])


@pytest.mark.parametrize("protocol", [None, "amqp", "AmqpWs", "Mqtt", "MQTTWS"])
def test_upstream(new_hub, node, protocol):
    """The whole device speaks it: the agent, the edge hub for itself, and for its clients. The hub dies
    on the way; nothing is lost, and the order is kept."""
    hub = new_hub().start()
    told = f'[agent.env]\nUpstreamProtocol = "{protocol}"\n' if protocol else ""
    edge = Edge(hub, config=told).start()
    names = {name.lower(): port for name, port in PORTS.items()}
    port = names[(protocol or "amqp").lower()]
    try:
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
        edge.wait_until_hub_listens()
        hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=3, deadline=30)
        (edge_hub,) = edge.module_processes("$edgeHub")
        device_lines = {8883, 5671}
        assert dialled(edge.service.pid, hub.address) & device_lines == {port} & device_lines
        until("the edge hub's lines stand", lambda: port in dialled(edge_hub, hub.address), 20)
        assert dialled(edge_hub, hub.address) & device_lines == {port} & device_lines

        leaf = edge.new_leaf()
        with node.client(leaf, "amqp", gateway=edge.host_name, ca_pem=edge.trust_pem()) as client:
            client.listen("methods", method="echo", status=200)
            for number in range(10):
                client.send(str(number))
            hub.kill()
            for number in range(10, 20):
                client.send(str(number))
            hub.start()
            client.send("20")
            until("all has arrived, in order", lambda: values(hub, leaf.sender) == list(range(21)), 60)
            assert hub.registry().invoke_device_method(leaf.device_id, ECHO).payload == {"got": 7}
        registry = hub.registry()
        patch = Twin(properties=TwinProperties(desired={"SendInterval": 3}))
        registry.update_module_twin(edge.device_id, SENSOR, patch)
        twin = lambda: registry.get_module_twin(edge.device_id, SENSOR).properties.reported  # noqa: E731
        until("the sensor follows", lambda: twin().get("SendInterval") == 3, 30)
    finally:
        edge.stop()


def test_a_certificate_instead_of_a_key(hub):
    """The device itself has an X.509 identity; its modules get their keys by it."""
    edge = Edge(hub, credential="thumbprint").start()
    try:
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
        hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=3, deadline=40)
    finally:
        edge.stop()
