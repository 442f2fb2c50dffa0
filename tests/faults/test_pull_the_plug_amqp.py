"""Pull the plug, over AMQP: publishers of all kinds while the hub is killed at random moments, and the books
outside: nothing for which a disposition said `accepted` is missing. Number and seed as in `test_pull_the_plug`."""

import os
import random
import threading
import time
import traceback

from azure.iot.device.exceptions import ConnectionFailedError

from harness import amqp, ledger
from harness.amqp import ACCEPTED, SENDER
from harness.amqp_types import UInt, message
from harness.drivers import Driver, DriverError
from harness.transport import Closed
from harness.wait import TooLate, until

KILLS = int(os.environ.get("FARSHORE_PLUG_KILLS", "5"))
SEED = int(os.environ.get("FARSHORE_PLUG_SEED", str(random.randrange(1 << 32))))
BATCH_FORMAT = UInt(0x80013700)
WEBSOCKET = "/$iothub/websocket"


def data(body):
    return message([("data", body)])


class Publisher:
    """Some devices on one connection, each with so many deliveries under way, of so many messages each. What is
    accepted stands in the books; what is not is sent again, on a new connection if need be."""

    def __init__(self, devices, window=1, batch=1, path=None, settled_second=False):
        self.devices = devices
        self.window, self.batch, self.path = window, batch, path
        self.rcv_settle_mode = 1 if settled_second else 0
        self.acknowledged = {device.sender: [] for device in devices}
        self.todo = {device.sender: 0 for device in devices}
        self.connections = 0
        self.error = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def finish(self):
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive() and self.error is None, self.error

    def count(self):
        return sum(map(len, self.acknowledged.values()))

    def _run(self):
        while not self._end.is_set():
            try:
                with self._connect() as wire:
                    self.connections += 1
                    self._publish(wire)
            except (Closed, OSError):
                self._end.wait(ledger.RETRY_SECONDS)
            except Exception as error:  # Told by `finish`.
                self.error = traceback.format_exception(error)
                return

    def _connect(self):
        wire = amqp.connect(self.devices[0], websocket_path=self.path)
        wire.begin()
        self.number = len(self.devices)
        for number, device in enumerate(self.devices):
            assert wire.put_token(device.token(), device.resource, message_id=str(number + 1), attach=number == 0) == 200
            # For one more answer on the link that brings them.
            wire.credit(1, 1, delivery_count=number + 1)
            path = f"/devices/{device.device_id}/messages/events"
            answer = wire.attach(10 + number, SENDER, path, rcv_settle_mode=amqp_ubyte(self.rcv_settle_mode))
            assert answer["target"] is not None, answer
        return wire

    def _publish(self, wire):
        """Rounds of a window each; a connection that breaks takes with it what was not accepted."""
        while not self._end.is_set():
            waiting = {}
            for _ in range(self.window):
                for handle, device in enumerate(self.devices, start=10):
                    first = self.todo[device.sender]
                    self.todo[device.sender] += self.batch
                    self.number += 1
                    waiting[self.number] = (device.sender, range(first, first + self.batch))
                    self._send(wire, handle, self.number, range(first, first + self.batch))
            try:
                self._settle(wire, waiting)
            finally:
                for sender, numbers in waiting.values():
                    self.todo[sender] = min(self.todo[sender], numbers.start)

    def _send(self, wire, handle, delivery, numbers):
        bodies = [data(str(number).encode()) for number in numbers]
        if self.batch == 1:
            wire.transfer(handle, delivery, bodies[0])
        else:
            wire.transfer(handle, delivery, message([("data", body) for body in bodies]), message_format=BATCH_FORMAT)

    def _settle(self, wire, waiting):
        while waiting:
            told = wire.wait_for("disposition")
            first, last = told["first"], told["last"] if told["last"] is not None else told["first"]
            for delivery in range(first, last + 1):
                if delivery not in waiting:
                    continue
                if told["state"] == ACCEPTED:
                    sender, numbers = waiting.pop(delivery)
                    self.acknowledged[sender].extend(numbers)
                else:
                    # A hub that is ending says so; the message stays ours.
                    raise Closed(f"not accepted: {told}")
            if told["settled"] is not True:
                wire.send("disposition", role=SENDER, first=first, last=last, settled=True, state=ACCEPTED)


def amqp_ubyte(value):
    from harness.amqp_types import UByte

    return UByte(value)


def node_sender(client, name):
    def send(number):
        try:
            client.send(str(number))
        except DriverError as error:
            raise ConnectionFailedError(str(error)) from None

    return ledger.Sender(name, send)


def test_nothing_accepted_is_lost_when_the_plug_is_pulled(new_hub, tmp_path):
    print(f"seed {SEED}")
    random.seed(SEED)
    hub = new_hub().start()
    publishers = {
        "one by one": Publisher([hub.new_device()]),
        "a window": Publisher([hub.new_device()], window=100),
        "batches": Publisher([hub.new_device()], window=4, batch=20),
        "many devices": Publisher([hub.new_device() for _ in range(20)], window=2),
        "settled second": Publisher([hub.new_device()], window=10, settled_second=True),
        "websocket": Publisher([hub.new_device()], window=10, path=WEBSOCKET),
    }
    driver = Driver("node", tmp_path / "node.log")
    device = hub.new_device()
    with driver.client(device, "amqp") as client:
        node = node_sender(client, device.sender)
        for sender in [*publishers.values(), node]:
            sender.start()
        counts = lambda: [*(p.count() for p in publishers.values()), len(node.acknowledged)]  # noqa: E731
        errors = lambda: [p.error for p in publishers.values() if p.error is not None]  # noqa: E731
        until("everybody publishes", lambda: all(counts()) or errors(), 30)
        assert not errors(), errors()
        for _ in range(KILLS):
            # The moment is what is random here; nothing waits for it.
            time.sleep(random.uniform(0.05, 0.8))
            hub.kill()
            hub.start()
        progress = counts()
        behind = lambda: [n for n, (now, then) in enumerate(zip(counts(), progress, strict=True)) if now == then]  # noqa: E731
        try:
            until("everybody is served again", lambda: not behind() or errors(), 60)
        except TooLate as error:
            raise AssertionError(f"{error}: {[*publishers, 'node'][behind()[0]]} is not") from None
        assert not errors(), errors()
        for sender in [*publishers.values(), node]:
            sender.finish()
    driver.stop()

    acknowledged = {name: numbers for p in publishers.values() for name, numbers in p.acknowledged.items()}
    acknowledged[device.sender] = node.acknowledged
    stored = {}
    for event in hub.events.read():
        if event.source == "Telemetry":
            stored.setdefault(event.sender, []).append(int(event.body))
    lost = {name: ledger.missing(numbers, stored.get(name, [])) for name, numbers in acknowledged.items()}
    assert not any(lost.values()), f"seed {SEED}: accepted and missing: {lost}"
    # One at a time, or all of a window again: the first copies stand in the order in which they were sent.
    late = {name: ledger.out_of_order(stored[name]) for name in acknowledged}
    assert not any(late.values()), f"seed {SEED}: out of order: {late}"
    kinds = {kind: (p.count(), p.connections) for kind, p in publishers.items()}
    print(f"accepted, and connections: {kinds}; node: {len(node.acknowledged)}")
    assert all(p.connections > KILLS // 2 for p in publishers.values()), "the plug was pulled for nobody"
