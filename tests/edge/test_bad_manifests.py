"""A manifest that is wrong is told where the operator looks, and what runs goes on."""

import pytest
from azure.iot.hub.models import Twin, TwinProperties

from harness import manifest
from harness.edge import running
from harness.program import farshore
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"


@pytest.fixture(scope="module")
def edge(hub):
    with running(hub, manifest.deployment({SENSOR: manifest.sensor()})) as edge:
        yield edge


def wait_for_status(edge, code, twin=None):
    """The status that the device reports for the newest manifest."""
    twin = twin or edge.agent_twin

    def reported():
        properties = twin()
        status = properties.reported.get("lastDesiredStatus", {})
        newest = properties.reported.get("lastDesiredVersion") == properties.desired["$version"]
        return status if newest and status.get("code") == code else None

    return until(f"status {code} is reported", reported, 40)


def spoiled(change):
    content = manifest.deployment({SENSOR: manifest.sensor()})
    change(content.modules_content)
    return content


def agent(content):
    return content["$edgeAgent"]["properties.desired"]


CASES = {
    "no image": (400, lambda c: agent(c)["modules"][SENSOR]["settings"].pop("image")),
    "no status": (400, lambda c: agent(c)["modules"][SENSOR].pop("status")),
    "unknown restart policy": (400, lambda c: agent(c)["modules"][SENSOR].update(restartPolicy="sometimes")),
    "createOptions are no JSON": (400, lambda c: agent(c)["modules"][SENSOR]["settings"].update(createOptions="{")),
    "image like an option": (400, lambda c: agent(c)["modules"][SENSOR]["settings"].update(image="--privileged")),
    "module name is a path": (400, lambda c: agent(c)["modules"].update({"etc/passwd": manifest.sensor()})),
    "schema of the future": (412, lambda c: agent(c).update(schemaVersion="2.0")),
    "empty": (417, lambda c: agent(c).clear()),
}


def apply(hub, edge, content):
    """As an operator does; gives the hub's answer."""
    return hub.rest(
        "POST",
        f"/devices/{edge.device_id}/applyConfigurationContent",
        json={"modulesContent": content.modules_content},
    )


def write(hub, edge, content):
    """As a back end may do past all checks: straight into the twins."""
    for module, section in content.modules_content.items():
        twin = Twin(properties=TwinProperties(desired=section["properties.desired"]))
        hub.registry().replace_module_twin(edge.device_id, module, twin)


def refuses(answer):
    return answer.status_code == 400 and answer.headers["iothub-errorcode"] == "InvalidConfigurationContent"


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_manifest_is_reported_and_what_runs_goes_on(hub, edge, case):
    code, change = CASES[case]
    (pid,) = edge.module_processes(SENSOR)
    content = spoiled(change)
    answer = apply(hub, edge, content)
    assert refuses(answer), answer.text
    assert "$edgeAgent" in answer.json()["Message"]
    write(hub, edge, content)
    assert wait_for_status(edge, code)["description"]
    assert edge.module_processes(SENSOR) == [pid]
    edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
    assert edge.module_processes(SENSOR) == [pid]


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ({"good": "FROM /messages/* INTO $upstream", "broken": "FROM /messages/* INTO nowhere"}, "broken"),
        ({"r1": "FROM /messages/* WHERE temperature > 30 INTO $upstream"}, "r1"),
        ({"r1": {"route": "FROM /messages/* INTO $upstream", "priority": 10}}, "priority"),
    ],
    ids=["sink", "condition", "priority"],
)
def test_a_bad_route_is_reported_and_the_old_ones_stay(hub, edge, routes, says):
    content = manifest.deployment({SENSOR: manifest.sensor()}, routes)
    answer = apply(hub, edge, content)
    assert refuses(answer) and says in answer.json()["Message"], answer.text
    del content.modules_content["$edgeAgent"]
    write(hub, edge, content)
    status = wait_for_status(edge, 400, edge.hub_twin)
    assert says in status["description"]
    # The routes before it still carry the sensor's messages.
    since = hub.events.mark()
    hub.events.wait_for(f"{edge.device_id}/{SENSOR}", since=since)
    edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
    wait_for_status(edge, 200, edge.hub_twin)


@pytest.mark.parametrize("protocol", ["Mqtt5", "Http"])
def test_an_unknown_upstream_protocol_is_refused_and_reported(hub, edge, protocol):
    """Asked for by name, it is never replaced by something else in silence."""
    content = manifest.deployment({SENSOR: manifest.sensor()}, edge_hub_env={"UpstreamProtocol": protocol})
    answer = apply(hub, edge, content)
    assert refuses(answer), answer.text
    assert "UpstreamProtocol" in answer.json()["Message"] and protocol in answer.json()["Message"]
    write(hub, edge, content)
    status = wait_for_status(edge, 400)
    assert "UpstreamProtocol" in status["description"] and protocol in status["description"]
    # What ran goes on, as it was asked for before.
    since = hub.events.mark()
    hub.events.wait_for(f"{edge.device_id}/{SENSOR}", since=since)
    edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))


def test_an_unknown_upstream_protocol_in_the_devices_own_settings_is_refused(hub, edge, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(edge.config.read_text() + '[agent.env]\nUpstreamProtocol = "Http"\n')
    path.chmod(0o600)
    result = farshore("edge", "--config", path, "--check")
    assert result.returncode not in (0, 101)
    assert "UpstreamProtocol" in result.stderr and "AmqpWs" in result.stderr, result.stderr + result.stdout


def test_a_bad_config_is_named_with_its_line(edge, tmp_path):
    good = edge.config.read_text()
    for spoil, says in [
        (lambda t: t.replace('source = "manual"', 'source = "magic"'), "source"),
        (lambda t: t.replace("hostname = ", "hostnmae = "), "hostnmae"),
        (lambda t: t.replace("SharedAccessKey=", "SharedKey="), "connection_string"),
        (lambda t: t + "\n[[", "config.toml"),
    ]:
        path = tmp_path / "config.toml"
        path.write_text(spoil(good))
        path.chmod(0o600)
        result = farshore("edge", "--config", path, "--check")
        assert result.returncode not in (0, 101)
        assert says in result.stderr, result.stderr
        assert edge.device.key not in result.stderr
    path.write_text(good)
    path.chmod(0o644)
    result = farshore("edge", "--config", path, "--check")
    assert result.returncode not in (0, 101) and "chmod 600" in result.stderr
