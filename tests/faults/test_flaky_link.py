"""The real program over links that lose packets, between leaf devices, edge hub and hub, and that are cut
meanwhile: nothing is lost, order is kept, and what comes twice is no more than what was in flight when a
connection broke. (Many more cuts, by a clock of their own: `crates/edge-hub/tests/hard_times`.)"""

import os

import pytest

from harness import ledger, loss, manifest
from harness.edge import Edge
from harness.wait import until
from harness.way import Way, through

# Each costs half a minute; all of them with FARSHORE_PATIENT=1.
PERCENTS = [5, 15, 30] if "FARSHORE_PATIENT" in os.environ else [20]
# What each sender gets through in each weather, before and after the cut.
STEP = 5
# The edge hub's window of a queue: what it may have sent and not heard of.
WINDOW = 100


@pytest.mark.skipif(not loss.is_possible(), reason=loss.HOW)
def test_lost_packets_and_cuts_lose_no_message(new_hub):
    hub = new_hub().start()
    way = Way(hub)
    edge = through(Edge(hub), way).start()
    try:
        with loss.losing(way.address, edge.address) as weather:
            run(hub, edge, way, weather)
    finally:
        edge.stop()
        way.close()


def run(hub, edge, way, weather):
    module, leaf = hub.new_module(edge.device_id, "m1"), edge.new_leaf()
    edge.deploy(manifest.deployment())
    edge.wait_until_hub_listens()
    with edge.connected(module) as by_module, edge.connected(leaf) as by_leaf:
        senders = [
            ledger.Sender(module.sender, lambda number: by_module.send_message_to_output(str(number), "out")),
            ledger.Sender(leaf.sender, lambda number: by_leaf.send_message(str(number))),
        ]
        for sender in senders:
            sender.start()
        try:
            for percent in PERCENTS:
                weather.set(percent)
                progress(hub, senders, f"with {percent} % of the packets lost")
                way.cut()
                progress(None, senders, "without a way")
                way.mend()
                progress(hub, senders, f"with {percent} % lost, after a cut")
            weather.end()
        finally:
            for sender in senders:
                sender.finish()
    for sender in senders:
        until("all arrives", lambda sender=sender: not ledger.missing(sender.acknowledged, stored(hub, sender)), 60)
        numbers = stored(hub, sender)
        copies = len(numbers) - len(set(numbers))
        print(f"{sender.name}: {len(sender.acknowledged)} acknowledged, {copies} came twice")
        assert ledger.out_of_order(numbers) == []
        assert copies <= WINDOW * len(PERCENTS)


def stored(hub, sender):
    return [int(event.body) for event in hub.events.telemetry(sender.name)]


def progress(hub, senders, what):
    """Everybody gets some more through: to the edge hub, or if there is one to the hub."""
    for sender in senders:
        count = len(sender.acknowledged) if hub is None else len(stored(hub, sender))

        def moved(sender=sender, count=count):
            return (len(sender.acknowledged) if hub is None else len(stored(hub, sender))) >= count + STEP

        until(f"{sender.name} gets on {what}", moved, 60)
