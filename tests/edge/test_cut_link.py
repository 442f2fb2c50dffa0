"""An edge device whose link to the hub is cut: its network is a namespace with a wire. Nobody is told, no
connection is closed; on the device, modules and leaf devices go on. When the wire is back, what was sent
meanwhile arrives, each sender's in order, and so does what the hub has for them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import ledger, manifest, netns
from harness.drivers import Driver, DriverError
from harness.edge import Edge
from harness.hub import Hub
from harness.wait import until
from harness.way import through

SENSOR = "sensor"
ROUTES = {
    "leaves": "FROM /messages/* WHERE NOT is_defined($connectionModuleId) INTO $upstream",
    "module": "FROM /messages/modules/m1/outputs/out INTO $upstream",
    "sensor": f"FROM /messages/modules/{SENSOR}/* INTO $upstream",
    "round": 'FROM /messages/modules/m1/outputs/loop INTO BrokeredEndpoint("/modules/m1/inputs/in")',
}
FOREVER = {"storeAndForwardConfiguration": {"timeToLiveSecs": -1}}
ECHO = CloudToDeviceMethod(method_name="echo", payload=7, connect_timeout_in_seconds=30)


@pytest.fixture(scope="module")
def namespace():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    namespace = netns.Namespace()
    yield namespace
    namespace.remove()


class Device:
    """An edge device in a namespace, with clients beside it there."""

    def __init__(self, hub, namespace, folder):
        self.hub, self.namespace = hub, namespace
        self.edge = through(Edge(hub), self)
        self.edge.service.prefix = namespace.prefix
        self.drivers = {
            name: Driver(name, folder / f"{name}.log", namespace.prefix) for name in ("python", "node")
        }
        self.clients = []
        self.threads = ThreadPoolExecutor(3)
        self.sent = self.noticed = 0

    # The way of `through`.
    address = netns.HERE

    def start(self):
        self.edge.start()
        self.edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}, ROUTES, hub_settings=FOREVER))
        leaves = (self.edge.new_leaf(), "python", "mqtt"), (self.edge.new_leaf(), "node", "amqp")
        module = self.hub.new_module(self.edge.device_id, "m1")
        for identity, driver, protocol in (*leaves, (module, "node", "mqtt")):
            client = self.drivers[driver].client(
                identity, protocol, gateway=self.edge.host_name, ca_pem=self.edge.trust_pem()
            )
            until(f"{identity.sender} gets in", lambda client=client: gets_in(client), 60)
            client.listen("methods", method="echo", status=200)
            client.listen("desired")
            self.clients.append(client)
        self.leaves, self.module = self.clients[:2], self.clients[2]
        self.module.listen("input")
        for leaf in self.leaves:
            leaf.listen("c2d")
        return self

    def stop(self):
        for driver in self.drivers.values():
            driver.stop()
        self.threads.shutdown()
        self.edge.stop()
        assert "panicked" not in self.edge.service.log(whole=True)

    def send(self, count):
        """Everybody sends as many more; gives all numbers so far."""
        for number in range(self.sent, self.sent + count):
            for client in self.clients:
                client.send(str(number), **({"output": "out"} if client is self.module else {}))
        self.sent += count
        return range(self.sent)

    def arrived(self, numbers):
        """Each sender's, in order and all."""
        for client in self.clients:
            sender = client.identity.sender
            until(
                f"all of {sender}",
                lambda sender=sender: values(self.hub, sender) == list(numbers),
                60,
            )

    def looks_away(self):
        """How often the edge hub has found that the hub is away."""
        said = self.edge.iotedge("logs", "edgeHub")
        return (said.stdout + said.stderr).count("the hub is away; messages wait here")

    def readings(self):
        return len(self.hub.events.telemetry(f"{self.edge.device_id}/{SENSOR}"))


def gets_in(client):
    """The edge hub may not listen yet, or not know it yet."""
    try:
        client.__enter__()
    except DriverError:
        return False
    return True


def values(hub, sender):
    return ledger.without_copies([int(event.body) for event in hub.events.telemetry(sender)])


@pytest.fixture(scope="module")
def device(trust, namespace, tmp_path_factory):
    hub = Hub(trust, also_listen=[netns.HERE]).start()
    device = Device(hub, namespace, tmp_path_factory.mktemp("drivers"))
    try:
        yield device.start()
    finally:
        namespace.mend()
        device.stop()
        hub.stop()
    assert "panicked" not in hub.service.log(whole=True)


def patch_of(hub, identity, desired):
    patch = Twin(properties=TwinProperties(desired=desired))
    if identity.module_id:
        hub.registry().update_module_twin(identity.device_id, identity.module_id, patch)
    else:
        hub.registry().update_twin(identity.device_id, patch)


def test_the_device_has_no_other_way(device, namespace):
    """All of it is in the namespace."""
    device.arrived(device.send(10))
    pids = [device.edge.service.pid]
    for module in ("$edgeHub", SENSOR):
        pids += device.edge.module_processes(module)
    assert len(pids) == 3
    assert {os.stat(f"/proc/{pid}/ns/net").st_ino for pid in pids} == {namespace.inode()}
    with pytest.raises(requests.ConnectionError):
        requests.get(f"https://{device.edge.host_name}:443/", timeout=5)


PATIENT = pytest.mark.skipif("FARSHORE_PATIENT" not in os.environ, reason="takes two minutes: FARSHORE_PATIENT")


def short(device):
    """The wire is back before anybody asks; the same connections go on."""


def hub_is_new(device):
    """The hub has forgotten all connections when the wire is back; the device has not."""
    device.hub.kill()
    device.hub.start()


def noticed(device):
    """The edge hub finds by itself that nobody is there any more."""
    until("the edge hub notices", lambda: device.looks_away() > device.noticed, 150)


@pytest.mark.parametrize(
    ("cut", "meanwhile"),
    [
        ("unplug", short),
        ("swallow", hub_is_new),
        pytest.param("swallow", noticed, marks=PATIENT),
        pytest.param("unplug", noticed, marks=PATIENT),
    ],
)
def test_nothing_is_lost_by_a_cut(device, namespace, cut, meanwhile):
    hub, registry = device.hub, device.hub.registry()
    word = f"{cut} {meanwhile.__name__}"
    device.noticed = device.looks_away()
    sent = device.send(10)
    getattr(namespace, cut)()
    try:
        # The device goes on: messages are taken, modules reach each other, changes are noted.
        sent = device.send(20)
        device.module.send(word, output="loop")
        message = device.module.next("input", deadline=30)
        device.module.settle(message, "complete")
        assert message["body"] == word.encode()
        reports = [device.threads.submit(client.report, {"cut": word}) for client in device.clients]
        # Meanwhile the back end works, too.
        meanwhile(device)
        for client in device.clients:
            patch_of(hub, client.identity, {"wanted": word})
        for leaf in device.leaves:
            hub.send_c2d(leaf.identity.device_id, word.encode())
        for report in reports if meanwhile is not short else []:
            report.result(30)
    finally:
        namespace.mend()
    readings = device.readings()
    device.arrived(sent)
    until("the sensor's come, too", lambda: device.readings() > readings + 5, 30)
    for leaf in device.leaves:
        # One of an earlier cut may come again: that it was settled was not acknowledged.
        body = None
        while body != word.encode():
            message = leaf.next("c2d", deadline=60)
            leaf.settle(message, "complete")
            body = message["body"]
    for client, report in zip(device.clients, reports, strict=True):
        while client.next("desired", deadline=60)["patch"].get("wanted") != word:
            pass
        report.result(30)
        twin = lambda who=client.identity: twin_of(registry, who)  # noqa: E731
        until("what it reported is known", lambda twin=twin: twin().get("cut") == word, 60)
    for leaf in device.leaves:
        answer = registry.invoke_device_method(leaf.identity.device_id, ECHO)
        assert (answer.status, answer.payload) == (200, {"got": 7})


def twin_of(registry, who):
    """Its reported properties, as the hub has them."""
    if who.module_id:
        return registry.get_module_twin(who.device_id, who.module_id).properties.reported
    return registry.get_twin(who.device_id).properties.reported
