"""AMQP 1.0 values and frames as bytes, written from the specification and not from any client: what a test
sends can be as odd as it likes, and what it gets is looked at with its types."""

import struct
import uuid
from dataclasses import dataclass


class Symbol(str):
    """Plain `str` is a string."""


class _Int(int):
    def __repr__(self):
        return f"{type(self).__name__}({int(self)})"


class UByte(_Int):
    pass


class UShort(_Int):
    pass


class UInt(_Int):
    pass


class ULong(_Int):
    pass


class Byte(_Int):
    pass


class Short(_Int):
    pass


class Int(_Int):
    pass


class Long(_Int):
    pass


class Timestamp(_Int):
    """Milliseconds since 1970."""


@dataclass(frozen=True)
class Described:
    descriptor: object
    value: object


class Array(list):
    """An array of symbols or strings; the only ones that anybody sends."""


FIXED = {
    UByte: (0x50, ">B"), UShort: (0x60, ">H"), Byte: (0x51, ">b"), Short: (0x61, ">h"),
    Int: (0x71, ">i"), Long: (0x81, ">q"), Timestamp: (0x83, ">q"), float: (0x82, ">d"),
}  # fmt: skip


def encode(value):
    if value is None:
        return b"\x40"
    if isinstance(value, bool):
        return b"\x41" if value else b"\x42"
    if isinstance(value, Described):
        return b"\x00" + encode(value.descriptor) + encode(value.value)
    if isinstance(value, UInt):
        if value == 0:
            return b"\x43"
        return bytes([0x52, value]) if value < 256 else b"\x70" + struct.pack(">I", value)
    if isinstance(value, ULong):
        if value == 0:
            return b"\x44"
        return bytes([0x53, value]) if value < 256 else b"\x80" + struct.pack(">Q", value)
    if type(value) in FIXED:
        code, form = FIXED[type(value)]
        return bytes([code]) + struct.pack(form, value)
    if isinstance(value, uuid.UUID):
        return b"\x98" + value.bytes
    if isinstance(value, bytes):
        return _variable(0xA0, 0xB0, value)
    if isinstance(value, Symbol):
        return _variable(0xA3, 0xB3, value.encode())
    if isinstance(value, str):
        return _variable(0xA1, 0xB1, value.encode())
    if isinstance(value, Array):
        code = 0xB3 if all(isinstance(item, Symbol) for item in value) else 0xB1
        items = b"".join(struct.pack(">I", len(item.encode())) + item.encode() for item in value)
        body = struct.pack(">I", len(value)) + bytes([code]) + items
        return b"\xf0" + struct.pack(">I", len(body)) + body
    if isinstance(value, list):
        return _compound(0xC0, 0xD0, len(value), b"".join(map(encode, value)))
    if isinstance(value, dict):
        items = b"".join(encode(key) + encode(item) for key, item in value.items())
        return _compound(0xC1, 0xD1, 2 * len(value), items)
    raise TypeError(f"no AMQP type for {value!r}: say which integer it is")


def _variable(short, long, data):
    if len(data) < 256:
        return bytes([short, len(data)]) + data
    return bytes([long]) + struct.pack(">I", len(data)) + data


def _compound(short, long, count, items):
    if count < 256 and len(items) < 255:
        return bytes([short, len(items) + 1, count]) + items
    return bytes([long]) + struct.pack(">II", len(items) + 4, count) + items


class Reader:
    """Takes values off a buffer."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    @property
    def is_done(self):
        return self.at >= len(self.data)

    def take(self, count):
        part = self.data[self.at : self.at + count]
        assert len(part) == count, "a value goes beyond its frame"
        self.at += count
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self):
        code = self.number(">B")
        if code == 0x00:
            return Described(self.value(), self.value())
        return self.plain(code)

    def plain(self, code):
        simple = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0), 0x45: []}
        if code in simple:
            return simple[code]
        for kind, (fixed, form) in FIXED.items():
            if code == fixed:
                return kind(self.number(form))
        small = {0x52: UInt, 0x53: ULong}
        if code in small:
            return small[code](self.number(">B"))
        if code in (0x54, 0x55):
            return (Int if code == 0x54 else Long)(self.number(">b"))
        if code == 0x56:
            return self.number(">B") == 1
        if code == 0x70:
            return UInt(self.number(">I"))
        if code == 0x80:
            return ULong(self.number(">Q"))
        if code == 0x72:
            return self.number(">f")
        if code == 0x98:
            return uuid.UUID(bytes=self.take(16))
        kind = {0xA0: bytes, 0xA1: str, 0xA3: Symbol, 0xB0: bytes, 0xB1: str, 0xB3: Symbol}
        if code in kind:
            data = self.take(self.number(">B" if code < 0xB0 else ">I"))
            return data if kind[code] is bytes else kind[code](data.decode())
        if code in (0xC0, 0xC1, 0xD0, 0xD1, 0xE0, 0xF0):
            return self._compound(code)
        raise AssertionError(f"unknown format code {code:#x}")

    def _compound(self, code):
        form = ">B" if code in (0xC0, 0xC1, 0xE0) else ">I"
        inner = Reader(self.take(self.number(form)))
        count = inner.number(form)
        if code in (0xE0, 0xF0):
            element = inner.number(">B")
            return Array(inner.plain(element) for _ in range(count))
        items = [inner.value() for _ in range(count)]
        return dict(zip(items[::2], items[1::2], strict=True)) if code in (0xC1, 0xD1) else items


# Performatives: descriptor and the names of their fields, in order.

PERFORMATIVES = {
    "open": (0x10, "container-id hostname max-frame-size channel-max idle-time-out outgoing-locales incoming-locales offered-capabilities desired-capabilities properties"),
    "begin": (0x11, "remote-channel next-outgoing-id incoming-window outgoing-window handle-max offered-capabilities desired-capabilities properties"),
    "attach": (0x12, "name handle role snd-settle-mode rcv-settle-mode source target unsettled incomplete-unsettled initial-delivery-count max-message-size offered-capabilities desired-capabilities properties"),
    "flow": (0x13, "next-incoming-id incoming-window next-outgoing-id outgoing-window handle delivery-count link-credit available drain echo properties"),
    "transfer": (0x14, "handle delivery-id delivery-tag message-format settled more rcv-settle-mode state resume aborted batchable"),
    "disposition": (0x15, "role first last settled state batchable"),
    "detach": (0x16, "handle closed error"),
    "end": (0x17, "error"),
    "close": (0x18, "error"),
    "sasl-mechanisms": (0x40, "sasl-server-mechanisms"),
    "sasl-init": (0x41, "mechanism initial-response hostname"),
    "sasl-challenge": (0x42, "challenge"),
    "sasl-response": (0x43, "response"),
    "sasl-outcome": (0x44, "code additional-data"),
    # Composite values within them.
    "source": (0x28, "address durable expiry-policy timeout dynamic dynamic-node-properties distribution-mode filter default-outcome outcomes capabilities"),
    "target": (0x29, "address durable expiry-policy timeout dynamic dynamic-node-properties capabilities"),
    "error": (0x1D, "condition description info"),
    "accepted": (0x24, ""),
    "rejected": (0x25, "error"),
    "released": (0x26, ""),
    "modified": (0x27, "delivery-failed undeliverable-here message-annotations"),
    "received": (0x23, "section-number section-offset"),
    "header": (0x70, "durable priority ttl first-acquirer delivery-count"),
    "properties": (0x73, "message-id user-id to subject reply-to correlation-id content-type content-encoding absolute-expiry-time creation-time group-id group-sequence reply-to-group-id"),
}  # fmt: skip
NAMES = {code: name for name, (code, _) in PERFORMATIVES.items()}
SECTIONS = {
    "delivery-annotations": 0x71, "message-annotations": 0x72, "application-properties": 0x74,
    "data": 0x75, "sequence": 0x76, "value": 0x77, "footer": 0x78,
}  # fmt: skip
SECTION_NAMES = {code: name for name, code in SECTIONS.items()}


def composite(name, fields=None, full=False):
    """A described list. Trailing nulls are left out, as most clients do, unless `full`."""
    code, names = PERFORMATIVES[name]
    fields = dict(fields or {})
    values = [fields.pop(field, None) for field in names.split()]
    assert not fields, f"{name} has no {list(fields)}"
    while values and values[-1] is None and not full:
        values.pop()
    return Described(ULong(code), values)


def fields_of(value):
    """Name and fields of a described list; what is not sent is absent."""
    name = NAMES[value.descriptor]
    names = PERFORMATIVES[name][1].split()
    return name, {key: item for key, item in zip(names, value.value, strict=False) if item is not None}


def message(sections):
    """An encoded message: `[(section, content), …]` in any order; `header` and `properties` by fields."""
    out = b""
    for name, content in sections:
        if name in ("header", "properties"):
            out += encode(composite(name, content))
        else:
            out += encode(Described(ULong(SECTIONS[name]), content))
    return out


def read_message(data):
    """The sections of a message by name; `data` sections joined."""
    reader, found = Reader(data), {}
    while not reader.is_done:
        section = reader.value()
        if section.descriptor in SECTION_NAMES:
            name, content = SECTION_NAMES[section.descriptor], section.value
            found[name] = found[name] + content if name == "data" and name in found else content
        else:
            name, content = fields_of(section)
            found[name] = content
    return found


def frame(channel, performative, payload=b"", kind=0):
    body = (encode(performative) if performative is not None else b"") + payload
    return struct.pack(">IBBH", 8 + len(body), 2, kind, channel) + body
