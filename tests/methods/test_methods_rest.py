"""Direct methods, as the service interface sees them: shapes, limits, and what a stopping hub says."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import mqtt, sdk
from harness.wait import until

# Far below the 10 s that connections with work to do may take at the end.
SOON_SECONDS = 5


def call(hub, device, body, **more):
    return hub.rest("POST", f"/twins/{device.device_id}/methods", data=json.dumps(body), **more)


class Listener:
    """A device that listens for methods with bytes of our own."""

    def __init__(self, wire):
        self.wire = wire
        wire.send(mqtt.subscribe("$iothub/methods/POST/#"))
        wire.expect(mqtt.SUBACK)

    def next(self):
        """The next call: its name, request id and payload."""
        body = self.wire.expect(mqtt.PUBLISH)
        length = int.from_bytes(body[:2], "big")
        topic = body[2 : 2 + length].decode()
        name, _, rid = topic.removeprefix("$iothub/methods/POST/").partition("/?$rid=")
        return name, rid, body[2 + length :]

    def answer(self, rid, status, payload):
        self.wire.send(mqtt.publish(f"$iothub/methods/res/{status}/?$rid={rid}", payload, qos=0))


def test_payloads_go_both_ways_as_they_are(hub, device):
    large = json.dumps("x" * (128 * 1024 - 2))
    with mqtt.connected(device) as wire, ThreadPoolExecutor(1) as pool:
        listener = Listener(wire)
        for sent, arrives, status, answered, back in [
            ({}, b"null", 200, b"{}", {}),
            ({"payload": None}, b"null", -2147483648, b"", None),
            ({"payload": ""}, b'""', 2147483647, b"null", None),
            ({"payload": {"n": 1.50}}, b'{"n": 1.5}', 0, b'{"big":12345678901234567890}', {"big": 12345678901234567890}),
            ({"payload": [1]}, b"[1]", 404, b"not json", "not json"),
            ({"payload": "x" * (128 * 1024 - 2)}, large.encode(), 200, large.encode(), "x" * (128 * 1024 - 2)),
        ]:
            pending = pool.submit(call, hub, device, {"methodName": "m/1 ü", **sent})
            name, rid, payload = listener.next()
            assert (name, payload) == ("m%2F1 ü", arrives)
            listener.answer(rid, status, answered)
            answer = pending.result(20)
            assert (answer.status_code, answer.json()) == (200, {"status": status, "payload": back})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "ArgumentNull"),
        ({"methodName": ""}, 400, "ArgumentNull"),
        ({"methodName": "m" * 101}, 400, "ArgumentInvalid"),
        ({"methodName": "m", "payload": "x" * 128 * 1024}, 413, "MessageTooLarge"),
        ({"methodName": "m", "responseTimeoutInSeconds": 4}, 400, "ArgumentInvalid"),
        ({"methodName": "m", "responseTimeoutInSeconds": 301}, 400, "ArgumentInvalid"),
        ({"methodName": "m", "responseTimeoutInSeconds": "soon"}, 400, "ArgumentInvalid"),
        ({"methodName": "m", "connectTimeoutInSeconds": 301}, 400, "ArgumentInvalid"),
        ({"methodName": "m", "connectTimeoutInSeconds": -1}, 400, "ArgumentInvalid"),
        # The CLI writes time-outs as texts.
        ({"methodName": "m", "responseTimeoutInSeconds": "30", "connectTimeoutInSeconds": "0"}, 404, "DeviceNotOnline"),
    ],
)
def test_a_call_that_cannot_be_is_refused_with_the_reason(hub, device, body, status, code):
    answer = call(hub, device, body)
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (status, code)


def test_a_hub_that_stops_answers_its_pending_calls(new_hub):
    """Both who waits for an answer and who waits for a device: at once, not after their time-outs."""
    hub = new_hub().start()
    device, away = hub.new_device(), hub.new_device()
    with mqtt.connected(device) as wire, ThreadPoolExecutor(2) as pool:
        listener = Listener(wire)
        body = {"methodName": "m", "responseTimeoutInSeconds": 60, "connectTimeoutInSeconds": 60}
        pending = [pool.submit(call, hub, who, body, timeout=60) for who in (away, device)]
        listener.next()
        # Whoever calls now is behind both of them.
        assert call(hub, hub.new_device(), {"methodName": "m"}).status_code == 404
        assert not any(one.done() for one in pending)
        start = time.monotonic()
        assert hub.stop() == 0, hub.service.tail()
        assert time.monotonic() - start < SOON_SECONDS, hub.service.tail()
        for one in pending:
            answer = one.result(5)
            assert (answer.status_code, answer.headers["iothub-errorcode"]) == (503, "ServiceUnavailable")


def test_only_an_answer_by_the_called_counts(hub, device):
    """Another device cannot answer in its place, whatever request id it names."""
    other = hub.new_device()
    with mqtt.connected(device) as wire, mqtt.connected(other) as foreign, ThreadPoolExecutor(1) as pool:
        listener, stranger = Listener(wire), Listener(foreign)
        pending = pool.submit(call, hub, device, {"methodName": "m"})
        _, rid, _ = listener.next()
        stranger.answer(rid, 200, b'"stranger"')
        foreign.send(mqtt.PINGREQ)
        foreign.expect(mqtt.PINGRESP)
        listener.answer(rid, 200, b'"device"')
        assert pending.result(20).json() == {"status": 200, "payload": "device"}


def test_a_device_listens_only_after_it_subscribed(hub, device):
    with sdk.connected(device):
        until("connected", lambda: hub.registry().get_twin(device.device_id).connection_state == "Connected")
        answer = call(hub, device, {"methodName": "m"})
    assert (answer.status_code, answer.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
