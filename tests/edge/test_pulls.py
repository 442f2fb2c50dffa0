"""A pull from a private registry whose line is slow: it holds nobody up, tells how far it is, and a newer
deployment does not wait for it."""

import io
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from harness import docker, manifest
from harness.gate import Gate
from harness.registry import Registry, is_installed
from harness.wait import until

pytestmark = pytest.mark.docker

BUSYBOX = Path("/bin/busybox")
# More than the descriptions of an image, less than its layer.
HELD_BYTES = 300_000
NEVER_BACK = {"FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS": "0", "CoolOffTimeUnitInSeconds": "1"}


@pytest.fixture(scope="module")
def small():
    """An image with busybox alone, that waits."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(BUSYBOX, "bin/busybox")
        # The engine knows layers by their content: none that an earlier run has left.
        archive.addfile(tarfile.TarInfo(uuid.uuid4().hex))
    reference = "farshore-test/busybox:1"
    # The first process of a container ends by SIGTERM only if it says so.
    change = """ENTRYPOINT ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; /bin/busybox sleep 100000 & wait"]"""
    command = ["docker", "import", "--change", change, "-", reference]
    subprocess.run(command, input=tar.getvalue(), check=True, capture_output=True)
    yield reference
    docker.docker("rmi", "-f", reference, check=False)


@pytest.fixture(scope="module")
def gate(container_edge):
    """The way to a registry: it lets `HELD_BYTES` through, then nothing until it is opened. It is opened
    before the device ends, so that no pull is left."""
    if not is_installed():
        pytest.skip("there is no registry: apt-get install docker-registry")
    if not BUSYBOX.exists():
        pytest.skip("there is no busybox: apt-get install busybox-static")
    registry = Registry().start()
    gate = Gate(registry.address, HELD_BYTES)
    gate.registry = registry
    try:
        yield gate
    finally:
        gate.close()
        registry.stop()
        for line in docker.docker("images", "--format", "{{.Repository}} {{.ID}}").splitlines():
            if line.startswith(gate.address):
                docker.docker("rmi", "-f", line.split()[1], check=False)


def deployment(gate, modules):
    content = manifest.deployment(modules)
    agent = content.modules_content["$edgeAgent"]["properties.desired"]
    agent["systemModules"]["edgeAgent"]["env"] = {name: {"value": value} for name, value in NEVER_BACK.items()}
    credentials = gate.registry.credentials()
    credentials["private"]["address"] = gate.address
    agent["runtime"]["settings"]["registryCredentials"] = credentials
    return content


def module_of(edge, name):
    return edge.agent_twin().reported.get("modules", {}).get(name, {})


def test_a_slow_pull_holds_nobody_up(container_edge, gate, small):
    edge = container_edge
    reference = gate.through(gate.registry.push(small, "slow:1"))
    # Otherwise the engine has its layer already.
    steady = manifest.sensor()
    docker.docker("rmi", "-f", small)
    edge.deploy(deployment(gate, {"steady": steady, "slow": manifest.module(reference)}), wait=False)
    told = lambda: module_of(edge, "slow").get("statusDescription", "")  # noqa: E731
    until("it is told", lambda: "its image is being pulled" in told(), 60)
    until("it is held up", gate.waits, 30)
    # Others run, and are restarted when they end.
    until("the other one runs", lambda: module_of(edge, "steady").get("runtimeStatus") == "running", 60)
    docker.docker("kill", "--signal", "KILL", "steady")
    until("it is restarted", lambda: module_of(edge, "steady").get("restartCount", 0) >= 1, 60)
    assert gate.waits() and "slow" not in docker.docker("ps", "-a", "--format", "{{.Names}}").split()
    # A newer wish is carried out at once.
    steady = manifest.module(manifest.SENSOR, {"MessageDelay": "00:00:09"})
    wanted = {"steady": steady, "slow": manifest.module(reference)}
    edge.deploy(deployment(gate, wanted), wait=False)
    # It is not there for a moment.
    said = lambda: docker.docker("inspect", "steady", check=False)  # noqa: E731
    until("the newer one is in force", lambda: "MessageDelay=00:00:09" in said(), 60)
    assert gate.waits()
    gate.open()
    edge.wait_until_applied()
    assert docker.inspect("slow")["Config"]["Image"] == reference
    # So that the image can be removed.
    edge.deploy(manifest.deployment())
