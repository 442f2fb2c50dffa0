"""Pull the plug: devices and modules send while hub, edge hub and daemon are killed at random moments.
Afterwards the books are compared: nothing acknowledged is missing, nothing is out of order."""

import os
import random
import time
from contextlib import ExitStack

from harness import ledger, manifest, sdk
from harness.edge import Edge
from harness.program import kill_process
from harness.wait import TooLate, until

# Kills of each of the three; more in long runs: FARSHORE_PLUG_KILLS=100.
KILLS = int(os.environ.get("FARSHORE_PLUG_KILLS", "5"))
# A failure names its seed; give it back to see the same moments again.
SEED = int(os.environ.get("FARSHORE_PLUG_SEED", str(random.randrange(1 << 32))))


def test_the_books_know_a_mistake():
    assert ledger.missing([0, 1, 2], [0, 2]) == [1]
    assert ledger.out_of_order([0, 2, 1, 3]) == [1]
    assert ledger.out_of_order([0, 1, 1, 0, 2]) == []


def test_nothing_acknowledged_is_lost_when_the_plug_is_pulled(new_hub):
    print(f"seed {SEED}")
    random.seed(SEED)
    hub = new_hub().start()
    edge = Edge(hub).start()
    with ExitStack() as stack:
        stack.callback(edge.stop)
        modules = [hub.new_module(edge.device_id, name) for name in ("m1", "m2")]
        leaf, devices = edge.new_leaf(), [hub.new_device() for _ in range(2)]
        edge.deploy(manifest.deployment())
        edge.wait_until_hub_listens()
        senders = {}
        for who in [*devices, *modules, leaf]:
            below = who not in devices
            client = stack.enter_context(edge.connected(who) if below else sdk.connected(who))
            if who.module_id:
                send = lambda number, client=client: client.send_message_to_output(str(number), "out")  # noqa: E731
            else:
                send = lambda number, client=client: client.send_message(str(number))  # noqa: E731
            senders[who.sender] = ledger.Sender(who.sender, send)
        for sender in senders.values():
            sender.start()
        until("everybody sends", lambda: all(s.acknowledged for s in senders.values()), 30)

        steps = [kill_hub, kill_edge_hub, kill_daemon] * KILLS
        random.shuffle(steps)
        for step in steps:
            # The moment is what is random here; nothing waits for it.
            time.sleep(random.uniform(0.05, 0.5))
            step(hub, edge)

        progress = {name: len(sender.acknowledged) for name, sender in senders.items()}
        until(
            "everybody is served again",
            lambda: all(len(s.acknowledged) > progress[n] for n, s in senders.items()),
            90,
        )
        for sender in senders.values():
            sender.finish()
        check(hub, senders)


def kill_hub(hub, edge):
    hub.kill()
    hub.start()


def kill_daemon(hub, edge):
    edge.kill()
    edge.start()


def kill_edge_hub(hub, edge):
    """The agent would start it again after a wait that grows with every fall; an operator does not
    wait."""
    for pid in edge.module_processes("$edgeHub"):
        kill_process(pid)
    result = edge.iotedge("restart", "edgeHub")
    assert result.returncode == 0, result.stderr
    edge.wait_until_hub_listens()


def check(hub, senders):
    stored = {}

    def arrived():
        stored.clear()
        for event in hub.events.read():
            if event.source == "Telemetry":
                stored.setdefault(event.sender, []).append(int(event.body))
        return not any(ledger.missing(s.acknowledged, stored.get(n, [])) for n, s in senders.items())

    try:
        until("all that was acknowledged is in the log", arrived, 90)
    except TooLate:
        lost = {n: ledger.missing(s.acknowledged, stored.get(n, [])) for n, s in senders.items()}
        raise AssertionError(f"seed {SEED}: acknowledged and missing: {lost}") from None
    late = {name: ledger.out_of_order(stored[name]) for name in senders}
    assert not any(late.values()), f"seed {SEED}: out of order: {late}"
    counts = {name: (len(s.acknowledged), len(stored[name])) for name, s in senders.items()}
    print(f"acknowledged and stored, by sender: {counts}")
    assert min(count for count, _ in counts.values()) > KILLS
