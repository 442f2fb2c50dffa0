"""Named volumes that modules bring: listed, and pruned when nothing needs them, never anybody else's."""

import json
from pathlib import Path

import pytest

from harness import docker, image, manifest
from harness.wait import until

pytestmark = pytest.mark.docker

PROGRAM = Path(__file__).parent / "module" / "relay.py"
OURS = ["fv-bind", "fv-mount", "fv-hub", "fv-used"]
FOREIGN = ["fv-theirs", "fv-before"]


@pytest.fixture(scope="module")
def relay():
    return image.ensure(PROGRAM)


@pytest.fixture(autouse=True)
def no_volumes():
    docker.docker("volume", "rm", "-f", *OURS, *FOREIGN, check=False)
    yield
    docker.docker("rm", "-f", "fv-holder", check=False)
    docker.docker("volume", "rm", "-f", *OURS, *FOREIGN, check=False)


def volumes(edge):
    return {volume["name"]: volume for volume in json.loads(edge.iotedge("volume", "list", "-o", "json").stdout)}


def there():
    return set(docker.docker("volume", "ls", "--format", "{{.Name}}").split())


def prune(edge, *options):
    result = edge.iotedge("volume", "prune", "-o", "json", *options)
    assert result.returncode == 0, result.stderr
    return {volume["name"] for volume in json.loads(result.stdout)["volumes"]}


def test_volumes_go_when_nothing_needs_them_and_only_ours(container_edge, relay):
    edge = container_edge
    for name in FOREIGN:
        docker.docker("volume", "create", name)
    options = {
        "HostConfig": {
            # One of these was there before.
            "Binds": ["fv-bind:/a", "fv-used:/b", "fv-before:/c"],
            "Mounts": [{"Type": "volume", "Source": "fv-mount", "Target": "/d"}],
        }
    }
    keeper = manifest.module(relay, create_options=options, imagePullPolicy="never")
    hub_options = {"HostConfig": {"Binds": ["fv-hub:/spare"]}}
    plain = {"FARSHORE_DEPLOYMENT_HEALTHY_AFTER_SECS": "1", "FARSHORE_DEPLOYMENT_HEALTHY_WITHIN_SECS": "0"}

    def deploy(modules, hub=None):
        content = manifest.deployment(modules, edge_hub_options=hub)
        agent = content.modules_content["$edgeAgent"]["properties.desired"]["systemModules"]["edgeAgent"]
        agent["env"] = {name: {"value": value} for name, value in plain.items()}
        edge.deploy(content)
        version = edge.agent_twin().desired["$version"]
        proven = f"deployment is healthy version={version}"
        until("it has proved itself", lambda: proven in edge.service.log(whole=True), 60)

    deploy({"keeper": keeper}, hub_options)
    # Some bytes, for the engine to tell.
    place = docker.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "fv-bind")
    (Path(place) / "file").write_bytes(bytes(100_000))
    found = volumes(edge)
    assert set(found) == set(OURS), found
    assert {volume["use"] for volume in found.values()} == {"container"}
    assert (found["fv-bind"]["module"], found["fv-hub"]["module"]) == ("keeper", "edgeHub")
    assert prune(edge) == set()

    # The module goes, and its volumes stay until somebody asks; one is held by a container of the owner.
    deploy({})
    docker.docker("create", "--name", "fv-holder", "-v", "fv-used:/x", relay)
    found = volumes(edge)
    assert {name: found[name]["use"] for name in OURS} == {
        "fv-bind": "nothing",
        "fv-mount": "nothing",
        "fv-hub": "edge-hub",
        "fv-used": "container",
    }
    assert found["fv-bind"]["sizeBytes"] >= 100_000
    table = edge.iotedge("volume", "list").stdout
    assert "NEEDED BY" in table and "messages may lie in it" in table
    assert prune(edge, "--dry-run") == {"fv-bind", "fv-mount"}
    assert there() >= {*OURS, *FOREIGN}
    told = edge.iotedge("volume", "prune").stdout
    assert "Removed fv-bind of keeper (" in told and "Removed 2 volumes, " in told
    assert there() & {*OURS, *FOREIGN} == {"fv-hub", "fv-used", *FOREIGN}
    assert edge.iotedge("volume", "prune").stdout == "No volume is unused\n"
