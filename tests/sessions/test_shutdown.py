"""A hub that is asked to end (SIGTERM) ends soon, whatever its clients do, and owes nobody anything."""

import socket
import ssl
import time

from harness import mqtt, sdk
from harness.wait import until

# Far below the 10 s that connections with work to do may take.
SOON_SECONDS = 5


def stopping_takes(hub):
    start = time.monotonic()
    assert hub.stop() == 0, hub.service.tail()
    return time.monotonic() - start


def test_strangers_do_not_hold_up_the_end(new_hub):
    hub = new_hub().start()
    open_connections = [socket.create_connection((hub.address, port)) for port in (8883, 443)]
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    for port in (8883, 443):
        raw = socket.create_connection((hub.address, port))
        open_connections.append(context.wrap_socket(raw, server_hostname=hub.address))
    try:
        assert stopping_takes(hub) < SOON_SECONDS, hub.service.tail()
    finally:
        for connection in open_connections:
            connection.close()


def test_idle_devices_and_readers_do_not_hold_up_the_end(new_hub):
    hub = new_hub().start()
    device = hub.new_device()
    registry = hub.registry()
    registry.get_devices()
    query = {"from": "end", "follow": "true"}
    with (
        mqtt.connected(device) as wire,
        hub.rest("GET", "/events/partitions/0", query=query, stream=True) as following,
    ):
        assert following.status_code == 200
        assert stopping_takes(hub) < SOON_SECONDS, hub.service.tail()
        assert wire.is_closed_by_server()


def test_what_was_sent_before_the_end_is_kept(new_hub):
    hub = new_hub().start()
    device = hub.new_device()
    with sdk.connected(device) as client:
        for number in range(20):
            client.send_message(str(number))
        stopping_takes(hub)
        hub.start()
        until("the client is back", lambda: client.connected, 30)
    stored = [int(event.body) for event in hub.events.telemetry(device.sender)]
    assert stored == list(range(20))
    assert "damage" not in hub.service.log()
