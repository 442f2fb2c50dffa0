"""The container engine of this machine, by its own command line."""

import json
import os
import subprocess
from pathlib import Path

# How an IoT Edge runtime marks the containers that it makes.
OWNED = "label=net.azure-devices.edge.owner=Microsoft.Azure.Devices.Edge.Agent"
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


def runtimes():
    """Ids of running IoT Edge runtimes, ours and the original."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            name = os.path.basename(os.readlink(entry / "exe"))
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_ours = name == "farshore" and arguments[1:2] in ([b"up"], [b"edge"])
        if is_ours or name == "aziot-edged":
            found.append(int(entry.name))
    return found


def remove_remains():
    """Removes modules whose runtime is gone: those of a `farshore up` that somebody tried before, or of
    tests that were killed. A runtime takes no container of another, and names are the same for all; when
    it runs again it makes its own anew. Modules of a runtime that runs are left alone, and named."""
    names = docker("ps", "-a", "--filter", OWNED, "--format", "{{.Names}}").split()
    if not names:
        return
    if found := runtimes():
        raise RuntimeError(
            f"the container engine has modules of an IoT Edge runtime that is running (process {found}): "
            f"{' '.join(names)}; stop it, or leave these tests out: -m 'not docker'"
        )
    docker("rm", "-f", *names)
    print(f"removed modules that an earlier runtime has left: {' '.join(names)}")
