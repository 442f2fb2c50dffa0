"""An edge device whose modules run on podman, as root and without root's rights, by its Docker-compatible
socket: built-in images are loaded, modules found by name, recognised at their own sockets, supervised."""

import json
import shutil
import signal
import subprocess

import pytest

from harness import manifest
from harness.edge import Edge
from harness.engines import Podman
from harness.hub import Hub
from harness.program import binary
from harness.wait import until

pytestmark = pytest.mark.docker
NETWORK = "farshore-podman"
AGENT_ENV = {"CoolOffTimeUnitInSeconds": {"value": "1"}}


@pytest.fixture(scope="module", params=["rootful", "rootless"])
def edge(request, trust):
    assert shutil.which("podman"), "podman is not installed (apt-get install podman); or leave these out: -m 'not docker'"
    podman = Podman(rootless=request.param == "rootless").start()
    hub = edge = None
    try:
        hub = Hub(trust, also_listen=[podman.make_network(NETWORK)]).start()
        edge = Edge(hub, network=NETWORK, engine=podman.uri)
        edge.podman = podman
        if podman.rootless:
            run_as_the_engines_user(edge)
        edge.start()
        yield edge
        assert edge.service.is_running
    finally:
        for part in (edge, hub):
            if part:
                part.stop()
        podman.remove()
    for service in (edge.service, hub.service):
        assert "panicked" not in service.log(whole=True)


def run_as_the_engines_user(edge):
    """The daemon has no more rights than the engine has. What it needs is made readable to it."""
    program, authority = edge.dir / "farshore", edge.dir / "hub-ca.pem"
    shutil.copy(binary(), program)
    shutil.copy(edge.hub.ca_path, authority)
    service = edge.service
    service.prefix, service.program = edge.podman.as_user, program
    service.arguments[service.arguments.index("--hub-ca") + 1] = str(authority)
    subprocess.run(["chown", "-R", f"{edge.podman.uid}:{edge.podman.uid}", edge.dir], check=True)


def deployment(modules):
    content = manifest.deployment(modules)
    agent = content.modules_content["$edgeAgent"]["properties.desired"]
    agent["systemModules"]["edgeAgent"]["env"] = AGENT_ENV
    return content


def telemetry(edge, count, since=None):
    sender = f"{edge.device_id}/sensor"
    return until(
        f"{count} messages of the sensor", lambda: len(edge.hub.events.telemetry(sender, since)) >= count, 60
    )


def sign(edge, container=None):
    """What the sensor's workload socket answers to a process of this machine, or in a container."""
    body = json.dumps({"keyId": "primary", "algo": "HMACSHA256", "data": "YQ=="})
    inside = ["nsenter", "--pid", "-t", str(edge.podman.inspect(container)["State"]["Pid"])] if container else []
    command = [
        *inside, "curl", "--silent", "--unix-socket", str(edge.dir / "home/mnt/sensor/workload.sock"),
        "-H", "content-type: application/json", "-d", body,
        "--write-out", "%{http_code}", "http://w/modules/sensor/genid/1/sign?api-version=2019-11-05",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout


def status(edge, module):
    return edge.agent_twin().reported["modules"][module]["runtimeStatus"]


def test_the_built_in_modules_run_and_their_telemetry_arrives(edge):
    edge.deploy(deployment({"sensor": manifest.sensor()}))
    # The sensor's tokens were signed at its own socket, and the edge hub found by the device's name.
    telemetry(edge, 2)
    facts = edge.podman.inspect("sensor")
    assert NETWORK in facts["NetworkSettings"]["Networks"]
    listed = edge.iotedge("list")
    assert "sensor" in listed.stdout and "running" in listed.stdout, listed
    said = edge.iotedge("logs", "sensor", "--tail", "5")
    assert said.returncode == 0 and said.stdout, said


def test_nobody_else_is_taken_for_a_module(edge):
    for answer in (sign(edge), sign(edge, "stays"), sign(edge, "edgeHub")):
        assert answer.endswith("403") and "forbidden" in answer


def test_a_module_that_dies_comes_back(edge):
    since = edge.hub.events.mark()
    before = edge.podman.inspect("sensor")["State"]["StartedAt"]
    edge.podman.docker("kill", "--signal", "KILL", "sensor")

    def is_back():
        state = edge.podman.inspect("sensor")["State"]
        return state["Running"] and state["StartedAt"] != before

    until("the sensor runs again", is_back, 40)
    telemetry(edge, 1, since)
    until("that is reported", lambda: status(edge, "sensor") == "running", 30)
    assert edge.agent_twin().reported["modules"]["sensor"]["restartCount"] >= 1


def test_modules_outlive_podmans_service(edge):
    before = edge.podman.inspect("sensor")["State"]["StartedAt"]
    edge.podman.end(signal.SIGKILL)
    since = edge.hub.events.mark()
    telemetry(edge, 1, since)
    edge.podman.start()
    assert edge.podman.inspect("sensor")["State"]["StartedAt"] == before
    edge.deploy(deployment({"second": manifest.sensor()}))
    names = edge.podman.docker("ps", "--format", "{{.Names}}").split()
    assert sorted(names) == ["edgeHub", "second", "stays"]


def test_what_a_module_may_not_ask_is_refused_here_too(edge):
    wish = {"HostConfig": {"Binds": ["/etc:/e"], "PidMode": "host"}}
    greedy = manifest.module(manifest.SENSOR, create_options=wish)
    edge.deploy(deployment({"second": manifest.sensor(), "greedy": greedy}), wait=False)

    def told():
        text = json.dumps(edge.agent_twin().reported.get("lastDesiredStatus", {}))
        return "allow_host_pid" in text and text

    text = until("the refusal is reported", told, 40)
    assert "HostConfig.Binds" in text and "greedy" in text
    assert "greedy" not in edge.podman.docker("ps", "-a", "--format", "{{.Names}}").split()


def test_checks_from_within_containers_are_made(edge):
    """Every port of the hub, from both networks; without root's rights, too."""
    said = edge.iotedge(
        "check", "--output", "json", "--config", edge.config, "--hub-ca", edge.hub.ca_path,
        "--hub-address", edge.hub.address, deadline=90,
    )  # fmt: skip
    found = json.loads(said.stdout)["checks"]
    results = {name: check["result"] for name, check in found.items() if "upstream" in name}
    assert len(results) == 6
    # The port of MQTT is not needed; that counts as in order.
    assert {name: result["result"] for name, result in results.items() if name.endswith(("amqp", "https"))} == {
        f"container-{network}connect-upstream-{port}": "ok" for network in ("", "default-") for port in ("amqp", "https")
    }, results
