"""A disk that fills up: what cannot be stored is not acknowledged, what was is kept, and serving
goes on when there is space again."""

import pytest

from harness import mqtt
from harness.disk import small_disk
from harness.wait import until


class Sender:
    """Sends numbered messages; counts those that were acknowledged."""

    def __init__(self, device):
        self.device = device
        self.topic = f"devices/{device.device_id}/messages/events/"
        self.acknowledged = []
        self.next = 0

    def send(self, count, filler=b"", patience=3.0):
        """Sends one after the other until one is not acknowledged; gives how many were."""
        with mqtt.connected(self.device) as wire:
            wire.socket.settimeout(patience)
            for sent in range(count):
                number = self.next
                self.next += 1
                try:
                    wire.send(mqtt.publish(self.topic, str(number).encode() + b" " + filler))
                    wire.expect(mqtt.PUBACK)
                except (mqtt.Closed, TimeoutError):
                    return sent
                self.acknowledged.append(number)
        return count


def test_a_full_disk_stops_acknowledging_and_loses_nothing(new_hub, tmp_path):
    with small_disk(tmp_path) as disk:
        hub = new_hub(data_dir=disk / "data")
        hub.start()
        sender = Sender(hub.new_device())
        assert sender.send(20) == 20
        # Somebody else fills the disk.
        ballast = disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            with pytest.raises(OSError):
                while True:
                    file.write(b"x" * (1 << 20))
        # What was set aside before may still be used; then no more.
        full = 0
        for _ in range(5):
            if sender.send(400, b"y" * 200_000) < 400:
                full += 1
                break
        assert full, "a full disk acknowledges for ever"
        assert hub.service.is_running
        hub.service.wait_for_log(r"(?i)(disk|space)")
        ballast.unlink()
        until("it serves again", lambda: sender.send(1) == 1, 30)
        assert sender.send(20) == 20

        def numbers():
            return [int(event.body.split(b" ")[0]) for event in hub.events.telemetry(sender.device.sender)]

        stored = numbers()
        assert set(sender.acknowledged) <= set(stored)
        assert stored == sorted(stored)
        hub.kill()
        hub.start()
        assert set(sender.acknowledged) <= set(numbers())
