"""What the tests of the event endpoint share."""

import threading
from contextlib import contextmanager

import pytest
from azure.eventhub import EventHubConsumerClient

from harness.hub import running
from harness.program import farshore


@pytest.fixture(scope="session")
def hub(trust):
    """A hub of these tests' own: they read logs from the beginning, and the shared hub's is long."""
    with running(trust) as hub:
        yield hub


@pytest.fixture(scope="session")
def events_login(hub):
    return login_of(hub)


def login_of(hub):
    """The connection string for Event Hubs clients."""
    result = farshore("hub", "--print-events-login", "--data", hub.data_dir, "--settings", hub.settings)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class Reader:
    """An unmodified consumer in a thread of its own; what it got and what went wrong."""

    def __init__(self, hub, login, group="$Default", **options):
        self.client = EventHubConsumerClient.from_connection_string(
            login, group, connection_verify=str(hub.ca_path), retry_total=0, **options
        )
        self.events = []
        self.errors = []
        self._changed = threading.Condition(threading.RLock())
        self._thread = None

    def start(self, **options):
        options.setdefault("starting_position", "-1")
        arguments = {"on_event": self._event, "on_error": self._error, **options}
        self._thread = threading.Thread(target=self.client.receive, kwargs=arguments, daemon=True)
        self._thread.start()
        return self

    def _event(self, context, event):
        with self._changed:
            self.events.append((context.partition_id, event, context))
            self._changed.notify_all()

    def _error(self, context, error):
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def of(self, sender):
        """Telemetry of a device, in the order in which it came."""
        source, device = b"iothub-message-source", b"iothub-connection-device-id"
        with self._changed:
            return [
                event
                for _, event, _ in self.events
                if event.system_properties[device] == sender.encode()
                and event.system_properties[source] == b"Telemetry"
            ]

    def wait_for(self, sender, count, deadline=20.0):
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.of(sender)) >= count or self.errors, deadline)
        assert enough and not self.errors, f"{len(self.of(sender))} of {count} events; {self.errors}"
        return self.of(sender)

    def has(self, sender, count, deadline):
        """Whether so many come in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.of(sender)) >= count, deadline)

    def wait_for_error(self, deadline=20.0):
        with self._changed:
            assert self._changed.wait_for(lambda: self.errors, deadline), "no error came"
        return self.errors[0]

    def close(self):
        self.client.close()
        if self._thread:
            self._thread.join(20)


@contextmanager
def reader(hub, login, group="$Default", start=True, **options):
    client_options = {k: options.pop(k) for k in ("transport_type", "checkpoint_store") if k in options}
    made = Reader(hub, login, group, **client_options)
    try:
        yield made.start(**options) if start else made
    finally:
        made.close()

