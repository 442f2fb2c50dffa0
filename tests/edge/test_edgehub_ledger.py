"""The books of modules and leaf devices while everything goes wrong under load: edge hub and hub are
killed, the hub is away, the way to it is cut, the store's disk fills. What an edge hub acknowledged is
written down outside of all that: nothing of it is lost or comes out of its sender's order, and nothing
comes twice without a break."""

import os
import random
from contextlib import ExitStack

import pytest

from harness import ledger, manifest, sdk
from harness.disk import small_disk
from harness.edge import Edge
from harness.program import kill_process
from harness.wait import TooLate, until
from harness.way import Way, through

# A failure names its seed; give it back to see the same order again.
SEED = int(os.environ.get("FARSHORE_PLUG_SEED", str(random.randrange(1 << 32))))
# What one message brings along while the disk is to fill.
FILLER_BYTES = 20_000
# So often nothing has changed when nobody is served: much longer than a message takes.
LOOKS = 30
# What each sender must get through between two faults.
STEP = 5


class Field:
    """Hub, way, edge device with a small disk for its store, and who sends."""

    def __init__(self, stack, hub, disk):
        self.hub, self.disk, self.filler = hub, disk, ""
        self.way = Way(hub)
        stack.callback(self.way.close)
        self.edge = through(Edge(hub), self.way).start()
        stack.callback(self.edge.stop)
        identities = [hub.new_module(self.edge.device_id, name) for name in ("m1", "m2")]
        identities += [self.edge.new_leaf(), self.edge.new_leaf()]
        self.edge.deploy(manifest.deployment(edge_hub_env={"storageFolder": str(disk)}))
        self.edge.wait_until_hub_listens()
        self.senders, self.send = [], {}
        for who in identities:
            client = stack.enter_context(self.edge.connected(who))
            self.send[who.sender] = self._sending(who, client)
            self.senders.append(ledger.Sender(who.sender, self.send[who.sender]))

    def _sending(self, who, client):
        if who.module_id:
            return lambda number: client.send_message_to_output(f"{number} {self.filler}", "out")
        return lambda number: client.send_message(f"{number} {self.filler}")

    def counts(self):
        return {sender.name: len(sender.acknowledged) for sender in self.senders}

    def progress(self, what, deadline=40):
        """Everybody gets some more through."""
        before = self.counts()
        try:
            until(
                f"everybody is served {what}",
                lambda: all(count >= before[name] + STEP for name, count in self.counts().items()),
                deadline,
            )
        except TooLate as error:
            raise TooLate(f"seed {SEED}: {error}: {before}, {self.counts()}") from None

    def stored(self):
        """The numbers in the hub's log, by sender."""
        stored = {sender.name: [] for sender in self.senders}
        for event in self.hub.events.read():
            if event.source == "Telemetry" and event.sender in stored:
                stored[event.sender].append(int(event.body.split(b" ")[0]))
        return stored

    # The faults

    def kill_edge_hub(self):
        (pid,) = self.edge.module_processes("$edgeHub")
        kill_process(pid)
        result = self.edge.iotedge("restart", "edgeHub")
        assert result.returncode == 0, result.stderr
        self.edge.wait_until_hub_listens()

    def kill_hub(self):
        self.hub.kill()
        self.hub.start()

    def hub_away(self):
        self.hub.kill()
        self.progress("without the hub")
        self.kill_edge_hub()
        self.progress("by another edge hub without the hub")
        self.hub.start()

    def cut_way(self):
        self.way.cut()
        self.progress("without a way")
        self.way.mend()

    def fill_disk(self):
        """Nothing drains meanwhile; so what was set aside before is used up, and then nobody gets an
        acknowledgement."""
        self.way.cut()
        ballast = self.disk / "ballast"
        self.filler = "x" * FILLER_BYTES
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(b"x" * (1 << 20))
        last, same = None, 0

        def nobody_moves():
            nonlocal last, same
            now = self.counts()
            last, same = now, same + 1 if now == last else 0
            return same >= LOOKS

        until(f"seed {SEED}: a full disk acknowledges nothing", nobody_moves, 40)
        disk = os.statvfs(self.disk)
        assert disk.f_bavail * disk.f_frsize < 2 << 20, disk
        assert all(sender.error is None for sender in self.senders)
        self.filler = ""
        ballast.unlink()
        self.progress("when there is space again")
        self.way.mend()


def test_nothing_acknowledged_is_lost_reordered_or_doubled_for_nothing(new_hub, tmp_path):
    print(f"seed {SEED}")
    random.seed(SEED)
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(tmp_path))
        field = Field(stack, new_hub().start(), disk)
        for sender in field.senders:
            sender.start()
        field.progress("at first")
        # While nothing is wrong nothing comes twice.
        calm = field.stored()
        assert not any(copies(numbers) for numbers in calm.values()), calm
        faults = [field.kill_edge_hub, field.kill_hub, field.hub_away, field.cut_way, field.fill_disk]
        random.shuffle(faults)
        for fault in faults:
            fault()
            field.progress(f"after {fault.__name__}")
        for sender in field.senders:
            sender.finish()
        check(field)
        # Nor when all is well again.
        ends = {sender.name: sender.acknowledged[-1] + 1 for sender in field.senders}
        wanted = {name: list(range(end, end + STEP)) for name, end in ends.items()}
        for name, numbers in wanted.items():
            for number in numbers:
                field.send[name](number)

        def last_ones():
            stored = field.stored()
            return all(stored[name][-1] == numbers[-1] for name, numbers in wanted.items()) and stored

        stored = until("the last ones arrive", last_ones, 30)
        for name, numbers in wanted.items():
            assert [n for n in stored[name] if n >= numbers[0]] == numbers, f"seed {SEED}: {name}"
        facts = {name: (len(numbers), len(copies(numbers))) for name, numbers in stored.items()}
        print(f"by sender, stored and of these copies: {facts}")


def check(field):
    stored = {}

    def arrived():
        stored.clear()
        stored.update(field.stored())
        return not any(ledger.missing(s.acknowledged, stored[s.name]) for s in field.senders)

    try:
        until("all that was acknowledged is in the log", arrived, 60)
    except TooLate:
        lost = {s.name: ledger.missing(s.acknowledged, stored[s.name]) for s in field.senders}
        raise AssertionError(f"seed {SEED}: acknowledged and missing: {lost}") from None
    late = {name: ledger.out_of_order(numbers) for name, numbers in stored.items()}
    assert not any(late.values()), f"seed {SEED}: out of order: {late}"


def copies(numbers):
    """Those that came before."""
    seen = set()
    return [number for number in numbers if number in seen or seen.add(number)]
