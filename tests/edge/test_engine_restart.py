"""The container engine is restarted and killed under an edge device: daemon and agent stay, modules come
back by themselves, and what a leaf device sent is not lost. The engine is one of the test's own."""

import signal
import socket

import pytest

from harness import addresses, ledger, manifest
from harness.edge import Edge
from harness.engines import Dockerd
from harness.hub import Hub
from harness.ledger import Sender
from harness.wait import TooLate, until

pytestmark = pytest.mark.docker
NETWORK = "farshore-restart"


@pytest.fixture(scope="module")
def edge(trust):
    engine = Dockerd().start()
    hub = edge = None
    try:
        hub = Hub(trust, also_listen=[engine.make_network(NETWORK)]).start()
        edge = Edge(hub, network=NETWORK, engine=engine.uri)
        edge.engine_process = engine
        edge.start()
        yield edge
        assert edge.service.is_running
    finally:
        for part in (edge, hub):
            if part:
                part.stop()
        engine.remove()
    for service in (edge.service, hub.service):
        assert "panicked" not in service.log(whole=True)


@pytest.fixture(scope="module")
def leaf(edge):
    at = socket.gethostbyname(edge.host_name)
    ports = {"HostConfig": {"PortBindings": {"8883/tcp": [{"HostIp": at, "HostPort": "8883"}]}}}
    content = manifest.deployment({"sensor": manifest.sensor()}, edge_hub_options=ports)
    agent = content.modules_content["$edgeAgent"]["properties.desired"]
    agent["systemModules"]["edgeAgent"]["env"] = {"CoolOffTimeUnitInSeconds": {"value": "1"}}
    leaf = edge.new_leaf()
    edge.deploy(content)
    until("the edge hub listens", lambda: addresses.accepts(at, 8883), 30)
    return leaf


def runs(edge, module):
    return edge.engine_process.inspect(module)["State"]["Running"]


def reported(edge):
    twin = edge.agent_twin().reported
    there = {**twin.get("systemModules", {}), **twin.get("modules", {})}
    return {name: there[name].get("runtimeStatus") for name in ("edgeHub", "sensor")}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_modules_come_back_and_nothing_is_lost(edge, leaf, how):
    engine, daemon = edge.engine_process, edge.service.pid
    since = edge.hub.events.mark()
    with edge.connected(leaf) as client:
        sender = Sender("leaf", lambda number: client.send_message(f"{how.name} {number}"))
        sender.start()
        until("some messages are acknowledged", lambda: len(sender.acknowledged) >= 10, 30)

        engine.end(how)
        assert engine.process.poll() is not None and edge.answers()
        asked = edge.iotedge("list")
        assert asked.returncode != 0 and "container engine" in asked.stderr, asked
        engine.start()
        restarted = len(sender.acknowledged)
        until("the modules run again", lambda: runs(edge, "edgeHub") and runs(edge, "sensor"), 60)
        until("the leaf device goes on", lambda: len(sender.acknowledged) >= restarted + 10, 60)
        sender.finish()

    # The same daemon, and what it says is so.
    assert edge.service.pid == daemon and edge.service.is_running
    until("all is reported as running", lambda: set(reported(edge).values()) == {"running"}, 40)
    known = edge.hub.events.mark()
    sensor = f"{edge.device_id}/sensor"
    until("the sensor goes on", lambda: edge.hub.events.telemetry(sensor, known), 60)

    def stored():
        texts = [event.body.decode().split() for event in edge.hub.events.telemetry(leaf.sender, since)]
        return [int(number) for name, number in texts if name == how.name]

    try:
        until("everything acknowledged has arrived", lambda: not ledger.missing(sender.acknowledged, stored()), 60)
    except TooLate as error:
        raise TooLate(f"{error}; missing {ledger.missing(sender.acknowledged, stored())}\n{edge.module_logs()}") from None
    assert ledger.out_of_order(stored()) == []
