"""The package is installed, and the machine becomes an edge device: users, files, sockets, units
(`edge-runtime.md` §8)."""

import hashlib
import subprocess

import pytest

from packages.machine import FIRST, SENSOR, USER, package

pytestmark = [pytest.mark.docker, pytest.mark.packages]


def test_the_same_program_makes_the_same_package(packages, tmp_path):
    whole = tmp_path / "whole"
    subprocess.run(["dpkg-deb", "--raw-extract", packages[FIRST], whole], check=True)
    again = package(whole / "usr/bin/farshore", FIRST, tmp_path)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (packages[FIRST], again)}
    assert len(digests) == 1


def test_installation_says_what_comes_next(machine):
    said = machine.box.good("dpkg", "--install", f"/root/farshore-{FIRST}.deb")
    assert "sudo iotedge config mp --connection-string" in said
    assert machine.box.good("iotedge", "--version") == f"iotedge {FIRST}\n"
    assert machine.box.good("farshore", "--version") == f"farshore {FIRST}\n"
    # Nothing that was installed has another content than the package says; this machine wants no documents.
    wrong = machine.box.run("dpkg", "--verify", "farshore").stdout.splitlines()
    assert [line for line in wrong if "/usr/share/doc/" not in line] == []


def test_users_and_groups(machine):
    groups = {name: set(machine.box.good("id", "-nG", name).split()) for name in ("iotedge", "farshore", USER)}
    assert groups == {
        "iotedge": {"iotedge", "docker", "systemd-journal"},
        "farshore": {"farshore"},
        # Who may become root anyway.
        USER: {USER, "sudo", "iotedge"},
    }
    shells = machine.box.type("getent passwd iotedge farshore | cut -d: -f7").split()
    assert all(shell.endswith("nologin") for shell in shells)


def test_nothing_runs_before_it_is_configured(machine):
    facts = machine.box.facts("/etc/aziot", "/etc/aziot/config.toml.edge.template", "/var/lib/aziot", "/var/lib/aziot/edged")
    assert facts == ["755 root:root", "600 root:root", "755 root:root", "755 iotedge:iotedge"]
    states = machine.box.run("systemctl", "is-enabled", "aziot-edged", "farshore-hub").stdout.split()
    assert states == ["enabled", "disabled"]
    assert not machine.is_active("aziot-edged") and not machine.is_active("farshore-hub")
    assert machine.box.good("systemctl", "--failed", "--no-legend") == ""


def test_the_template_is_a_configuration_when_its_examples_are_put_in(machine):
    template = machine.box.read("/etc/aziot/config.toml.edge.template")
    lines = [line.removeprefix("# ") for line in template.splitlines()]
    kept = [line for line in lines if line.startswith("[") or " = " in line]
    blocks, chosen = "\n".join(kept).split("[provisioning]\n"), []
    # Three ways to say who the device is; each by itself is good.
    before, ways, after = blocks[0], blocks[1:], ""
    ways[-1], after = ways[-1].split("[agent.env]", 1)
    chosen = [f"{before}[provisioning]\n{way}[agent.env]{after}" for way in ways]
    assert len(chosen) == 3
    machine.box.write("/root/device.pem", "")
    for text in chosen:
        text = text.replace("SharedAccessKey=...", "SharedAccessKey=a2V5a2V5a2V5a2V5")
        machine.box.write("/root/config.toml", text)
        machine.box.good("chmod", "600", "/root/config.toml")
        result = machine.box.run("farshore", "edge", "--check", "--config", "/root/config.toml")
        assert result.returncode == 0, f"{result.stderr}\n{text}"


def test_the_hub_runs_once_it_is_enabled(machine):
    box = machine.box
    box.good("systemctl", "enable", "--now", "farshore-hub")
    # It listens when it has written its CA.
    box.type("for i in $(seq 100); do [ -e /var/lib/farshore/hub/ca.pem ] && exec 3<>/dev/tcp/127.0.0.1/9640 && break; sleep 0.1; done")
    assert box.good("ps", "-C", "farshore", "-o", "user=").split() == ["farshore"]
    assert box.facts("/var/lib/farshore") == ["700 farshore:farshore"]
    box.good("systemctl", "reload", "farshore-hub")
    login = box.good("farshore", "hub", "--settings", "/etc/farshore/hub.toml", "--print-login").strip()
    environment = f"FARSHORE_LOGIN='{login}' FARSHORE_CA=/var/lib/farshore/hub/ca.pem"
    box.type(f"{environment} farshore device create thermostat-1")
    assert "thermostat-1" in box.type(f"{environment} farshore device list")
    box.good("systemctl", "disable", "--now", "farshore-hub")


def test_the_device_gets_its_configuration(machine):
    box = machine.box
    said = machine.type(f"sudo iotedge config mp --connection-string '{machine.connection_string}'")
    assert "sudo iotedge config apply" in said
    # Its hub has a CA of its own.
    box.write("/etc/aziot/hub-ca.pem", machine.hub.ca_pem)
    box.good("sed", "-i", '1i trust_bundle_cert = "file:///etc/aziot/hub-ca.pem"', "/etc/aziot/config.toml")
    said = machine.type("sudo iotedge config apply")
    assert said == "/etc/aziot/config.toml is good; aziot-edged.service was restarted with it.\n"
    status = machine.type("sudo systemctl status aziot-edged --no-pager")
    assert "Active: active (running)" in status
    # Root wrote it; the runtime's user alone reads it from now on.
    assert box.facts("/etc/aziot/config.toml") == ["600 iotedge:iotedge"]
    refused = box.run("iotedge", "config", "mp", "--connection-string", machine.connection_string)
    assert refused.returncode == 6 and "--force" in refused.stderr


def test_its_modules_run(machine):
    machine.deploy()
    machine.wait_until_all_run()
    machine.hub.events.wait_for(f"{machine.device_id}/{SENSOR}", 2)
    assert machine.box.good("ps", "-o", "user=", "-p", machine.main_pid()).strip() == "iotedge"


def test_sockets_are_open_to_whom_they_are_meant_for(machine):
    box = machine.box
    assert box.facts("/run/iotedge/mgmt.sock") == ["660 iotedge:iotedge"]
    (socket,) = box.type(f"ls -d /var/lib/aziot/edged/mnt/{SENSOR}/*.sock").split()
    assert box.facts(socket) == ["666 iotedge:iotedge"]
    assert SENSOR in box.good("iotedge", "list", user=USER)
    stranger = box.run("iotedge", "list", user="nobody")
    assert stranger.returncode == 4, stranger
    assert "run as root or as a member of" in stranger.stderr
    secret = box.run("cat", "/etc/aziot/config.toml", user=USER)
    assert secret.returncode != 0
    for path in ("keys", "certs", "identities"):
        assert box.facts(f"/var/lib/aziot/edged/{path}") == ["700 iotedge:iotedge"]


def test_the_units_are_hardened(machine):
    """The runtime may do what its unit says, and no more; figures as in the guide."""
    for unit, most in (("aziot-edged", 2.0), ("farshore-hub", 1.5)):
        told = machine.box.good("systemd-analyze", "security", "--no-pager", unit).splitlines()
        (line,) = [line for line in told if "Overall exposure level" in line]
        assert float(line.split(":")[1].split()[0]) <= most, line
    status = machine.box.read(f"/proc/{machine.main_pid()}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines())
    assert facts["NoNewPrivs"] == "1" and facts["Seccomp"] == "2"
    # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER.
    assert int(facts["CapBnd"], 16) == 0b1011
    # What it sees of the file system, as it sees it.
    inside = f"nsenter -t {machine.main_pid()} -m --"
    for path in ("/etc/aziot/x", "/usr/bin/x", "/boot/x", "/var/lib/x", "/sys/x"):
        assert machine.box.run("bash", "-c", f"{inside} touch {path}").returncode != 0, path
    assert machine.box.type(f"{inside} ls -A /home /root").split() == ["/home:", "/root:"]
