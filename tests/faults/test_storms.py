"""Two thousand devices that are dropped at once and come back: each is let in, none is left deaf, and the hub's
memory is at its level again. `FARSHORE_STORM` sets another number of devices."""

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import amqp, mqtt, sas
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_types import Symbol, UInt, composite, frame, message
from harness.hub import API_VERSION, Identity
from harness.transport import Tls
from harness.wait import until

COUNT = int(os.environ.get("FARSHORE_STORM", "2000"))
# Identities of one connection; Java has up to a thousand (dp §4.1).
SHARED = 100
# Threads of this side. More of them only wait for one another.
HANDS = 8
# What comes back later than this is not back; the hub itself takes a fraction of it.
BACK_SECONDS = 60
# What a device may leave behind in the hub when it is gone: nothing that grows with storms.
LEFT_BYTES_MAX = 4 * 1024


def key_of(name):
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def register(hub, prefix):
    """Devices with keys of ours, over a few connections that stay open."""
    names = [f"{prefix}-{number}" for number in range(COUNT)]

    def some(names):
        context = ssl.create_default_context(cafile=str(hub.ca_path))
        connection = http.client.HTTPSConnection(hub.address, 443, context=context, timeout=30)
        headers = {"Authorization": hub.token(), "Content-Type": "application/json"}
        for name in names:
            key = key_of(name)
            authentication = {"type": "sas", "symmetricKey": {"primaryKey": key, "secondaryKey": key}}
            body = json.dumps({"deviceId": name, "authentication": authentication})
            connection.request("PUT", f"/devices/{name}?api-version={API_VERSION}", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == 200, said
        connection.close()

    together(some, [names[at::HANDS] for at in range(HANDS)])
    return [Identity(hub, name, None, key_of(name), None) for name in names]


def together(work, items):
    with ThreadPoolExecutor(HANDS) as pool:
        return list(pool.map(work, items))


class Connections:
    """The way in of some kind of client."""

    def __init__(self, hub, devices):
        self.hub = hub
        self.devices = devices
        self.context = ssl.create_default_context(cafile=str(hub.ca_path))
        self.open = []

    def groups(self):
        return [[device] for device in self.devices]

    def connect(self):
        """All of them, as fast as they can."""
        start = time.monotonic()
        self.open = together(self.one, self.groups())
        return time.monotonic() - start

    def drop(self):
        """As when the network between falls away: no goodbye, and all at once."""
        for wire in self.open:
            raw = wire.transport.socket
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for wire in self.open:
            wire.close()
        self.open = []

    def receive_all(self):
        """Who has received what was meant for it."""
        return {name for names in together(self.received, self.open) for name in names}


class Mqtt(Connections):
    """A session that is kept; it subscribes the first time only, as Python's SDK does."""

    subscribed = False

    def connect(self):
        took = super().connect()
        self.subscribed = True
        return took

    def one(self, group):
        (device,) = group
        tls = Tls(self.hub.address, None, 8883, deadline=BACK_SECONDS, context=self.context)
        wire = mqtt.Wire(None, None, transport=tls)
        assert wire.connect(device, clean=False) == (0, self.subscribed)
        if not self.subscribed:
            wire.send(mqtt.subscribe(f"devices/{device.device_id}/messages/devicebound/#"))
            assert wire.expect(mqtt.SUBACK)[2:] == b"\x01"
        return wire

    def received(self, wire):
        body = wire.expect(mqtt.PUBLISH)
        length = struct.unpack(">H", body[:2])[0]
        wire.send(mqtt.puback(struct.unpack(">H", body[2 + length : 4 + length])[0]))
        return [body[4 + length :].decode()]


def frames(*performatives):
    return b"".join(frame(0, composite(name, fields), payload) for name, fields, payload in performatives)


WINDOW = {"incoming-window": UInt(0x7FFFFFFF), "next-outgoing-id": UInt(0), "outgoing-window": UInt(0x7FFFFFFF)}


def attach(handle, role, address, name):
    source, target = (address, None) if role else (name, address)
    fields = {
        "name": name, "handle": UInt(handle), "role": role, "source": composite("source", {"address": source}),
        "target": composite("target", {"address": target}),
    }  # fmt: skip
    return ("attach", fields if role else fields | {"initial-delivery-count": UInt(0)}, b"")


def credit(handle, count):
    fields = {"next-incoming-id": UInt(0), "handle": UInt(handle), "delivery-count": UInt(0), "link-credit": UInt(count)}
    return ("flow", WINDOW | fields, b"")


def c2d(handle, device):
    address = f"/devices/{device.device_id}/messages/devicebound"
    return [attach(handle, RECEIVER, address, f"c2d-{device.device_id}"), credit(handle, 10)]


class Amqp(Connections):
    """A connection for each device, which says all it has to say in one breath."""

    def begins(self, init):
        opening = [("open", {"container-id": "storm", "hostname": self.hub.address}, b""), ("begin", WINDOW, b"")]
        return amqp.SASL + frame(0, composite("sasl-init", init), kind=1) + amqp.AMQP + frames(*opening)

    def wire(self, says):
        wire = amqp.Wire(Tls(self.hub.address, None, amqp.PORT, deadline=BACK_SECONDS, context=self.context))
        wire.raw(says)
        assert wire.header() == amqp.SASL
        assert wire.wait_for("sasl-outcome")["code"] == 0
        assert wire.header() == amqp.AMQP
        return wire

    def one(self, group):
        (device,) = group
        user = f"{device.device_id}@sas.{self.hub.address.split('.')[0]}"
        response = b"\0" + user.encode() + b"\0" + device.token().encode()
        init = {"mechanism": Symbol("PLAIN"), "initial-response": response}
        wire = self.wire(self.begins(init) + frames(*c2d(0, device)))
        self.are_attached(wire, group)
        wire.count = 1
        return wire

    def are_attached(self, wire, group):
        """In any order: each identity is looked at by itself."""
        missing = {f"c2d-{device.device_id}" for device in group}
        while missing:
            answer = wire.wait_for("attach")
            assert answer["source"] is not None or not answer["name"].startswith("c2d-"), answer
            missing.discard(answer["name"])

    def received(self, wire):
        names = []
        for _ in range(wire.count):
            got = wire.expect("transfer")
            number = got["delivery-id"]
            wire.send("disposition", role=RECEIVER, first=number, last=number, settled=True, state=ACCEPTED)
            names.append(got.message["data"].decode())
        return names


class Multiplexed(Amqp):
    """Many devices on a connection, each with a token of its own."""

    def groups(self):
        return [self.devices[at : at + SHARED] for at in range(0, len(self.devices), SHARED)]

    def one(self, group):
        cbs = [attach(0, SENDER, "$cbs", "cbs-up"), attach(1, RECEIVER, "$cbs", "cbs-down"), credit(1, 0x7FFFFFFF)]
        wire = self.wire(self.begins({"mechanism": Symbol("ANONYMOUS")}) + frames(*cbs))
        # No more at once than the hub gives credit for.
        for at in range(0, len(group), 8):
            some = list(enumerate(group[at : at + 8], start=at + 1))
            for number, device in some:
                wire.transfer(0, number, self.put(device, number))
            for _ in some:
                assert wire.wait_for("transfer").message["application-properties"]["status-code"] == 200
        wire.raw(frames(*[part for handle, device in enumerate(group, start=10) for part in c2d(handle, device)]))
        self.are_attached(wire, group)
        wire.count = len(group)
        return wire

    def put(self, device, number):
        properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": device.resource}
        given = {"message-id": str(number), "reply-to": "cbs"}
        return message([("properties", given), ("application-properties", properties), ("value", device.token())])


def send_to_all(hub, devices):
    """A message for each, with its name as the body, by one back end."""
    owner = Identity(hub, "back-end", None, None, None)
    with amqp.connect(owner) as wire:
        wire.begin(incoming_window=0x7FFFFFFF)
        token = sas.token(hub.address, hub.login_part("SharedAccessKey"), hub.login_part("SharedAccessKeyName"))
        assert wire.put_token(token, hub.address) == 200
        wire.attach(2, SENDER, "/messages/devicebound")
        for at in range(0, len(devices), 16):
            some = devices[at : at + 16]
            for number, device in enumerate(some, start=at + 2):
                to = {"to": f"/devices/{device.device_id}/messages/devicebound"}
                wire.transfer(2, number, message([("properties", to), ("data", device.device_id.encode())]))
            settled = 0
            while settled < len(some):
                done = wire.wait_for("disposition")
                assert done["state"] == ACCEPTED, done
                settled += (done["last"] or done["first"]) - done["first"] + 1


@pytest.mark.parametrize("kind", [Mqtt, Amqp, Multiplexed])
def test_all_come_back_and_none_is_deaf(new_hub, kind):
    hub = new_hub().start()
    devices = register(hub, kind.__name__.lower())
    clients = kind(hub, devices)
    # The first storm makes what stays: pools, the allocator's reserves. The second must not add to it.
    levels, times = [hub.service.memory_bytes()], []
    for _ in range(2):
        times.append(clients.connect())
        held = hub.service.memory_bytes()
        clients.drop()
        levels.append(until("the hub has let go", lambda: quiet(hub)))
    times.append(clients.connect())
    assert times[-1] < BACK_SECONDS
    send_to_all(hub, devices)
    names = {device.device_id for device in devices}
    assert names - clients.receive_all() == set(), "deaf"
    # Nor is anything left over for them, nor settled for nothing.
    until("all is settled", lambda: all(waiting(hub, device) == 0 for device in devices[:: len(devices) // 20 or 1]))
    clients.drop()
    levels.append(until("the hub has let go", lambda: quiet(hub)))
    print(f"{kind.__name__}: {COUNT} devices on {len(clients.groups())} connections in {[round(t, 1) for t in times]} s; "
          f"memory: {[level >> 20 for level in levels]} MiB between storms, {held >> 20} MiB with all of them")  # fmt: skip
    assert levels[2] - levels[1] < COUNT * LEFT_BYTES_MAX, levels
    assert hub.service.is_running


def waiting(hub, device):
    return hub.registry().get_device(device.device_id).cloud_to_device_message_count


def quiet(hub):
    """The hub's memory, when it holds no connection of a client any more."""
    return hub.service.memory_bytes() if sockets(hub) == 0 else None


def sockets(hub):
    """Connections to its ports that its process still holds."""
    address = "".join(f"{int(part):02X}" for part in reversed(hub.address.split(".")))
    ports = {f"{address}:{port:04X}" for port in (8883, amqp.PORT)}
    held = set()
    for entry in os.scandir(f"/proc/{hub.service.pid}/fd"):
        try:
            link = os.readlink(entry.path)
        except OSError:
            continue
        if link.startswith("socket:["):
            held.add(link[8:-1])
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table]
    listening = "0A"
    return sum(1 for line in lines[1:] if line[1] in ports and line[3] != listening and line[9] in held)
