"""What bad input gets, where AMQP clients look (`security.md` §2, B17 to B25; `device-protocol.md` §4.9): the
condition that the standard or the reference names, in the scope that is lost by it. A well-behaved device is
connected all the while, and the hub's memory is at its level in the end."""

import os
import selectors
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import amqp, sas
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_types import (
    PERFORMATIVES, SECTIONS, Described, Int, Symbol, Timestamp, UByte, UInt, ULong, UShort, composite, encode, frame,
    message,
)  # fmt: skip
from harness.hub import running
from harness.transport import Closed, Tls
from harness.wait import until

# What only time shows, a minute and more: FARSHORE_PATIENT=1.
PATIENT = pytest.mark.skipif("FARSHORE_PATIENT" not in os.environ, reason="takes minutes; set FARSHORE_PATIENT")
# What an acknowledgement may take on two busy cores; idle it takes a few milliseconds.
PATIENCE_SECONDS = 5.0
# What the hub may hold more after all of this than before: its allocator keeps some of what it had.
LEVEL_BYTES = 48 * 1024 * 1024
# By when a connection must be open (the hub's), and when one that has proven nothing has to go.
OPEN_SECONDS, STRANGER_SECONDS = 10, 60
MESSAGE_BYTES_MAX = 256 * 1024


def events(identity):
    device = f"/devices/{identity.device_id}"
    return f"{device}/modules/{identity.module_id}/messages/events" if identity.module_id else f"{device}/messages/events"


def data(body):
    return message([("data", body)])


class Canary:
    """A device on AMQP that sends and waits for the disposition, over and over."""

    def __init__(self, hub):
        self.device = hub.new_device("canary")
        self.times = []
        self.error = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with amqp.authorised(self.device) as wire:
                wire.attach(2, SENDER, events(self.device))
                while not self._end.wait(0.05):
                    start = time.monotonic()
                    # The session's deliveries are counted together: the token was the first.
                    number = len(self.times) + 2
                    wire.transfer(2, number, data(str(len(self.times)).encode()))
                    answer = wire.wait_for("disposition", first=number)
                    assert answer["state"] == ACCEPTED, answer
                    self.times.append(time.monotonic() - start)
        except Exception as error:  # Told by the test's own thread.
            self.error = error

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


@pytest.fixture(scope="module")
def hub(trust):
    """A hub for these tests alone, so that its memory is theirs."""
    with running(trust) as hub:
        # The first connections make what stays: pools, caches, threads.
        for _ in range(20):
            amqp.authorised(hub.new_device()).close()
        with Canary(hub) as canary:
            before = hub.service.memory_bytes()
            yield hub
        canary.check(hub)
        level = before + LEVEL_BYTES
        until("memory is at its level", lambda: hub.service.memory_bytes() < level, 20)
        print(f"hub's memory: {before} bytes before, {hub.service.memory_bytes()} after")


# Who does not come to the point


def tls(hub):
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    raw = socket.create_connection((hub.address, amqp.PORT), timeout=10)
    return context.wrap_socket(raw, server_hostname=hub.address)


INIT = frame(0, composite("sasl-init", {"mechanism": Symbol("ANONYMOUS")}), kind=1)
OPEN = frame(0, composite("open", {"container-id": "x"}))
HALF_OPEN = {
    "TCP only": None,
    "TLS only": b"",
    "a header": amqp.SASL,
    "half a header": amqp.AMQP[:5],
    "half a SASL init": amqp.SASL + INIT[:9],
    "SASL and nothing more": amqp.SASL + INIT,
    "SASL and a header": amqp.SASL + INIT + amqp.AMQP,
    "no SASL and no open": amqp.AMQP,
    "half an open": amqp.AMQP + OPEN[:-1],
}


def closings(connections, deadline, trickle=None):
    """When each connection was closed by the server, in seconds from now; those that were not are missing.
    On one of them a byte is sent now and then."""
    selector = selectors.DefaultSelector()
    for name, connection in connections.items():
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, name)
    start, closed, rest = time.monotonic(), {}, bytearray(trickle[1] if trickle else b"")
    while len(closed) < len(connections) and time.monotonic() - start < deadline:
        if rest and trickle[0] not in closed:
            try:
                connections[trickle[0]].send(rest[:1])
                del rest[:1]
            except (ConnectionError, ssl.SSLError):
                rest.clear()
        for key, _ in selector.select(0.5):
            try:
                gone = not key.fileobj.recv(4096)
            except (BlockingIOError, ssl.SSLWantReadError):
                gone = False
            except (ConnectionError, ssl.SSLError):
                gone = True
            if gone:
                selector.unregister(key.fileobj)
                closed[key.data] = time.monotonic() - start
    return closed


def test_a_half_open_connection_is_closed_in_time(hub):
    """S10: ten seconds from the first byte to the open, however busily they are spent."""
    connections = {}
    for name, begins in HALF_OPEN.items():
        if begins is None:
            connections[name] = socket.create_connection((hub.address, amqp.PORT), timeout=10)
        else:
            connections[name] = tls(hub)
            connections[name].sendall(begins)
    connections["a byte at a time"] = tls(hub)
    with Canary(hub) as canary:
        slowly = amqp.SASL + INIT + amqp.AMQP + OPEN
        closed = closings(connections, 2 * OPEN_SECONDS, trickle=("a byte at a time", slowly))
    canary.check(hub)
    for connection in connections.values():
        connection.close()
    assert closed.keys() == connections.keys(), f"still open: {connections.keys() - closed.keys()}"
    assert all(OPEN_SECONDS - 2 < seconds < OPEN_SECONDS + 2 for seconds in closed.values()), closed


@PATIENT
def test_who_opens_and_proves_nothing_is_told_why_it_has_to_go(hub, device):
    """B3: without a link, or with links to `$cbs` alone."""
    ends = {}

    def wait(name, *steps):
        with amqp.connect(device) as wire:
            wire.transport.socket.settimeout(STRANGER_SECONDS + 20)
            for step in steps:
                step(wire)
            start = time.monotonic()
            closing = wire.wait_for("close")
            ends[name] = (closing.error, time.monotonic() - start)

    def asks_all_the_time(wire):
        wire.put_token("SharedAccessSignature sr=a&sig=b&se=1", device.resource, message_id="1")

    cases = {"no session": [], "no link": [lambda wire: wire.begin()], "no good token": [lambda wire: wire.begin(), asks_all_the_time]}
    threads = [threading.Thread(target=wait, args=(name, *steps)) for name, steps in cases.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(STRANGER_SECONDS - 2 < seconds < STRANGER_SECONDS + 3 for _, seconds in ends.values()), ends
    assert ends.pop("no good token")[0] == "amqp:unauthorized-access"
    # Without a link both deadlines are up; which is said first is a matter of milliseconds.
    assert {condition for condition, _ in ends.values()} <= {"amqp:unauthorized-access", "amqp:connection:forced"}, ends


def test_a_stranger_gets_no_more_links_than_it_needs(hub, device):
    with amqp.connect(device) as wire:
        wire.begin()
        for handle in range(16):
            assert wire.attach(handle, SENDER, "$cbs")["target"] is not None
        assert wire.attach(16, SENDER, "$cbs")["target"] is None
        assert wire.expect("detach").error == "amqp:resource-limit-exceeded"


# SASL


def plain(user, password):
    return b"\0" + user.encode() + b"\0" + password.encode()


def bad_sasl(device, other):
    user = f"{device.device_id}@sas.{device.hub.address.split('.')[0]}"
    good = device.token()
    return {
        "unknown mechanism": ("SCRAM-SHA-256", b"n,,n=x,r=y"),
        "mechanism in small letters": ("anonymous", None),
        "no mechanism": ("", None),
        "EXTERNAL without a certificate": ("EXTERNAL", b""),
        "PLAIN, wrong key": ("PLAIN", plain(user, sas.token(device.resource, sas.wrong_key()))),
        "PLAIN, expired": ("PLAIN", plain(user, device.token(expires=time.time() - 3600))),
        "PLAIN, another device's token": ("PLAIN", plain(user, other.token())),
        "PLAIN, no token": ("PLAIN", plain(user, "correct horse battery staple")),
        "PLAIN, empty": ("PLAIN", plain(user, "")),
        "PLAIN, no answer": ("PLAIN", None),
        "PLAIN, one part": ("PLAIN", b"garbage"),
        "PLAIN, not UTF-8": ("PLAIN", b"\0\xff\xfe\0\xff"),
        "PLAIN, no such user": ("PLAIN", plain("nobody@sas.hub", good)),
        "PLAIN, no user name of ours": ("PLAIN", plain(device.device_id, good)),
        "PLAIN, a policy without its token": ("PLAIN", plain("iothubowner@sas.root.hub", good)),
    }


class Nobody:
    """Stands in for a device where only the names of the cases are wanted."""

    device_id = resource = "nobody"
    key = sas.wrong_key()

    class hub:
        address = "127.0.0.1"

    def token(self, **options):
        return sas.token(self.resource, self.key, **options)


@pytest.mark.parametrize("case", list(bad_sasl(Nobody(), Nobody())))
def test_wrong_sasl_is_refused_and_the_connection_closed(hub, device, case):
    mechanism, response = bad_sasl(device, hub.new_device())[case]
    with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT, deadline=5)) as wire:
        assert wire.sasl(mechanism, response) == 1
        assert wire.is_closed_by_server()


def no_beginnings():
    return {
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "MQTT": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
        "AMQP 0.9.1": b"AMQP\x00\x00\x09\x01",
        "AMQP 1.1": b"AMQP\x00\x01\x01\x00",
        "AMQP's own TLS": b"AMQP\x02\x01\x00\x00",
        "zeros": b"\0" * 64,
    }


@pytest.mark.parametrize("case", list(no_beginnings()))
def test_what_is_no_amqp_is_told_the_right_header_and_closed(hub, case):
    """Part 2 §2.2."""
    with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT, deadline=5)) as wire:
        wire.raw(no_beginnings()[case])
        assert wire.header() == amqp.SASL
        assert wire.is_closed_by_server()


@pytest.mark.parametrize(
    "sends",
    [frame(0, None, b"\0", kind=1), frame(0, composite("sasl-response", {"response": b"x"}), kind=1),
     frame(0, composite("open", {"container-id": "x"})), b"\xff\xff\xff\xff\x02\x01\0\0", amqp.SASL, INIT[:4] + b"\xff" * 40],
    ids=["no performative", "a response to nothing", "an open", "4 GiB announced", "a header again", "garbage"],
)  # fmt: skip
def test_garbage_within_sasl_ends_the_connection(hub, sends):
    with amqp.Wire(Tls(hub.address, hub.ca_path, amqp.PORT, deadline=5)) as wire:
        wire.raw(amqp.SASL)
        assert wire.header() == amqp.SASL
        wire.expect("sasl-mechanisms")
        wire.raw(sends)
        assert wire.is_closed_by_server()


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


def transfer(**fields):
    return composite("transfer", {key.replace("_", "-"): value for key, value in fields.items()})


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


# Links


def attached(device, **fields):
    wire = amqp.authorised(device)
    wire.begin(1)
    wire.attach(0, SENDER, events(device), channel=1, **fields)
    return wire


def test_a_message_that_is_too_large_by_a_byte_costs_its_link(hub, device):
    """B17: 256 KiB and one byte: rejected, and the link detached; the session goes on."""
    since = hub.events.mark()
    with attached(device) as wire:
        overhead = len(data(b"x" * MESSAGE_BYTES_MAX)) - MESSAGE_BYTES_MAX
        _in_frames(wire, 0, 1, data(b"x" * MESSAGE_BYTES_MAX))
        assert wire.expect("disposition", channel=1)["state"] == ACCEPTED, overhead
        _in_frames(wire, 0, 2, data(b"x" * (MESSAGE_BYTES_MAX + 1)))
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


def _in_frames(wire, handle, number, payload, channel=1, last=True):
    """A delivery in frames of 32 KiB."""
    parts = [payload[at : at + 32768] for at in range(0, len(payload), 32768)]
    for index, part in enumerate(parts):
        more = index + 1 < len(parts) or not last
        wire.transfer(handle, number, part, channel, more=more)


def test_a_delivery_without_end_costs_its_link(hub, device):
    """Larger than the 1 MiB that the hub's attach said, whatever it is."""
    with attached(device) as wire:
        _in_frames(wire, 0, 1, b"\x00" * (1024 * 1024 + 1), last=False)
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
            _in_frames(wire, handle, 1 + handle, b"\x00" * (1024 * 1024 - 100), last=False)
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


# Whose links


def refused(wire, handle, role, address, **options):
    """The condition with which a link is refused: an attach without ends, then a detach for good."""
    answer = wire.attach(handle, role, address, **options)
    assert answer["source"] is None and answer["target"] is None, answer
    detach = wire.expect("detach", channel=options.get("channel", 0))
    assert detach["handle"] == answer["handle"] and detach["closed"] is True, detach
    return detach.error


def test_ones_own_token_opens_nobody_elses_links(hub, device):
    """dp §4.3, B14: foreign addresses are refused, and the token's own still work."""
    other, module = hub.new_device(), hub.new_module(device.device_id, "m1")
    near = hub.rest("PUT", f"/devices/{device.device_id}0", json={"deviceId": f"{device.device_id}0"})
    assert near.status_code == 200
    with amqp.authorised(device) as wire:
        cases = [
            (SENDER, events(other), "amqp:unauthorized-access"),
            (RECEIVER, f"/devices/{other.device_id}/messages/devicebound", "amqp:unauthorized-access"),
            (SENDER, f"/devices/{other.device_id}/twin", "amqp:unauthorized-access"),
            (RECEIVER, f"/devices/{other.device_id}/methods/devicebound", "amqp:unauthorized-access"),
            (SENDER, f"/devices/{device.device_id}0/messages/events", "amqp:unauthorized-access"),
            (SENDER, "/devices/nobody/messages/events", "amqp:unauthorized-access"),
            (SENDER, events(module), "amqp:unauthorized-access"),
            (SENDER, "/messages/devicebound", "amqp:unauthorized-access"),
            (RECEIVER, "/messages/servicebound/feedback", "amqp:unauthorized-access"),
            (RECEIVER, "messages/events/ConsumerGroups/$Default/Partitions/0", "amqp:unauthorized-access"),
            (RECEIVER, events(device), "amqp:not-allowed"),
            (SENDER, f"/devices/{device.device_id}/messages/devicebound", "amqp:not-allowed"),
            (SENDER, f"/devices/{device.device_id}/elsewhere", "amqp:not-found"),
            (SENDER, "", "amqp:not-found"),
        ]
        for number, (role, address, condition) in enumerate(cases, start=10):
            assert refused(wire, number, role, address) == condition, address
        wire.attach(2, SENDER, events(device))
        wire.transfer(2, 2, data(b"mine"))
        assert wire.expect("disposition", first=UInt(2))["state"] == ACCEPTED
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"mine"]


def test_a_modules_token_is_the_modules_alone(hub, device):
    module = hub.new_module(device.device_id, "m1")
    with amqp.authorised(module) as wire:
        assert refused(wire, 5, SENDER, events(device)) == "amqp:unauthorized-access"
        assert wire.attach(6, SENDER, events(module))["target"] is not None


def test_another_devices_certificate_proves_nothing(hub):
    """B23: over AMQP and its WebSocket, with EXTERNAL and with ANONYMOUS."""
    mine, other = (hub.new_self_signed(f"bad-x509-{name}-{os.getpid()}") for name in ("a", "b"))
    keyed = hub.new_device()
    for sasl in ("EXTERNAL", "ANONYMOUS"):
        for path in (None, "/$iothub/websocket"):
            with amqp.connect(mine, sasl, path, certificate=mine.certificate) as wire:
                wire.begin()
                assert refused(wire, 0, SENDER, events(other)) == "amqp:unauthorized-access"
                assert refused(wire, 1, SENDER, events(keyed)) == "amqp:unauthorized-access"
                assert wire.attach(2, SENDER, events(mine))["target"] is not None
    # An identity proves itself in one way: a token does not stand in for a certificate.
    stolen = sas.token(mine.resource, keyed.key)
    with amqp.connect(mine) as wire:
        wire.begin()
        assert wire.put_token(stolen, mine.resource) == 401
        assert refused(wire, 5, SENDER, events(mine)) == "amqp:unauthorized-access"


def bad_requests():
    """Requests on `$cbs`, and the status of the answer (dp §4.2)."""
    name, operation, kind = "application-properties", "put-token", "servicebus.windows.net:sastoken"
    good = {"operation": operation, "type": kind, "name": "x"}
    return {
        "no operation": ([(name, {"type": kind, "name": "x"}), ("value", "t")], 400),
        "an unknown operation": ([(name, good | {"operation": "get-token"}), ("value", "t")], 400),
        "an unknown type": ([(name, good | {"type": "jwt"}), ("value", "t")], 400),
        "no body": ([(name, good)], 400),
        "a number as body": ([(name, good), ("value", Int(5))], 400),
        "no token": ([(name, good), ("value", "correct horse battery staple")], 400),
        "an empty token": ([(name, good), ("value", "")], 400),
        "a token that is too long": ([(name, good), ("value", "SharedAccessSignature sr=" + "a" * 40_000)], 400),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_requests()))
def test_a_bad_request_for_a_token_is_answered(hub, device, case):
    sections, status = bad_requests()[case]
    with amqp.connect(device) as wire:
        wire.begin()
        wire.attach(0, SENDER, "$cbs")
        wire.attach(1, RECEIVER, "$cbs")
        wire.credit(1, 10)
        request = message([("properties", {"message-id": "m", "reply-to": "cbs"}), *sections])
        wire.transfer(0, 1, request)
        # The disposition comes before the answer, else uamqp takes it for a failure.
        assert wire.expect("disposition")["state"] == ACCEPTED
        answer = wire.expect("transfer").message
        assert answer["properties"]["correlation-id"] == "m"
        assert answer["application-properties"]["status-code"] == status, answer
        # Nothing is lost by it.
        assert wire.put_token(device.token(), device.resource, message_id="2", attach=False) == 200


def test_a_request_for_a_token_that_never_ends_costs_its_link(hub, device):
    """1 MiB before anything is proven (B24)."""
    with amqp.connect(device) as wire:
        wire.begin()
        assert 0 < wire.attach(0, SENDER, "$cbs")["max-message-size"] < MESSAGE_BYTES_MAX
        _in_frames(wire, 0, 1, b"\x00" * (1024 * 1024), channel=0, last=False)
        assert wire.wait_for("detach").error == "amqp:link:message-size-exceeded"


def test_who_takes_no_answers_loses_its_session(hub, device):
    """Credit is never granted on the link for the answers of `$cbs`."""
    with amqp.connect(device) as wire:
        wire.begin()
        wire.attach(0, SENDER, "$cbs")
        wire.attach(1, RECEIVER, "$cbs")
        request = message([("application-properties", {"operation": "x"}), ("value", "t")])
        got = None
        for number in range(1, 80):
            wire.transfer(0, number, request)
            while (got := wire.receive()).name == "flow":
                pass
            if got.name == "end":
                break
            assert (got.name, got["state"]) == ("disposition", ACCEPTED)
        assert got.name == "end" and got.error == "amqp:resource-limit-exceeded"


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
    with Canary(hub) as canary:
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


# Back ends: the conditions of service-api.md §5.2.


@pytest.fixture
def back_end(hub):
    """A connection with the owner's token and a link to send to devices."""
    with amqp.connect(hub.new_device()) as wire:
        wire.begin()
        assert wire.put_token(hub.token(), hub.address) == 200
        wire.attach(2, SENDER, "/messages/devicebound")
        yield wire


def to_device(device_id, body=b"x", **properties):
    given = {"to": f"/devices/{device_id}/messages/devicebound"} | {k.replace("_", "-"): v for k, v in properties.items()}
    return message([("properties", given), ("data", body)])


def bad_to_device(device_id):
    past, late = Timestamp(1_000_000_000_000), Timestamp(int((time.time() + 3 * 86400) * 1000))
    return {
        "unknown device": (to_device("nobody-at-all"), {"amqp:not-found"}),
        "no address": (message([("data", b"x")]), {"amqp:not-allowed", "com.microsoft:argument-error"}),
        "an address of nothing": (message([("properties", {"to": "/devices"}), ("data", b"x")]), {"amqp:not-allowed", "com.microsoft:argument-error"}),
        "expired already": (to_device(device_id, absolute_expiry_time=past), {"com.microsoft:argument-error"}),
        "expires too late": (to_device(device_id, absolute_expiry_time=late), {"com.microsoft:argument-error"}),
        "64 KiB and a byte": (to_device(device_id, b"x" * (64 * 1024 + 1)), {"amqp:link:message-size-exceeded"}),
        "not a message": (b"garbage", {"amqp:decode-error"}),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_to_device("d")))
def test_what_cannot_be_sent_to_a_device_is_rejected(hub, device, back_end, case):
    payload, conditions = bad_to_device(device.device_id)[case]
    _in_frames(back_end, 2, 2, payload, channel=0)
    assert rejection(back_end, 2) in conditions
    back_end.transfer(2, 3, to_device(device.device_id, b"good"))
    assert back_end.expect("disposition", first=UInt(3))["state"] == ACCEPTED
    assert hub.registry().get_device(device.device_id).cloud_to_device_message_count == 1


def rejection(wire, number):
    state = wire.expect("disposition", first=UInt(number))["state"]
    name, fields = amqp.fields_of(state)
    assert name == "rejected", state
    return amqp.fields_of(fields["error"])[1]["condition"]


def test_a_full_queue_is_told(hub, device, back_end):
    for number in range(2, 52):
        back_end.transfer(2, number, to_device(device.device_id))
    back_end.transfer(2, 52, to_device(device.device_id))
    accepted = 0
    while accepted < 50:
        done = back_end.expect("disposition")
        last = done["first"] if done["last"] is None else done["last"]
        if done["state"] != ACCEPTED:
            raise AssertionError(done)
        accepted += last - done["first"] + 1
    assert rejection(back_end, 52) == "amqp:resource-limit-exceeded"


def test_a_lock_that_is_lost_settles_nothing(hub, device):
    """dp §4.9: a lost lock is told to who settles second; purged, the message does not come again."""
    with amqp.authorised(device) as wire:
        address = f"/devices/{device.device_id}/messages/devicebound"
        wire.attach(2, RECEIVER, address, rcv_settle_mode=UByte(1))
        wire.credit(2, 5)
        hub.send_c2d(device.device_id, b"purged")
        got = wire.expect("transfer")
        assert hub.rest("DELETE", f"/devices/{device.device_id}/commands").status_code == 200
        number = got["delivery-id"]
        wire.send("disposition", role=RECEIVER, first=number, last=number, settled=False, state=ACCEPTED)
        done = wire.expect("disposition")
        error = amqp.fields_of(amqp.fields_of(done["state"])[1]["error"])[1]
        assert error["condition"] == "com.microsoft:message-lock-lost"


# Who was there before


def test_the_newer_connection_takes_the_identity_over(hub, device):
    """dp §4.9: `amqp:link:stolen`, and the connection with its last identity."""
    with attached(device) as old, amqp.authorised(device) as new:
        new.attach(2, SENDER, events(device))
        assert old.expect("detach", channel=1).error == "amqp:link:stolen"
        assert old.wait_for("close").error == "amqp:link:stolen"
        with pytest.raises(Closed):
            while True:
                old.receive()
        new.transfer(2, 2, data(b"newer"))
        assert new.expect("disposition", first=UInt(2))["state"] == ACCEPTED
