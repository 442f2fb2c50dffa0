"""The device SDK, as an application uses it."""

import contextlib
import queue
import threading

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, MethodResponse

from harness.wait import until

# The SDK's own is 10 s; a test that restarts a server need not wait that long.
RETRY_SECONDS = 1
SHUTDOWN_SECONDS = 30


@contextlib.contextmanager
def connected(identity, ca_pem=None, gateway=None, **options):
    """A client of this identity that is connected; it is shut down at the end."""
    client = new_client(identity, ca_pem, gateway, **options)
    try:
        client.connect()
        yield client
    finally:
        shut_down(client)


def shut_down(client):
    """Ends a client. A connection that breaks while the SDK makes it can leave it waiting for ever, in here, too."""
    ending = threading.Thread(target=client.shutdown, daemon=True)
    ending.start()
    ending.join(SHUTDOWN_SECONDS)
    if ending.is_alive():
        print("the SDK does not end its client; it is left behind")


def new_client(identity, ca_pem=None, gateway=None, **options):
    """A client that is not connected yet."""
    kind = IoTHubModuleClient if identity.module_id else IoTHubDeviceClient
    options.setdefault("connection_retry_interval", RETRY_SECONDS)
    return kind.create_from_connection_string(
        identity.connection_string(gateway),
        server_verification_cert=ca_pem or identity.hub.ca_pem,
        **options,
    )


class Inbox:
    """What a client was told, in the order in which it was told."""

    def __init__(self):
        self.queue = queue.Queue()

    def __call__(self, item):
        self.queue.put(item)

    def next(self, deadline=15.0):
        try:
            return self.queue.get(timeout=deadline)
        except queue.Empty:
            raise AssertionError(f"nothing came within {deadline:g} s") from None

    @property
    def is_empty(self):
        return self.queue.empty()


def listen_for_messages(client):
    inbox = Inbox()
    client.on_message_received = inbox
    return inbox


def listen_for_desired(client):
    inbox = Inbox()
    client.on_twin_desired_properties_patch_received = inbox
    return inbox


def answer_methods(client, answer):
    """Answers direct methods with `answer(name, payload) -> (status, payload)`."""

    def on_request(request):
        status, payload = answer(request.name, request.payload)
        response = MethodResponse.create_from_method_request(request, status, payload)
        client.send_method_response(response)

    client.on_method_request_received = on_request


class Connections:
    """How often a client was connected and disconnected."""

    def __init__(self, client):
        self._lock = threading.Lock()
        self._client = client
        self.connects = 0
        self.disconnects = 0
        client.on_connection_state_change = self._changed

    def _changed(self):
        with self._lock:
            if self._client.connected:
                self.connects += 1
            else:
                self.disconnects += 1

    def wait_for_reconnect(self, deadline=30.0):
        until("client is connected again", lambda: self._client.connected, deadline)
