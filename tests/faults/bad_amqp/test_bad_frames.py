"""Frames and sessions that break the rules: what is lost by it, and what goes on."""

import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import amqp
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_input import INIT, OPEN, data, events, transfer
from harness.amqp_types import PERFORMATIVES, Described, UInt, ULong, UShort, composite, frame
from harness.transport import Tls

# Frames


def performative(name, body):
    """A performative whose list is given as bytes."""
    return b"\x00\x53" + bytes([PERFORMATIVES[name][0]]) + body


def bad_frames():
    """Frames after the open, and the condition with which the connection is closed."""
    framing, decode, illegal = "amqp:connection:framing-error", "amqp:decode-error", "amqp:illegal-state"
    begin = composite("begin", {"next-outgoing-id": UInt(0), "incoming-window": UInt(1), "outgoing-window": UInt(1)})
    deep = b"\xc0\x03\x01" * 100

    def value(code, body):
        """An open's first field, with a body of any kind."""
        inner = bytes([code]) + body
        return frame(0, None, performative("begin", b"\xd0" + struct.pack(">II", len(inner) + 4, 1) + inner))

    return {
        "size 2^32-1": (b"\xff\xff\xff\xff\x02\0\0\0", framing),
        "size above what we said": (struct.pack(">I", 65537) + b"\x02\0\0\0" + b"x" * 100, framing),
        "size 7": (b"\0\0\0\x07\x02\0\0\0", framing),
        "data offset 0": (b"\0\0\0\x08\0\0\0\0", framing),
        "data offset 1": (b"\0\0\0\x08\x01\0\0\0", framing),
        "data offset 255": (b"\0\0\0\x10\xff\0\0\0" + b"x" * 8, framing),
        "a SASL frame": (INIT, framing),
        "an unknown kind of frame": (b"\0\0\0\x0c\x02\x07\0\0\x00\x53\x11\x45", framing),
        "channel above what we said": (frame(8192, begin), framing),
        "no performative": (frame(0, None, b"\x40"), decode),
        "an unknown performative": (frame(0, Described(ULong(0x99), [])), decode),
        "a list that is longer than its frame": (frame(0, None, performative("begin", b"\xd0\xff\xff\xff\xff\0\0\0\x01")), decode),
        "a list of 2^32-1 nothings": (frame(0, None, performative("begin", b"\xd0\0\0\0\x04\xff\xff\xff\xff")), decode),
        "a text that is longer than its frame": (value(0xB1, b"\x7f\xff\xff\xff"), decode),
        "an array of 2^32-1 items without size": (value(0xF0, b"\0\0\0\x05\xff\xff\xff\xff\x40"), decode),
        "lists in lists, 10,000 deep": (frame(0, None, performative("open", b"\x00" * 10_000)), decode),
        "lists in lists": (frame(0, None, performative("begin", deep)), decode),
        "an unknown format code": (value(0x3F, b""), decode),
        "a text where a number belongs": (value(0xA1, b"\x01x"), decode),
        "a map with half a pair": (
            frame(0, None, performative("open", b"\xc0\x10\x0a\xa1\x01x" + b"\x40" * 8 + b"\xc1\x02\x01\x41")), decode),
        "a begin without its windows": (frame(0, composite("begin")), decode),
        "a second open": (OPEN, illegal),
        "a channel that is in use": (frame(5, begin) * 2, illegal),
        "an answer to no begin": (
            frame(0, Described(ULong(0x11), [UShort(3), UInt(0), UInt(1), UInt(1)])), illegal),
        "an attach without a session": (frame(9, composite("attach", {"name": "x", "handle": UInt(0), "role": False})), illegal),
        "a transfer without a session": (frame(9, composite("transfer", {"handle": UInt(0)})), illegal),
        "handle above what we said": (
            frame(0, begin) + frame(0, composite("attach", {"name": "x", "handle": UInt(8192), "role": False})), framing),
    }  # fmt: skip


def together(cases, run):
    """What each case ends with; at the same time, since the hub waits a second for a client's close."""
    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(run, cases.values()), strict=True))


def test_a_frame_that_breaks_the_rules_closes_the_connection(hub, device):
    def run(case):
        sends, _ = case
        with amqp.connect(device) as wire:
            wire.transport.socket.settimeout(10)
            wire.raw(sends)
            condition = wire.wait_for("close").error
            start = time.monotonic()
            assert wire.is_closed_by_server()
            assert time.monotonic() - start < 3, "the client's close is waited for, but not long"
            return condition

    cases = bad_frames()
    assert together(cases, run) == {name: condition for name, (_, condition) in cases.items()}


def test_nothing_comes_before_the_open(hub):
    def run(performative):
        with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT, deadline=5)) as wire:
            assert wire.sasl() == 0
            wire.raw(frame(0, performative))
            wire.expect("open")
            condition = wire.expect("close").error
            assert wire.is_closed_by_server()
            return condition

    windows = {"next-outgoing-id": UInt(0), "incoming-window": UInt(1), "outgoing-window": UInt(1)}
    cases = {
        "begin": composite("begin", windows),
        "attach": composite("attach", {"name": "x", "handle": UInt(0), "role": False}),
        "transfer": composite("transfer", {"handle": UInt(0)}),
        "end": composite("end"),
    }
    assert together(cases, run) == dict.fromkeys(cases, "amqp:illegal-state")


# Sessions: one is lost, the others of the connection go on.


def flow(**fields):
    given = {"incoming-window": UInt(2048), "next-outgoing-id": UInt(0), "outgoing-window": UInt(2048), "next-incoming-id": UInt(0)}
    return composite("flow", given | {key.replace("_", "-"): value for key, value in fields.items()})


def bad_in_session():
    """Frames of a session with a telemetry link of handle 0, and the condition with which it is ended."""
    attach = composite("attach", {"name": "other", "handle": UInt(0), "role": False})
    first = transfer(handle=UInt(0), delivery_id=UInt(9), delivery_tag=b"9", more=True)
    return {
        "a handle that is in use": ([(attach, b"")], "amqp:session:handle-in-use"),
        "a handle that nothing is attached to": ([(transfer(handle=UInt(7), delivery_id=UInt(9)), b"x")], "amqp:session:unattached-handle"),
        "a transfer without delivery-id": ([(transfer(handle=UInt(0), delivery_tag=b"1"), b"x")], "amqp:invalid-field"),
        "a delivery-id again": ([(transfer(handle=UInt(0), delivery_id=UInt(9), delivery_tag=b"1", settled=True), data(b"x"))] * 2, "amqp:invalid-field"),
        "two deliveries in one another": ([(first, b"x"), (transfer(handle=UInt(0), delivery_id=UInt(10)), b"y")], "amqp:invalid-field"),
        "a disposition backwards": ([(composite("disposition", {"role": True, "first": UInt(5), "last": UInt(1), "settled": True}), b"")], "amqp:invalid-field"),
        "a flow from the future": ([(flow(next_incoming_id=UInt(1000)), b"")], "amqp:invalid-field"),
        "a flow from the far future": ([(flow(next_incoming_id=UInt(0x7FFFFFFF)), b"")], "amqp:invalid-field"),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_in_session()))
def test_a_rule_broken_in_a_session_ends_that_session_alone(hub, device, case):
    frames, condition = bad_in_session()[case]
    other = hub.new_device()
    since = hub.events.mark()
    with amqp.authorised(device) as wire:
        assert wire.put_token(other.token(), other.resource, attach=False, message_id="2") == 200
        wire.begin(1)
        wire.begin(2)
        wire.attach(0, SENDER, events(device), channel=1)
        wire.attach(0, SENDER, events(other), channel=2)
        for sent, payload in frames:
            wire.raw(frame(1, sent, payload))
        assert wire.expect("end", channel=1).error == condition
        # The identity with links in another session does not notice; nor does one that comes now.
        wire.transfer(0, 1, data(b"unharmed"), channel=2)
        assert wire.expect("disposition", channel=2)["state"] == ACCEPTED
        wire.attach(5, SENDER, events(device), name="again")
        wire.transfer(5, 3, data(b"again"))
        assert wire.expect("disposition", channel=0)["state"] == ACCEPTED
    told = [event.body for event in hub.events.telemetry(device.sender, since)]
    assert told[-1:] == [b"again"] and len(told) <= 2
    assert [event.body for event in hub.events.telemetry(other.sender, since)] == [b"unharmed"]


@pytest.mark.parametrize("window", [1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_absurd_windows_and_credits_are_harmless(hub, device, window):
    """Credit and windows are promises of the client: any number is legal, none makes the hub reserve for it."""
    with amqp.authorised(device) as wire:
        wire.begin(1, incoming_window=window)
        wire.attach(0, RECEIVER, f"/devices/{device.device_id}/messages/devicebound", channel=1)
        count = 0xFFFFFFF0
        wire.raw(frame(1, flow(handle=UInt(0), link_credit=UInt(0xFFFFFFFF), delivery_count=UInt(0), incoming_window=UInt(window), outgoing_window=UInt(0xFFFFFFFF))))
        hub.send_c2d(device.device_id, b"x" * 300)
        got = wire.wait_for("transfer")
        assert got.channel == 1 and got["more"] is not True
        # The last number of all, and the sum that goes over it.
        wire.raw(frame(1, flow(handle=UInt(0), link_credit=UInt(0xFFFFFFFF), delivery_count=UInt(count), incoming_window=UInt(window), next_incoming_id=UInt(1))))
        number = got["delivery-id"]
        wire.send("disposition", 1, role=RECEIVER, first=number, last=UInt(0x70000000), settled=True, state=ACCEPTED)
        hub.send_c2d(device.device_id, b"y")
        assert wire.wait_for("transfer").message["data"] == b"y"
