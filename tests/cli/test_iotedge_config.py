"""The device's own tool against a real runtime: its configuration, its services, its support bundle."""

import json
import tomllib
import zipfile
from pathlib import Path

import pytest

from harness import manifest
from harness.edge import Edge
from harness.wait import until

FAILED, USAGE, UNREACHABLE, NOT_FOUND, CONFLICT = 1, 2, 3, 5, 6
SENSOR = "SimulatedTemperatureSensor"
PASSWORD = "planted-password-of-nobody"


@pytest.fixture(scope="module")
def edge(hub):
    # A secret where only the bundle's redaction can find it.
    edge = Edge(hub, config=f'[agent.env]\nPLANTED = "{PASSWORD}"\n').start()
    try:
        sensor = manifest.sensor()
        sensor["env"] = {**sensor.get("env", {}), "PLANTED_TOO": {"value": PASSWORD}}
        edge.deploy(manifest.deployment({SENSOR: sensor}, {"up": "FROM /messages/* INTO $upstream"}))
        edge.wait_until_hub_listens()
        yield edge
        assert edge.service.is_running
    finally:
        edge.stop()
    assert "panicked" not in edge.service.log(whole=True)


@pytest.fixture
def iotedge(edge):
    """Runs the tool; demands an exit code."""

    def run(*arguments, code=0, **options):
        result = edge.iotedge(*arguments, **options)
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result

    return run


def variable_of_sensor(edge, name):
    """A variable of the module's process; none while there is not exactly one."""
    pids = edge.module_processes(SENSOR)
    if len(pids) != 1:
        return None
    try:
        variables = Path(f"/proc/{pids[0]}/environ").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        # It has ended meanwhile.
        return None
    return dict(text.split("=", 1) for text in variables if "=" in text).get(name)


def test_a_changed_configuration_takes_effect_without_removing_modules(hub, edge, iotedge):
    before = edge.config.read_text()
    assert variable_of_sensor(edge, "UpstreamProtocol") is None
    edge.config.write_text(before + 'UpstreamProtocol = "AmqpWs"\n')
    edge.config.chmod(0o644)
    (process,) = edge.module_processes("$edgeHub")
    assert "begins anew" in iotedge("config", "apply", "-c", edge.config, deadline=60).stdout
    # It holds a key, whatever mode it had.
    assert edge.config.stat().st_mode & 0o777 == 0o600
    until("the module is told", lambda: variable_of_sensor(edge, "UpstreamProtocol") == "AmqpWs", 60)
    until("the edge hub is another", lambda: process not in edge.module_processes("$edgeHub"), 60)
    edge.wait_until_applied()
    hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=2, since=hub.events.mark(), deadline=60)


def test_a_wrong_configuration_is_refused_with_its_line_and_changes_nothing(edge, iotedge, tmp_path):
    before = edge.config.read_text()
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("hostnam = 'x'\n" + before)
    for arguments in (("-c", wrong), ("-c", wrong, "--target", edge.config)):
        said = iotedge("config", "apply", *arguments, code=FAILED).stderr
        assert f"{wrong}:1: hostnam is not a key of config.toml here; did you mean hostname?" in said
    assert edge.config.read_text() == before
    assert "config mp" in iotedge("config", "apply", "-c", tmp_path / "none", code=NOT_FOUND).stderr


def test_a_first_configuration(edge, iotedge, tmp_path):
    path = tmp_path / "config.toml"
    arguments = ("config", "mp", "--connection-string", edge.device.connection_string(), "-o", path)
    assert str(path) in iotedge(*arguments).stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert "--force" in iotedge(*arguments, code=CONFLICT).stderr
    iotedge(*arguments, "--force")
    said = iotedge("config", "mp", "--connection-string", "HostName=h", "-o", tmp_path / "x", code=USAGE)
    assert "connection_string is wrong" in said.stderr


def test_a_configuration_of_the_first_iot_edge_is_converted(edge, iotedge, tmp_path):
    old, new = tmp_path / "config.yaml", tmp_path / "config.toml"
    old.write_text(
        "provisioning:\n"
        '  source: "manual"\n'
        f'  device_connection_string: "{edge.device.connection_string()}"\n'
        "hostname: edge-1\n"
        "colour: red\n"
        "moby_runtime:\n"
        '  uri: "unix:///run/docker.sock"\n'
    )
    arguments = ("config", "import", "-c", old, "-o", new)
    done = iotedge(*arguments)
    assert f"sudo iotedge config apply -c '{new}'" in done.stdout
    assert f"note: {old}:5: colour is left out" in done.stderr
    assert new.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads(new.read_text()) == {
        "hostname": "edge-1",
        "auto_reprovisioning_mode": "OnErrorOnly",
        "provisioning": {"source": "manual", "connection_string": edge.device.connection_string()},
        "moby_runtime": {"uri": "unix:///run/docker.sock", "network": "azure-iot-edge"},
    }
    # Nothing is replaced by accident; what cannot be applied is said, and what cannot be read.
    assert "--force" in iotedge(*arguments, code=CONFLICT).stderr
    old.write_text("parent_hostname: above\n" + old.read_text())
    assert "parent_hostname is not served yet" in iotedge(*arguments, "--force").stdout
    before = new.read_text()
    old.write_text("provisioning: { source: manual }\n")
    said = iotedge(*arguments, "--force", code=FAILED).stderr
    assert f"{old}:1: provisioning.device_connection_string is missing" in said
    assert new.read_text() == before
    assert "name the old file" in iotedge("config", "import", "-c", tmp_path / "x", code=NOT_FOUND).stderr


def test_the_level_of_the_log_changes_and_stays(edge, iotedge):
    assert "debug" in iotedge("system", "set-log-level", "debug").stdout
    until("debug lines are logged", lambda: "[DBG]" in edge.service.log(), 60)
    assert "give error, warn" in iotedge("system", "set-log-level", "loud", code=FAILED).stderr
    restart_and_wait(edge, iotedge, "restart")
    assert (edge.dir / "home/log-level").read_text() == "debug"
    iotedge("system", "set-log-level", "info")
    until("the level is kept", lambda: (edge.dir / "home/log-level").read_text() == "info", 30)


def restart_and_wait(edge, iotedge, verb):
    """The modules are others afterwards, and run."""
    before = edge.module_processes(SENSOR)
    assert len(before) == 1
    iotedge("system", verb, deadline=60)
    until(
        "the module was restarted",
        lambda: len(edge.module_processes(SENSOR)) == 1 and edge.module_processes(SENSOR) != before,
        90,
    )
    until("all services run", lambda: edge.iotedge("system", "status").returncode == 0, 60)
    edge.wait_until_applied()


def test_provisioning_anew_restarts_the_modules(hub, edge, iotedge):
    registry = hub.registry()
    before = registry.get_module(edge.device_id, "$edgeAgent").authentication.symmetric_key.primary_key
    restart_and_wait(edge, iotedge, "reprovision")
    assert registry.get_module(edge.device_id, "$edgeAgent").authentication.symmetric_key.primary_key == before


def test_where_the_log_of_a_runtime_is_that_is_no_service(edge, iotedge):
    said = iotedge("system", "logs", "--", "-f", code=FAILED).stderr
    assert f"the runtime is process {edge.service.process.pid}" in said


def test_the_support_bundle_tells_much_and_no_secret(edge, iotedge, tmp_path):
    path = tmp_path / "bundle.zip"
    said = iotedge("support-bundle", "--config", edge.config, "-o", path, "--since", "1h", deadline=120)
    assert "Gathering" in said.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 32 << 20
    with zipfile.ZipFile(path) as bundle:
        assert bundle.testzip() is None
        files = {name: bundle.read(name).decode() for name in bundle.namelist()}
    assert {
        "README.txt", "check.json", "config.toml", "list.json", "logs/edgeHub.log", f"logs/{SENSOR}.log",
        "system_info.json", "system_resources.json", "versions.json",
    } <= set(files)  # fmt: skip
    assert {row["name"] for row in json.loads(files["list.json"])} == {"edgeAgent", "edgeHub", SENSOR}
    assert "checks" in json.loads(files["check.json"])
    assert f"{edge.host_name}" in files["config.toml"]
    assert "Sending message" in files[f"logs/{SENSOR}.log"]
    # What is not there is said: these modules are no containers, this runtime is no service.
    assert "container edgeHub: " in files["README.txt"]
    assert "logs/edge-runtime.log: " in files["README.txt"]
    for name, text in files.items():
        for secret in (edge.device.key, edge.device.key.rstrip("="), PASSWORD):
            assert secret not in text, name

    iotedge("support-bundle", "-q", "-e", "--tail", "2", "-o", path, deadline=120)
    with zipfile.ZipFile(path) as bundle:
        assert "logs/edgeHub.log" in bundle.namelist()
        assert f"logs/{SENSOR}.log" not in bundle.namelist()
    assert "invalid value of --since" in iotedge("support-bundle", "--since", "yesterday", code=USAGE).stderr


def test_a_runtime_that_is_stopped_says_so_everywhere(edge, iotedge):
    assert "being stopped" in iotedge("system", "stop", deadline=60).stdout
    until("the program has ended", lambda: not edge.service.is_running, 60)
    assert edge.module_processes(SENSOR) == []
    assert "Down" in iotedge("system", "status", code=FAILED).stdout
    for verb in (["restart"], ["stop"], ["set-log-level", "info"], ["reprovision"], ["logs"]):
        said = iotedge("system", *verb, code=UNREACHABLE).stderr
        assert "is not running" in said or "no runtime listens" in said
    # The configuration can be changed all the same; it holds from the next start on.
    assert "when it is started" in iotedge("config", "apply", "-c", edge.config).stdout
    edge.start()
    edge.wait_until_applied()
