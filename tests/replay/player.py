"""Plays a vector: says what an SDK says, and insists on what it needs. See `vectors/README.md`."""

import json
import re
import struct
import uuid
from concurrent.futures import ThreadPoolExecutor

from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import amqp, mqtt
from harness import amqp_types as types
from harness.transport import Tls, WebSocket
from harness.wait import until

FIELD_TYPES = {
    "max-frame-size": types.UInt, "channel-max": types.UShort, "idle-time-out": types.UInt,
    "remote-channel": types.UShort, "next-outgoing-id": types.UInt, "incoming-window": types.UInt,
    "outgoing-window": types.UInt, "handle-max": types.UInt, "handle": types.UInt, "snd-settle-mode": types.UByte,
    "rcv-settle-mode": types.UByte, "initial-delivery-count": types.UInt, "max-message-size": types.ULong,
    "next-incoming-id": types.UInt, "delivery-count": types.UInt, "link-credit": types.UInt, "available": types.UInt,
    "delivery-id": types.UInt, "message-format": types.UInt, "first": types.UInt, "last": types.UInt,
    "code": types.UByte, "section-number": types.UInt, "section-offset": types.ULong, "durable": types.UInt,
    "timeout": types.UInt, "mechanism": types.Symbol, "expiry-policy": types.Symbol, "condition": types.Symbol,
    "absolute-expiry-time": types.Timestamp, "creation-time": types.Timestamp,
}  # fmt: skip
TAGS = {
    "ulong": types.ULong, "uint": types.UInt, "ushort": types.UShort, "ubyte": types.UByte, "long": types.Long,
    "int": types.Int, "symbol": types.Symbol, "timestamp": types.Timestamp, "uuid": uuid.UUID, "string": str,
}  # fmt: skip
PACKETS = {"connack": 2, "publish": 3, "puback": 4, "suback": 9, "unsuback": 11, "pingresp": 13}
COMPOSITES = ("source", "target", "accepted", "rejected", "released", "modified", "error")


class Player:
    """One vector on its way: to the hub, or to an edge hub below it."""

    def __init__(self, site, vector, edge=None):
        self.site = site
        self.hub = site.hub
        self.edge = edge
        self.vector = vector
        self.values = {}
        self.identities = {}
        self.marks = {}
        self.pool = ThreadPoolExecutor(1)
        self.call = None
        for name, what in vector["identities"].items():
            self._new_identity(name, what)

    def _new_identity(self, name, what):
        credential = self.vector["credential"]
        if what == "edge":
            identity = self.site.identity(credential, self.edge.device_id, self.vector["module"])
            self.values["d"] = identity.device_id
        elif what == "device":
            identity = self.site.identity(credential, f"replay-{uuid.uuid4().hex[:8]}")
        else:
            device = self.identities[what.split("/")[0]].device_id
            identity = self.site.identity(credential, device, name)
        self.identities[name] = identity
        self.values |= {name: identity.device_id, f"{name}.module": identity.module_id}
        if identity.key:
            self.values[f"{name}.token"] = identity.token()

    def play(self):
        host, trust = self._server()
        self.values |= {"host": host, "hub": host.split(".")[0], "upstream": self.hub.address}
        self.since = self.hub.events.mark()
        certificate = next(iter(self.identities.values())).certificate
        if path := self.vector.get("path"):
            subprotocol = self.vector["subprotocol"]
            transport = WebSocket(host, trust, path, subprotocol, certificate)
        else:
            port = 8883 if self.vector["protocol"] == "mqtt" else amqp.PORT
            transport = Tls(host, trust, port, certificate)
        kind = MqttSide if self.vector["protocol"] == "mqtt" else AmqpSide
        side = kind(self, transport)
        try:
            for number, step in enumerate(self.vector["steps"]):
                try:
                    self._step(side, step)
                except Exception as error:
                    raise AssertionError(f"step {number} {json.dumps(step)[:300]}: {error!r}") from error
        finally:
            transport.close()
            self.pool.shutdown(wait=False)

    def _server(self):
        """Whom the SDK dials, and the file of what it trusts."""
        if self.edge is None:
            return self.hub.address, self.hub.ca_path
        trust = self.edge.dir / "replay-trust.pem"
        trust.write_text(self.edge.trust_pem())
        return self.edge.host_name, trust

    def _step(self, side, step):
        if "back-end" in step:
            getattr(self, "do_" + step["back-end"].replace("-", "_"))(step)
        elif "send" in step:
            side.send(step)
        elif "expect" in step:
            side.expect(step)
        elif "expect-both" in step:
            side.expect_both(step["expect-both"])
        elif "drop" in step:
            side.wire.close()
        else:
            assert "note" in step, "a step that does nothing"

    # Values

    def text(self, text):
        return re.sub(r"\{([\w.-]+)\}", lambda m: str(self.values[m[1]]), text)

    def value(self, value, field=None):
        """A value of a vector, with its AMQP type."""
        if isinstance(value, str):
            return FIELD_TYPES.get(field, str)(self.text(value))
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return FIELD_TYPES[field](value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if len(value) == 1:
            ((tag, inner),) = value.items()
            if tag == "saved":
                return self.values[inner]
            if tag == "binary":
                return self.text(inner).encode()
            if tag == "hex":
                return bytes.fromhex(inner)
            if tag in TAGS:
                return TAGS[tag](self.text(inner) if isinstance(inner, str) else inner)
            if tag == "symbols":
                return {types.Symbol(key): self.value(item) for key, item in inner.items()}
            if tag == "strings":
                return {key: self.value(item) for key, item in inner.items()}
            if tag in COMPOSITES:
                return types.composite(tag, self.fields(inner))
        raise AssertionError(f"no such value: {value}")

    def fields(self, fields):
        return {name: self.value(value, name) for name, value in fields.items()}

    def body(self, body):
        """Text, or `{"repeat": ["x", 6000]}`."""
        if isinstance(body, dict):
            text, times = body["repeat"]
            return text.encode() * times
        return self.text(body).encode()

    # The back end's side

    def who(self, step):
        return self.identities[step.get("of", next(iter(self.identities)))]

    def do_event(self, step):
        """The next event of an identity is this one."""
        identity = self.who(step)
        at = self.marks.get(identity.sender, 0)
        event = self.hub.events.wait_for(identity.sender, at + 1, self.since)[at]
        self.marks[identity.sender] = at + 1
        if "json" in step:
            assert event.json == step["json"], event
        else:
            assert event.body == self.body(step["body"]), event
        assert event.properties == step.get("properties", {}), event
        system = {name: self.text(value) for name, value in step.get("system", {}).items()}
        assert {name: event.system.get(name) for name in system} == system, event
        auth = json.loads(event.system["iothub-connection-auth-method"])
        assert auth["type"] == ("sas" if identity.key else "x509")

    def do_c2d(self, step):
        headers = {"iothub-messageid": step["id"], "iothub-ack": "full", **step.get("headers", {})}
        self.hub.send_c2d(self.who(step).device_id, self.body(step["body"]), headers)

    def do_feedback(self, step):
        """What became of it is looked at when all vectors are played: records are held back for a while."""
        device = self.who(step).device_id
        until(
            "the queue is empty",
            lambda: self.hub.registry().get_device(device).cloud_to_device_message_count == 0,
        )
        self.site.expect_feedback(device, step["id"], step["outcome"])

    def do_call(self, step):
        request = CloudToDeviceMethod(
            method_name=step["method"], payload=step["payload"], connect_timeout_in_seconds=15
        )
        who, registry = self.who(step), self.hub.registry()
        if who.module_id:
            call = registry.invoke_device_module_method
            self.call = self.pool.submit(call, who.device_id, who.module_id, request)
        else:
            self.call = self.pool.submit(registry.invoke_device_method, who.device_id, request)

    def do_answer(self, step):
        answer = self.call.result(30)
        assert (answer.status, answer.payload) == (step["status"], step["payload"])

    def do_desired(self, step):
        who, patch = self.who(step), Twin(properties=TwinProperties(desired=step["patch"]))
        if who.module_id:
            self.hub.registry().update_module_twin(who.device_id, who.module_id, patch)
        else:
            self.hub.registry().update_twin(who.device_id, patch)

    def do_reported(self, step):
        who, registry = self.who(step), self.hub.registry()
        if who.module_id:
            twin = registry.get_module_twin(who.device_id, who.module_id)
        else:
            twin = registry.get_twin(who.device_id)
        reported = {k: v for k, v in twin.properties.reported.items() if k != "$metadata"}
        assert reported == step["is"]


class MqttSide:
    """The packets of a vector."""

    def __init__(self, player, transport):
        self.player = player
        self.wire = mqtt.Wire(None, None, transport=transport)

    def send(self, step):
        fields = {
            name: self.player.text(value) if isinstance(value, str) else value
            for name, value in step.get("fields", {}).items()
        }
        self.wire.send(getattr(self, step["send"])(**{k.replace("-", "_"): v for k, v in fields.items()}))

    def connect(self, client_id, user_name, keep_alive, clean=False, password=None, will=None):
        flags = 0x80 | (0x40 if password else 0) | (0x02 if clean else 0)
        body = mqtt.text(client_id)
        if will:
            flags |= 0x04 | will["qos"] << 3 | (0x20 if will["retain"] else 0)
            body += mqtt.text(self.player.text(will["topic"])) + mqtt.text(will["payload"])
        body += mqtt.text(user_name) + (mqtt.text(password) if password else b"")
        return mqtt.packet(0x10, mqtt.text("MQTT") + bytes([4, flags]) + struct.pack(">H", keep_alive) + body)

    def subscribe(self, packet_id, filters):
        body = b"".join(mqtt.text(self.player.text(topic)) + bytes([qos]) for topic, qos in filters)
        return mqtt.packet(0x82, struct.pack(">H", packet_id) + body)

    def unsubscribe(self, packet_id, filters):
        body = b"".join(mqtt.text(self.player.text(topic)) for topic in filters)
        return mqtt.packet(0xA2, struct.pack(">H", packet_id) + body)

    def publish(self, topic, qos, payload="", packet_id=None, retain=False):
        return mqtt.publish(topic, payload.encode(), packet_id, qos, 1 if retain else 0)

    def puback(self, packet_id):
        return mqtt.puback(int(packet_id))

    def pingreq(self):
        return mqtt.PINGREQ

    def disconnect(self):
        return mqtt.DISCONNECT

    def expect_both(self, steps):
        """Two packets, in either order."""
        first = self.wire.receive()
        steps = steps if PACKETS[steps[0]["expect"]] == first[0] else steps[::-1]
        self._check(steps[0], *first)
        self.expect(steps[1])

    def expect(self, step):
        if step["expect"] == "closed":
            assert self.wire.is_closed_by_server()
        else:
            self._check(step, *self.wire.receive())

    def _check(self, step, got, flags, body):
        kind = step["expect"]
        wanted = PACKETS[kind]
        assert got == wanted, f"packet type {got}: {body}"
        if kind == "connack":
            assert (body[1], bool(body[0] & 1)) == (step["code"], step.get("session", False))
        elif kind == "suback":
            assert list(body[2:]) == step["codes"], list(body[2:])
        elif kind == "puback":
            assert struct.unpack(">H", body)[0] == step["packet-id"]
        elif kind == "publish":
            self._expect_publish(step, flags, body)

    def _expect_publish(self, step, flags, body):
        length = struct.unpack(">H", body[:2])[0]
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        qos = flags >> 1 & 3
        if qos:
            self.player.values["packet"] = struct.unpack(">H", rest[:2])[0]
            rest = rest[2:]
        assert qos == step["qos"], f"QoS {qos}"
        # Text is compared as it is, but for what is to be saved: `<name>`.
        pattern = re.escape(self.player.text(step["topic"]))
        pattern = re.sub(r"<([\w-]+)>", lambda m: f"(?P<{m[1]}>[^&/]*)", pattern)
        match = re.fullmatch(pattern, topic)
        assert match, f"topic {topic!r}"
        self.player.values |= match.groupdict()
        if "json" in step:
            assert json.loads(rest) == step["json"], rest
        else:
            assert rest == step.get("payload", "").encode(), rest


class AmqpSide:
    """The frames of a vector. Channels and handles in steps are the SDK's own; what an AMQP library counts by
    itself (transfer ids of a session) is counted here."""

    def __init__(self, player, transport):
        self.player = player
        self.wire = amqp.Wire(transport)
        self.sessions = {}
        self.frame_size = None

    def send(self, step):
        name = step["send"]
        if name == "header":
            self.wire.raw(bytes.fromhex(step["hex"]))
            return
        fields = self.player.fields(step.get("fields", {}))
        channel, full = step.get("channel", 0), step.get("full", False)
        kind = 1 if name.startswith("sasl") else 0
        payload = self._message(step["message"]) if "message" in step else b""
        if name == "open":
            self.frame_size = fields["max-frame-size"]
        elif name == "begin":
            self.sessions[channel] = Session(fields["next-outgoing-id"])
        elif name == "flow":
            fields = self.sessions[channel].counts() | fields
        elif name == "transfer":
            fields["delivery-id"] = self.sessions[channel].next_delivery(2 if step.get("more") else 1)
        for field, variable in step.get("save", {}).items():
            self.player.values[variable] = fields[field]
        if step.get("more"):
            # Cut in two, as by a small frame size.
            half = len(payload) // 2
            first = types.composite(name, {**fields, "more": True}, full)
            self.wire.raw(types.frame(channel, first, payload[:half], kind))
            fields, payload = {"handle": fields["handle"], "more": False}, payload[half:]
        self.wire.raw(types.frame(channel, types.composite(name, fields, full), payload, kind))

    def _message(self, sections):
        """Sections in the order of the vector; `batch` holds whole messages, each in a data section."""
        out = []
        for name, content in sections:
            if name == "batch":
                out += [("data", self._message(inner)) for inner in content]
            elif name in ("properties", "header"):
                out.append((name, self.player.fields(content)))
            elif name == "application-properties":
                out.append((name, {key: self.player.value(item) for key, item in content.items()}))
            elif name in ("message-annotations", "delivery-annotations"):
                out.append((name, {types.Symbol(key): self.player.value(item) for key, item in content.items()}))
            elif name == "data":
                out.append((name, self.player.body(content)))
            else:
                out.append((name, self.player.value(content)))
        return types.message(out)

    def expect_both(self, steps):
        """Two frames of a session, in either order."""
        session = self.sessions[steps[0]["channel"]]
        first = self.wire.peek(session.remote)
        for step in steps if first.name == steps[0]["expect"] else steps[::-1]:
            self.expect(step)

    def _receive(self, name, channel):
        """The next frame, which has to be this one, with all its parts."""
        if name == "begin":
            got = self.wire.expect(name)
            self.sessions[got["remote-channel"]].begun(got)
            return got
        remote = None if channel is None or channel not in self.sessions else self.sessions[channel].remote
        got = self.wire.expect(name, remote)
        if name == "transfer":
            part = got
            while True:
                self.sessions[channel].incoming += 1
                assert len(part.payload) <= self.frame_size, f"a frame of more than {self.frame_size} bytes"
                if not part["more"]:
                    break
                part = self.wire.expect(name, remote)
                got.payload += part.payload
        return got

    def expect(self, step):
        name, channel = step["expect"], step.get("channel")
        if name == "header":
            assert self.wire.header() == bytes.fromhex(step["hex"])
        elif name == "closed":
            assert self.wire.is_closed_by_server()
        elif name == "credit":
            self._expect_credit(step)
        else:
            self._check(step, self._receive(name, channel))

    def _check(self, step, got):
        self._compare(got.fields, step.get("fields", {}), got.name)
        for absent in step.get("absent", []):
            assert got[absent] is None, f"{absent} is {got[absent]!r}"
        if "holds" in step:
            held = [str(item) for item in got["sasl-server-mechanisms"]]
            assert set(step["holds"]) <= set(held), held
        if "error" in step:
            assert got.error == step["error"], got
        if "state" in step:
            assert types.NAMES[got["state"].descriptor] == step["state"], got
        if "tag-length" in step:
            assert len(got["delivery-tag"]) == step["tag-length"], got["delivery-tag"]
        if "message" in step:
            self._compare_message(got.message, step["message"])
        for field, tag in step.get("types", {}).items():
            value = self._find(got, field)
            assert type(value) is TAGS[tag], f"{field} is {value!r}, not a {tag}"
        for field, variable in step.get("save", {}).items():
            self.player.values[variable] = self._find(got, field)

    def _expect_credit(self, step):
        """Some flow grants a link at least this much; others are passed over."""
        handle = self.player.value(step["handle"], "handle")
        while True:
            flow = self.wire.expect("flow", self.sessions[step["channel"]].remote)
            if flow["handle"] == handle and (flow["link-credit"] or 0) >= step["at-least"]:
                return

    def _find(self, got, field):
        if field.startswith("message."):
            section, name = field.removeprefix("message.").split(".", 1)
            return got.message[section][name]
        return got[field]

    def _compare(self, got, wanted, where):
        for name, value in wanted.items():
            self._same(got.get(name), self.player.value(value, name), f"{where}.{name}")

    def _compare_message(self, got, wanted):
        for section, content in wanted.items():
            if section == "absent":
                for path in content:
                    name, field = path.split(".")
                    assert got.get(name, {}).get(field) is None, f"{path} is {got[name][field]!r}"
            elif section == "text":
                for path, text in content.items():
                    name, field = path.split(".")
                    assert str(got[name].get(field)) == self.player.text(text), f"{path} is {got[name].get(field)!r}"
            elif section == "json":
                assert json.loads(got["data"]) == content, got["data"]
            elif section == "data":
                assert got["data"] == self.player.body(content), got["data"]
            elif section == "properties":
                self._compare(got.get(section, {}), content, section)
            else:
                for name, value in content.items():
                    self._same(got[section].get(name), self.player.value(value), f"{section}.{name}")

    def _same(self, got, wanted, where):
        if isinstance(wanted, types.Described):
            # A part of a composite is enough: servers add defaults.
            assert isinstance(got, types.Described), f"{where} is {got!r}"
            (name, have), (_, want) = types.fields_of(got), types.fields_of(wanted)
            assert got.descriptor == wanted.descriptor, f"{where} is a {name}"
            for field, value in want.items():
                self._same(have.get(field), value, f"{where}.{field}")
            return
        assert got == wanted and type(got) is type(wanted), f"{where} is {got!r}, not {wanted!r}"


class Session:
    """What both sides of a session count."""

    def __init__(self, first):
        self.outgoing = first
        self.delivery = 0
        self.remote = None
        self.incoming = None

    def begun(self, begin):
        self.remote = begin.channel
        self.incoming = begin["next-outgoing-id"]

    def next_delivery(self, frames):
        self.outgoing += frames
        self.delivery += 1
        return types.UInt(self.delivery - 1)

    def counts(self):
        return {"next-incoming-id": types.UInt(self.incoming), "next-outgoing-id": types.UInt(self.outgoing)}
