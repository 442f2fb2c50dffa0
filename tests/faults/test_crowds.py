"""Many strangers, and one who behaves: the crowd must not be felt."""

import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from harness import mqtt
from harness.canary import Canary

LOAD = Path(__file__).parents[1] / "harness" / "load.py"
# 10,000 stay below the 20,000 descriptors of a process, on both sides.
CROWD = 10_000
# "Constant memory before authentication": the state of a TLS handshake, a task and its buffers.
STRANGER_BYTES_MAX = 32 * 1024


def load(*arguments):
    return subprocess.Popen(
        [sys.executable, str(LOAD), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_ten_thousand_silent_connections_leave_others_unharmed(new_hub):
    hub = new_hub().start()
    before = hub.service.memory_bytes()
    with Canary(hub, "mqtt") as canary:
        crowd = load("silent", hub.address, 8883, CROWD)
        try:
            opened = json.loads(crowd.stdout.readline())
            assert opened["opened"] == CROWD
            grown = hub.service.memory_bytes() - before
            # Somebody new gets in while they all sit there.
            with mqtt.connected(hub.new_device()) as wire:
                wire.send(mqtt.PINGREQ)
                wire.expect(mqtt.PINGRESP)
            closed = json.loads(crowd.stdout.readline())
        finally:
            crowd.kill()
            crowd.wait()
            crowd.stdout.close()
    canary.check(hub)
    assert len(canary.times) > 20
    assert closed["closed"] == CROWD
    # The deadline is 10 s; the last was opened when the clock of `closed` began.
    assert closed["last_closed_after"] < 12
    assert grown < CROWD * STRANGER_BYTES_MAX, f"{grown / CROWD:.0f} bytes a stranger"


def test_who_does_not_come_to_the_point_is_closed(hub):
    """Ten seconds from the first byte to CONNECT, however busily the time is spent."""
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    beginning = mqtt.connect("slow", "slow", "x" * 200)
    slow = {port: _tls(context, hub, port) for port in (8883, 443)}
    start = time.monotonic()
    closed = {}
    while len(closed) < len(slow) and time.monotonic() - start < 20:
        for port in slow.keys() - closed.keys():
            number = int((time.monotonic() - start) / STEP_SECONDS)
            data = beginning if port == 8883 else b"GET / HTTP/1.1\r\nHost: slowly.example.org\r\n"
            if _is_closed(slow[port], data[number : number + 1]):
                closed[port] = time.monotonic() - start
    for connection in slow.values():
        connection.close()
    assert closed.keys() == slow.keys(), f"still open after 20 s: {slow.keys() - closed.keys()}"
    assert all(8 < seconds < 12 for seconds in closed.values()), closed


# A byte every half second: a fast slow-loris.
STEP_SECONDS = 0.5


def _tls(context, hub, port):
    raw = socket.create_connection((hub.address, port), timeout=10)
    return context.wrap_socket(raw, server_hostname=hub.address)


def _is_closed(connection, data):
    """Sends a byte, and listens for the length of a step."""
    connection.settimeout(STEP_SECONDS / 2)
    try:
        connection.sendall(data)
        while answer := connection.recv(4096):
            assert answer.startswith(b"HTTP/1.1 408"), answer
        return True
    except TimeoutError:
        return False
    except (ConnectionError, ssl.SSLError):
        return True


def test_a_fight_over_one_identity_leaves_others_unharmed(new_hub):
    hub = new_hub().start()
    device = hub.new_device("fought-for")
    with Canary(hub, "mqtt") as canary:
        storm = load(
            "takeover", hub.address, 8883, hub.ca_path, device.sender, device.user_name, device.token(), 6, 8
        )  # fmt: skip
        counts = json.loads(storm.communicate(timeout=40)[0])
    canary.check(hub)
    assert len(canary.times) > 20
    assert counts["accepted"] >= 1 and counts["put off"] >= 1 and counts["other"] == 0, counts
    # It is slowed down: without a bound, hundreds would get in.
    assert counts["accepted"] < 60, counts
