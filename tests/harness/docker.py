"""The container engine of this machine, by its own command line."""

import json
import os
import subprocess

# The same engine for the command line and for `config.toml`.
SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def docker(*arguments, check=True):
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)
    if check and result.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {result.stderr}")
    return result.stdout.strip()


def answers():
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def make_network(name):
    """Makes a bridge and gives this machine's address on it."""
    if docker("network", "ls", "-q", "--filter", f"name=^{name}$") == "":
        docker("network", "create", name)
    (network,) = json.loads(docker("network", "inspect", name))
    return network["IPAM"]["Config"][0]["Gateway"]


def remove_network(name):
    docker("network", "rm", name, check=False)


def inspect(container):
    (found,) = json.loads(docker("inspect", container))
    return found


def logs(container):
    result = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60)
    return result.stdout + result.stderr


def remove_containers_of(device_id, network):
    """Removes what an edge device has left: containers in its network that belong to it."""
    for container in docker("ps", "-aq", "--filter", f"network={network}").split():
        env = inspect(container)["Config"]["Env"] or []
        if f"IOTEDGE_DEVICEID={device_id}" in env:
            docker("rm", "-f", container, check=False)
