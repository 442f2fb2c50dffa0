"""`iotedge system` and `iotedge support-bundle` where systemd runs the runtime."""

import io
import json
import subprocess
import zipfile

import pytest

from harness.wait import until

pytestmark = [pytest.mark.docker, pytest.mark.packages]


def test_status_follows_the_unit(machine):
    assert machine.type("sudo iotedge system stop") == "aziot-edged.service was stopped\n"
    assert not machine.is_active()
    assert machine.box.good("docker", "ps", "-q") == ""
    stopped = machine.box.run("iotedge", "system", "status")
    assert stopped.returncode == 1 and stopped.stdout.count(" Down") == 5, stopped.stdout
    assert machine.type("sudo iotedge system restart") == "aziot-edged.service was restarted\n"
    assert machine.is_active()
    machine.wait_until_all_run()
    assert " Down" not in machine.type("sudo iotedge system status")


def test_logs_are_those_of_the_journal(machine):
    text = machine.type("sudo iotedge system logs")
    assert "edge runtime started" in text and "systemd[1]: Started aziot-edged.service" in text
    assert len(machine.type("sudo iotedge system logs -- -n 3 -o cat").splitlines()) == 3
    # Priorities are the journal's.
    errors = machine.type("sudo iotedge system logs -- -p err -o cat")
    assert "[INF]" not in errors


def test_a_log_level_holds_over_a_restart(machine):
    machine.type("sudo iotedge system set-log-level debug")
    machine.type("sudo iotedge system restart")
    until("debug lines", lambda: "[DBG]" in machine.type("sudo iotedge system logs -- -n 200 -o cat"), 20)
    machine.type("sudo iotedge system set-log-level info")
    machine.wait_until_all_run()


def test_reprovisioning(machine):
    began, pid = machine.started(), machine.main_pid()
    machine.type("sudo iotedge system reprovision")
    machine.wait_until_started_after(began)
    assert machine.main_pid() == pid


def test_a_killed_runtime_is_started_again_and_its_modules_go_on(machine):
    began = machine.started()
    pid = machine.main_pid()
    machine.box.good("kill", "-KILL", pid)
    until("it runs again", lambda: machine.main_pid() not in ("0", pid) and machine.is_active(), 30)
    machine.wait_until_all_run()
    assert machine.started() == began


def test_a_wrong_configuration_is_not_tried_again(machine):
    box = machine.box
    box.good("cp", "-p", "/etc/aziot/config.toml", "/root/good.toml")
    box.good("bash", "-c", "echo 'hostnam = 1' > /etc/aziot/config.toml")
    refused = box.run("iotedge", "config", "apply")
    assert refused.returncode != 0 and "did you mean hostname" in refused.stderr
    box.run("systemctl", "restart", "aziot-edged")
    shown = lambda: box.good("systemctl", "show", "-p", "ExecMainStatus", "-p", "ActiveState", "aziot-edged").split()
    until("it has given up", lambda: set(shown()) == {"ExecMainStatus=153", "ActiveState=failed"}, 20)
    machine.type("sudo iotedge config apply -c /root/good.toml")
    machine.wait_until_all_run()


def test_the_bundle_has_the_journal_and_no_secret(machine):
    machine.type("sudo iotedge support-bundle -o /root/bundle.zip --quiet", deadline=180)
    assert machine.box.facts("/root/bundle.zip") == ["600 root:root"]
    copied = subprocess.run(
        ["docker", "exec", machine.box.name, "cat", "/root/bundle.zip"], capture_output=True, check=True
    )
    bundle = zipfile.ZipFile(io.BytesIO(copied.stdout))
    journal = bundle.read("logs/edge-runtime.log").decode()
    assert "edge runtime started" in journal and "Started aziot-edged.service" in journal
    assert {"check.json", "config.toml", "list.json", "inspect/edgeHub.json"} <= set(bundle.namelist())
    for name in bundle.namelist():
        assert machine.device.key not in bundle.read(name).decode(), name


def test_check_names_the_platform_and_its_tier(machine):
    last = machine.type("sudo iotedge check --verbose").splitlines()[-1]
    assert last.startswith("This device: debian 12, engine 20.10.") and ": tier 1 (" in last, last
    told = json.loads(machine.type("sudo iotedge check -o json"))["additional_info"]["platform"]
    assert told["tier"] == 1 and f"This device: {told['description']}" == last
