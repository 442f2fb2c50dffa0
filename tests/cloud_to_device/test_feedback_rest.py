"""What becomes of a message, told to whoever sent it: over REST, with the service SDK's own calls."""

import datetime
import json

import pytest
from azure.iot.hub import IoTHubHttpRuntimeManager
from msrest.exceptions import HttpOperationError

from harness import mqtt, sdk
from harness.wait import until

# Records wait for others for 15 s.
GATHERED_SECONDS = 30


class Receiver:
    """Takes feedback as a back end does."""

    def __init__(self, hub):
        self.calls = IoTHubHttpRuntimeManager.from_connection_string(hub.login)

    def receive(self):
        """The next feedback message, which is locked now; None when there is none."""
        response = self.calls.protocol.cloud_to_device_messages.receive_feedback_notification(raw=True).response
        if response.status_code == 204:
            assert response.content == b""
            return None
        return Message(response)

    def wait(self):
        return until("feedback", self.receive, GATHERED_SECONDS)

    def complete(self, lock):
        self.calls.complete_feedback_notification(lock)

    def abandon(self, lock):
        self.calls.abandon_feedback_notification(lock)


class Message:
    def __init__(self, response):
        etag = response.headers["ETag"]
        assert etag[0] == etag[-1] == '"', etag
        self.lock = etag[1:-1]
        self.id = response.headers["iothub-messageid"]
        self.delivery_count = int(response.headers["iothub-deliverycount"])
        assert response.headers["Content-Type"] == "application/vnd.microsoft.iothub.feedback.json"
        self.records = json.loads(response.content)

    def told(self):
        return {record["originalMessageId"]: record["statusCode"] for record in self.records}


def send(hub, device, message_id, ack="full", **headers):
    headers = {f"iothub-{name}": value for name, value in headers.items()}
    hub.send_c2d(device.device_id, b"x", {"iothub-messageid": message_id, "iothub-ack": ack, **headers})


def waiting(hub, device):
    return hub.registry().get_device(device.device_id).cloud_to_device_message_count


def test_every_end_of_a_message_is_told(new_hub):
    """One message for each way to end, and for each wish; then the plug is pulled before anybody reads."""
    hub = new_hub(settings="[cloud_to_device]\nmax_delivery_count = 2\n").start()
    device, gone = hub.new_device(), hub.new_device()
    topic = f"devices/{device.device_id}/messages/devicebound/#"

    send(hub, device, "never-settled")
    for _ in range(2):
        # No session stays behind: the SDK loses what comes before its application listens.
        with mqtt.connected(device, clean=True) as wire:
            wire.send(mqtt.subscribe(topic))
            wire.expect(mqtt.PUBLISH)
    until("it is given up", lambda: waiting(hub, device) == 0)

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    send(hub, device, "expired", expiry=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    until("it has expired", lambda: waiting(hub, device) == 0)

    send(hub, device, "purged", ack="negative")
    answer = hub.rest("DELETE", f"/devices/{device.device_id}/commands")
    assert answer.json() == {"totalMessagesPurged": 1, "deviceId": device.device_id, "moduleId": None}

    # No topic can carry these properties, so MQTT rejects the message.
    body = [{"body": "", "properties": {"iothub-messageid": "rejected", "iothub-ack": "full", "p": "ä" * 16384}}]
    headers = {"Content-Type": "application/vnd.microsoft.iothub.json"}
    path = f"/devices/{device.device_id}/messages/deviceBound"
    assert hub.rest("POST", path, headers=headers, data=json.dumps(body)).status_code == 204
    for ack in ("none", "negative", "positive", "full"):
        send(hub, device, f"completed-{ack}", ack)
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_messages(client)
        for ack in ("none", "negative", "positive", "full"):
            assert inbox.next().message_id == f"completed-{ack}"
        until("all are settled", lambda: waiting(hub, device) == 0)

    # Nobody is told of a device that is no more.
    send(hub, gone, "of a deleted device")
    hub.rest("DELETE", f"/devices/{gone.device_id}/commands")
    hub.registry().delete_device(gone.device_id)
    hub.kill()
    hub.start()

    receiver = Receiver(hub)
    told, records = {}, []
    expected = {
        "never-settled": "DeliveryCountExceeded",
        "expired": "Expired",
        "purged": "Purged",
        "rejected": "Rejected",
        "completed-positive": "Success",
        "completed-full": "Success",
    }
    while len(told) < len(expected):
        message = receiver.wait()
        assert not told.keys() & message.told().keys(), "told twice"
        told.update(message.told())
        records += message.records
        receiver.complete(message.lock)
    assert told == expected
    assert receiver.receive() is None
    generation = hub.registry().get_device(device.device_id).generation_id
    for record in records:
        assert record["deviceId"] == device.device_id
        assert record["deviceGenerationId"] == generation
        assert record["description"]
        # As .NET writes it: seven digits and Z.
        assert len(record["enqueuedTimeUtc"]) == len("2026-01-01T00:00:00.0000000Z")
        assert record["enqueuedTimeUtc"].endswith("Z")


def test_feedback_comes_again_until_it_is_settled(new_hub):
    hub = new_hub(settings='[cloud_to_device.feedback]\nlock_duration = "PT5S"\n').start()
    device = hub.new_device()
    send(hub, device, "m 1")
    hub.rest("DELETE", f"/devices/{device.device_id}/commands")
    receiver = Receiver(hub)
    first = receiver.wait()
    assert (first.told(), first.delivery_count) == ({"m 1": "Purged"}, 0)
    assert receiver.receive() is None, "it is locked"
    receiver.abandon(first.lock)
    second = receiver.receive()
    assert (second.id, second.records, second.delivery_count) == (first.id, first.records, 1)
    assert second.lock != first.lock
    third = until("the lock is lost", receiver.receive)
    assert (third.id, third.delivery_count) == (first.id, 2)
    for lost in (first.lock, second.lock, "00000000-0000-0000-0000-000000000000", "nonsense"):
        for settle in (receiver.complete, receiver.abandon):
            with pytest.raises(HttpOperationError) as refusal:
                settle(lost)
            assert refusal.value.response.status_code == 412
            assert refusal.value.response.headers["iothub-errorcode"] == "DeviceMessageLockLost"
    # The words of the path have no case; `reject` has no value.
    path = f"/MESSAGES/servicebound/Feedback/{third.lock}"
    assert hub.rest("DELETE", path, query={"reject": ""}).status_code == 204
    assert receiver.receive() is None


def test_an_expiry_that_cannot_be_is_refused(hub, device):
    now = datetime.datetime.now(datetime.UTC)
    path = f"/devices/{device.device_id}/messages/deviceBound"
    for wrong in [now - datetime.timedelta(seconds=10), now + datetime.timedelta(days=3)]:
        headers = {"iothub-expiry": wrong.strftime("%Y-%m-%dT%H:%M:%SZ")}
        answer = hub.rest("POST", path, headers=headers, data=b"x")
        assert answer.headers["iothub-errorcode"] == "InvalidMessageExpiryTime"
        assert "ErrorCode:InvalidMessageExpiryTime;" in answer.json()["Message"]
    assert waiting(hub, device) == 0


def test_feedback_is_for_back_ends(hub, device):
    headers = {"Authorization": device.token()}
    answer = hub.rest("GET", "/messages/serviceBound/feedback", headers=headers)
    assert answer.status_code == 401
