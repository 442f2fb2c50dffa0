"""An edge device whose disks are full. The edge hub's store on one of 20 MB: it acknowledges what it can
keep and nothing else, answers and delivers all the same, and takes messages again as soon as there is
space. The daemon's and the agent's own files: each is there as a whole, or as it was before."""

import json
import time

import requests

from harness import ledger, manifest, mqtt
from harness.disk import fill, small_disk
from harness.edge import Edge
from harness.wait import until

DISK = "20m"
BODY_BYTES = 50_000
# Sent after the first that was not acknowledged, each on a connection of its own.
FURTHER = 5
SPACE_SECONDS = 1.0


class Leaf:
    """Sends numbered messages one after the other, by bytes: an SDK would try again by itself."""

    def __init__(self, edge, identity, ca_path):
        self.edge, self.identity, self.ca_path = edge, identity, ca_path
        self.topic = f"devices/{identity.device_id}/messages/events/"
        self.acknowledged, self.next = [], 0

    def send(self, count, filler=b"", patience=3.0):
        """Until one is not acknowledged; gives how many were."""
        with mqtt.Wire(self.edge.address, self.ca_path, deadline=patience) as wire:
            assert wire.connect(self.identity) == (0, False)
            for sent in range(count):
                number, self.next = self.next, self.next + 1
                try:
                    wire.send(mqtt.publish(self.topic, b"%d %s" % (number, filler)))
                    wire.expect(mqtt.PUBACK)
                except (mqtt.Closed, OSError):
                    return sent
                self.acknowledged.append(number)
        return count

    def stored(self):
        return [int(event.body.split(b" ")[0]) for event in self.edge.hub.events.telemetry(self.identity.sender)]


def metric(edge, name, labels=""):
    """The sum of a metric's series whose labels hold a text."""
    lines = requests.get(f"http://{edge.address}:9600/metrics", timeout=5).text.splitlines()
    found = [line for line in lines if line.startswith(f"edgehub_{name}{{") and labels in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_a_full_store_of_20_mb_acknowledges_nothing_and_goes_on(new_hub, tmp_path):
    hub = new_hub().start()
    with small_disk(tmp_path, DISK) as disk:
        edge = Edge(hub).start()
        try:
            run_full(edge, disk, tmp_path)
        finally:
            edge.stop()


def run_full(edge, disk, tmp_path):
    hub = edge.hub
    module, leaf = hub.new_module(edge.device_id, "m1"), edge.new_leaf()
    edge.deploy(manifest.deployment(edge_hub_env={"storageFolder": str(disk)}))
    edge.wait_until_hub_listens()
    ca_path = tmp_path / "edge-ca.pem"
    ca_path.write_text(edge.trust_pem())
    leaf = Leaf(edge, leaf, ca_path)
    filler = b"y" * BODY_BYTES
    with edge.connected(module) as client:
        client.patch_twin_reported_properties({"seen": 1})
        assert leaf.send(3) == 3
        hub.kill()
        # By its own messages: nothing drains. What was set aside is used up first.
        assert leaf.send(1000, filler) < 1000
        acknowledged = len(leaf.acknowledged)
        # What lies on the disk is messages, not waste.
        assert acknowledged * BODY_BYTES > 10 << 20, acknowledged
        for _ in range(FURTHER):
            assert leaf.send(1, filler) == 0, "one is not acknowledged, and a later one is"
        assert edge.module_processes("$edgeHub"), edge.module_logs()
        # Who is refused is counted and told.
        refused = metric(edge, "messages_unack_total", 'reason="storage_failure"')
        assert refused >= FURTHER, refused
        logs = edge.iotedge("logs", "edgeHub")
        said = logs.stdout + logs.stderr
        assert f"no space for another journal segment in {disk}" in said, said[-2000:]
        # What needs no space still works.
        assert client.get_twin()["reported"]["seen"] == 1
        assert metric(edge, "queue_length") == acknowledged - metric(edge, "messages_sent_total")
    # What waits leaves, and that makes space.
    hub.start()
    until("all of it arrives", lambda: not ledger.missing(leaf.acknowledged, leaf.stored()), 60)
    until("there is space again", lambda: leaf.send(1) == 1, 10)
    # Somebody else takes all of it, and gives it back.
    hub.kill()
    ballast = fill(disk)
    assert leaf.send(1000, filler) < 1000
    assert leaf.send(1, filler) == 0
    ballast.unlink()
    took = seconds_until(lambda: leaf.send(1) == 1)
    print(f"space is back: acknowledged again after {took:.2f} s")
    assert took <= SPACE_SECONDS
    # It starts over a full disk, too, with all that it had.
    fill(disk)
    pid = edge.module_processes("$edgeHub")
    assert edge.iotedge("restart", "edgeHub").returncode == 0
    until("another edge hub", lambda: edge.module_processes("$edgeHub") not in ([], pid), 30)
    edge.wait_until_hub_listens()
    hub.start()
    until("all of it arrives", lambda: not ledger.missing(leaf.acknowledged, leaf.stored()), 60)
    stored = leaf.stored()
    assert ledger.out_of_order(stored) == []
    print(f"{len(leaf.acknowledged)} acknowledged, {len(set(stored))} stored, {len(stored)} with copies")


def seconds_until(is_so, deadline=30.0):
    begun = time.monotonic()
    until("it is so", is_so, deadline)
    return time.monotonic() - begun


def test_the_daemons_and_the_agents_files_are_never_half_written(new_hub):
    """A deployment that cannot be kept changes no file; what ran goes on and comes back over the full
    disk; and what was wanted is there when there is space again, without anybody's help."""
    edge = Edge(new_hub().start())
    wanted = {"first": manifest.sensor(), "second": manifest.sensor()}
    with small_disk(edge.dir, "8m", "home") as home:
        try:
            edge.start()
            edge.deploy(manifest.deployment({"first": wanted["first"]}))
            ballast = fill(home)
            before = documents(home)
            edge.deploy(manifest.deployment(wanted), wait=False)
            edge.service.wait_for_log("step failed module_id=second .*No space left on device")
            edge.service.wait_for_log("cannot keep the deployment")
            assert documents(home) == before
            assert edge.module_processes("first")
            # The power goes.
            edge.clean()
            edge.start()
            until("what ran runs again", lambda: edge.module_processes("first"), 30)
            edge.service.wait_for_log("step failed module_id=second .*No space left on device")
            assert edge.iotedge("list").returncode == 0
            documents(home)
            ballast.unlink()
            edge.wait_until_applied()
        finally:
            edge.stop()


def documents(directory):
    """What is kept, by name; each of it can be read, and nothing was begun and left."""
    found = {}
    for path in directory.rglob("*"):
        if path.is_file() and not path.name.startswith(("ballast", "log.")):
            text = path.read_bytes()
            if path.suffix == ".json":
                json.loads(text)
            found[str(path)] = text
    return found
