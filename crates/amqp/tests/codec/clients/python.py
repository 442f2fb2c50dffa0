"""Bytes of the Python clients' codecs, and what they make of ours.

From the repository's root, with the environment of tests/README.md:

    target/venv/bin/python crates/amqp/tests/codec/clients/python.py write \
        > crates/amqp/tests/codec/clients/python.txt
    target/venv/bin/python crates/amqp/tests/codec/clients/python.py check \
        crates/amqp/tests/codec/clients/ours.txt

pyamqp is the codec in azure-eventhub 5.15.1, uamqp (the C core of azure-iot-hub, of
the CLI and of the C SDK) is 1.6.11. The cases' content is that of ../clients.rs.
"""

import sys
import uuid

import uamqp
from azure.eventhub._pyamqp import _decode, _encode, endpoints, error, outcomes, performatives as p
from azure.eventhub._pyamqp.message import BatchMessage, Header, Message, Properties
from azure.eventhub._pyamqp.types import AMQPTypes, TYPE, VALUE

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
FILTER = b"apache.org:selector-filter:string"
OFFSET = {TYPE: AMQPTypes.string, VALUE: "amqp.annotation.x-opt-offset > '@latest'"}
LONG = "x" * 300


def make(kind, **fields):
    """A tuple of which some fields are given."""
    return kind(**{**dict.fromkeys(kind._fields), **fields})


def pyamqp_frames():
    kwargs = {"frame_type": b"\x01"}
    yield "open", make(
        p.OpenFrame, container_id="c1", hostname="h.example", max_frame_size=65536, channel_max=65535,
        idle_timeout=240000, properties={"product": "test"}), {}
    yield "begin", make(
        p.BeginFrame, remote_channel=None, next_outgoing_id=0, incoming_window=65536, outgoing_window=65536,
        handle_max=4294967295), {}
    yield "attach_events", make(
        p.AttachFrame, name="link-1", handle=1, role=True, send_settle_mode=0, rcv_settle_mode=0,
        source=make(
            endpoints.Source, address="amqps://h/e/ConsumerGroups/$Default/Partitions/0",
            durable=0, expiry_policy=b"session-end", timeout=0, dynamic=False,
            filters={FILTER: (FILTER, OFFSET)}),
        target=make(
            endpoints.Target, address="t1", durable=0, expiry_policy=b"session-end", timeout=0, dynamic=False),
        max_message_size=1048576,
        desired_capabilities=[b"com.microsoft:enable-receiver-runtime-metric"],
        properties={b"com.microsoft:epoch": {TYPE: AMQPTypes.long, VALUE: 300}}), {}
    yield "flow", make(
        p.FlowFrame, next_incoming_id=1, incoming_window=65535, next_outgoing_id=2, outgoing_window=65536,
        handle=0, delivery_count=0, link_credit=300), {}
    yield "transfer", make(
        p.TransferFrame, handle=0, delivery_id=300, delivery_tag=b"\x00\x01", message_format=0, settled=False,
        more=False, batchable=False, payload=b"abc"), {}
    yield "accepted", make(
        p.DispositionFrame, role=True, first=1, last=1, settled=True, state=outcomes.Accepted()), {}
    yield "rejected", make(
        p.DispositionFrame, role=True, first=1, last=2, settled=True,
        state=outcomes.Rejected(error=error.AMQPError(
            condition=b"amqp:not-found", description=LONG, info={b"k": "v"}))), {}
    yield "detach", make(p.DetachFrame, handle=3, closed=True, error=error.AMQPError(
        condition=b"amqp:link:stolen", description="gone", info=None)), {}
    yield "end", make(p.EndFrame), {}
    yield "close", make(p.CloseFrame), {}
    yield "init", make(
        p.SASLInit, mechanism=b"PLAIN", initial_response=b"\0u\0p", hostname="h.example"), kwargs


def pyamqp_messages():
    yield "telemetry", Message(
        header=Header(durable=True),
        properties=Properties(
            message_id="m1", to="/devices/d/messages/events", correlation_id=UUID,
            content_type="application/json", content_encoding="utf-8"),
        message_annotations={b"dt-subject": "s"},
        application_properties={"a": "b", "long": LONG},
        data=[b"{}"])
    yield "put_token", Message(
        properties=Properties(message_id="m2", to="$cbs", reply_to="cbs"),
        application_properties={"operation": "put-token"},
        value="SharedAccessSignature sr=h")


def pyamqp_write():
    for name, frame, kwargs in pyamqp_frames():
        header, body = _encode.encode_frame(frame, **kwargs)
        yield "pyamqp", name, header + b"\0\0" + body
    for name, message in pyamqp_messages():
        yield "pyamqp", name, bytes(_encode.encode_payload(bytearray(), message))
    inner = [_encode.encode_payload(bytearray(), Message(data=[body])) for body in (b"1", b"2")]
    batch = BatchMessage(data=[bytes(one) for one in inner])
    yield "pyamqp", "batch", bytes(_encode.encode_payload(bytearray(), batch))


def uamqp_write():
    telemetry = uamqp.Message(
        b"{}",
        header=uamqp.message.MessageHeader(),
        properties=uamqp.message.MessageProperties(
            message_id="m1", to="/devices/d/messages/events", correlation_id=UUID,
            content_type="application/json", content_encoding="utf-8"),
        annotations={b"dt-subject": b"s"},
        application_properties={b"a": b"b", b"long": LONG.encode()})
    telemetry.header.durable = True
    yield "uamqp", "telemetry", bytes(telemetry.encode_message())
    put_token = uamqp.Message(
        "SharedAccessSignature sr=h", body_type=uamqp.MessageBodyType.Value,
        properties=uamqp.message.MessageProperties(message_id="m2", to="$cbs", reply_to="cbs"),
        application_properties={"operation": "put-token"})
    yield "uamqp", "put_token", bytes(put_token.encode_message())
    batch = uamqp.BatchMessage([b"1", b"2"])
    yield "uamqp", "batch", b"".join(bytes(m.encode_message()) for m in batch.gather())


def check(lines):
    """Decodes what we wrote, and compares it with what was meant."""
    ours = {name: bytes.fromhex(encoded) for _, name, encoded in map(str.split, lines)}
    for name, frame, _ in pyamqp_frames():
        _, body = _encode.encode_frame(frame)
        code, theirs = _decode.decode_frame(memoryview(bytes(body)))
        ours_code, fields = _decode.decode_frame(memoryview(ours[name][8:]))
        assert code == ours_code, name
        # Where they leave a field out, we write the default.
        for mine, their in zip(fields, theirs):
            assert their is None or plain(mine) == plain(their), (name, mine, their)
        # In theirs, the payload of a transfer is the last of the fields.
        assert len(fields) == len(frame._definition), (name, fields)
    for name, message in pyamqp_messages():
        assert_same(_decode.decode_payload(memoryview(ours[name])), message)
        theirs = uamqp.Message.decode_from_bytes(ours[name])
        assert theirs.properties.message_id == message.properties.message_id.encode(), name
        assert b"".join(theirs.get_data()) if name == "telemetry" else theirs.get_data(), name
        assert len(theirs.application_properties) == len(message.application_properties), name
    batch = uamqp.Message.decode_from_bytes(ours["batch"])
    bodies = [b"".join(uamqp.Message.decode_from_bytes(one).get_data()) for one in batch.get_data()]
    assert bodies == [b"1", b"2"], bodies
    print(f"pyamqp and uamqp read all of {len(ours)}")


def assert_same(decoded, meant):
    for section in ("header", "message_annotations", "properties", "application_properties"):
        mine, theirs = getattr(decoded, section), getattr(meant, section)
        if isinstance(theirs, tuple):
            for mine, theirs in zip(mine, theirs):
                assert theirs is None or plain(mine) == plain(theirs), (section, mine, theirs)
        else:
            assert plain(mine) == plain(theirs), (section, mine, theirs)
    assert plain(decoded.data) == plain(meant.data)
    assert plain(decoded.value) == plain(meant.value)


def plain(value):
    """Texts as bytes, and nothing as None: pyamqp is not exact about either."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, dict):
        return {plain(key): plain(content) for key, content in value.items()} or None
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


if sys.argv[1] == "write":
    for client, case, content in [*pyamqp_write(), *uamqp_write()]:
        print(client, case, content.hex())
else:
    with open(sys.argv[2]) as file:
        check(file.readlines())
