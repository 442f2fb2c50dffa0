"""The guide's walk (`tools.md` §0), typed by a user of the machine from its first to its last command.

What the guide does in the portal is done through the service SDK, as the portal does it."""

import json

import pytest

from harness import manifest
from packages.machine import SENSOR

pytestmark = [pytest.mark.docker, pytest.mark.packages]

# As the guide gives them.
STORAGE = "/tmp/storage"
FRESH = [
    "DNS server",
    "production readiness: logs policy",
    "production readiness: Edge Agent's storage directory is persisted on the host filesystem",
    "production readiness: Edge Hub's storage directory is persisted on the host filesystem",
]


def warnings(text):
    """The titles of what is not well."""
    marked = [line for line in text.splitlines() if line.startswith(("‼", "×"))]
    return [line.removeprefix("‼ ").removesuffix(" - Warning") for line in marked]


def test_step_1_all_services_run(machine):
    lines = machine.type("sudo iotedge system status").splitlines()
    assert lines[0] == "System services:"
    states = {line.split()[0]: line.split()[1] for line in lines if line.startswith("    ")}
    assert len(states) == 5 and set(states.values()) <= {"Running", "Ready"}, lines


def test_step_2_three_modules_run(machine):
    lines = machine.type("sudo iotedge list").splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "DESCRIPTION", "Config"]
    assert [line.split()[:2] for line in lines[1:]] == [
        [SENSOR, "running"], ["edgeAgent", "running"], ["edgeHub", "running"],
    ]  # fmt: skip


def test_step_3_the_sensors_lines_scroll_by(machine):
    # The pipe's end is this reader's Ctrl-C.
    text = machine.type(f"sudo iotedge logs {SENSOR} -f | grep --max-count=3 'Sending message: '")
    assert len(text.splitlines()) == 3


def test_step_4_four_warnings(machine):
    text = machine.type("sudo iotedge check")
    assert warnings(text) == FRESH, text


def test_step_5_modules_come_back_when_the_engine_restarts(machine):
    began = machine.started()
    settings = json.dumps({"dns": ["1.1.1.1"], "log-driver": "local"})
    machine.type(f"echo '{settings}' | sudo tee /etc/docker/daemon.json")
    machine.type("sudo systemctl restart docker", deadline=120)
    machine.wait_until_started_after(began)
    assert machine.is_active()


def test_step_6_folders_are_made(machine):
    machine.type("mkdir /tmp/edgeAgent")
    # The guide's slip: it means /tmp/edgeHub.
    assert machine.box.run("mkdir", "/tmp/edgeAgent").returncode != 0
    machine.type("mkdir /tmp/tempSensor && sudo chown 1000 /tmp/tempSensor && sudo chmod 700 /tmp/tempSensor")


def test_steps_7_to_9_storage_on_the_host(machine):
    env = {"storageFolder": STORAGE}
    sensor = manifest.sensor()
    sensor["env"]["storageFolder"] = {"value": STORAGE}
    sensor["settings"]["createOptions"] = json.dumps(binds("/tmp/tempSensor"))
    content = manifest.deployment({SENSOR: sensor}, edge_hub_env=env, edge_hub_options=binds("/tmp/edgeHub"))
    agent = content.modules_content["$edgeAgent"]["properties.desired"]["systemModules"]["edgeAgent"]
    agent["env"] = {"storageFolder": {"value": STORAGE}}
    agent["settings"]["createOptions"] = json.dumps(binds("/tmp/edgeAgent"))
    began = machine.started()
    machine.apply(content)
    machine.wait_until_started_after(began)
    mark = machine.hub.events.mark()
    machine.hub.events.wait_for(f"{machine.device_id}/{SENSOR}", 2, mark)
    # What they keep is on the host: the folders of root, and the one that engines make where none is.
    for folder in ("/tmp/edgeAgent", "/tmp/edgeHub"):
        assert machine.type(f"sudo ls -A {folder}").split() != [], folder


def test_step_10_nothing_is_left_to_warn_of(machine):
    text = machine.type("sudo iotedge check")
    assert warnings(text) == [], text


def binds(folder):
    return {"HostConfig": {"Binds": [f"{folder}:{STORAGE}"]}}

