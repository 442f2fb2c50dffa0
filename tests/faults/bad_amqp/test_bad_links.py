"""Links and messages that break the rules or ask for too much: the link is lost, or the message."""

import pytest

from harness import amqp
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_input import MESSAGE_BYTES_MAX, attached, data, events, in_frames, Nobody, transfer
from harness.amqp_types import SECTIONS, Described, UByte, UInt, ULong, composite, encode, frame, message
from harness.wait import until

# What the hub may hold more after all of this than before: its allocator keeps some of what it had.
LEVEL_BYTES = 48 * 1024 * 1024


# Links


def test_a_message_that_is_too_large_by_a_byte_costs_its_link(hub, device):
    """B17: 256 KiB and one byte: rejected, and the link detached; the session goes on."""
    since = hub.events.mark()
    with attached(device) as wire:
        overhead = len(data(b"x" * MESSAGE_BYTES_MAX)) - MESSAGE_BYTES_MAX
        in_frames(wire, 0, 1, data(b"x" * MESSAGE_BYTES_MAX))
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED, overhead
        in_frames(wire, 0, 2, data(b"x" * (MESSAGE_BYTES_MAX + 1)))
        state = wire.expect("disposition", channel=1)["state"]
        assert amqp.fields_of(state)[0] == "rejected"
        error = amqp.fields_of(amqp.fields_of(state)[1]["error"])[1]
        assert error["condition"] == "amqp:link:message-size-exceeded" and "ErrorCode:MessageTooLarge" in error["description"]
        assert wire.expect("detach", channel=1).error == "amqp:link:message-size-exceeded"
        wire.send("detach", 1, handle=UInt(0), closed=True)
        wire.attach(1, SENDER, events(device), channel=1)
        wire.transfer(1, 3, data(b"small"), channel=1)
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED
    sizes = [len(event.body) for event in hub.events.telemetry(device.sender, since)]
    assert sizes == [MESSAGE_BYTES_MAX, 5]


def test_a_delivery_without_end_costs_its_link(hub, device):
    """Larger than the 1 MiB that the hub's attach said, whatever it is."""
    with attached(device) as wire:
        in_frames(wire, 0, 1, b"\x00" * (1024 * 1024 + 1), last=False)
        assert wire.expect("detach", channel=1).error == "amqp:link:message-size-exceeded"


def test_unfinished_deliveries_are_bounded_and_given_back(hub, device):
    """Many deliveries of which the end never comes: 4 MiB a connection."""
    before = hub.service.memory_bytes()
    wires = []
    for _ in range(8):
        wire = amqp.authorised(device if not wires else hub.new_device())
        wires.append(wire)
    identities = [device]
    for wire in wires[:1]:
        wire.begin(1)
        for handle in range(6):
            wire.attach(handle, SENDER, events(identities[0]), channel=1)
        for handle in range(6):
            in_frames(wire, handle, 1 + handle, b"\x00" * (1024 * 1024 - 100), last=False)
        assert wire.expect("detach", channel=1).error == "amqp:resource-limit-exceeded"
        # What was begun can be given up, and then there is room again.
        for handle in range(3):
            wire.raw(frame(1, transfer(handle=UInt(handle), more=False, aborted=True)))
        wire.attach(9, SENDER, events(device), channel=1)
        wire.transfer(9, 20, data(b"complete"), channel=1)
        assert wire.expect("disposition", channel=1, first=UInt(20))["state"] == ACCEPTED
    for wire in wires:
        wire.close()
    until("given back", lambda: hub.service.memory_bytes() < before + LEVEL_BYTES)
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"complete"]


def bad_on_link(device):
    """Frames on a telemetry link of handle 0 and a receiving one of handle 1: which is detached, and why."""
    return {
        "a transfer against the direction": (1, transfer(handle=UInt(1), delivery_id=UInt(1), delivery_tag=b"1"), "amqp:not-allowed"),
        "a delivery-tag of 33 bytes": (0, transfer(handle=UInt(0), delivery_id=UInt(1), delivery_tag=b"x" * 33), "amqp:invalid-field"),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_on_link(Nobody())))
def test_a_rule_broken_on_a_link_detaches_it(hub, device, case):
    handle, sent, condition = bad_on_link(device)[case]
    with attached(device) as wire:
        wire.attach(1, RECEIVER, f"/devices/{device.device_id}/messages/devicebound", channel=1)
        wire.raw(frame(1, sent, data(b"x")))
        detach = wire.expect("detach", channel=1)
        assert (detach["handle"], detach.error, detach["closed"]) == (handle, condition, True)
        wire.attach(2, SENDER, events(device), channel=1)
        wire.transfer(2, 5, data(b"on"), channel=1)
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED


def test_more_than_the_credit_is_not_taken(hub, device):
    """The client settles second, and never does: no credit comes back."""
    with amqp.authorised(device) as wire:
        wire.begin(1)
        assert wire.attach(0, SENDER, events(device), channel=1, rcv_settle_mode=UByte(1))["rcv-settle-mode"] == 1
        credit = wire.expect("flow", channel=1, handle=UInt(0))["link-credit"]
        assert credit >= 50, "dp §4.3"
        for number in range(1, credit + 2):
            wire.transfer(0, number, data(b"x"), channel=1)
        assert wire.wait_for("detach").error == "amqp:link:transfer-limit-exceeded"
        wire.attach(1, SENDER, events(device), channel=1)
        wire.transfer(1, credit + 2, data(b"again"), channel=1)
        assert wire.wait_for("disposition", first=UInt(credit + 2))["state"] == ACCEPTED


def malformed_messages():
    header = b"\x00\x53"
    return {
        "not AMQP at all": b"hello",
        "no section": b"\x40",
        "an unknown section": encode(Described(ULong(0x42), "x")),
        "half a section": data(b"hello")[:-2],
        "a body of 2^31 bytes": header + bytes([SECTIONS["data"]]) + b"\xb0\x7f\xff\xff\xff",
        "a map of 2^32-1 nothings": header + bytes([SECTIONS["application-properties"]]) + b"\xd1\0\0\0\x04\xff\xff\xff\xfe",
        "values in values": header + bytes([SECTIONS["value"]]) + b"\x00" * 5000,
        "lists in lists": header + bytes([SECTIONS["value"]]) + b"\xc0\x01\x01" * 3000,
        "a list as a property": message([("application-properties", {"k": ["v"]}), ("data", b"x")]),
        "properties of another kind": header + b"\x73\xc0\x03\x01\x54\x01" + data(b"x"),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(malformed_messages()))
def test_a_malformed_message_is_rejected_and_the_link_lives(hub, device, case):
    since = hub.events.mark()
    with attached(device) as wire:
        wire.transfer(0, 1, malformed_messages()[case], channel=1)
        state = wire.expect("disposition", channel=1)["state"]
        assert amqp.fields_of(state)[0] == "rejected", state
        error = amqp.fields_of(amqp.fields_of(state)[1]["error"])[1]
        assert error["condition"] == "com.microsoft:argument-error", error
        wire.transfer(0, 2, data(b"good"), channel=1)
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED
    assert [event.body for event in hub.events.telemetry(device.sender, since)] == [b"good"]


def test_a_batch_is_taken_whole_or_not_at_all(hub, device):
    """dp §4.4: the third of three messages cannot be read; none is stored."""
    since = hub.events.mark()
    batch = UInt(0x80013700)
    with attached(device) as wire:
        bad = message([("data", data(b"1"))]) + message([("data", data(b"2"))]) + message([("data", b"\xff")])
        wire.transfer(0, 1, bad, channel=1, message_format=batch)
        assert amqp.fields_of(wire.expect("disposition", channel=1)["state"])[0] == "rejected"
        large = b"".join(message([("data", data(b"x" * 100_000))]) for _ in range(3))
        _in_batch(wire, large)
        state = wire.expect("disposition", channel=1)["state"]
        error = amqp.fields_of(amqp.fields_of(state)[1]["error"])[1]
        assert error["condition"] == "amqp:link:message-size-exceeded"
        assert wire.expect("detach", channel=1).error == "amqp:link:message-size-exceeded"
        wire.attach(1, SENDER, events(device), channel=1)
        wire.transfer(1, 9, message([("data", data(b"1"))]) + message([("data", data(b"2"))]), channel=1, message_format=batch)
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED
    assert [event.body for event in hub.events.telemetry(device.sender, since)] == [b"1", b"2"]


def _in_batch(wire, payload):
    for at in range(0, len(payload), 32768):
        more = at + 32768 < len(payload)
        wire.transfer(0, 2, payload[at : at + 32768], channel=1, message_format=UInt(0x80013700), more=more)


# Limits


def test_more_sessions_than_there_may_be_are_refused(hub, device):
    begin = composite("begin", {"next-outgoing-id": UInt(0), "incoming-window": UInt(1), "outgoing-window": UInt(1)})
    with amqp.authorised(device) as wire:
        wire.raw(b"".join(frame(channel, begin) for channel in range(1, 1025)))
        assert wire.wait_for("end").error == "amqp:resource-limit-exceeded"
        wire.attach(2, SENDER, events(device))


def test_more_links_than_there_may_be_are_refused(hub, device):
    """B21: 65,536 links; 8,192 there may be on a connection."""
    counted = {"attached": 0, "amqp:resource-limit-exceeded": 0}
    ends = {"source": composite("source"), "target": composite("target", {"address": events(device)})}
    sent = 0
    with amqp.authorised(device) as wire:
        for channel in (1, 2, 3):
            wire.begin(channel)
            for block in range(0, 4000, 200):
                fields = [
                    {"name": f"l{n}", "handle": UInt(n), "role": SENDER, "initial-delivery-count": UInt(0)} | ends
                    for n in range(block, block + 200)
                ]
                wire.raw(b"".join(frame(channel, composite("attach", each)) for each in fields))
                sent += len(fields)
                while sum(counted.values()) < sent:
                    got = wire.receive()
                    if got.name == "attach" and got["target"] is not None:
                        counted["attached"] += 1
                    elif got.name == "detach":
                        counted[got.error] += 1
    # Two of the connection's are those to `$cbs`.
    assert counted["attached"] == 8190, counted
