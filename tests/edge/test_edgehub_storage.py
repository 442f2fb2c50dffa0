"""Redundant storage: the store is on a second mount. The system disk dies and is restored from an older
snapshot; what the store holds is delivered all the same."""

import shutil
import subprocess

from harness import ledger, manifest
from harness.disk import small_disk
from harness.edge import Edge
from harness.wait import until

FOREVER = {"storeAndForwardConfiguration": {"timeToLiveSecs": -1}}


def test_the_store_outlives_the_system_disk(new_hub, tmp_path):
    hub = new_hub().start()
    with small_disk(tmp_path) as disk:
        edge = Edge(hub).start()
        try:
            senders = [hub.new_module(edge.device_id, "m1"), edge.new_leaf()]
            edge.deploy(
                manifest.deployment(edge_hub_env={"storageFolder": str(disk)}, hub_settings=FOREVER)
            )
            edge.wait_until_hub_listens()
            send(edge, senders, range(10))
            for who in senders:
                until(f"the first of {who.sender}", lambda who=who: arrived(hub, who) == list(range(10)), 40)
            # The snapshot, as of a machine that is off.
            edge.clean()
            home, snapshot = edge.dir / "home", tmp_path / "snapshot"
            copy(home, snapshot)
            # After it more is sent, with the hub and without it.
            edge.start()
            edge.wait_until_hub_listens()
            send(edge, senders, range(10, 20))
            hub.kill()
            send(edge, senders, range(20, 30))
            # The power goes, and the system disk with it.
            edge.clean()
            shutil.rmtree(home)
            copy(snapshot, home)
            edge.start()
            edge.wait_until_hub_listens()
            send(edge, senders, range(30, 40))
            hub.start()
            for who in senders:
                until(
                    f"all of {who.sender} has arrived, in order",
                    lambda who=who: ledger.without_copies(arrived(hub, who)) == list(range(40)),
                    60,
                )
        finally:
            edge.stop()
    assert "panicked" not in edge.service.log(whole=True)


def copy(source, target):
    """With owners, modes and links."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def send(edge, senders, numbers):
    """Returns when all is acknowledged."""
    for who in senders:
        with edge.connected(who) as client:
            for number in numbers:
                if who.module_id:
                    client.send_message_to_output(str(number), "out")
                else:
                    client.send_message(str(number))


def arrived(hub, who):
    return [int(event.body) for event in hub.events.telemetry(who.sender)]
