"""Who does not come to the point, and what is said wrong before the first frame."""

import os
import selectors
import socket
import ssl
import threading
import time

import pytest

from harness import amqp, sas
from harness.amqp import SENDER
from harness.amqp_input import INIT, OPEN, Nobody
from harness.amqp_types import composite, frame
from harness.canary import Canary
from harness.transport import Tls

# What only time shows, a minute and more: FARSHORE_PATIENT=1.
PATIENT = pytest.mark.skipif("FARSHORE_PATIENT" not in os.environ, reason="takes minutes; set FARSHORE_PATIENT")
# By when a connection must be open (the hub's), and when one that has proven nothing has to go.
OPEN_SECONDS, STRANGER_SECONDS = 10, 60


# Who does not come to the point


def tls(hub):
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    raw = socket.create_connection((hub.address, amqp.PORT), timeout=10)
    return context.wrap_socket(raw, server_hostname=hub.address)


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
    with Canary(hub, "amqp") as canary:
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
