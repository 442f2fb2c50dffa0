"""A bare AMQP 1.0 client: frames over TLS or WebSocket, and as much order as a test asks for."""

import collections
import contextlib
import struct

from harness.amqp_types import (
    Described, Reader, Symbol, UInt, composite, fields_of, frame, message, read_message,
)  # fmt: skip
from harness.transport import Closed, Tls, WebSocket

SASL, AMQP = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"
SENDER, RECEIVER = False, True
ACCEPTED = composite("accepted")
PORT = 5671
SUBPROTOCOL = "AMQPWSB10"


class Frame:
    """A performative that came, with what came behind it."""

    def __init__(self, channel, name, fields, payload):
        self.channel = channel
        self.name = name
        self.fields = fields
        self.payload = payload

    def __getitem__(self, name):
        return self.fields.get(name)

    @property
    def error(self):
        """The condition of its error, if it has one."""
        if isinstance(self["error"], Described):
            return fields_of(self["error"])[1]["condition"]
        return None

    @property
    def message(self):
        return read_message(self.payload)

    def __repr__(self):
        return f"{self.name}@{self.channel} {self.fields} +{len(self.payload)}"


class Wire:
    """One connection."""

    def __init__(self, transport):
        self.transport = transport
        self._buffer = bytearray()
        self._kept = collections.deque()

    def raw(self, data):
        self.transport.send(data)

    def send(self, performative, channel=0, payload=b"", full=False, **fields):
        """A performative; names of fields with `_` for `-`."""
        named = {key.replace("_", "-"): value for key, value in fields.items()}
        kind = 1 if performative.startswith("sasl") else 0
        self.raw(frame(channel, composite(performative, named, full), payload, kind))

    def _fill(self, count):
        while len(self._buffer) < count:
            self._buffer += self.transport.receive()

    def header(self):
        """The next eight bytes: a protocol header."""
        self._fill(8)
        header = bytes(self._buffer[:8])
        del self._buffer[:8]
        return header

    def receive(self):
        """The next frame; empty ones are passed over."""
        while True:
            self._fill(8)
            size, offset, kind, channel = struct.unpack(">IBBH", self._buffer[:8])
            self._fill(size)
            body = bytes(self._buffer[4 * offset : size])
            del self._buffer[:size]
            if body:
                reader = Reader(body)
                name, fields = fields_of(reader.value())
                return Frame(channel, name, fields, body[reader.at :])

    def expect(self, performative, channel=None, **fields):
        """The next frame on a channel has to be this one; only flows are passed over, unless one is asked for.
        What comes on other channels meanwhile is kept."""
        wanted = {key.replace("_", "-"): value for key, value in fields.items()}
        kept, self._kept = self._kept, collections.deque()
        while True:
            got = kept.popleft() if kept else self.receive()
            if got.name == "flow" and performative != "flow":
                continue
            if channel is not None and got.channel != channel:
                self._kept.append(got)
                continue
            self._kept.extend(kept)
            assert got.name == performative, f"{got} instead of {performative}"
            differing = {k: got[k] for k, v in wanted.items() if got[k] != v}
            assert not differing, f"{got}: {differing} instead of {wanted}"
            return got

    def peek(self, channel):
        """The next frame on a channel that is no flow; it stays the next."""
        for got in self._kept:
            if got.channel == channel and got.name != "flow":
                return got
        while True:
            got = self.receive()
            self._kept.append(got)
            if got.channel == channel and got.name != "flow":
                return got

    def wait_for(self, performative, **fields):
        """The next frame of a kind with these fields, whatever comes before it."""
        wanted = {key.replace("_", "-"): value for key, value in fields.items()}
        while True:
            got = self._kept.popleft() if self._kept else self.receive()
            if got.name == performative and all(got[key] == value for key, value in wanted.items()):
                return got

    def is_closed_by_server(self):
        """Reads until the server closes. A deadline that passes is an error (`TimeoutError`)."""
        with contextlib.suppress(Closed):
            while True:
                self.receive()
        return True

    def close(self):
        self.transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # The usual beginnings

    def sasl(self, mechanism="ANONYMOUS", response=None):
        """A SASL exchange; gives the outcome's code."""
        self.raw(SASL)
        assert self.header() == SASL
        self.expect("sasl-mechanisms")
        self.send("sasl-init", mechanism=Symbol(mechanism), initial_response=response)
        code = self.expect("sasl-outcome")["code"]
        if code == 0:
            self.raw(AMQP)
            assert self.header() == AMQP
        return code

    def open(self, host, **fields):
        self.send("open", container_id="tests", hostname=host, **fields)
        return self.expect("open")

    def begin(self, channel=0, incoming_window=2048):
        self.send(
            "begin", channel, next_outgoing_id=UInt(0), incoming_window=UInt(incoming_window), outgoing_window=UInt(2048)
        )
        return self.expect("begin")

    def attach(self, handle, role, address, channel=0, name=None, properties=None, **fields):
        """Attaches a link and gives the server's attach."""
        ends = {
            "source": composite("source", {"address": address if role else name or f"link-{handle}"}),
            "target": composite("target", {"address": None if role else address}),
        }
        ends.update(fields)
        self.send(
            "attach", channel, name=name or f"link-{handle}", handle=UInt(handle), role=role,
            initial_delivery_count=None if role else UInt(0),
            properties={Symbol(key): value for key, value in (properties or {}).items()} or None, **ends,
        )  # fmt: skip
        return self.wait_for("attach", name=name or f"link-{handle}")

    def credit(self, handle, credit, delivery_count=0, channel=0, **fields):
        self.send(
            "flow", channel, next_incoming_id=UInt(0), incoming_window=UInt(2048), next_outgoing_id=UInt(0),
            outgoing_window=UInt(2048), handle=UInt(handle), delivery_count=UInt(delivery_count),
            link_credit=UInt(credit), **fields,
        )  # fmt: skip

    def transfer(self, handle, number, payload, channel=0, settled=False, **fields):
        self.send(
            "transfer", channel, payload, handle=UInt(handle), delivery_id=UInt(number),
            delivery_tag=number.to_bytes(4, "big"), **{"message_format": UInt(0), "settled": settled} | fields,
        )  # fmt: skip

    def put_token(self, token, audience, channel=0, handles=(0, 1), message_id="1", attach=True):
        """CBS on a session; gives the status code."""
        sender, receiver = handles
        if attach:
            self.attach(sender, SENDER, "$cbs", channel, f"cbs-{sender}")
            self.attach(receiver, RECEIVER, "$cbs", channel, f"cbs-{receiver}")
            self.credit(receiver, 10, channel=channel)
        request = message(
            [
                ("properties", {"message-id": message_id, "to": "$cbs", "reply-to": "cbs"}),
                (
                    "application-properties",
                    {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": audience},
                ),
                ("value", token),
            ]
        )
        self.transfer(sender, int(message_id), request, channel)
        answer = self.wait_for("transfer")
        if not answer["settled"]:
            number = answer["delivery-id"]
            self.send("disposition", channel, role=RECEIVER, first=number, last=number, settled=True, state=ACCEPTED)
        return answer.message["application-properties"]["status-code"]


def connect(identity, sasl="ANONYMOUS", websocket_path=None, certificate=None, **fields):
    """An open connection of an identity to its hub, without a session."""
    hub = identity.hub
    if websocket_path:
        wire = Wire(WebSocket(hub.address, hub.ca_path, websocket_path, SUBPROTOCOL, certificate))
    else:
        wire = Wire(Tls(hub.address, hub.ca_path, PORT, certificate))
    assert wire.sasl(sasl) == 0
    wire.open(hub.address, **fields)
    return wire


def authorised(identity, **options):
    """An open connection with one session, on which the identity has put its token."""
    wire = connect(identity, **options)
    wire.begin()
    code = wire.put_token(identity.token(), identity.resource)
    assert code == 200, f"put-token: {code}"
    return wire

