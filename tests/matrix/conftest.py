"""What all cells share: a hub of their own, the SDKs' drivers, a CA, and who reads the feedback."""

import itertools
import shutil

import pytest

from harness import manifest
from harness.certificates import Authority
from harness.drivers import Driver
from harness.edge import Edge
from harness.hub import Hub
from harness.wait import TooLate, until
from matrix import cells


class Site:
    """The hub of the matrix and everything beside it."""

    def __init__(self, trust, folder):
        self.hub = Hub(trust).start()
        self.folder = folder
        self.authority = Authority("Farshore tests CA")
        self._authority_is_known = False
        self._drivers = {}
        self._feedback = {}

    def driver(self, name):
        if name not in self._drivers:
            self._drivers[name] = Driver(name, self.folder / f"{name}.log")
        return self._drivers[name]

    def identity(self, credential, device_id, module_id=None, **options):
        """A new device or module with a credential of this kind."""
        if credential == "self-signed":
            return self.hub.new_self_signed(device_id, module_id, **options)
        if credential == "ca":
            if not self._authority_is_known:
                self.hub.add_authority(self.authority)
                self._authority_is_known = True
            return self.hub.new_ca_signed(self.authority, device_id, module_id, **options)
        if module_id:
            return self.hub.new_module(device_id, module_id)
        return self.hub.new_device(device_id, **options)

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
            self._feedback[key] = record["description"] if "description" in record else record["statusCode"]
        lock = answer.headers["ETag"].strip('"')
        done = self.hub.rest("DELETE", f"/messages/serviceBound/feedback/{lock}")
        assert done.status_code == 204, done.text

    def stop(self):
        for driver in self._drivers.values():
            driver.stop()
        self.hub.stop()
        assert "panicked" not in self.hub.service.log(whole=True)
        shutil.rmtree(self.hub.dir, ignore_errors=True)


@pytest.fixture(scope="session")
def site(trust, tmp_path_factory):
    site = Site(trust, tmp_path_factory.mktemp("matrix"))
    yield site
    site.stop()


@pytest.fixture(scope="session")
def edge(site):
    """An edge device of the matrix. Each cell is a module of its own, with routes of its own."""
    edge = Edge(site.hub).start()
    edge.module_name = module_name
    routes = {}
    for combination in itertools.product(cells.VERSIONS, cells.PROTOCOLS, cells.CREDENTIALS):
        out, loop = module_name(*combination, "out"), module_name(*combination, "in")
        routes[f"up-{out}"] = f"FROM /messages/modules/{out}/outputs/up INTO $upstream"
        endpoint = f'BrokeredEndpoint("/modules/{loop}/inputs/in")'
        routes[f"loop-{loop}"] = f"FROM /messages/modules/{loop}/outputs/loop INTO {endpoint}"
    try:
        edge.deploy(manifest.deployment(routes=routes))
        edge.wait_until_hub_listens()
        yield edge
        assert edge.service.is_running
    finally:
        edge.stop()
    assert "panicked" not in edge.service.log(whole=True)


def module_name(sdk, protocol, credential, purpose):
    return f"{sdk}-{protocol}-{credential}-{purpose}"
