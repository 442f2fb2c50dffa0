"""What goes wrong on an edge device, and where its operator sees it."""

import socket

import pytest

from harness import manifest, mqtt, sas
from harness.disk import small_disk
from harness.edge import Edge, running
from harness.program import farshore
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"


@pytest.fixture
def new_edge(hub):
    edges = []

    def make(**options):
        edges.append(Edge(options.pop("hub", hub), **options))
        return edges[-1]

    yield make
    for edge in edges:
        if edge.service.process is not None:
            edge.stop()
        assert "panicked" not in edge.service.log(whole=True)


@pytest.fixture(scope="module")
def edge(hub):
    with running(hub, manifest.deployment()) as edge:
        yield edge


@pytest.fixture(scope="module")
def module(hub, edge):
    return hub.new_module(edge.device_id, "m1")


def wire(edge, tmp_path):
    """A bare connection to an edge hub."""
    ca = tmp_path / "edge-ca.pem"
    ca.write_text(edge.trust_pem())
    return mqtt.Wire(edge.address, ca)


def topic(module):
    return f"devices/{module.device_id}/modules/{module.module_id}/messages/events/%24.on=out"


def test_a_taken_port_is_seen_where_the_operator_looks(hub, new_edge):
    edge = new_edge().start()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((edge.address, 8883))
        other.listen()
        edge.deploy(manifest.deployment(), wait=False)

        def status():
            module = edge.agent_twin().reported.get("systemModules", {}).get("edgeHub", {})
            return module.get("runtimeStatus") in ("backoff", "failed") and module

        reported = until("the twin tells that the edge hub fell", status, 30)
        assert reported["exitCode"] != 0
        said = edge.iotedge("logs", "edgeHub")
        assert f"{edge.address}:8883" in said.stdout + said.stderr
        assert "edgeHub" in edge.iotedge("list").stdout
    assert edge.iotedge("restart", "edgeHub").returncode == 0
    edge.wait_until_hub_listens()
    edge.wait_until_applied()


def test_a_directory_in_use_is_named(edge):
    result = farshore(*edge.service.arguments)
    assert result.returncode not in (0, 101)
    assert str(edge.dir / "home") in result.stderr, result.stderr


def test_a_wrong_device_key_is_named(hub, new_edge):
    edge = new_edge()
    wrong = sas.wrong_key()
    edge.config.write_text(edge.config.read_text().replace(edge.device.key, wrong))
    edge.service.start()
    edge.service.wait_for_log(r"(?i)(unauthorized|refused|not authorized|401)")
    assert edge.service.is_running
    assert wrong not in edge.service.log()


@pytest.mark.parametrize("case", ["wrong key", "expired", "unknown module", "empty"])
def test_bad_credentials_are_refused_by_the_edge_hub(edge, module, tmp_path, case):
    sender, password = module.sender, {
        "wrong key": sas.token(module.resource, sas.wrong_key()),
        "expired": module.token(expires=1_600_000_000),
        "unknown module": module.token(),
        "empty": "",
    }[case]
    if case == "unknown module":
        sender = f"{module.device_id}/nobody"
    user_name = f"{edge.hub.address}/{sender}/?api-version=2021-04-12"
    with wire(edge, tmp_path) as bare:
        assert bare.connect(module, password, client_id=sender, user_name=user_name)[0] == 5


@pytest.mark.parametrize("case", ["another module", "the device itself", "too large", "QoS 2"])
def test_a_rule_broken_at_the_edge_hub_ends_the_connection(hub, edge, module, tmp_path, case):
    packet = {
        "another module": mqtt.publish(topic(module).replace("/m1/", "/m2/"), b"forged"),
        "the device itself": mqtt.publish(f"devices/{module.device_id}/messages/events/", b"forged"),
        "too large": mqtt.publish(topic(module), b"x" * (256 * 1024 + 1)),
        "QoS 2": mqtt.publish(topic(module), b"x", qos=2),
    }[case]
    since = hub.events.mark()
    with wire(edge, tmp_path) as bare:
        assert bare.connect(module)[0] == 0
        bare.socket.settimeout(5)
        bare.send(packet)
        assert bare.is_closed_by_server()
    with wire(edge, tmp_path) as bare:
        assert bare.connect(module)[0] == 0
        bare.send(mqtt.publish(topic(module), b"good"))
        bare.expect(mqtt.PUBACK)
    hub.events.wait_for(module.sender, since=since)
    senders = {module.device_id, module.sender, f"{module.device_id}/m2"}
    bodies = [e.body for e in hub.events.read(since) if e.sender in senders and e.source == "Telemetry"]
    assert bodies == [b"good"]


def test_a_full_disk_at_the_edge_stops_acknowledging_and_loses_nothing(new_hub, new_edge, tmp_path):
    hub = new_hub().start()
    with small_disk(tmp_path) as disk:
        edge = new_edge(hub=hub).start()
        module = hub.new_module(edge.device_id, "m1")
        edge.deploy(manifest.deployment(edge_hub_env={"storageFolder": str(disk)}))
        edge.wait_until_hub_listens()
        acknowledged = []

        def send(count, filler=b""):
            """Sends until one is not acknowledged; gives how many were."""
            with wire(edge, tmp_path) as bare:
                bare.socket.settimeout(3)
                for sent in range(count):
                    number = len(acknowledged)
                    try:
                        if sent == 0 and bare.connect(module)[0] != 0:
                            return sent
                        bare.send(mqtt.publish(topic(module), str(number).encode() + b" " + filler))
                        bare.expect(mqtt.PUBACK)
                    except (mqtt.Closed, TimeoutError):
                        return sent
                    acknowledged.append(number)
            return count

        assert send(10) == 10
        hub.kill()
        ballast = disk / "ballast"
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * (1 << 20))
        assert any(send(500, b"y" * 200_000) < 500 for _ in range(4)), "a full disk acknowledges for ever"
        ballast.unlink()
        until("it serves again", lambda: send(1) == 1, 40)
        assert send(10) == 10
        hub.start()

        def numbers():
            return {int(e.body.split(b" ")[0]) for e in hub.events.telemetry(module.sender)}

        until("all that was acknowledged has arrived", lambda: set(acknowledged) <= numbers(), 90)
        edge.stop()
