"""Device SDKs in processes of their own, steered by lines of JSON: the same calls whatever the language.

A request is `{"id": 1, "call": "send", "client": "a", …}`, its answer `{"id": 1, "ok": …}` or
`{"id": 1, "error": {"kind": …, "message": …}}`; what the SDK tells by itself is `{"event": …, "client": …}`.
The calls are described in `drivers/README.md`."""

import base64
import itertools
import json
import os
import queue
import subprocess
import sys
import threading

from harness.program import ROOT, TARGET
from harness.wait import TooLate

# What an SDK may take for one call on two busy cores.
CALL_SECONDS = 40.0

COMMANDS = {
    "python": [sys.executable, str(ROOT / "tests/drivers/device.py")],
    "node": ["node", str(ROOT / "tests/node/device.js")],
}


class DriverError(AssertionError):
    """The SDK refused or failed."""

    def __init__(self, call, error):
        super().__init__(f"{call}: {error['kind']}: {error['message']}")
        self.kind = error["kind"]
        self.message = error["message"]


class NotOffered(DriverError):
    """The SDK itself says that it does not have this."""


def environment(**more):
    """Where Node finds what `cargo xtask test` installed."""
    return {**os.environ, "NODE_PATH": str(TARGET / "node/node_modules"), "NODE_NO_WARNINGS": "1", **more}


class Driver:
    """One process; it holds any number of clients. `prefix` stands before its command."""

    def __init__(self, name, log, prefix=()):
        self.name = name
        self.log_path = log
        self._log = open(log, "ab")
        self._process = subprocess.Popen(
            [*prefix, *COMMANDS[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
        )
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers = {}
        self._clients = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._answers.pop(message["id"]).put(message)
            elif client := self._clients.get(message["client"]):
                client.inboxes[message["event"]].put(message)
        for waiting in list(self._answers.values()):
            waiting.put({"error": {"kind": "Ended", "message": f"the driver ended; see {self.log_path}"}})

    def call(self, name, **arguments):
        number, answer = next(self._numbers), queue.Queue()
        self._answers[number] = answer
        line = json.dumps({"id": number, "call": name, **arguments}) + "\n"
        try:
            with self._lock:
                self._process.stdin.write(line.encode())
                self._process.stdin.flush()
            result = answer.get(timeout=CALL_SECONDS)
        except queue.Empty:
            raise TooLate(f"{self.name}: {name} did not return within {CALL_SECONDS:g} s") from None
        except BrokenPipeError:
            raise AssertionError(f"the driver ended:\n{self.log_path.read_text()[-2000:]}") from None
        if error := result.get("error"):
            kind = NotOffered if error["kind"] in ("NotOffered", "NotImplementedError") else DriverError
            raise kind(name, error)
        return result.get("ok")

    def client(self, identity, protocol, **options):
        """A client of an identity; not connected yet."""
        return Client(self, identity, protocol, **options)

    def stop(self):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()


class Client:
    """One device or module in a driver."""

    _numbers = itertools.count(1)

    def __init__(self, driver, identity, protocol, gateway=None, ca_pem=None):
        self.driver = driver
        self.identity = identity
        self.name = f"{identity.sender}#{next(Client._numbers)}"
        self.inboxes = {kind: queue.Queue() for kind in ("c2d", "desired", "input", "connection", "error")}
        self._arguments = {
            "protocol": protocol,
            "host": identity.hub.address,
            "gateway": gateway,
            "device": identity.device_id,
            "module": identity.module_id,
            "ca": ca_pem or identity.hub.ca_pem,
            "credential": identity.credential(),
        }
        driver._clients[self.name] = self

    def call(self, name, **arguments):
        return self.driver.call(name, client=self.name, **arguments)

    def __enter__(self):
        try:
            self.call("open", **self._arguments)
        except BaseException:
            self.driver._clients.pop(self.name, None)
            raise
        return self

    def __exit__(self, *_):
        try:
            self.call("close")
        finally:
            self.driver._clients.pop(self.name, None)

    # What applications do

    def send(self, body, **options):
        """Returns when the SDK says that the hub has it. Options: `properties`, `message_id`,
        `correlation_id`, `content_type`, `content_encoding`, `output`."""
        self.call("send", body=encode(body), **options)

    def send_batch(self, bodies, **options):
        self.call("send_batch", bodies=[encode(body) for body in bodies], **options)

    def listen(self, what, **options):
        """`c2d`, `desired`, `methods` (method, status) or `input`."""
        self.call("listen", what=what, **options)

    def settle(self, message, how):
        self.call("settle", handle=message["handle"], how=how)

    def twin(self):
        return self.call("twin")

    def invoke(self, target, method, payload):
        """A method of another client of the same edge hub; `(status, payload)`."""
        answer = self.call(
            "invoke", device=target.device_id, module=target.module_id, method=method, payload=payload
        )
        return answer["status"], answer["payload"]

    def report(self, patch):
        self.call("report", patch=patch)

    def next(self, what, deadline=20.0):
        """The next that the SDK told of a kind; bodies as bytes."""
        try:
            message = self.inboxes[what].get(timeout=deadline)
        except queue.Empty:
            raise TooLate(f"{self.name}: no {what} within {deadline:g} s") from None
        if "body" in message:
            message["body"] = base64.b64decode(message["body"])
        return message


def encode(body):
    return base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
