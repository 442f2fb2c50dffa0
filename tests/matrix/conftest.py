"""The edge device of the matrix."""

import itertools

import pytest

from harness import manifest
from harness.edge import Edge
from matrix import cells


@pytest.fixture(scope="session")
def edge(site):
    """An edge device of the matrix. Each cell is a module of its own, with routes of its own."""
    # The hub's authority has to be in the device's trust bundle, too: it may be offline.
    edge = Edge(site.hub, trust_bundle=site.authority().parent.pem).start()
    edge.module_name = module_name
    edge.identities = {}
    routes = {"leaves": "FROM /messages/* WHERE NOT is_defined($connectionModuleId) INTO $upstream"}
    for combination in itertools.product(cells.VERSIONS, cells.PROTOCOLS, cells.CREDENTIALS):
        routes |= routes_of(module_name(*combination, "out"), module_name(*combination, "in"))
    yield from running(edge, routes)


@pytest.fixture(scope="session")
def edge_of_vectors(site):
    """Another one for the vectors: a device has 50 modules, and the first has no room."""
    names = [vector["module"] for vector in cells.VECTORS if "module" in vector]
    routes = {}
    for name in names:
        routes |= routes_of(name, name)
    yield from running(Edge(site.hub).start(), routes)


def running(edge, routes):
    try:
        edge.deploy(manifest.deployment(routes=routes))
        edge.wait_until_hub_listens()
        yield edge
        assert edge.service.is_running
    finally:
        edge.stop()
    assert "panicked" not in edge.service.log(whole=True)


def routes_of(out, loop):
    """What a module sends to its output `up` goes upstream, what to `loop`, to its own input."""
    endpoint = f'BrokeredEndpoint("/modules/{loop}/inputs/in")'
    return {
        f"up-{out}": f"FROM /messages/modules/{out}/outputs/up INTO $upstream",
        f"loop-{loop}": f"FROM /messages/modules/{loop}/outputs/loop INTO {endpoint}",
    }


def module_name(sdk, protocol, credential, purpose):
    return f"{sdk}-{protocol}-{credential}-{purpose}"
