"""Fixtures of all tests. A hub is expensive enough to be shared; a device is cheap, so every test
makes its own. Tests that stop, kill or starve a hub take one of their own from `new_hub`."""

import shutil

import pytest

from harness import docker, matrix
from harness.edge import Edge
from harness.hub import Hub, running
from harness.program import Service
from harness.site import Site
from harness.trust import Trust
from matrix.cells import TABLES

RESULTS = pytest.StashKey[matrix.Results]()


@pytest.fixture(scope="session", autouse=True)
def own_engine(request):
    """Tests with containers begin on an engine that has no modules."""
    with_engine = any(item.get_closest_marker("docker") for item in request.session.items)
    if with_engine and docker.answers():
        docker.remove_remains()


@pytest.fixture(scope="session")
def trust():
    return Trust()


@pytest.fixture(scope="session")
def hub(trust):
    """The hub that most tests share. Nobody stops it."""
    with running(trust) as hub:
        yield hub


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


@pytest.fixture(scope="session")
def site(trust, tmp_path_factory):
    """The hub of the matrix, with drivers of the SDKs."""
    site = Site(trust, tmp_path_factory.mktemp("matrix"))
    yield site
    site.stop()


@pytest.fixture
def device(hub):
    """A fresh device of the shared hub."""
    return hub.new_device()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the servers said last."""
    report = (yield).get_result()
    _record(item, report)
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


# The matrix of clients


def pytest_addoption(parser):
    parser.addoption(
        "--matrix",
        choices=["write", "check"],
        help="after a run of everything: write the tables of docs/reference/compatibility.md, or check them",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "cell(table, row, column): which cell of the matrix a test fills")
    config.stash[RESULTS] = matrix.Results()


def pytest_collection_modifyitems(items):
    for pattern, cell in matrix.elsewhere():
        found = [item for item in items if pattern.fullmatch(item.nodeid)]
        for item in found:
            item.add_marker(pytest.mark.cell(*cell))


def _record(item, report):
    """A cell is filled by its test's call; a set-up or an end that fails spoils it."""
    for mark in item.iter_markers("cell"):
        results = item.config.stash[RESULTS]
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            results.add(mark.args, matrix.Outcome(matrix.SKIPPED, reason.removeprefix("Skipped: ")))
        elif report.failed:
            results.add(mark.args, matrix.Outcome(matrix.FAILED, item.nodeid))
        elif report.when == "call":
            said = dict(item.user_properties).get("cell", matrix.PASSED)
            kind, _, reason = said.partition(": ")
            results.add(mark.args, matrix.Outcome(kind, reason))


def pytest_sessionfinish(session):
    wanted = session.config.getoption("--matrix")
    if wanted is None or session.config.option.collectonly:
        return
    results = session.config.stash[RESULTS]
    problems = results.problems(TABLES)
    part = results.markdown(TABLES)
    if wanted == "write":
        matrix.write(part)
    elif not problems and part != matrix.stale_part():
        problems = ["docs/reference/compatibility.md is not what the tests say: pytest --matrix=write tests"]
    for problem in problems:
        print(f"\nmatrix: {problem}")
    if problems and session.exitstatus == 0:
        session.exitstatus = 1
