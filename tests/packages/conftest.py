"""The package in a Debian machine of its own, with systemd and a container engine. The files here are chapters
of one story, in the order of their numbers: installed, walked through, served, upgraded, removed."""

import subprocess

import pytest

from harness import docker
from harness.box import Box
from harness.hub import Hub
from harness.program import binary
from packages.machine import FIRST, SECOND, USER, Machine, package

NETWORK = "farshore-test-box"


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Two versions of the package; their programs differ in a byte that means nothing."""
    folder = tmp_path_factory.mktemp("packages")
    program = folder / "farshore"
    subprocess.run(["strip", "-o", program, binary()], check=True)
    first = package(program, FIRST, folder)
    with open(program, "ab") as file:
        file.write(b"\n")
    return {FIRST: first, SECOND: package(program, SECOND, folder)}


@pytest.fixture(scope="session")
def machine(trust, packages):
    if not docker.answers():
        pytest.fail("no container engine answers; start dockerd, or leave these out: -m 'not docker'")
    gateway = docker.make_network(NETWORK)
    hub = Hub(trust, also_listen=[gateway], also_named=[gateway]).start()
    box = Box("farshore-test-box", NETWORK)
    try:
        box.start()
        box.good("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", USER)
        box.write("/etc/sudoers.d/anna", f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        for version, path in packages.items():
            box.copy(path, f"/root/farshore-{version}.deb")
        yield Machine(box, hub, gateway, packages)
        assert "panicked" not in box.run("journalctl", "--no-pager").stdout
    finally:
        box.destroy()
        hub.stop()
        docker.remove_network(NETWORK)
    assert "panicked" not in hub.service.log(whole=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows what the machine's journal says last."""
    report = (yield).get_result()
    found = getattr(item, "funcargs", {}).get("machine")
    if report.failed and found:
        said = found.box.run("journalctl", "-n", "60", "--no-pager", "-o", "cat")
        report.sections.append(("journal of the machine", said.stdout))


