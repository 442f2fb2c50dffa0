"""The first half of the guide's walk (`tools.md` §0, steps 1 to 4), on a device with the sensor, and
with the warnings that a fresh box gives: nothing is said about DNS, log policy or host storage."""

import json

import pytest

from harness import manifest
from harness.wait import until

pytestmark = pytest.mark.docker

SENSOR = "SimulatedTemperatureSensor"


@pytest.fixture(scope="module")
def edge(container_edge, tmp_path_factory):
    container_edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
    # As on a fresh box: the engine's settings say nothing.
    container_edge.daemon_json = tmp_path_factory.mktemp("engine") / "daemon.json"
    container_edge.daemon_json.write_text("{}\n")
    return container_edge


def good(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_step_1_all_services_are_running(edge):
    lines = good(edge.iotedge("system", "status")).splitlines()
    assert lines[0] == "System services:"
    services = {line.split()[0]: line.split()[1] for line in lines[1:] if line.startswith("    ")}
    assert services and set(services.values()) <= {"Running", "Ready"}, lines


def test_step_2_three_modules_are_running(edge):
    lines = good(edge.iotedge("list")).splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "DESCRIPTION", "Config"]
    rows = [line.split() for line in lines[1:]]
    assert [row[:2] for row in rows] == [
        [SENSOR, "running"], ["edgeAgent", "running"], ["edgeHub", "running"],
    ]  # fmt: skip
    assert all(row[2] == "Up" for row in rows)
    assert rows[0][-1] == manifest.SENSOR
    # For scripts.
    document = json.loads(good(edge.iotedge("list", "--output", "json")))
    assert json.dumps(document).count('"running"') >= 3


def test_step_3_the_sensors_lines_scroll_by(edge):
    def lines():
        return good(edge.iotedge("logs", SENSOR)).splitlines()

    until("messages", lambda: sum("Sending message: " in line for line in lines()) >= 3, 30)
    assert "Starting Module" in lines()[0]
    assert len(good(edge.iotedge("logs", SENSOR, "--tail", "2")).splitlines()) == 2


def test_step_3_following_goes_on(edge):
    import subprocess

    command = [str(edge.iotedge_path), "-H", f"unix://{edge.socket}", "logs", SENSOR, "-f", "--tail", "1"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        texts = [following.stdout.readline() for _ in range(3)]
    finally:
        following.kill()
        following.wait()
    assert all("Sending message: " in text for text in texts), texts


def check(edge, *arguments):
    """The daemon of this test was told on its command line where the hub is; so is the check."""
    return edge.iotedge(
        "check",
        *("--container-engine-config-file", edge.daemon_json),
        *("--config", edge.config, "--hub-ca", edge.hub.ca_path, "--hub-address", edge.hub.address),
        *arguments,
        deadline=120,
    )


def test_step_4_check_gives_exactly_the_four_warnings(edge):
    document = json.loads(check(edge, "--output", "json").stdout)
    results = {name: entry["result"]["result"] for name, entry in document["checks"].items()}
    bad = {name: result for name, result in results.items() if result not in ("ok", "ignored", "skipped")}
    assert bad == {
        "container-engine-dns": "warning",
        "container-engine-logrotate": "warning",
        "edge-agent-storage-mounted-from-host": "warning",
        "edge-hub-storage-mounted-from-host": "warning",
    }, json.dumps(document, indent=1)
    assert list(results.values()).count("ok") >= 5


def test_step_4_as_a_person_reads_it(edge):
    result = check(edge)
    assert result.returncode == 0, result.stderr
    warnings = [line for line in result.stdout.splitlines() if line.startswith("‼")]
    assert len(warnings) == 4, result.stdout
    assert "× " not in result.stdout
    assert "4 check(s) raised warnings" in result.stdout
    assert check(edge, "--warnings-as-errors").returncode == 1


def test_restart_of_a_module_is_told(edge):
    assert f"Restarted {SENSOR}" in good(edge.iotedge("restart", SENSOR))
    until("it sends again", lambda: "Sending message: 1," in good(edge.iotedge("logs", SENSOR, "--tail", "50")), 30)
    result = edge.iotedge("restart", "nobody")
    assert result.returncode != 0 and "nobody" in result.stderr
