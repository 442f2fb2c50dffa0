"""A second version, removal, and purge: what stays and what goes."""

import re

import pytest

from harness.wait import until
from packages.machine import FIRST, SECOND, SENSOR

pytestmark = [pytest.mark.docker, pytest.mark.packages]

STATE = "cd /var/lib/aziot/edged && find keys identities certs -type f -exec sha256sum {} + | sort -k 2"


def sent(machine):
    """The number of the newest message that the sensor has begun to send."""
    numbers = re.findall(r"Sending message: (\d+),", machine.box.good("iotedge", "logs", SENSOR, "--tail", "20"))
    return int(numbers[-1]) if numbers else 0


def test_an_upgrade_keeps_configuration_identity_and_stored_messages(machine):
    box = machine.box
    config = box.read("/etc/aziot/config.toml")
    box.good("bash", "-c", "echo '# mine' >> /etc/farshore/hub.toml")
    mark = machine.hub.events.mark()
    machine.hub.events.wait_for(f"{machine.device_id}/{SENSOR}", 1, mark)
    identity = box.type(STATE)
    machine.hub.stop()
    first = sent(machine)
    until("some messages wait on the device", lambda: sent(machine) >= first + 3, 20)
    # What was begun before the last one was acknowledged.
    last = sent(machine) - 1
    pid = machine.main_pid()

    box.good("dpkg", "--force-confold", "--install", f"/root/farshore-{SECOND}.deb", deadline=120)

    assert box.good("dpkg-query", "--show", "--showformat", "${Version}", "farshore") == SECOND
    assert machine.main_pid() not in ("0", pid), "the runtime that runs is the new one"
    assert box.read("/etc/aziot/config.toml") == config
    assert box.facts("/etc/aziot/config.toml") == ["600 iotedge:iotedge"]
    assert box.read("/etc/farshore/hub.toml").endswith("# mine\n")
    machine.wait_until_all_run()
    machine.hub.start()
    machine.hub.events.wait_for(f"{machine.device_id}/{SENSOR}", last, mark, deadline=60)
    # The device is who it was: no key was made anew, but for certificates that were due.
    kept = [line for line in box.type(STATE).splitlines() if "keys/" in line or "identities/" in line]
    assert kept == [line for line in identity.splitlines() if "keys/" in line or "identities/" in line]
    until("all that waited has come", lambda: holes(machine, mark, first, last) == [], 60)


def holes(machine, mark, first, last):
    """What is missing of the messages between two, of the batch that was sent then."""
    batches = {}
    for event in machine.telemetry(mark):
        properties = event.properties
        batches.setdefault(properties["batchId"], set()).add(int(properties["sequenceNumber"]))
    wanted = set(range(first, last + 1))
    return min((sorted(wanted - numbers) for numbers in batches.values()), key=len, default=sorted(wanted))


def test_an_upgrade_leaves_alone_what_was_stopped(machine):
    machine.box.good("systemctl", "stop", "aziot-edged")
    machine.box.good("dpkg", "--force-confold", "--install", f"/root/farshore-{FIRST}.deb")
    assert not machine.is_active()
    assert machine.box.run("systemctl", "is-enabled", "aziot-edged").stdout.strip() == "enabled"
    machine.box.good("systemctl", "start", "aziot-edged")
    machine.wait_until_all_run()


def test_removal_keeps_the_data(machine):
    box = machine.box
    config = box.read("/etc/aziot/config.toml")
    keys = box.type("ls -A /var/lib/aziot/edged/keys")
    box.good("dpkg", "--remove", "farshore", deadline=120)
    assert box.run("which", "farshore", "iotedge").returncode != 0
    assert not machine.is_active()
    assert box.good("docker", "ps", "-q") == "", "modules end with their runtime"
    assert box.read("/etc/aziot/config.toml") == config
    assert box.type("ls -A /var/lib/aziot/edged/keys") == keys
    assert box.good("systemctl", "--failed", "--no-legend") == ""


def test_it_comes_back_as_who_it_was(machine):
    said = machine.box.good("dpkg", "--install", f"/root/farshore-{FIRST}.deb")
    assert "config mp" not in said, "it is configured already"
    until("it runs", machine.is_active, 20)
    machine.wait_until_all_run()


def test_purge_removes_everything(machine):
    box = machine.box
    box.good("dpkg", "--purge", "farshore", deadline=120)
    left = [path for path in ("/etc/aziot/config.toml", "/var/lib/aziot", "/var/lib/farshore", "/etc/farshore", "/run/iotedge") if box.run("test", "-e", path).returncode == 0]
    assert left == []
    # The hub's CA was put there by hand.
    assert box.good("ls", "/etc/aziot").split() == ["hub-ca.pem"]
    for user in ("iotedge", "farshore"):
        assert box.run("getent", "passwd", user).returncode != 0
        assert box.run("getent", "group", user).returncode != 0
    assert box.run("systemctl", "list-unit-files", "aziot*", "farshore*", "--no-legend").stdout == ""
    assert box.run("dpkg-query", "--status", "farshore").returncode != 0
