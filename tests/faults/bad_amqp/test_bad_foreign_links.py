"""Links to what is somebody else's, and requests for tokens that are none."""

import os

import pytest

from harness import amqp, sas
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_input import MESSAGE_BYTES_MAX, data, events, in_frames
from harness.amqp_types import Int, UInt, message

# Whose links


def refused(wire, handle, role, address, **options):
    """The condition with which a link is refused: an attach without ends, then a detach for good."""
    answer = wire.attach(handle, role, address, **options)
    assert answer["source"] is None and answer["target"] is None, answer
    detach = wire.expect("detach", channel=options.get("channel", 0))
    assert detach["handle"] == answer["handle"] and detach["closed"] is True, detach
    return detach.error


def test_ones_own_token_opens_nobody_elses_links(hub, device):
    """dp §4.3, B14: foreign addresses are refused, and the token's own still work."""
    other, module = hub.new_device(), hub.new_module(device.device_id, "m1")
    near = hub.rest("PUT", f"/devices/{device.device_id}0", json={"deviceId": f"{device.device_id}0"})
    assert near.status_code == 200
    with amqp.authorised(device) as wire:
        cases = [
            (SENDER, events(other), "amqp:unauthorized-access"),
            (RECEIVER, f"/devices/{other.device_id}/messages/devicebound", "amqp:unauthorized-access"),
            (SENDER, f"/devices/{other.device_id}/twin", "amqp:unauthorized-access"),
            (RECEIVER, f"/devices/{other.device_id}/methods/devicebound", "amqp:unauthorized-access"),
            (SENDER, f"/devices/{device.device_id}0/messages/events", "amqp:unauthorized-access"),
            (SENDER, "/devices/nobody/messages/events", "amqp:unauthorized-access"),
            (SENDER, events(module), "amqp:unauthorized-access"),
            (SENDER, "/messages/devicebound", "amqp:unauthorized-access"),
            (RECEIVER, "/messages/servicebound/feedback", "amqp:unauthorized-access"),
            (RECEIVER, "messages/events/ConsumerGroups/$Default/Partitions/0", "amqp:unauthorized-access"),
            (RECEIVER, events(device), "amqp:not-allowed"),
            (SENDER, f"/devices/{device.device_id}/messages/devicebound", "amqp:not-allowed"),
            (SENDER, f"/devices/{device.device_id}/elsewhere", "amqp:not-found"),
            (SENDER, "", "amqp:not-found"),
        ]
        for number, (role, address, condition) in enumerate(cases, start=10):
            assert refused(wire, number, role, address) == condition, address
        wire.attach(2, SENDER, events(device))
        wire.transfer(2, 2, data(b"mine"))
        assert wire.expect("disposition", first=UInt(2))["state"] == ACCEPTED
    assert [event.body for event in hub.events.telemetry(device.sender)] == [b"mine"]


def test_a_modules_token_is_the_modules_alone(hub, device):
    module = hub.new_module(device.device_id, "m1")
    with amqp.authorised(module) as wire:
        assert refused(wire, 5, SENDER, events(device)) == "amqp:unauthorized-access"
        assert wire.attach(6, SENDER, events(module))["target"] is not None


def test_another_devices_certificate_proves_nothing(hub):
    """B23: over AMQP and its WebSocket, with EXTERNAL and with ANONYMOUS."""
    mine, other = (hub.new_self_signed(f"bad-x509-{name}-{os.getpid()}") for name in ("a", "b"))
    keyed = hub.new_device()
    for sasl in ("EXTERNAL", "ANONYMOUS"):
        for path in (None, "/$iothub/websocket"):
            with amqp.connect(mine, sasl, path, certificate=mine.certificate) as wire:
                wire.begin()
                assert refused(wire, 0, SENDER, events(other)) == "amqp:unauthorized-access"
                assert refused(wire, 1, SENDER, events(keyed)) == "amqp:unauthorized-access"
                assert wire.attach(2, SENDER, events(mine))["target"] is not None
    # An identity proves itself in one way: a token does not stand in for a certificate.
    stolen = sas.token(mine.resource, keyed.key)
    with amqp.connect(mine) as wire:
        wire.begin()
        assert wire.put_token(stolen, mine.resource) == 401
        assert refused(wire, 5, SENDER, events(mine)) == "amqp:unauthorized-access"


def bad_requests():
    """Requests on `$cbs`, and the status of the answer (dp §4.2)."""
    name, operation, kind = "application-properties", "put-token", "servicebus.windows.net:sastoken"
    good = {"operation": operation, "type": kind, "name": "x"}
    return {
        "no operation": ([(name, {"type": kind, "name": "x"}), ("value", "t")], 400),
        "an unknown operation": ([(name, good | {"operation": "get-token"}), ("value", "t")], 400),
        "an unknown type": ([(name, good | {"type": "jwt"}), ("value", "t")], 400),
        "no body": ([(name, good)], 400),
        "a number as body": ([(name, good), ("value", Int(5))], 400),
        "no token": ([(name, good), ("value", "correct horse battery staple")], 400),
        "an empty token": ([(name, good), ("value", "")], 400),
        "a token that is too long": ([(name, good), ("value", "SharedAccessSignature sr=" + "a" * 40_000)], 400),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_requests()))
def test_a_bad_request_for_a_token_is_answered(hub, device, case):
    sections, status = bad_requests()[case]
    with amqp.connect(device) as wire:
        wire.begin()
        wire.attach(0, SENDER, "$cbs")
        wire.attach(1, RECEIVER, "$cbs")
        wire.credit(1, 10)
        request = message([("properties", {"message-id": "m", "reply-to": "cbs"}), *sections])
        wire.transfer(0, 1, request)
        # The disposition comes before the answer, else uamqp takes it for a failure.
        assert wire.expect("disposition")["state"] == ACCEPTED
        answer = wire.expect("transfer").message
        assert answer["properties"]["correlation-id"] == "m"
        assert answer["application-properties"]["status-code"] == status, answer
        # Nothing is lost by it.
        assert wire.put_token(device.token(), device.resource, message_id="2", attach=False) == 200


def test_a_request_for_a_token_that_never_ends_costs_its_link(hub, device):
    """1 MiB before anything is proven (B24)."""
    with amqp.connect(device) as wire:
        wire.begin()
        assert 0 < wire.attach(0, SENDER, "$cbs")["max-message-size"] < MESSAGE_BYTES_MAX
        in_frames(wire, 0, 1, b"\x00" * (1024 * 1024), channel=0, last=False)
        assert wire.wait_for("detach").error == "amqp:link:message-size-exceeded"


def test_who_takes_no_answers_loses_its_session(hub, device):
    """Credit is never granted on the link for the answers of `$cbs`."""
    with amqp.connect(device) as wire:
        wire.begin()
        wire.attach(0, SENDER, "$cbs")
        wire.attach(1, RECEIVER, "$cbs")
        request = message([("application-properties", {"operation": "x"}), ("value", "t")])
        got = None
        for number in range(1, 80):
            wire.transfer(0, number, request)
            while (got := wire.receive()).name == "flow":
                pass
            if got.name == "end":
                break
            assert (got.name, got["state"]) == ("disposition", ACCEPTED)
        assert got.name == "end" and got.error == "amqp:resource-limit-exceeded"
