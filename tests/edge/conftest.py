"""The edge device whose modules are containers. It lives no longer than a file of tests: modules in one
engine have fixed names, and the next who wants them may be `farshore up`."""

import pytest

from harness import docker
from harness.edge import Edge
from harness.hub import Hub

NETWORK = "farshore-test-edge"


@pytest.fixture(scope="module")
def container_edge(trust):
    """Its hub listens on the network's gateway, too: there the edge hub's container finds it."""
    if not docker.answers():
        pytest.fail("no container engine answers; start dockerd, or leave these out: -m 'not docker'")
    gateway = docker.make_network(NETWORK)
    hub = Hub(trust, also_listen=[gateway]).start()
    edge = Edge(hub, network=NETWORK)
    try:
        edge.start()
        yield edge
        assert edge.service.is_running
    finally:
        edge.stop()
        hub.stop()
        docker.remove_network(NETWORK)
    for service in (edge.service, hub.service):
        assert "panicked" not in service.log(whole=True)
