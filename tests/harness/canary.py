"""A well-behaved device that goes on while others do what they should not."""

import threading
import time

from harness import amqp, mqtt
from harness.amqp_input import data, events

# What an acknowledgement may take on two busy cores; idle it takes a few milliseconds.
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.05


class Canary:
    """Sends a message every now and then, over `mqtt` or `amqp`, and measures the acknowledgement."""

    def __init__(self, hub, over):
        self.device = hub.new_device("canary")
        self.times = []
        self.error = None
        self._send = {"mqtt": self._by_mqtt, "amqp": self._by_amqp}[over]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self._send()
        except Exception as error:  # Told by the test's own thread.
            self.error = error

    def _by_mqtt(self):
        topic = f"devices/{self.device.device_id}/messages/events/"
        with mqtt.connected(self.device) as wire:
            for number in self._numbers():
                wire.send(mqtt.publish(topic, str(number).encode()))
                wire.expect(mqtt.PUBACK)

    def _by_amqp(self):
        with amqp.authorised(self.device) as wire:
            wire.attach(2, amqp.SENDER, events(self.device))
            for number in self._numbers():
                # The session's deliveries are counted together: the token was the first.
                wire.transfer(2, number + 2, data(str(number).encode()))
                answer = wire.wait_for("disposition", first=number + 2)
                assert answer["state"] == amqp.ACCEPTED, answer

    def _numbers(self):
        """One after the other until the end; each counts when it is done."""
        while not self._end.wait(PAUSE_SECONDS):
            start = time.monotonic()
            yield len(self.times)
            self.times.append(time.monotonic() - start)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(30)

    def check(self, hub):
        assert self.error is None, f"the well-behaved device was harmed: {self.error!r}"
        assert max(self.times) < PATIENCE_SECONDS, f"slowest acknowledgement: {max(self.times):.2f} s"
        bodies = [int(event.body) for event in hub.events.telemetry(self.device.sender)]
        assert bodies == list(range(len(self.times)))
