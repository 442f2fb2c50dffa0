"""Keep-alive, and what becomes of a client that falls silent."""

import time

from harness import mqtt


def test_a_silent_client_is_closed_after_one_and_a_half_keep_alives(hub, device):
    with mqtt.connected(device, keep_alive=2) as wire:
        start = time.monotonic()
        assert wire.is_closed_by_server()
        assert 2.5 < time.monotonic() - start < 6


def test_a_ping_keeps_the_connection(hub, device):
    with mqtt.connected(device, keep_alive=2) as wire:
        end = time.monotonic() + 5
        wire.socket.settimeout(5)
        while time.monotonic() < end:
            wire.send(mqtt.PINGREQ)
            wire.expect(mqtt.PINGRESP)
            time.sleep(1)  # The client's own rhythm, not a wait for anything.
        topic = f"devices/{device.device_id}/messages/events/"
        wire.send(mqtt.publish(topic, b"alive"))
        wire.expect(mqtt.PUBACK)


def test_the_newer_connection_wins(hub, device):
    with mqtt.connected(device) as old, mqtt.connected(device) as new:
        assert old.is_closed_by_server()
        new.send(mqtt.publish(f"devices/{device.device_id}/messages/events/", b"mine"))
        new.expect(mqtt.PUBACK)
