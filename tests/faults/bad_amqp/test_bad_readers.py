"""Who does not read, or does not take: it is put off, and nobody else notices."""

import socket
import threading

from harness import amqp
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_input import data, events
from harness.amqp_types import Symbol, UInt, message
from harness.canary import Canary
from harness.wait import until

# What the hub may hold more after all of this than before: its allocator keeps some of what it had.
LEVEL_BYTES = 48 * 1024 * 1024


# Slow readers


def test_who_never_reads_is_put_off_and_others_do_not_notice(hub):
    """A device takes deliveries, and never reads what its connection brings: the hub keeps no more of them than
    fits, and gives them to the next connection."""
    devices = [hub.new_device("slow") for _ in range(10)]
    before = hub.service.memory_bytes()
    wires = []
    for device in devices:
        wire = amqp.authorised(device)
        wires.append(wire)
        wire.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.attach(2, RECEIVER, f"/devices/{device.device_id}/messages/devicebound")
        wire.credit(2, 1000)
    for device in devices:
        for number in range(40):
            hub.send_c2d(device.device_id, bytes([number]) + b"x" * 60_000)
    with Canary(hub, "amqp") as canary:
        until("the canary has sent", lambda: len(canary.times) > 10 or canary.error)
    canary.check(hub)
    grown = hub.service.memory_bytes() - before
    assert grown < LEVEL_BYTES, f"{grown / len(devices):.0f} bytes a device"
    # Nothing of it is lost: the next connection has them all.
    device = devices[0]
    wires[0].close()
    with amqp.authorised(device) as wire:
        wire.attach(2, RECEIVER, f"/devices/{device.device_id}/messages/devicebound")
        wire.credit(2, 1000)
        numbers = []
        while len(numbers) < 40:
            got = _whole(wire)
            numbers.append(got["data"][0])
        # What the first had in its hands may come after what waited.
        assert sorted(numbers) == list(range(40))
    for wire in wires:
        wire.close()


def _whole(wire):
    """The next message, of as many frames as it takes; accepted."""
    first = wire.wait_for("transfer")
    payload, part = first.payload, first
    while part["more"]:
        part = wire.wait_for("transfer")
        payload += part.payload
    number = first["delivery-id"]
    wire.send("disposition", role=RECEIVER, first=number, last=number, settled=True, state=ACCEPTED)
    return amqp.read_message(payload)


def test_credit_that_is_never_granted_holds_back_and_loses_nothing(hub, device):
    """C2D waits in its queue; it is nobody's until there is credit."""
    with amqp.authorised(device) as wire:
        wire.attach(2, RECEIVER, f"/devices/{device.device_id}/messages/devicebound")
        hub.send_c2d(device.device_id, b"waits")
        wire.attach(3, SENDER, events(device))
        wire.transfer(3, 2, data(b"meanwhile"))
        assert wire.expect("disposition", first=UInt(2))["state"] == ACCEPTED
        assert hub.registry().get_device(device.device_id).cloud_to_device_message_count == 1
        wire.credit(2, 1)
        assert wire.expect("transfer").message["data"] == b"waits"


def pair(wire, device, what, handles):
    """The two links for methods or twins, without credit."""
    properties = {"com.microsoft:channel-correlation-id": f"{what}:1"}
    address = f"/devices/{device.device_id}/{what}"
    wire.attach(handles[0], SENDER, address, properties=properties)
    wire.attach(handles[1], RECEIVER, address, properties=properties)


def test_who_takes_no_notifications_is_detached(hub, device):
    """Desired properties change and change, and the client takes nothing: detach-forced, not memory."""
    with amqp.authorised(device) as wire:
        pair(wire, device, "twin", (2, 3))
        put = message(
            [("message-annotations", {Symbol("operation"): "PUT", Symbol("resource"): "/notifications/twin/properties/desired"}),
             ("properties", {"correlation-id": "c"}), ("data", b" ")]
        )  # fmt: skip
        wire.transfer(2, 2, put, settled=True)
        wire.credit(3, 1)
        assert wire.expect("transfer").message["message-annotations"]["status"] in (200, 204)
        errors = []

        def listen():
            with_error = wire.wait_for("detach")
            errors.append(with_error.error)

        listener = threading.Thread(target=listen)
        listener.start()
        version = 0
        while listener.is_alive() and version < 2000:
            version += 1
            answer = hub.rest("PATCH", f"/twins/{device.device_id}", json={"properties": {"desired": {"n": version}}})
            assert answer.status_code == 200, answer.text
        listener.join(10)
        assert errors == ["amqp:link:detach-forced"], version
    # The newest state is there for who comes back.
    with amqp.authorised(device) as wire:
        pair(wire, device, "twin", (2, 3))
        wire.credit(3, 1)
        get = message([("message-annotations", {Symbol("operation"): "GET"}), ("properties", {"correlation-id": "g"}), ("data", b" ")])
        wire.transfer(2, 2, get, settled=True)
        assert f'"n":{version}'.encode() in wire.expect("transfer").message["data"].replace(b" ", b"")


def test_a_method_that_is_not_taken_times_out_for_its_caller(hub, device):
    with amqp.authorised(device) as wire:
        pair(wire, device, "methods/devicebound", (2, 3))
        body = {"methodName": "m", "responseTimeoutInSeconds": 5, "payload": 1}
        answer = hub.rest("POST", f"/twins/{device.device_id}/methods", json=body)
        assert answer.status_code == 504, answer.text
        assert "504101" in answer.text
