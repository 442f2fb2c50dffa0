"""The hub's event log, read back over its own route."""

import base64
import json

from harness.wait import TooLate, until


class Event:
    """One line of a partition."""

    def __init__(self, line):
        self.line = line
        self.partition = line["partition"]
        self.sequence = line["sequenceNumber"]
        self.system = line["systemProperties"]
        self.properties = line["properties"]

    @property
    def sender(self):
        """`device` or `device/module`."""
        device = self.system["iothub-connection-device-id"]
        module = self.system.get("iothub-connection-module-id")
        return f"{device}/{module}" if module else device

    @property
    def source(self):
        return self.system["iothub-message-source"]

    @property
    def body(self):
        """The bytes that were sent; JSON stands in the line as a document."""
        if "bodyBase64" in self.line:
            return base64.b64decode(self.line["bodyBase64"])
        if "body" in self.line:
            return json.dumps(self.line["body"]).encode()
        return b""

    @property
    def json(self):
        return self.line["body"] if "body" in self.line else json.loads(self.body)

    def __repr__(self):
        return f"Event({self.line})"


class EventLog:
    """Reads the events of one hub."""

    def __init__(self, hub):
        self.hub = hub

    def partitions(self):
        answer = self.hub.rest("GET", "/events/partitions")
        assert answer.status_code == 200, answer.text
        return answer.json()["partitions"]

    def mark(self):
        """Where the log ends now: read from here to see what comes later."""
        return {p["partition"]: p["nextSequenceNumber"] for p in self.partitions()}

    def read(self, since=None, sender=None):
        """All events from a mark on, by partition and in order; of one sender, if asked."""
        events = []
        for partition in self.partitions():
            number = partition["partition"]
            start = "start" if since is None else str(since[number])
            answer = self.hub.rest("GET", f"/events/partitions/{number}", query={"from": start})
            assert answer.status_code == 200, answer.text
            events += [Event(json.loads(line)) for line in answer.text.splitlines() if line]
        return [e for e in events if sender is None or e.sender == sender]

    def telemetry(self, sender, since=None):
        return [e for e in self.read(since, sender) if e.source == "Telemetry"]

    def wait_for(self, sender, count=1, since=None, deadline=15.0):
        """Waits for telemetry of a sender and gives all there is."""
        seen = []

        def enough():
            seen[:] = self.telemetry(sender, since)
            return len(seen) >= count

        try:
            until(f"{count} events of {sender}", enough, deadline)
        except TooLate as error:
            raise TooLate(f"{error}; there are {seen}") from None
        return list(seen)
