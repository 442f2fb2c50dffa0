"""`storageFolder` with `HostConfig.Binds` decides where the edge hub's messages and the agent's record lie;
when a deployment names another folder they are moved, or stay, and the report says why. `PortBindings`
decide where the edge hub listens, in an engine and without one."""

import json
import socket
import subprocess

import pytest

from harness import addresses, docker, ledger, manifest
from harness.disk import small_disk
from harness.edge import Edge
from harness.wait import until

FOLDER = "/tmp/storage"
FOREVER = {"storeAndForwardConfiguration": {"timeToLiveSecs": -1}}
QUICK = {"CoolOffTimeUnitInSeconds": {"value": "1"}}


def bound(folder):
    return {"Binds": [f"{folder}:{FOLDER}"]}


def deployment(hub_host, agent_host=None, **more):
    """A manifest with these `HostConfig`s of the system modules."""
    content = manifest.deployment(
        edge_hub_env={"storageFolder": FOLDER},
        edge_hub_options={"HostConfig": hub_host},
        hub_settings=FOREVER,
        **more,
    )
    agent = content.modules_content["$edgeAgent"]["properties.desired"]["systemModules"]["edgeAgent"]
    agent["env"] = dict(QUICK)
    if agent_host:
        agent["env"]["storageFolder"] = {"value": FOLDER}
        agent["settings"]["createOptions"] = json.dumps({"HostConfig": agent_host})
    return content


def send(edge, sender, numbers, **options):
    """Returns when all is acknowledged."""
    with edge.connected(sender, **options) as client:
        for number in numbers:
            client.send_message(str(number))


def arrived(edge, sender):
    bodies = [int(event.body) for event in edge.hub.events.telemetry(sender.sender)]
    return ledger.without_copies(bodies)


def hub_entry(edge):
    return edge.agent_twin().reported["systemModules"]["edgeHub"]


def checks(edge):
    """Results of the checks of storage by name, and the details of each."""
    said = edge.iotedge("check", "--output", "json", "--config", edge.config, deadline=90)
    found = json.loads(said.stdout)["checks"]
    names = ("edge-agent-storage-mounted-from-host", "edge-hub-storage-mounted-from-host")
    return [found[name]["result"]["result"] for name in names], found


@pytest.mark.docker
def test_messages_and_record_move_with_the_binds(container_edge, tmp_path):
    edge, leaf = container_edge, container_edge.new_leaf()
    first, second, agent = tmp_path / "a", tmp_path / "b", tmp_path / "agent"
    at = socket.gethostbyname(edge.host_name)
    ports = {"PortBindings": {"8883/tcp": [{"HostIp": at, "HostPort": "8883"}]}}
    # Without a folder of the host the messages are in the daemon's directory: they outlive the container.
    edge.deploy(deployment(ports))
    until("the edge hub listens", lambda: addresses.accepts(at, 8883), 30)
    assert checks(edge)[0] == ["warning", "warning"]
    (usual,) = (edge.dir / "home/storage").glob("*/edgeHub")
    assert (usual / "state.db").exists()

    def offline(numbers):
        """Sends what stays in the edge hub, which does not reach the hub again before it is made anew."""
        edge.hub.kill()
        send(edge, leaf, numbers)
        docker.docker("network", "disconnect", edge.network, "edgeHub")
        edge.hub.start()

    send(edge, leaf, range(5))
    offline(range(5, 30))
    edge.deploy(deployment({**bound(first), **ports}, bound(agent)))
    assert (first / "edgeHub/state.db").exists() and not usual.exists()
    until("what was stored arrives", lambda: arrived(edge, leaf) == list(range(30)), 60)
    assert docker.inspect("edgeHub")["HostConfig"]["Binds"][0] == f"{first}:{FOLDER}"
    # The agent has begun anew with its record where it is wanted, and the checks see both.
    until("the record has moved", lambda: (agent / "edgeAgent/modules.json").exists(), 30)
    assert not (edge.dir / "home/agent/modules.json").exists()
    results, found = checks(edge)
    assert results == ["ok", "ok"], found

    until("the edge hub listens again", lambda: addresses.accepts(at, 8883), 30)
    offline(range(30, 60))
    edge.deploy(deployment({**bound(second), **ports}, bound(agent)))
    until("what was stored arrives", lambda: arrived(edge, leaf) == list(range(60)), 60)
    assert list(first.iterdir()) == [] and (second / "edgeHub/queues").is_dir()


@pytest.mark.docker
def test_a_folder_without_room_is_told_and_the_old_one_stays(container_edge, tmp_path):
    edge, leaf = container_edge, container_edge.new_leaf()
    folder = tmp_path / "a"
    at = socket.gethostbyname(edge.host_name)
    ports = {"PortBindings": {"8883/tcp": [{"HostIp": at, "HostPort": "8883"}]}}
    edge.deploy(deployment({**bound(folder), **ports}, bound(tmp_path / "agent")))
    until("the edge hub listens", lambda: addresses.accepts(at, 8883), 30)
    before = docker.inspect("edgeHub")["Id"]
    with small_disk(tmp_path, size="1m") as disk:
        edge.deploy(deployment({**bound(disk), **ports}, bound(disk)), wait=False)
        stays = f"the store of edgeHub stays in {folder}/edgeHub: it needs "

        def why():
            text = hub_entry(edge).get("statusDescription", "")
            return text if stays in text else None

        said = until("the report says why", why, 40)
        assert f"{disk}/edgeHub has" in said and "make room there, or bind another folder" in said
        assert docker.inspect("edgeHub")["Id"] == before
        send(edge, leaf, range(10))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        edge.wait_until_applied()
        assert docker.inspect("edgeHub")["Id"] != before
        # Copied to another file system, and gone from the first.
        assert (disk / "edgeHub/state.db").exists() and list(folder.iterdir()) == []
        until("the edge hub listens again", lambda: addresses.accepts(at, 8883), 30)
        send(edge, leaf, range(10, 20))
        until("nothing is lost", lambda: arrived(edge, leaf) == list(range(20)), 40)
        # Back before the disk goes.
        edge.deploy(deployment({**bound(folder), **ports}, bound(tmp_path / "agent")))
        until("the record has moved back", lambda: (tmp_path / "agent/edgeAgent/modules.json").exists(), 90)


def test_processes_store_and_listen_where_the_manifest_says(hub, tmp_path):
    edge = Edge(hub).start()
    try:
        one, two = hub.new_module(edge.device_id, "m1"), hub.new_module(edge.device_id, "m2")
        routes = {"to": 'FROM /messages/modules/m1/* INTO BrokeredEndpoint("/modules/m2/inputs/in")'}
        first, second = tmp_path / "a", tmp_path / "b"
        published = {"PortBindings": {"8883/tcp": [{"HostPort": "8883"}, {"HostPort": "18883"}]}}
        edge.deploy(deployment(bound(first), routes=routes))
        edge.wait_until_hub_listens()
        assert not addresses.accepts(edge.address, 18883)
        with edge.connected(one) as client:
            for number in range(10):
                client.send_message_to_output(str(number), "out")
        assert (first / "edgeHub/state.db").exists()
        edge.deploy(deployment({**bound(second), **published}, routes=routes))
        edge.wait_until_hub_listens()
        assert list(first.iterdir()) == [] and (second / "edgeHub/state.db").exists()
        assert addresses.accepts(edge.address, 18883)
        with edge.connected(two) as client:
            got = []
            client.on_message_received = got.append
            until("what waited arrives", lambda: len(got) == 10, 30)
            assert [int(message.data) for message in got] == list(range(10))
    finally:
        edge.stop()
    assert "panicked" not in edge.service.log(whole=True)
