"""A bare device: Qpid Proton, an AMQP library with an engine of its own, and nothing of an SDK. It shows its
token by SASL PLAIN or over CBS."""

import threading
from contextlib import contextmanager

import pytest
from proton import Message, SSLDomain
from proton.handlers import MessagingHandler
from proton.reactor import Container

from harness.wait import until

DEADLINE = 20.0


class Device(MessagingHandler):
    """A device in a reactor of its own."""

    def __init__(self, device, way, bodies=(), settle="accept"):
        # Telemetry is settled by the hub, messages from it by the test.
        super().__init__(prefetch=10, auto_accept=False)
        self.device = device
        self.way = way
        self.bodies = list(bodies)
        self.how = settle
        self.outcomes = []
        self.received = []
        self.errors = []
        self.done = threading.Event()
        self._telemetry = None

    # Its connection

    def on_start(self, event):
        hub = self.device.hub
        ssl = SSLDomain(SSLDomain.MODE_CLIENT)
        ssl.set_trusted_ca_db(str(hub.ca_path))
        ssl.set_peer_authentication(SSLDomain.VERIFY_PEER)
        options = {"ssl_domain": ssl, "reconnect": False, "virtual_host": hub.address}
        if self.way == "plain":
            name = hub.address.split(".")[0]
            options |= {
                "user": f"{self.device.device_id}@sas.{name}",
                "password": self.device.token(),
                "allowed_mechs": "PLAIN",
            }
        else:
            options |= {"allowed_mechs": "ANONYMOUS"}
        self.container = event.container
        self.connection = event.container.connect(f"amqps://{hub.address}:5671", **options)
        if self.way == "plain":
            self._begin()
        else:
            self.answers = event.container.create_receiver(self.connection, "$cbs")
            self.cbs = event.container.create_sender(self.connection, "$cbs")

    def _begin(self):
        path = f"/devices/{self.device.device_id}/messages"
        self._telemetry = self.container.create_sender(self.connection, f"{path}/events")
        self.messages = self.container.create_receiver(self.connection, f"{path}/devicebound")

    def on_sendable(self, event):
        if event.sender == self._telemetry:
            while event.sender.credit and self.bodies:
                body = self.bodies.pop(0)
                event.sender.send(Message(body=body, inferred=True, id="p-1", properties={"site": "north", "n": 7}))
        elif self.way == "cbs" and self._telemetry is None:
            self._put_token(event.sender)
            self.way = "asked"

    def _put_token(self, sender):
        properties = {
            "operation": "put-token",
            "type": "servicebus.windows.net:sastoken",
            "name": self.device.resource,
        }
        sender.send(Message(body=self.device.token(), id="1", reply_to="cbs", properties=properties))

    def on_message(self, event):
        if self.way == "asked" and event.receiver == self.answers:
            self.accept(event.delivery)
            assert event.message.properties["status-code"] == 200, event.message.properties
            self._begin()
            return
        self.received.append((event.message.id, bytes(event.message.body), event.message.properties))
        if self.how == "accept" or len(self.received) > 1:
            self.accept(event.delivery)
        else:
            self.release(event.delivery, delivered=False)

    # What it is told

    def on_accepted(self, event):
        if event.sender == self._telemetry:
            self.outcomes.append("accepted")

    def on_rejected(self, event):
        self.outcomes.append("rejected")

    def on_link_error(self, event):
        self.errors.append(event.link.remote_condition.name)

    def on_connection_error(self, event):
        self.errors.append(event.connection.remote_condition.name)

    def on_transport_error(self, event):
        self.errors.append(str(event.transport.condition))

    def on_disconnected(self, event):
        self.done.set()


@contextmanager
def running(*arguments, **options):
    device = Device(*arguments, **options)
    container = Container(device)
    thread = threading.Thread(target=container.run, daemon=True)
    thread.start()
    try:
        yield device
    finally:
        container.stop()
        thread.join(DEADLINE)
        assert not thread.is_alive()


@pytest.mark.parametrize("way", ["plain", "cbs"])
def test_proton_sends_telemetry(hub, device, way):
    since = hub.events.mark()
    with running(device, way, [b"one", b"two", b"three"]) as client:
        until("three are settled", lambda: len(client.outcomes) == 3 or client.errors, DEADLINE)
        assert (client.outcomes, client.errors) == (["accepted"] * 3, [])
    events = hub.events.wait_for(device.sender, 3, since)
    assert [event.body for event in events] == [b"one", b"two", b"three"]
    assert events[0].properties == {"site": "north", "n": "7"}
    assert events[0].system["message-id"] == "p-1"


@pytest.mark.parametrize("way", ["plain", "cbs"])
@pytest.mark.parametrize("settle, times", [("accept", 1), ("release", 2)])
def test_proton_receives_messages(hub, device, way, settle, times):
    hub.send_c2d(device.device_id, b"\x00on", {"iothub-messageid": "m-1", "iothub-app-prop": "v"})
    with running(device, way, settle=settle) as client:
        registry = hub.registry()
        until("it came", lambda: len(client.received) == times or client.errors, DEADLINE)
        until(
            "the queue is empty",
            lambda: registry.get_device(device.device_id).cloud_to_device_message_count == 0,
        )
    assert not client.errors
    assert [(name, body) for name, body, _ in client.received] == [("m-1", b"\x00on")] * times
    assert client.received[0][2]["prop"] == "v"


def test_proton_without_a_good_token_is_refused(hub, device):
    device.key = "d3Jvbmc="
    with running(device, "plain", [b"never"]) as client:
        until("it is refused", lambda: client.errors, DEADLINE)
    assert "amqp:unauthorized-access" in client.errors[0] and not client.outcomes
