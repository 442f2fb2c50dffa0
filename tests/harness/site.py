"""The hub that the matrix of clients is filled against, and what stands beside it."""

import shutil

from harness.certificates import Authority
from harness.drivers import Driver
from harness.hub import Hub
from harness.wait import TooLate, until


class Site:
    """The hub of the matrix and everything beside it."""

    def __init__(self, trust, folder):
        self.hub = Hub(trust).start()
        self.folder = folder
        self._drivers = {}
        self._authority = None
        self._feedback = {}
        self.expected = {}

    def driver(self, name):
        if name not in self._drivers:
            self._drivers[name] = Driver(name, self.folder / f"{name}.log")
        return self._drivers[name]

    def identity(self, credential, device_id, module_id=None, **options):
        """A new device or module with a credential of this kind."""
        if credential == "self-signed":
            return self.hub.new_self_signed(device_id, module_id, **options)
        if credential == "ca":
            return self.hub.new_ca_signed(self.authority(), device_id, module_id, **options)
        if module_id:
            return self.hub.new_module(device_id, module_id)
        return self.hub.new_device(device_id, **options)

    def authority(self):
        """A CA below the one that the hub knows: leaves bring it along."""
        if self._authority is None:
            root = Authority("matrix root")
            self.hub.add_authority(root)
            self._authority = Authority("matrix intermediate", root)
        return self._authority

    def expect_feedback(self, device_id, message_id, outcome):
        """Notes what the last test of the cells looks for."""
        self.expected[device_id, message_id] = outcome

    def feedback(self, device_id, message_id, deadline=20.0):
        """What became of a message, from the feedback queue."""

        def there():
            self._read_feedback()
            return self._feedback.get((device_id, message_id))

        try:
            return until(f"feedback on {message_id} of {device_id}", there, deadline)
        except TooLate as error:
            raise TooLate(f"{error}; there is {self._feedback}") from None

    def _read_feedback(self):
        answer = self.hub.rest("GET", "/messages/serviceBound/feedback")
        assert answer.status_code in (200, 204), f"{answer.status_code} {answer.text}"
        if answer.status_code == 204:
            return
        for record in answer.json():
            key = (record["deviceId"], record["originalMessageId"])
            self._feedback[key] = record["statusCode"]
        lock = answer.headers["ETag"].strip('"')
        done = self.hub.rest("DELETE", f"/messages/serviceBound/feedback/{lock}")
        assert done.status_code == 204, done.text

    def stop(self):
        for driver in self._drivers.values():
            driver.stop()
        self.hub.stop()
        assert "panicked" not in self.hub.service.log(whole=True)
        shutil.rmtree(self.hub.dir, ignore_errors=True)
