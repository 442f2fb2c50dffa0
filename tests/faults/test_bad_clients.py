"""What bad input gets, where MQTT clients look (`security.md` §2). After each case the shared hub
still serves: its fixture demands that it lives and never panicked, and every case ends with a
message of a well-behaved device."""

import json
import socket
import ssl
import time

import pytest
from azure.iot.device.exceptions import ClientError, CredentialError
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from harness import mqtt, sas, sdk


@pytest.fixture(autouse=True)
def canary(hub):
    """A well-behaved device that is connected all the while."""
    device = hub.new_device("canary")
    with mqtt.connected(device) as wire:
        yield
        wire.send(mqtt.publish(f"devices/{device.device_id}/messages/events/", b"unharmed"))
        wire.expect(mqtt.PUBACK)
    assert len(hub.events.telemetry(device.sender)) == 1


# Who comes in


def passwords(device, other):
    now = time.time()
    good = device.token()
    return {
        "wrong key": sas.token(device.resource, sas.wrong_key()),
        "expired": device.token(expires=now - 3600),
        "expires in 1970": device.token(expires=1),
        "negative expiry": good.replace("&se=", "&se=-"),
        "expiry beyond all numbers": good + "0" * 20,
        "another device's token": other.token(),
        "audience is a prefix": sas.token(device.resource[:-1], device.key),
        "audience goes on": sas.token(device.resource + "0", device.key),
        "another hub's audience": sas.token(f"hub.example.org/devices/{device.device_id}", device.key),
        "last character changed": good.replace("sig=", "sig=A"),
        "two signatures": good + "&sig=x",
        "no signature": good.split("&sig=")[0],
        "not a token": "correct horse battery staple",
        "empty": "",
        "long": "SharedAccessSignature " + "a" * 40_000,
    }


class Nobody:
    """Stands in for a device where only the names of the cases are wanted."""

    device_id = sender = resource = user_name = "nobody"
    key = sas.wrong_key()

    def token(self, **options):
        return sas.token(self.resource, self.key, **options)


@pytest.mark.parametrize("case", list(passwords(Nobody(), Nobody())))
def test_bad_credentials_are_not_authorized(hub, device, case):
    password = passwords(device, hub.new_device())[case]
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, password=password) == (5, False)
        assert wire.is_closed_by_server()


def test_an_unknown_device_is_refused_like_a_wrong_key(hub, device):
    unknown = f"nobody-{device.device_id}"
    user_name = f"{hub.address}/{unknown}/?api-version=2021-04-12"
    password = sas.token(f"{hub.address}/devices/{unknown}", device.key)
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, password, client_id=unknown, user_name=user_name)[0] == 5


def test_a_client_id_must_be_the_identitys(hub, device):
    for client_id in ["", "somebody-else", f"{device.device_id}/m1", f"{device.device_id}0", "#", "a/b/c", "x" * 200]:
        with mqtt.Wire(hub.address, hub.ca_path) as wire:
            assert wire.connect(device, client_id=client_id)[0] == 2, client_id


def test_the_sdk_tells_the_application(hub, device):
    device.key = sas.wrong_key()
    client = sdk.new_client(device)
    try:
        with pytest.raises((CredentialError, ClientError)):
            client.connect()
    finally:
        client.shutdown()


def test_the_reason_stands_in_the_log(hub, device):
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        wire.connect(device, password=sas.token(device.resource, sas.wrong_key()))
    line = hub.service.wait_for_log(rf".*refused.*{device.device_id}.*").group()
    assert "reason" in line and device.key not in hub.service.log()


def test_an_older_protocol_is_told_so(hub, device):
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, level=3)[0] == 1
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        assert wire.connect(device, level=5)[0] == 1


# What they say


def before_connect():
    return {
        "first packet is not CONNECT, 256 MiB announced": b"\x30\xff\xff\xff\x7f" + b"x" * 1000,
        "remaining length of five bytes": b"\x10\xff\xff\xff\xff\x01",
        "CONNECT announces 1 MiB": b"\x10\x80\x80\x40",
        "CONNACK from a client": b"\x20\x02\x00\x00",
        "PINGREQ before CONNECT": mqtt.PINGREQ,
        "reserved packet type": b"\x00\x00",
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "text longer than the packet": b"\x10\x0c\x00\x04MQTT\x04\xc2\x00\x3c\xff\xff",
        "user name flag without user name": mqtt.packet(0x10, mqtt.text("MQTT") + b"\x04\x82\x00\x3c" + mqtt.text("d")),
    }


@pytest.mark.parametrize("case", list(before_connect()))
def test_a_malformed_beginning_ends_the_connection(hub, case):
    with mqtt.Wire(hub.address, hub.ca_path) as wire:
        wire.socket.settimeout(5)
        wire.send(before_connect()[case])
        assert wire.is_closed_by_server()


def after_connect(device, other):
    own = f"devices/{device.device_id}/messages/events/"
    return {
        "second CONNECT": mqtt.connect(device.sender, device.user_name, device.token()),
        "SUBACK from a client": b"\x90\x03\x00\x01\x00",
        "empty topic": mqtt.publish("", b"x"),
        "wildcard in a topic": mqtt.publish("devices/#", b"x"),
        "topic is not UTF-8": mqtt.publish(own.encode() + b"\xff\xfe", b"x"),
        "topic holds NUL": mqtt.publish(own + "a\0b", b"x"),
        "QoS 2": mqtt.publish(own, b"x", qos=2),
        "QoS 3": mqtt.publish(own, b"x", qos=3),
        "packet id 0": mqtt.publish(own, b"x", packet_id=0),
        "another device's topic": mqtt.publish(f"devices/{other.device_id}/messages/events/", b"forged"),
        "a module of its own's topic": mqtt.publish(f"devices/{device.device_id}/modules/m1/messages/events/", b"forged"),
        "the service's topic": mqtt.publish(f"devices/{device.device_id}/messages/devicebound/", b"x"),
        "a topic of nobody": mqtt.publish("hello/world", b"x"),
        "an answer to no twin request": mqtt.publish("$iothub/twin/PUT/?$rid=1", b"{}"),
        "message too large by one": mqtt.publish(own, b"x" * (256 * 1024 + 1)),
        "too large with its properties": mqtt.publish(own + "k=" + "v" * 100, b"x" * (256 * 1024 - 50)),
        "a bag of 5,000 properties": mqtt.publish(own + "&".join(f"k{n}=v" for n in range(5000)), b"x"),
        "SUBSCRIBE without a filter": b"\x82\x02\x00\x01",
        "reserved flags": b"\xd1\x00",
    }  # fmt: skip


@pytest.mark.parametrize("case", list(after_connect(Nobody(), Nobody())))
def test_a_rule_broken_ends_the_connection_and_stores_nothing(hub, device, case):
    other = hub.new_device()
    since = hub.events.mark()
    with mqtt.connected(device) as wire:
        wire.socket.settimeout(5)
        wire.send(after_connect(device, other)[case])
        assert wire.is_closed_by_server()
    mine = {device.sender, other.sender}
    stored = [event for event in hub.events.read(since) if event.source == "Telemetry"]
    assert [event for event in stored if event.sender in mine] == []


@pytest.mark.parametrize(
    "topic_filter",
    ["#", "+/+", "devices/#", "devices/other/messages/devicebound/#", "devices/+/messages/devicebound/#",
     "$iothub/#", "$SYS/#", "hello/world"],
)  # fmt: skip
def test_a_foreign_subscription_is_refused_and_the_connection_lives(hub, device, topic_filter):
    with mqtt.connected(device) as wire:
        wire.send(mqtt.subscribe(topic_filter, packet_id=7))
        assert wire.expect(mqtt.SUBACK) == b"\x00\x07\x80"
        wire.send(mqtt.PINGREQ)
        wire.expect(mqtt.PINGRESP)


# Twins


def twins():
    deep = {}
    for _ in range(12):
        deep = {"x": deep}
    return {
        "not JSON": b"{",
        "not an object": b"[1]",
        "not UTF-8": b'{"a":"\xff"}',
        "a number beyond all": b'{"a":1e999}',
        "an integer beyond the limit": b'{"a":9007199254740993}',
        "too deep": json.dumps(deep).encode(),
        "very deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "33 KB": json.dumps({f"k{n}": "v" * 4000 for n in range(9)}).encode(),
        "a key with a dot": b'{"a.b":1}',
        "a key with a dollar": b'{"$a":1}',
        "a key of 2 KB": json.dumps({"k" * 2048: 1}).encode(),
        "a text of 5 KB": json.dumps({"k": "v" * 5000}).encode(),
    }


@pytest.mark.parametrize("case", list(twins()))
def test_a_bad_reported_patch_is_refused_and_changes_nothing(hub, device, case):
    with mqtt.connected(device) as wire:
        wire.send(mqtt.subscribe("$iothub/twin/res/#"))
        wire.expect(mqtt.SUBACK)
        topic = "$iothub/twin/PATCH/properties/reported/?$rid=r1"
        wire.send(mqtt.publish(topic, twins()[case], qos=0))
        body = wire.expect(mqtt.PUBLISH)
        length = int.from_bytes(body[:2], "big")
        answer = body[2 : 2 + length].decode()
        assert answer.startswith("$iothub/twin/res/4") and answer.endswith("/?$rid=r1"), answer
    reported = hub.registry().get_twin(device.device_id).properties.reported
    assert reported["$version"] == 1


@pytest.mark.parametrize("case", list(twins()))
def test_a_bad_desired_patch_is_refused_and_changes_nothing(hub, device, case):
    body = b'{"properties":{"desired":' + twins()[case] + b"}}"
    answer = hub.rest("PATCH", f"/twins/{device.device_id}", data=body)
    assert answer.status_code in (400, 413), answer.text
    assert answer.json()["Message"]
    assert hub.registry().get_twin(device.device_id).properties.desired["$version"] == 1


def test_an_oversized_twin_is_told_to_the_sdks(hub, device):
    big = {f"k{n}": "v" * 4000 for n in range(9)}
    with sdk.connected(device) as client, pytest.raises(Exception, match="."):
        client.patch_twin_reported_properties(big)
    with pytest.raises(HttpOperationError) as refusal:
        hub.registry().update_twin(device.device_id, Twin(properties=TwinProperties(desired=big)))
    assert refusal.value.response.status_code in (400, 413)


# TLS


def test_what_is_no_tls_ends_the_connection(hub):
    for garbage in [b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n"]:
        with socket.create_connection((hub.address, 8883), timeout=5) as raw:
            raw.sendall(garbage)
            try:
                while raw.recv(1024):
                    pass
            except ConnectionResetError:
                pass


def test_old_tls_is_refused(hub):
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection((hub.address, 8883), timeout=5) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname=hub.address)


# HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /devices/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /devices/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 400_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00nonsense\r\n\r\n",
    ],
    ids=["two lengths", "huge chunk", "long path", "long header", "garbage"],
)
def test_malformed_http_is_refused(hub, request_bytes):
    context = ssl.create_default_context(cafile=str(hub.ca_path))
    with socket.create_connection((hub.address, 443), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=hub.address) as stream:
            answer = b""
            try:
                stream.sendall(request_bytes)
                while part := stream.recv(4096):
                    answer += part
            except (ConnectionError, ssl.SSLError):
                pass
    if answer:
        assert answer.split()[1][:1] == b"4", answer[:200]


def test_a_body_beyond_all_limits_is_refused(hub, device):
    answer = hub.rest("PATCH", f"/twins/{device.device_id}", data=b'{"tags":{"a":"' + b"x" * 3_000_000 + b'"}}')
    assert answer.status_code in (400, 413)
