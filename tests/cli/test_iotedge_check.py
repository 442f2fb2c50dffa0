"""`iotedge check` with the real program and a real runtime: its documents and exit codes, and the production
checklist of a device that is made better row by row. The unit tests have a device that fails and one that
passes for every row; here is what only a running device shows."""

import json
import subprocess

import pytest

from harness import docker, manifest
from harness.edge import Edge
from harness.hub import Hub
from harness.wait import until

NETWORK = "farshore-test-check"
SENSOR = "SimulatedTemperatureSensor"


def check(edge, *arguments, config=None):
    """The daemon of this test was told on its command line where the hub is; so is the check."""
    return edge.iotedge(
        "check",
        *("--container-engine-config-file", edge.daemon_json),
        *("--config", config or edge.config, "--hub-ca", edge.hub.ca_path, "--hub-address", edge.hub.address),
        *arguments,
        deadline=120,
    )


def results(completed):
    """Results by id, whatever the exit code."""
    document = json.loads(completed.stdout)
    return {name: entry["result"]["result"] for name, entry in document["checks"].items()}


def rows(edge, *arguments):
    return json.loads(check(edge, "--production", "-o", "json", *arguments).stdout)["checks"]


@pytest.fixture(scope="module")
def processes(trust, tmp_path_factory):
    hub = Hub(trust).start()
    edge = Edge(hub)
    try:
        edge.start()
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
        edge.daemon_json = tmp_path_factory.mktemp("engine") / "daemon.json"
        yield edge
    finally:
        edge.stop()
        hub.stop()


def test_a_good_device_without_an_engine_has_exit_code_0(processes):
    completed = check(processes, "-o", "json")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    found = results(completed)
    assert set(found.values()) <= {"ok", "ignored"}, found
    for name in ("aziot-edged-config-well-formed", "config-up-to-date", "keyd-running", "host-connect-iothub-amqp"):
        assert found[name] == "ok", found
    # Without a meaning here, but there.
    assert found["host-connect-dps-endpoint"] == "ignored"


def test_every_listed_check_can_be_left_out_and_is_said_to_have_no_meaning_if_so(processes):
    listed = json.loads(processes.iotedge("check-list", "-o", "json").stdout)
    plain = [entry["id"] for name, section in listed.items() if "Production" not in name for entry in section]
    completed = check(processes, "-o", "json", "--dont-run", *plain)
    assert completed.returncode == 0, completed.stderr
    assert results(completed) == dict.fromkeys(plain, "ignored")
    assert "check tpmd-running has no meaning here: no TPM" in completed.stderr
    assert "check hostname has no meaning" not in completed.stderr
    completed = check(processes, "--dont-run", "certificates-quickstart")
    assert completed.returncode == 0 and "older version" in completed.stderr
    completed = check(processes, "--dont-run", "nonsense")
    assert completed.returncode == 2 and "check-list" in completed.stderr


def test_options_of_the_original_are_taken_or_answered(processes):
    completed = check(processes, "-o", "json", "--expected-aziot-edged-version", "99.0.0", "--verbose")
    assert results(completed)["aziot-edge-version"] == "warning"
    assert completed.returncode == 0
    completed = check(processes, "--expected-aziot-edged-version", "99.0.0", "--warnings-as-errors")
    assert completed.returncode == 1
    assert "‼ aziot-edge package is up-to-date - Warning" in completed.stdout
    completed = check(processes, "--diagnostics-image-name", "x:1", "--ntp-server", "a:123", "--aziot-edged", "/x")
    assert completed.returncode == 0
    for option in ("--diagnostics-image-name", "--ntp-server", "--aziot-edged"):
        assert f"note: {option} has no effect" in completed.stderr
    assert "\x1b[" not in completed.stdout
    assert "\x1b[32m√ " in check(processes, "--color", "always").stdout


def test_a_changed_configuration_is_told_until_it_is_applied(processes):
    text = processes.config.read_text()

    def result():
        return results(check(processes, "-o", "json"))["config-up-to-date"]

    def changed():
        # The moment of the change is known to the second; the runtime began a few before.
        processes.config.write_text(text + "# changed\n")
        return result() == "warning"

    until("the change is noticed", changed, 20)
    assert processes.iotedge("config", "apply", "-c", processes.config).returncode == 0
    until("it is in effect", lambda: processes.answers() and result() == "ok", 60)


def test_a_wrong_configuration_is_an_error_and_others_are_skipped(processes, tmp_path):
    wrong = tmp_path / "config.toml"
    wrong.write_text("hostnam = 'x'\n")
    wrong.chmod(0o600)
    completed = check(processes, "-o", "json", config=wrong)
    assert completed.returncode == 1
    found = results(completed)
    assert found["aziot-edged-config-well-formed"] == "error"
    assert found["hostname"] == "skipped"
    completed = check(processes, "--production", config=wrong)
    assert completed.returncode == 1 and "hostnam" in completed.stdout


def test_identity_by_a_certificate_of_its_own_is_looked_at(trust, tmp_path):
    hub = Hub(trust).start()
    edge = Edge(hub, credential="thumbprint")
    edge.daemon_json = tmp_path / "daemon.json"
    try:
        edge.start()
        found = results(check(edge, "-o", "json"))
        for name in ("identity-certificate-expiry", "certs-read", "key-pairs-read", "certs-match-private-keys"):
            assert found[name] in ("ok", "warning"), (name, found)
        identity = rows(edge)["prod-identity"]
        assert identity["result"]["result"] == "warning" and "second" in identity["fix"]
        # The key of another.
        key = edge.device.certificate.key_path
        good = key.read_text()
        key.write_text(hub.new_self_signed("other").certificate.key_path.read_text())
        completed = check(edge, "-o", "json")
        key.write_text(good)
        assert results(completed)["certs-match-private-keys"] == "error"
        assert completed.returncode == 1
    finally:
        edge.stop()
        hub.stop()


@pytest.fixture(scope="module")
def containers(trust, tmp_path_factory):
    if not docker.answers():
        pytest.fail("no container engine answers; start dockerd, or leave these out: -m 'not docker'")
    gateway = docker.make_network(NETWORK)
    hub = Hub(trust, also_listen=[gateway]).start()
    edge = Edge(hub, network=NETWORK)
    edge.daemon_json = tmp_path_factory.mktemp("engine") / "daemon.json"
    edge.daemon_json.write_text("{}\n")
    try:
        edge.start()
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
        yield edge
    finally:
        edge.stop()
        hub.stop()
        docker.remove_network(NETWORK)


@pytest.mark.docker
def test_a_fresh_device_has_the_guides_four_warnings_and_fixes_for_them(containers):
    completed = check(containers, "-o", "json")
    found = results(completed)
    assert completed.returncode == 0
    assert [name for name, result in found.items() if result not in ("ok", "ignored")] == [
        "container-engine-dns",
        "container-engine-logrotate",
        "edge-agent-storage-mounted-from-host",
        "edge-hub-storage-mounted-from-host",
    ]
    found = rows(containers)
    for name in ("container-engine-dns", "container-engine-logrotate", "prod-storage", "prod-identity"):
        assert found[name]["result"]["result"] == "warning", (name, found[name])
        assert found[name]["fix"], name
    for name in ("prod-upstream-consistent", "prod-upstream-deployment", "prod-firewall",
                 "prod-image-tags", "prod-twin-size", "prod-image-gc", "prod-memory", "prod-images"):  # fmt: skip
        assert found[name]["result"]["result"] == "ok", (name, found[name])
    # Machines with control groups of version 1 are still tested on.
    assert found["prod-engine"]["result"]["result"] in ("ok", "warning"), found["prod-engine"]
    # None of ours is among the plain ones.
    assert not [name for name in results(completed) if name.startswith(("prod-", "offline-"))]


def from_containers(edge):
    """Results of the checks that are made from within containers, by network and port."""
    document = json.loads(check(edge, "-o", "json").stdout)["checks"]
    found = {}
    for name, entry in document.items():
        kind, separator, port = name.rpartition("connect-upstream-")
        if separator:
            found["default" if "default" in kind else "modules", port] = entry["result"]
    left = docker.docker("ps", "-aq", "--filter", "label=farshore.check")
    assert left == "", "a check leaves no container behind"
    return found


@pytest.mark.docker
def test_containers_that_reach_the_hub_say_so_and_so_do_those_that_do_not(containers):
    assert {key: result["result"] for key, result in from_containers(containers).items()} == {
        ("default", "amqp"): "ok", ("default", "https"): "ok", ("default", "mqtt"): "ignored",
        ("modules", "amqp"): "ok", ("modules", "https"): "ok", ("modules", "mqtt"): "ignored",
    }  # fmt: skip
    # One port is closed for the modules' network alone.
    (network,) = json.loads(docker.docker("network", "inspect", NETWORK))
    rule = ["INPUT", "-i", f"br-{network['Id'][:12]}", "-p", "tcp", "--dport", "5671"]
    rule += ["-j", "REJECT", "--reject-with", "tcp-reset"]
    subprocess.run(["iptables", "-I", *rule], check=True)
    try:
        found = from_containers(containers)
    finally:
        subprocess.run(["iptables", "-D", *rule], check=True)
    assert [key for key, result in found.items() if result["result"] == "error"] == [("modules", "amqp")], found
    text = " ".join(found["modules", "amqp"]["details"])
    assert "5671" in text and "refused" in text, text
    # And without a hub, nobody reaches it.
    containers.hub.kill()
    try:
        found = from_containers(containers)
        assert {result["result"] for key, result in found.items() if key[1] != "mqtt"} == {"error"}, found
    finally:
        containers.hub.start()


@pytest.mark.docker
def test_how_long_it_can_be_offline_is_computed_from_what_it_sends(containers):
    def capacity(*arguments):
        row = rows(containers, *arguments)["offline-capacity"]
        return row["result"]["result"], row["result"]["details"][0], row.get("fix", "")

    # The rate can be told when the edge hub has run for half a minute.
    until("a rate is measured", lambda: capacity()[0] != "unknown", 90)
    result, why, _ = capacity()
    assert result == "ok" and "messages/s" in why, why
    # The deployment's time to live is two hours.
    assert "can be offline for 2 hours, then messages expire" in why
    result, why, fix = capacity("--offline-for", "30d")
    assert result == "warning" and "30 days are planned" in why and "timeToLiveSecs" in fix


@pytest.mark.docker
def test_rows_pass_when_the_deployment_carries_what_they_want(containers, tmp_path):
    options = {
        "HostConfig": {
            "Dns": ["1.1.1.1"],
            "LogConfig": {"Type": "local"},
            "Memory": 256 << 20,
        }
    }
    hub_options = {"HostConfig": {**options["HostConfig"], "Binds": [f"{tmp_path}:/storage"]}}
    tmp_path.chmod(0o777)
    sensor = manifest.module(manifest.SENSOR, {"MessageDelay": "00:00:01", "MessageCount": "-1"}, options)
    containers.deploy(
        manifest.deployment(
            {SENSOR: sensor},
            edge_hub_env={"storageFolder": "/storage", "UpstreamProtocol": "Mqtt"},
            edge_hub_options=hub_options,
        )
    )
    found = rows(containers)
    for name in ("container-engine-dns", "container-engine-logrotate", "prod-elevated"):
        assert found[name]["result"]["result"] == "ok", (name, found[name])
    # The agent speaks AMQP.
    consistent = found["prod-upstream-consistent"]
    assert consistent["result"]["result"] == "error" and "Mqtt" in consistent["fix"]
    assert check(containers, "--production").returncode == 1


@pytest.mark.docker
def test_the_checklist_as_a_person_reads_it(containers):
    text = check(containers, "--production").stdout
    lines = text.splitlines()
    assert lines[0] == "Production checklist (--production)"
    assert "Besides the checklist" in lines
    heads = [line for line in lines if line.startswith(("√ ", "‼ ", "× ", "? "))]
    assert len(heads) == 28, text
    assert heads[0].startswith(("√ Production certificates [important]", "‼ Production certificates [important]"))
    assert any(line.startswith("    fix: ") for line in lines)
