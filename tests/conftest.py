"""Fixtures of all tests. A hub is expensive enough to be shared; a device is cheap, so every test
makes its own. Tests that stop, kill or starve a hub take one of their own from `new_hub`."""

import shutil

import pytest

from harness.edge import Edge
from harness.hub import Hub
from harness.program import Service
from harness.trust import Trust


@pytest.fixture(scope="session")
def trust():
    return Trust()


@pytest.fixture(scope="session")
def hub(trust):
    """The hub that most tests share. Nobody stops it."""
    hub = Hub(trust).start()
    yield hub
    assert hub.service.is_running, f"the shared hub died\n{hub.service.tail()}"
    hub.stop()
    assert "panicked" not in hub.service.log(whole=True)
    shutil.rmtree(hub.dir, ignore_errors=True)


@pytest.fixture
def new_hub(trust):
    """Makes hubs of a test's own; they end with the test."""
    hubs = []

    def make(**options):
        hubs.append(Hub(trust, **options))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.kill()
        assert "panicked" not in hub.service.log(whole=True)
        shutil.rmtree(hub.dir, ignore_errors=True)


@pytest.fixture
def device(hub):
    """A fresh device of the shared hub."""
    return hub.new_device()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the servers said last."""
    report = (yield).get_result()
    if not report.failed:
        return
    services = {}
    for name, value in getattr(item, "funcargs", {}).items():
        for owner in [value, getattr(value, "hub", None)]:
            service = getattr(owner, "service", None)
            if isinstance(service, Service):
                services[id(service)] = (f"log of {service.arguments[0]} ({name})", service.tail(40))
        if isinstance(value, Edge) and value.service.is_running:
            services[id(value)] = (f"logs of the modules ({name})", value.module_logs())
    report.sections.extend(services.values())
