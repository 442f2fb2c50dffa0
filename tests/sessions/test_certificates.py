"""Credentials that change while their owners are connected. Rotation by the book: the second certificate or key is
there, the device moves over to it, the first is replaced, and nobody is refused or cut off. And the end of what is
no more: a session lives no longer than a second after what proved it is gone (S8), on every transport."""

import contextlib
import threading
import time
import uuid

import pytest

from harness import amqp, certificates, mqtt, resumption, sas, sdk
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_types import UInt, message
from harness.drivers import Driver, DriverError
from harness.hub import Identity
from harness.transport import Closed, Tls, WebSocket
from harness.wait import until

# S8: from the answer to the change until the connection has ended.
CUT_SECONDS = 1.0
TRANSPORTS = ["mqtt", "mqtt-ws", "amqp", "amqp-ws", "amqp-plain"]
WEBSOCKET = "/$iothub/websocket"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """The device SDK that speaks AMQP."""
    driver = Driver("node", tmp_path_factory.mktemp("node") / "node.log")
    yield driver
    driver.stop()


# One interface to both protocols


class Refused(Exception):
    """The hub did not let the identity in."""


class Mqtt:
    def __init__(self, who, over_websocket):
        certificate, hub = who.certificate, who.hub
        transport = WebSocket(hub.address, hub.ca_path, WEBSOCKET, "mqtt", certificate) if over_websocket else None
        self.wire = mqtt.Wire(hub.address, hub.ca_path, certificate=certificate, transport=transport)
        self.who = who
        self.number = 0
        password = who.token() if who.key else None
        self.wire.send(mqtt.connect(who.sender, who.user_name, password))
        code = self.wire.expect(mqtt.CONNACK)[1]
        if code:
            assert code == 5 and self.wire.is_closed_by_server()
            self.close()
            raise Refused

    def send(self, body):
        self.number += 1
        path = self.who.sender.replace("/", "/modules/")
        self.wire.send(mqtt.publish(f"devices/{path}/messages/events/", body, self.number))
        self.wire.expect(mqtt.PUBACK)

    def end(self):
        """Waits for the hub to close it."""
        self.wire.is_closed_by_server()

    def close(self):
        self.wire.close()


class Amqp:
    def __init__(self, who, over_websocket, plain=False):
        self.who = who
        self.number = 1
        path = WEBSOCKET if over_websocket else None
        if plain:
            self.wire = amqp.Wire(Tls(who.hub.address, who.hub.ca_path, amqp.PORT))
            user = f"{who.sender.replace('/', '/modules/')}@sas.{who.hub.address.split('.')[0]}"
            if self.wire.sasl("PLAIN", b"\0" + user.encode() + b"\0" + who.token().encode()):
                raise Refused
            self.wire.open(who.hub.address)
            self.wire.begin()
        else:
            sasl = "EXTERNAL" if who.certificate else "ANONYMOUS"
            self.wire = amqp.connect(who, sasl, path, who.certificate)
            self.wire.begin()
            if who.key and self.wire.put_token(who.token(), who.resource) == 401:
                raise Refused
        if self.wire.attach(2, SENDER, events(who))["target"] is None:
            assert self.wire.wait_for("detach").error == "amqp:unauthorized-access"
            self.close()
            raise Refused

    def send(self, body):
        self.number += 1
        self.wire.transfer(2, self.number, message([("data", body)]))
        assert self.wire.wait_for("disposition", first=UInt(self.number))["state"] == ACCEPTED

    def end(self):
        assert self.wire.wait_for("detach").error == "amqp:unauthorized-access"
        assert self.wire.wait_for("close").error == "amqp:unauthorized-access"
        # The hub waits for it, but not long.
        self.wire.send("close")

    def close(self):
        self.wire.close()


def events(who):
    return f"/devices/{who.sender.replace('/', '/modules/')}/messages/events"


@contextlib.contextmanager
def connected(who, transport):
    kind, _, variant = transport.partition("-")
    options = {"over_websocket": variant == "ws"}
    if variant == "plain":
        if who.certificate:
            pytest.skip("a certificate needs no password")
        options["plain"] = True
    client = (Mqtt if kind == "mqtt" else Amqp)(who, **options)
    try:
        yield client
    finally:
        client.close()


def is_refused(who, transport):
    try:
        with connected(who, transport) as client:
            client.send(b"not refused")
    except Refused:
        return True
    return False


class Others:
    """Devices with a key and with a certificate that send all the while, each on one connection."""

    def __init__(self, hub):
        self.people = [hub.new_device(), hub.new_self_signed(f"other-{uuid.uuid4().hex[:8]}")]
        self.sent = {}
        self.errors = []
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(person, transport))
            for person, transport in zip(self.people, ["amqp", "mqtt"], strict=True)
        ]

    def _run(self, person, transport):
        try:
            with connected(person, transport) as client:
                while not self._end.wait(0.02):
                    client.send(b"untouched")
                    self.sent[person.sender] = self.sent.get(person.sender, 0) + 1
        except Exception as error:  # Told when they end.
            self.errors.append((person.sender, repr(error)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self._go_on()
        return self

    def _go_on(self):
        """Waits until each has sent a few more."""
        before = dict(self.sent)
        more = lambda who: self.sent.get(who.sender, 0) > before.get(who.sender, 0) + 2  # noqa: E731
        until("the others send", lambda: self.errors or all(map(more, self.people)))

    def __exit__(self, kind, *_):
        if kind is None:
            self._go_on()
        self._end.set()
        for thread in self._threads:
            thread.join(30)
        if kind is None:
            assert self.errors == [], "the connections of others were touched"


# What an operator does


def register_x509(hub, primary, secondary=None):
    """A device with one certificate, or two."""
    device_id = f"x509-{uuid.uuid4().hex[:8]}"
    document = {
        "deviceId": device_id,
        "authentication": {"type": "selfSigned", "x509Thumbprint": thumbprints(primary, secondary)},
    }
    answer = hub.rest("PUT", f"/devices/{device_id}", json=document)
    assert answer.status_code == 200, answer.text
    return Identity(hub, device_id, None, None, answer.json(), primary)


def thumbprints(primary, secondary):
    return {"primaryThumbprint": primary and primary.sha256, "secondaryThumbprint": secondary and secondary.sha256}


def set_thumbprints(who, primary, secondary):
    authentication = {"type": "selfSigned", "x509Thumbprint": thumbprints(primary, secondary)}
    update(who, authentication=authentication)


def set_keys(who, primary, secondary):
    update(who, authentication={"type": "sas", "symmetricKey": {"primaryKey": primary, "secondaryKey": secondary}})


def update(who, **fields):
    path = f"/devices/{who.device_id}" + (f"/modules/{who.module_id}" if who.module_id else "")
    document = who.hub.rest("GET", path).json() | fields
    answer = who.hub.rest("PUT", path, headers={"If-Match": "*"}, json=document)
    assert answer.status_code == 200, answer.text


def with_(who, certificate=None, key=None):
    """The same identity with another credential."""
    return Identity(who.hub, who.device_id, who.module_id, key, who.document, certificate)


def keys_of(who):
    keys = who.document.authentication.symmetric_key
    return keys.primary_key, keys.secondary_key


def refusals(hub, who):
    return [line for line in hub.service.log().splitlines() if "refused" in line and who.device_id in line]


# Rotation


@pytest.mark.parametrize("transport", ["mqtt", "mqtt-ws", "amqp", "amqp-ws"])
def test_a_device_moves_over_to_its_second_certificate(hub, transport):
    first, second, third = (certificates.self_signed(f"rotating-{n}") for n in range(3))
    device = register_x509(hub, first)
    with Others(hub), connected(device, transport) as old:
        old.send(b"first")
        set_thumbprints(device, first, second)
        old.send(b"still first")
        # A connection of its own, as a device has one: the newer one takes the identity over.
        with connected(with_(device, second), transport) as new:
            new.send(b"second")
            set_thumbprints(device, third, second)
            new.send(b"still second")
            assert refusals(hub, device) == []
            # The first is worth nothing any more, and does not disturb.
            assert is_refused(device, transport)
            new.send(b"undisturbed")
            assert not is_refused(with_(device, third), transport)
    told = [event.body for event in hub.events.telemetry(device.sender)]
    assert told == [b"first", b"still first", b"second", b"still second", b"undisturbed", b"not refused"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_device_moves_over_to_its_second_key(hub, device, transport):
    primary, secondary = keys_of(device)
    with Others(hub), connected(device, transport) as old:
        old.send(b"first")
        with connected(with_(device, key=secondary), transport) as new:
            new.send(b"second")
            set_keys(device, NEW_KEY, secondary)
            new.send(b"still second")
            assert refusals(hub, device) == []
            assert is_refused(with_(device, key=primary), transport)
            new.send(b"undisturbed")
            assert not is_refused(with_(device, key=NEW_KEY), transport)
    told = [event.body for event in hub.events.telemetry(device.sender)]
    assert told == [b"first", b"second", b"still second", b"undisturbed", b"not refused"]


# 32 bytes, as the hub makes them.
NEW_KEY = "bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleSE="


def test_the_sdks_rotate_certificates(hub, node):
    """Python over MQTT and Node over AMQP, as an application does it: closed, and opened with the other."""
    from azure.iot.device import X509, IoTHubDeviceClient

    first, second, third = (certificates.self_signed(f"sdk-{n}") for n in range(3))
    by_mqtt, by_amqp = register_x509(hub, first), register_x509(hub, first)

    def python(certificate):
        client = IoTHubDeviceClient.create_from_x509_certificate(
            X509(str(certificate.path), str(certificate.key_path)),
            hostname=hub.address, device_id=by_mqtt.device_id, server_verification_cert=hub.ca_pem,
        )  # fmt: skip
        client.connect()
        return client

    old = python(first)
    connections = sdk.Connections(old)
    old.send_message("first")
    with node.client(by_amqp, "amqp") as client:
        client.send("first")
        for device in (by_mqtt, by_amqp):
            set_thumbprints(device, first, second)
        client.send("still first")
        old.send_message("still first")
    assert connections.disconnects == 0
    old.shutdown()
    new = python(second)
    connections = sdk.Connections(new)
    with node.client(with_(by_amqp, second), "amqp") as client:
        for device in (by_mqtt, by_amqp):
            set_thumbprints(device, third, second)
        client.send("second")
        new.send_message("second")
    assert connections.disconnects == 0
    new.shutdown()
    for device in (by_mqtt, by_amqp):
        bodies = [event.body for event in hub.events.telemetry(device.sender)]
        assert bodies == [b"first", b"still first", b"second"]
        assert refusals(hub, device) == []
    with pytest.raises(DriverError, match="(?i)unauthorized"), node.client(by_amqp, "amqp") as client:
        client.send("too late")


def test_the_sdks_rotate_keys(hub, node):
    by_mqtt, by_amqp = hub.new_device(), hub.new_device()
    with sdk.connected(by_mqtt) as client, node.client(by_amqp, "amqp") as other:
        client.send_message("first")
        other.send("first")
    moved = [with_(device, key=keys_of(device)[1]) for device in (by_mqtt, by_amqp)]
    with sdk.connected(moved[0]) as client, node.client(moved[1], "amqp") as other:
        connections = sdk.Connections(client)
        for device in (by_mqtt, by_amqp):
            set_keys(device, NEW_KEY, keys_of(device)[1])
        client.send_message("second")
        other.send("second")
        assert connections.disconnects == 0
    for device in (by_mqtt, by_amqp):
        assert [event.body for event in hub.events.telemetry(device.sender)] == [b"first", b"second"]
        assert refusals(hub, device) == []


# The end of what is no more


def lets_go(who, client, change):
    """Makes a change, and demands the end of the connection within a second of its answer."""
    change()
    start = time.monotonic()
    client.end()
    took = time.monotonic() - start
    assert took < CUT_SECONDS, f"{took:.2f} s"


def changes_of_a_key(device):
    primary, secondary = keys_of(device)
    return {
        "disabled": lambda: update(device, status="disabled"),
        "its key is rolled": lambda: set_keys(device, NEW_KEY, secondary),
        "deleted": lambda: device.hub.registry().delete_device(device.device_id),
        "has a certificate now": lambda: update(
            device, authentication={"type": "selfSigned", "x509Thumbprint": thumbprints(certificates.self_signed("x"), None)}
        ),
    }  # fmt: skip


@pytest.mark.parametrize("change", ["disabled", "its key is rolled", "deleted", "has a certificate now"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_session_ends_with_the_key_that_proved_it(hub, device, transport, change):
    with Others(hub), connected(device, transport) as client:
        client.send(b"before")
        lets_go(device, client, changes_of_a_key(device)[change])
        with contextlib.suppress(Closed, ConnectionError):
            # What is sent into a connection that is over is not stored.
            client.send(b"after")
        assert is_refused(device, transport)
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"before"]


@pytest.mark.parametrize("transport", ["mqtt", "mqtt-ws", "amqp", "amqp-ws"])
def test_a_session_ends_with_the_certificate_that_proved_it(hub, transport):
    mine, spare, new = (certificates.self_signed(f"ends-{n}") for n in range(3))
    changes = [lambda d: set_thumbprints(d, new, spare), lambda d: update(d, status="disabled")]
    for change in changes:
        device = register_x509(hub, mine, spare)
        with connected(device, transport) as client:
            client.send(b"before")
            lets_go(device, client, lambda change=change, device=device: change(device))
        assert is_refused(device, transport)


def test_the_modules_of_a_disabled_device_end_with_it(hub, device):
    """A module has its device's status; its device's key is none of its own."""
    module = hub.new_module(device.device_id, "m1")
    primary, secondary = keys_of(device)
    with connected(module, "amqp") as over_amqp:
        set_keys(device, NEW_KEY, secondary)
        over_amqp.send(b"its own key is as it was")
        lets_go(device, over_amqp, lambda: update(device, status="disabled"))
    assert is_refused(module, "amqp") and is_refused(module, "mqtt")


def test_an_identity_ends_and_the_others_of_its_connection_stay(hub):
    """dp §17, 28: one connection, many identities."""
    devices = [hub.new_device() for _ in range(10)]
    with amqp.connect(devices[0]) as wire:
        wire.begin()
        for number, device in enumerate(devices):
            assert wire.put_token(device.token(), device.resource, message_id=str(number + 1), attach=number == 0) == 200
            wire.attach(10 + number, SENDER, events(device))
        update(devices[3], status="disabled")
        start = time.monotonic()
        detach = wire.wait_for("detach")
        assert time.monotonic() - start < CUT_SECONDS
        assert (detach["handle"], detach.error) == (13, "amqp:unauthorized-access")
        # Its token is worth nothing now, whatever it was when it was put.
        assert wire.attach(50, SENDER, events(devices[3]))["target"] is None
        assert wire.expect("detach").error == "amqp:unauthorized-access"
        for number in (0, 2, 4, 9):
            wire.transfer(10 + number, 20 + number, message([("data", b"untouched")]))
            assert wire.expect("disposition", first=UInt(20 + number))["state"] == ACCEPTED


def test_nothing_is_delivered_to_a_session_that_has_ended(hub, device):
    """What comes for it waits for whoever proves to be the device next."""
    with amqp.authorised(device) as wire:
        wire.attach(2, RECEIVER, f"/devices/{device.device_id}/messages/devicebound")
        wire.credit(2, 10)
        set_keys(device, NEW_KEY, keys_of(device)[1])
        hub.send_c2d(device.device_id, b"for the device only")
        got = wire.receive()
        while got.name != "close":
            assert got.name != "transfer", got
            got = wire.receive()
    with amqp.authorised(with_(device, key=NEW_KEY)) as wire:
        wire.attach(2, RECEIVER, f"/devices/{device.device_id}/messages/devicebound")
        wire.credit(2, 10)
        assert wire.expect("transfer").message["data"] == b"for the device only"


@pytest.mark.parametrize("version", resumption.VERSIONS)
def test_resumed_tls_does_not_skip_the_question(hub, version):
    """A ticket brings the certificate along; whether it still proves something is asked again."""
    mine, new = certificates.self_signed("resumed"), certificates.self_signed("next")
    device = register_x509(hub, mine)
    resuming = resumption.Resuming(device, version, mine)
    assert resuming.connack() == (0, False)
    assert resuming.connack() == (0, True)
    set_thumbprints(device, new, None)
    assert resuming.connack() == (5, True)


class Outlived(Identity):
    """Its tokens have two seconds left, the allowance for clocks that differ included."""

    def token(self, **options):
        self.ends = time.time() + 2
        return super().token(expires=self.ends - SKEW_SECONDS, **options)


SKEW_SECONDS = 300


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_session_ends_with_its_token(hub, device, transport):
    """B25, and dp §3.3: at its end and not later than a second after; not before either."""
    brief = Outlived(hub, device.device_id, None, device.key, device.document)
    with connected(brief, transport) as client:
        client.send(b"in time")
        client.end()
        # Tokens count whole seconds.
        assert int(brief.ends) - 0.1 < time.time() < brief.ends + CUT_SECONDS


def test_a_token_that_is_renewed_carries_its_session_on(hub, device):
    """dp §4.2: over AMQP a new token takes the place of the old one, on the same links."""
    brief = Outlived(hub, device.device_id, None, device.key, device.document)
    with connected(brief, "amqp") as client:
        client.send(b"first")
        ends = brief.ends
        assert client.wire.put_token(device.token(), device.resource, message_id="9", attach=False) == 200
        client.number = 9
        until("the first token has run out", lambda: time.time() > ends + CUT_SECONDS, 5)
        client.send(b"second")
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"first", b"second"]


# Who never was


@pytest.mark.parametrize("transport", ["mqtt", "mqtt-ws", "amqp", "amqp-ws"])
def test_a_wrong_certificate_is_refused(hub, device, transport):
    mine = certificates.self_signed("right")
    right = register_x509(hub, mine)
    other = register_x509(hub, certificates.self_signed("other"))
    wrong = {
        "same name, another key": certificates.self_signed("right"),
        "another device's": other.certificate,
        "named like the device": certificates.self_signed(right.device_id),
        "of a CA of nobody": certificates.Authority("nobody's CA").issue(right.device_id),
    }
    for name, certificate in wrong.items():
        assert is_refused(with_(right, certificate), transport), name
    # A certificate is nothing for a device with keys, and a key nothing for one with a certificate.
    assert is_refused(with_(device, mine), transport)
    assert is_refused(with_(right, key=sas.wrong_key()), transport)
    assert not is_refused(right, transport)


def test_a_devices_certificate_opens_no_service_interface(hub):
    import requests

    mine = certificates.self_signed("service?")
    device = register_x509(hub, mine)
    answer = requests.get(
        f"https://{hub.address}/devices/{device.device_id}", params={"api-version": "2021-04-12"},
        cert=(str(mine.path), str(mine.key_path)), verify=str(hub.ca_path), timeout=15,
    )  # fmt: skip
    assert answer.status_code == 401
