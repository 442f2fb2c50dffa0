"""What a deployment sees of its agent, with real containers: health, private registries, the way back
from a deployment that does not work, and logs by method."""

import base64
import gzip
import json
from pathlib import Path

import pytest
from azure.iot.hub.models import CloudToDeviceMethod

from harness import docker, image, manifest
from harness.registry import PASSWORD, Registry, is_installed
from harness.wait import until

pytestmark = pytest.mark.docker

PROGRAM = Path(__file__).parent / "module" / "relay.py"
ILL = "/tmp/ill"
# Short, so that a test need not wait: numbers of the product are in the documentation.
AGENT_ENV = {
    "CoolOffTimeUnitInSeconds": "1",
    "FARSHORE_DEPLOYMENT_HEALTHY_AFTER_SECS": "3",
    "FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS": "8",
}


def python(program):
    return [str(image._interpreter()), "-c", program]


HEALTHCHECK = {
    "Healthcheck": {
        "Test": ["CMD", *python(f"import os, sys; sys.exit(os.path.exists('{ILL}') and 'it is ill')")],
        "Interval": 1_000_000_000,
        "Timeout": 20_000_000_000,
        "Retries": 1,
    }
}


def deployment(modules, credentials=None, env=None):
    content = manifest.deployment(modules)
    agent = content.modules_content["$edgeAgent"]["properties.desired"]
    variables = {**AGENT_ENV, **(env or {})}
    agent["systemModules"]["edgeAgent"]["env"] = {name: {"value": value} for name, value in variables.items()}
    if credentials:
        agent["runtime"]["settings"]["registryCredentials"] = credentials
    return content


@pytest.fixture(scope="module")
def relay():
    return image.ensure(PROGRAM)


@pytest.fixture(scope="module")
def registry():
    if not is_installed():
        pytest.skip("there is no registry: apt-get install docker-registry")
    registry = Registry()
    try:
        yield registry.start()
    finally:
        registry.stop()


def module_of(edge, name):
    return edge.agent_twin().reported.get("modules", {}).get(name, {})


def status_of(edge):
    return edge.agent_twin().reported.get("lastDesiredStatus", {})


def make_ill(name):
    docker.docker("exec", name, *python(f"open('{ILL}', 'w')"))


def make_well(name):
    docker.docker("exec", name, *python(f"import os; os.remove('{ILL}')"))


def test_health_checks_make_modules_unhealthy_and_policies_decide(container_edge, relay):
    edge = container_edge
    ill = lambda policy: manifest.module(
        relay, create_options=HEALTHCHECK, restartPolicy=policy, imagePullPolicy="never"
    )
    edge.deploy(deployment({"left": ill("on-failure"), "treated": ill("on-unhealthy")}))
    since = docker.inspect("left")["State"]["StartedAt"]
    for name in ("left", "treated"):
        make_ill(name)

    def is_told(name):
        module = module_of(edge, name)
        return module.get("runtimeStatus") == "unhealthy" and module

    left = until("the ill module is reported", lambda: is_told("left"), 60)
    assert left["statusDescription"] == "its health check fails: it is ill"
    until("the other one is restarted", lambda: module_of(edge, "treated").get("restartCount", 0) >= 1, 60)
    make_well("treated")
    until("it is well", lambda: module_of(edge, "treated").get("runtimeStatus") == "running", 60)
    assert docker.inspect("left")["State"]["StartedAt"] == since
    assert module_of(edge, "left")["restartCount"] == 0


def test_an_image_of_a_private_registry_needs_its_password_which_is_never_shown(container_edge, relay, registry):
    edge = container_edge
    reference = registry.push(relay, "relay:1")
    module = {"private": manifest.module(reference)}

    def failed():
        status = status_of(edge)
        return status.get("code") == 500 and "private: cannot pull image" in status["description"] and status

    for credentials in (None, registry.credentials("wrong-0815")):
        edge.deploy(deployment(module, credentials, {"FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS": "0"}), wait=False)
        until("it is refused", failed, 60)
    edge.deploy(deployment(module, registry.credentials(), {"FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS": "0"}))
    assert docker.inspect("private")["Config"]["Image"] == reference
    reported = json.dumps(edge.agent_twin().reported)
    assert registry.credentials()["private"]["username"] in reported
    for place in (reported, edge.service.log(whole=True), json.dumps(docker.inspect("private"))):
        assert PASSWORD not in place and "wrong-0815" not in place


def test_a_registry_that_is_away_is_waited_for_and_one_that_refuses_is_not(container_edge, relay, registry):
    edge = container_edge
    good = manifest.module(relay, {"COLOUR": "green"}, imagePullPolicy="never")
    edge.deploy(deployment({"worker": good}))
    version = edge.agent_twin().desired["$version"]
    until("it has proved itself", lambda: f"deployment is healthy version={version}" in edge.service.log(whole=True), 60)
    since = docker.inspect("worker")["State"]["StartedAt"]

    # Nobody listens there. The trial lasts 8 s; twice that long the new one is wanted all the same.
    away = manifest.module("127.34.9.9:5999/relay:1", {"COLOUR": "red"})
    edge.deploy(deployment({"worker": away}), wait=False)
    failures = lambda: edge.service.log(whole=True).count("module step failed")
    before = failures()
    until("it was tried for long", lambda: failures() >= before + 5, 90)
    status = status_of(edge)
    assert status["code"] == 500 and "tried again until it comes, what runs goes on" in status["description"], status
    assert edge.agent_twin().reported["lastDesiredVersion"] == version + 1
    assert "going back" not in edge.service.log(whole=True)
    worker = docker.inspect("worker")
    assert (worker["State"]["StartedAt"], worker["State"]["Running"]) == (since, True)

    # This one answers, and has no such image.
    missing = manifest.module(f"{registry.address}/nothing:1")
    edge.deploy(deployment({"worker": missing}, registry.credentials()), wait=False)
    text = f"went back to deployment {version}"
    until("it is given up", lambda: text in status_of(edge).get("description", ""), 90)
    assert docker.inspect("worker")["State"]["StartedAt"] == since


def test_a_deployment_that_does_not_come_up_goes_back_and_says_so(container_edge, relay):
    edge = container_edge
    good = manifest.module(relay, {"COLOUR": "green"}, imagePullPolicy="never")
    edge.deploy(deployment({"worker": good}))
    version = edge.agent_twin().desired["$version"]
    proven = f"deployment is healthy version={version}"
    until("it has proved itself", lambda: proven in edge.service.log(whole=True), 60)

    bad = manifest.module(relay, {"COLOUR": "red"}, {"Cmd": None, "Entrypoint": python("raise SystemExit(3)")}, imagePullPolicy="never")
    edge.deploy(deployment({"worker": bad}), wait=False)
    text = f"went back to deployment {version}"
    status = until("it is given up", lambda: text in (status := status_of(edge)).get("description", "") and status, 90)
    assert status["code"] == 500
    assert "worker: exited, exit code 3" in status["description"]
    assert edge.agent_twin().reported["lastDesiredVersion"] == version + 1
    until("the good one runs", lambda: module_of(edge, "worker").get("runtimeStatus") == "running", 60)
    assert "COLOUR=green" in docker.inspect("worker")["Config"]["Env"]
    assert "going back to the last good one" in edge.service.log(whole=True)
    # It stays so when the daemon comes again, and the next wish is carried out.
    edge.kill()
    edge.start()
    until("it is told again", lambda: text in status_of(edge).get("description", ""), 60)
    assert "COLOUR=green" in docker.inspect("worker")["Config"]["Env"]
    edge.deploy(deployment({"worker": manifest.module(relay, {"COLOUR": "blue"}, imagePullPolicy="never")}))
    assert "COLOUR=blue" in docker.inspect("worker")["Config"]["Env"]


def call(edge, name, payload):
    request = CloudToDeviceMethod(method_name=name, payload=payload, connect_timeout_in_seconds=30)
    return edge.hub.registry().invoke_device_module_method(edge.device_id, "$edgeAgent", request)


def test_logs_are_had_by_method(container_edge, relay):
    edge = container_edge
    edge.deploy(deployment({"talker": manifest.module(relay, imagePullPolicy="never")}))
    until("it says something", lambda: "relay is running" in docker.logs("talker"), 60)
    asked = {"schemaVersion": "1.0", "items": [{"id": "^talk", "filter": {"tail": 10, "regex": "IS running"}}]}
    answer = call(edge, "GetModuleLogs", asked)
    assert answer.status == 200
    (entry,) = answer.payload
    assert entry["id"] == "talker"
    assert "relay is running" in entry["payload"] and len(entry["payload"].splitlines()) == 1
    answer = call(edge, "getmodulelogs", {**asked, "contentType": "json"})
    (line,) = json.loads(answer.payload[0]["payload"])
    assert (line["device"], line["id"], line["loglevel"]) == (edge.device_id, "talker", 6)
    assert line["timestamp"].startswith("20")
    nobody = call(edge, "GetModuleLogs", {"items": [{"id": "nobody"}]})
    assert (nobody.status, nobody.payload) == (400, {"message": 'no module has an id that matches "nobody"'})
    packed = call(edge, "GetModuleLogs", {**asked, "encoding": "gzip"})
    text = gzip.decompress(base64.b64decode(packed.payload[0]["payloadBytes"])).decode()
    assert text == entry["payload"] and "payload" not in packed.payload[0]
    bundle = call(edge, "UploadSupportBundle", {"schemaVersion": "1.0", "sasUrl": "https://x/y?z"})
    assert bundle.status == 400 and "iotedge support-bundle" in bundle.payload["message"]
