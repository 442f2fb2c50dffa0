"""A bare MQTT 3.1.1 client that can also say what no client should: bytes over TLS."""

import contextlib
import struct

from harness.transport import Closed, Tls

CONNACK, PUBLISH, PUBACK, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 9, 11, 13


def remaining_length(length):
    out = bytearray()
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(out)


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(data)) + data


def packet(first_byte, body):
    return bytes([first_byte]) + remaining_length(len(body)) + body


def connect(client_id, user_name, password, clean=True, keep_alive=60, level=4):
    flags = (0x80 if user_name is not None else 0) | (0x40 if password is not None else 0)
    flags |= 0x02 if clean else 0
    body = text("MQTT") + bytes([level, flags]) + struct.pack(">H", keep_alive) + text(client_id)
    for part in (user_name, password):
        if part is not None:
            body += text(part)
    return packet(0x10, body)


def publish(topic, payload=b"", packet_id=1, qos=1, flags=0):
    body = text(topic) + (struct.pack(">H", packet_id) if qos else b"") + payload
    return packet(0x30 | (qos << 1) | flags, body)


def subscribe(topic_filter, packet_id=1, qos=1):
    return packet(0x82, struct.pack(">H", packet_id) + text(topic_filter) + bytes([qos]))


def puback(packet_id):
    return packet(0x40, struct.pack(">H", packet_id))


PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


class Wire:
    """One connection, over TLS unless another transport is given."""

    def __init__(self, address, ca_path, port=8883, deadline=15.0, certificate=None, transport=None):
        self.transport = transport or Tls(address, ca_path, port, certificate, deadline)

    @property
    def socket(self):
        return self.transport.socket

    def send(self, data):
        self.transport.send(data)

    def _read(self, count):
        data = b""
        while len(data) < count:
            data += self.transport.receive(count - len(data))
        return data

    def receive(self):
        """The next packet: its type, flags and body."""
        first = self._read(1)[0]
        length, shift = 0, 0
        while True:
            digit = self._read(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
        return first >> 4, first & 0x0F, self._read(length)

    def expect(self, kind):
        """The next packet of a type; others are passed over."""
        while True:
            got, _, body = self.receive()
            if got == kind:
                return body

    def is_closed_by_server(self):
        """Reads until the server closes. A deadline that passes is an error (`TimeoutError`)."""
        with contextlib.suppress(Closed):
            while True:
                self.receive()
        return True

    def connect(self, identity, password=None, client_id=None, user_name=None, **options):
        """Says CONNECT; gives the code of CONNACK and whether a session was present."""
        self.send(
            connect(
                identity.sender if client_id is None else client_id,
                identity.user_name if user_name is None else user_name,
                identity.token() if password is None else password,
                **options,
            )
        )
        body = self.expect(CONNACK)
        return body[1], bool(body[0] & 1)

    def close(self):
        self.transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def connected(identity, **options):
    """A bare connection of an identity straight to its hub."""
    with Wire(identity.hub.address, identity.hub.ca_path) as wire:
        code, _ = wire.connect(identity, **options)
        assert code == 0, f"CONNACK {code}"
        yield wire
