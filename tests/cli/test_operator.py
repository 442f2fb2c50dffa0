"""The operator's commands against a hub, with the exit codes that scripts rely on."""

import json
import subprocess

import pytest

from harness import manifest, sas, sdk
from harness.program import binary, farshore
from harness.wait import until

USAGE, UNREACHABLE, DENIED, NOT_FOUND, CONFLICT = 2, 3, 4, 5, 6


@pytest.fixture
def operate(hub):
    """Runs a command as the hub's owner; demands success unless told another exit code."""

    def run(*arguments, code=0, login=None, ca=None):
        env = {"FARSHORE_LOGIN": login or hub.login, "FARSHORE_CA": str(ca or hub.ca_path)}
        result = farshore(*arguments, env=env)
        assert result.returncode == code, f"{arguments}: {result.returncode}\n{result.stdout}{result.stderr}"
        assert hub.login_part("SharedAccessKey") not in result.stdout + result.stderr
        return result

    return run


def document(result):
    return json.loads(result.stdout)


def test_a_device_from_its_creation_to_its_end(hub, operate):
    operate("device", "create", "op-1")
    shown = operate("device", "show", "op-1", "-o", "json")
    assert document(shown)["deviceId"] == "op-1"
    # Keys are shown only when asked for.
    key = hub.registry().get_device("op-1").authentication.symmetric_key.primary_key
    assert key not in shown.stdout
    assert key in operate("device", "show", "op-1", "--show-keys", "-o", "json").stdout
    string = operate("device", "connection-string", "op-1").stdout
    assert f"HostName={hub.address};DeviceId=op-1;SharedAccessKey={key}" in string
    assert "op-1" in operate("device", "list").stdout
    # It is not deleted by a script that did not say so.
    assert operate("device", "delete", "op-1", code=USAGE).stderr
    operate("device", "delete", "op-1", "--yes")
    operate("device", "show", "op-1", code=NOT_FOUND)


def test_a_device_with_a_certificate(hub, operate):
    first, second = ":".join(["AB"] * 32), "cd" * 32
    operate("device", "create", "op-x", "--thumbprint", first, "--second-thumbprint", second)
    thumbprints = hub.registry().get_device("op-x").authentication.x509_thumbprint
    assert (thumbprints.primary_thumbprint, thumbprints.secondary_thumbprint) == ("AB" * 32, second)
    assert f"HostName={hub.address};DeviceId=op-x;x509=true" in operate("device", "connection-string", "op-x").stdout
    assert "openssl" in operate("device", "create", "op-y", "--thumbprint", "abc", code=USAGE).stderr


def test_twins_methods_and_messages(hub, device, operate):
    with sdk.connected(device) as client:
        sdk.answer_methods(client, lambda name, payload: (207, {name: payload}))
        messages, desired = sdk.listen_for_messages(client), sdk.listen_for_desired(client)
        until("it listens", lambda: hub.registry().get_twin(device.device_id).connection_state == "Connected")
        operate("twin", "update", device.device_id, "--desired", '{"a":1}', "--tags", '{"site":"north"}')
        assert desired.next()["a"] == 1
        twin = document(operate("twin", "show", device.device_id, "-o", "json"))
        assert (twin["tags"], twin["properties"]["desired"]["a"]) == ({"site": "north"}, 1)
        answer = operate("method", "invoke", device.device_id, "--name", "m", "--payload", "[1]", "-o", "json")
        assert document(answer) == {"status": 207, "payload": {"m": [1]}}
        operate("c2d", "send", device.device_id, "--body", "hello")
        assert messages.next().data == b"hello"


def test_monitor_shows_what_arrives(hub, device):
    command = [str(binary()), "monitor", "--device", device.device_id, "--login", hub.login,
               "--ca", str(hub.ca_path), "--from", "start"]  # fmt: skip
    with sdk.connected(device) as client:
        client.send_message("first of all")
        monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = monitor.stdout.readline()
            assert device.device_id in line and "first of all" in line, line
            client.send_message("and then")
            assert "and then" in monitor.stdout.readline()
        finally:
            monitor.kill()
            monitor.communicate()


def test_a_deployment_is_applied_and_a_bad_one_is_refused(hub, operate, tmp_path):
    edge = hub.new_device("edge", iot_edge=True)
    path = tmp_path / "deployment.json"
    content = {"modulesContent": manifest.deployment().modules_content}
    path.write_text(json.dumps(content))
    operate("deployment", "apply", edge.device_id, "--manifest", path)
    desired = hub.registry().get_module_twin(edge.device_id, "$edgeAgent").properties.desired
    assert desired["schemaVersion"] == "1.1"
    del content["modulesContent"]["$edgeAgent"]["properties.desired"]["systemModules"]
    path.write_text(json.dumps(content))
    refusal = operate("deployment", "apply", edge.device_id, "--manifest", path, code=USAGE)
    assert refusal.stderr.count("systemModules is missing") == 1, refusal.stderr
    path.write_text("{")
    assert "deployment.json" in operate("deployment", "apply", edge.device_id, "--manifest", path, code=USAGE).stderr


def test_failures_name_what_is_wrong_and_the_next_step(hub, device, operate):
    name, device_id = hub.login.split(";")[1], device.device_id
    wrong = f"HostName={hub.address};{name};SharedAccessKey={sas.wrong_key()}"
    assert "policy" in operate("device", "list", login=wrong, code=DENIED).stderr
    nowhere = hub.login.replace(hub.address, "127.0.10.254")
    assert "127.0.10.254" in operate("device", "list", login=nowhere, code=UNREACHABLE).stderr
    assert "--ca" in operate("device", "list", ca="/etc/ssl/certs/ca-certificates.crt", code=UNREACHABLE).stderr
    assert "farshore device list" in operate("device", "show", "nobody", code=NOT_FOUND).stderr
    assert "farshore device show" in operate("device", "create", device_id, code=CONFLICT).stderr
    assert "not connected" in operate("method", "invoke", device_id, "--name", "m", code=NOT_FOUND).stderr
    operate("twin", "update", device_id, "--desired", "{", code=USAGE)
    operate("device", "create", "not an id", code=USAGE)


def test_the_hub_prints_its_login_running_or_not(new_hub):
    hub = new_hub().start()
    first = hub.login
    assert first.startswith(f"HostName={hub.address};SharedAccessKeyName=iothubowner;SharedAccessKey=")
    hub.stop()
    hub._login = None
    assert hub.login == first
