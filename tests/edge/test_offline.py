"""The guide's four steps of going offline, with the real program: configure, sync, go offline (over a
reboot without a network), reconnect."""

import pytest
import requests
from azure.iot.hub.models import Twin, TwinProperties

from harness import ledger, manifest, sdk
from harness.edge import Edge
from harness.wait import until

FOREVER = {"storeAndForwardConfiguration": {"timeToLiveSecs": -1}}


class Device:
    """An edge device with a module, a leaf device and a sensor that runs on it."""

    def __init__(self, hub):
        self.hub = hub
        self.edge = Edge(hub)
        self.module = hub.new_module(self.edge.device_id, "m1")
        self.leaf = self.edge.new_leaf()

    def sync(self):
        """Steps one and two: the deployment says that messages are kept for ever, and arrives."""
        self.edge.start()
        self.edge.deploy(manifest.deployment({"sensor": manifest.sensor()}, hub_settings=FOREVER))
        self.edge.wait_until_hub_listens()
        for who in (self.module, self.leaf):
            with self.edge.connected(who) as client:
                client.patch_twin_reported_properties({"synced": True})
        return self


@pytest.fixture
def device(new_hub):
    device = Device(new_hub().start())
    yield device
    device.edge.stop()
    assert "panicked" not in device.edge.service.log(whole=True)


def numbers(hub, who):
    return [int(event.body) for event in hub.events.telemetry(who.sender)]


def test_configure(device):
    """The time to live of the deployment is in force, and where messages lie is told."""
    device.sync()
    reported = until(
        "the configuration is in force",
        lambda: (
            (twin := device.edge.hub_twin().reported).get("lastDesiredStatus", {}).get("code") == 200 and twin
        ),
        60,
    )
    assert reported["storeAndForward"]["folder"] == str(device.edge.dir / "store/edgeHub")
    desired = device.edge.hub_twin().desired
    assert desired["storeAndForwardConfiguration"]["timeToLiveSecs"] == -1
    metrics = requests.get(f"http://{device.edge.address}:9600/metrics", timeout=5).text
    assert f'edge_device="{device.edge.device_id}"' in metrics
    assert "edgehub_messages_received_total{" in metrics


def test_a_device_that_never_synced_says_that_it_has_to(device):
    """Without a first sync there is nothing that it could do; its log says what is missing."""
    device.hub.kill()
    device.edge.start()
    device.edge.service.wait_for_log("this device has never synced with it: let it reach the hub once", 60)
    assert device.edge.module_processes("$edgeHub") == []
    # It needs no help when the hub is there.
    device.hub.start()
    device.edge.deploy(manifest.deployment(hub_settings=FOREVER))
    device.edge.wait_until_hub_listens()



def test_offline_over_a_reboot(device):
    """Modules and children run, prove who they are, and have their messages stored, though the network
    is away and the machine has been started anew."""
    device.sync()
    hub, edge = device.hub, device.edge
    hub.kill()
    with edge.connected(device.module) as module, edge.connected(device.leaf) as leaf:
        for number in range(10):
            module.send_message_to_output(str(number), "out")
            leaf.send_message(str(number))
    before = edge.module_processes("sensor")
    assert len(before) == 1
    # The power goes: everything is gone at once.
    edge.clean()
    edge.start()
    edge.wait_until_hub_listens(90)
    until("the sensor runs again", lambda: edge.module_processes("sensor") not in ([], before), 90)
    with edge.connected(device.module) as module, edge.connected(device.leaf) as leaf:
        for number in range(10, 20):
            module.send_message_to_output(str(number), "out")
            leaf.send_message(str(number))
        # A twin that was synced is there, and a change is taken.
        assert module.get_twin()["reported"]["synced"] is True
        module.patch_twin_reported_properties({"offline": 1})
    hub.start()
    for who in (device.module, device.leaf):
        until(
            f"all of {who.sender} has arrived, in order",
            lambda who=who: ledger.without_copies(numbers(hub, who)) == list(range(20)),
            60,
        )


def test_reconnect(device):
    """Order is kept, both sides' changes of twins are reconciled, and children that came, moved or went
    meanwhile are such."""
    device.sync()
    hub, edge = device.hub, device.edge
    mover, goer = edge.new_leaf(), edge.new_leaf()
    until_known(edge, mover)
    until_known(edge, goer)
    registry = hub.registry()
    with edge.connected(device.module) as module:
        desired = sdk.listen_for_desired(module)
        # The device is off while the back end works; when it comes back the hub is away.
        edge.clean()
        patch = Twin(properties=TwinProperties(desired={"wanted": 7}))
        registry.update_module_twin(edge.device_id, "m1", patch)
        comer = edge.new_leaf()
        registry.delete_device(goer.device_id)
        hub.kill()
        edge.start()
        edge.wait_until_hub_listens(90)
        until("the module is back", lambda: module.connected, 60)
        for number in range(10):
            module.send_message_to_output(str(number), "out")
        for value in range(3):
            module.patch_twin_reported_properties({"seen": value, "only": {str(value): True}})
        hub.start()
        until(
            "all has arrived, in order",
            lambda: ledger.without_copies(numbers(hub, device.module)) == list(range(10)),
            60,
        )
        while desired.next().get("wanted") != 7:
            pass

        def reconciled():
            reported = registry.get_module_twin(edge.device_id, "m1").properties.reported
            return reported.get("seen") == 2 and set(reported.get("only", {})) == {"0", "1", "2"}

        until("reported changes are merged at the hub", reconciled, 30)
    # Who came gets in; who went does not.
    until_known(edge, comer)
    until("who was deleted is refused", lambda: not gets_in(edge, goer), 60)
    assert gets_in(edge, mover)


def gets_in(edge, identity):
    try:
        with edge.connected(identity) as client:
            client.send_message("x")
    except Exception:
        return False
    return True


def until_known(edge, identity):
    until(f"{identity.sender} gets in", lambda: gets_in(edge, identity), 60)
