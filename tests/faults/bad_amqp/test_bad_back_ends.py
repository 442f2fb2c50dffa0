"""Back ends: the conditions of service-api.md §5.2, and who was there before."""

import time

import pytest

from harness import amqp
from harness.amqp import ACCEPTED, RECEIVER, SENDER
from harness.amqp_input import attached, data, events, in_frames
from harness.amqp_types import Timestamp, UByte, UInt, message
from harness.transport import Closed

# Back ends: the conditions of service-api.md §5.2.


@pytest.fixture
def back_end(hub):
    """A connection with the owner's token and a link to send to devices."""
    with amqp.connect(hub.new_device()) as wire:
        wire.begin()
        assert wire.put_token(hub.token(), hub.address) == 200
        wire.attach(2, SENDER, "/messages/devicebound")
        yield wire


def to_device(device_id, body=b"x", **properties):
    given = {"to": f"/devices/{device_id}/messages/devicebound"} | {k.replace("_", "-"): v for k, v in properties.items()}
    return message([("properties", given), ("data", body)])


def bad_to_device(device_id):
    past, late = Timestamp(1_000_000_000_000), Timestamp(int((time.time() + 3 * 86400) * 1000))
    return {
        "unknown device": (to_device("nobody-at-all"), {"amqp:not-found"}),
        "no address": (message([("data", b"x")]), {"amqp:not-allowed", "com.microsoft:argument-error"}),
        "an address of nothing": (message([("properties", {"to": "/devices"}), ("data", b"x")]), {"amqp:not-allowed", "com.microsoft:argument-error"}),
        "expired already": (to_device(device_id, absolute_expiry_time=past), {"com.microsoft:argument-error"}),
        "expires too late": (to_device(device_id, absolute_expiry_time=late), {"com.microsoft:argument-error"}),
        "64 KiB and a byte": (to_device(device_id, b"x" * (64 * 1024 + 1)), {"amqp:link:message-size-exceeded"}),
        "not a message": (b"garbage", {"amqp:decode-error"}),
    }  # fmt: skip


@pytest.mark.parametrize("case", list(bad_to_device("d")))
def test_what_cannot_be_sent_to_a_device_is_rejected(hub, device, back_end, case):
    payload, conditions = bad_to_device(device.device_id)[case]
    in_frames(back_end, 2, 2, payload, channel=0)
    assert rejection(back_end, 2) in conditions
    back_end.transfer(2, 3, to_device(device.device_id, b"good"))
    assert back_end.expect("disposition", first=UInt(3))["state"] == ACCEPTED
    assert hub.registry().get_device(device.device_id).cloud_to_device_message_count == 1


def rejection(wire, number):
    state = wire.expect("disposition", first=UInt(number))["state"]
    name, fields = amqp.fields_of(state)
    assert name == "rejected", state
    return amqp.fields_of(fields["error"])[1]["condition"]


def test_a_full_queue_is_told(hub, device, back_end):
    for number in range(2, 52):
        back_end.transfer(2, number, to_device(device.device_id))
    back_end.transfer(2, 52, to_device(device.device_id))
    accepted = 0
    while accepted < 50:
        done = back_end.expect("disposition")
        last = done["first"] if done["last"] is None else done["last"]
        if done["state"] != ACCEPTED:
            raise AssertionError(done)
        accepted += last - done["first"] + 1
    assert rejection(back_end, 52) == "amqp:resource-limit-exceeded"


def test_a_lock_that_is_lost_settles_nothing(hub, device):
    """dp §4.9: a lost lock is told to who settles second; purged, the message does not come again."""
    with amqp.authorised(device) as wire:
        address = f"/devices/{device.device_id}/messages/devicebound"
        wire.attach(2, RECEIVER, address, rcv_settle_mode=UByte(1))
        wire.credit(2, 5)
        hub.send_c2d(device.device_id, b"purged")
        got = wire.expect("transfer")
        assert hub.rest("DELETE", f"/devices/{device.device_id}/commands").status_code == 200
        number = got["delivery-id"]
        wire.send("disposition", role=RECEIVER, first=number, last=number, settled=False, state=ACCEPTED)
        done = wire.expect("disposition")
        error = amqp.fields_of(amqp.fields_of(done["state"])[1]["error"])[1]
        assert error["condition"] == "com.microsoft:message-lock-lost"


# Who was there before


def test_the_newer_connection_takes_the_identity_over(hub, device):
    """dp §4.9: `amqp:link:stolen`, and the connection with its last identity."""
    with attached(device) as old, amqp.authorised(device) as new:
        new.attach(2, SENDER, events(device))
        assert old.expect("detach", channel=1).error == "amqp:link:stolen"
        assert old.wait_for("close").error == "amqp:link:stolen"
        with pytest.raises(Closed):
            while True:
                old.receive()
        new.transfer(2, 2, data(b"newer"))
        assert new.expect("disposition", first=UInt(2))["state"] == ACCEPTED
