"""An edge device of our own: daemon, agent, edge hub and modules, with containers or processes."""

import contextlib
import json
import os
import socket
import uuid

from msrest.exceptions import HttpOperationError

from harness import addresses, docker, scratch, sdk
from harness.program import Service, binary, farshore, kill_process, processes_with
from harness.wait import TooLate, until


class Edge:
    """One edge device. Its modules are processes, unless `network` names a container network. It has a
    key, or a certificate of its own making (`thumbprint`). Its modules and clients may chain to the
    authorities of `trust_bundle`, PEM texts."""

    def __init__(self, hub, network=None, config="", credential="key", trust_bundle=None, engine=None):
        self.hub = hub
        self.network = network
        # Another engine than the machine's: whoever brings it removes what is in it.
        self.engine = engine
        if credential == "key":
            self.device = hub.new_device("edge", iot_edge=True)
        else:
            self.device = hub.new_self_signed(f"edge-{uuid.uuid4().hex[:8]}", iot_edge=True)
        self.device_id = self.device.device_id
        self.address = addresses.free("127.0.11")
        # Short: the paths of sockets below it are bounded (108 bytes).
        self.dir = scratch.directory("fe-")
        os.chmod(self.dir, 0o755)
        # What modules and leaf devices call this device: an alias in the containers' network, or
        # the address where the process listens.
        self.host_name = socket.gethostname().lower() if network else self.address
        self.socket = self.dir / "mgmt.sock"
        self.config = self.dir / "config.toml"
        section = f'[moby_runtime]\nuri = "{engine or docker.SOCKET}"\nnetwork = "{network}"\n'
        self.config.write_text(
            f'hostname = "{self.host_name}"\n'
            "allow_elevated_docker_permissions = false\n"
            f"{self._trust(trust_bundle)}"
            "[provisioning]\n"
            f"{self._provisioning()}"
            f"{section if network else ''}"
            f"{config}"
        )
        # It holds a key.
        self.config.chmod(0o600)
        arguments = [
            "edge", "--config", self.config, "--homedir", self.dir / "home",
            "--management-socket", self.socket, "--hub-ca", hub.ca_path, "--hub-address", hub.address,
            "--edge-hub-listen", f"{self.address}:8883",
        ]  # fmt: skip
        arguments += [] if network else ["--no-docker"]
        self.service = Service(arguments, self.dir / "edge.log")
        self.iotedge_path = self.dir / "iotedge"
        self.iotedge_path.symlink_to(binary())

    def _trust(self, bundle):
        if bundle is None:
            return ""
        path = self.dir / "trust-bundle.pem"
        path.write_text(bundle)
        return f'trust_bundle_cert = "file://{path}"\n'

    def _provisioning(self):
        if self.device.key:
            return f'source = "manual"\nconnection_string = "{self.device.connection_string()}"\n'
        certificate = self.device.certificate
        certificate.key_path.chmod(0o600)
        return (
            'source = "manual"\n'
            f'iothub_hostname = "{self.hub.address}"\n'
            f'device_id = "{self.device_id}"\n'
            "[provisioning.authentication]\n"
            'method = "x509"\n'
            f'identity_cert = "file://{certificate.path}"\n'
            f'identity_pk = "file://{certificate.key_path}"\n'
        )

    # Its life

    def start(self):
        self.service.start()
        self.service.wait_until_ready(self.answers)
        return self

    def answers(self):
        """Whether the management API does."""
        with socket.socket(socket.AF_UNIX) as probe:
            return self.socket.exists() and probe.connect_ex(str(self.socket)) == 0

    def kill(self):
        """The daemon alone; modules go on."""
        self.service.kill()

    def stop(self):
        """In order; then whatever is left."""
        try:
            return self.service.stop(40)
        finally:
            self.clean()

    def clean(self):
        self.service.kill()
        if self.network and not self.engine:
            docker.remove_containers_of(self.device_id, self.network)
        for pid in processes_with(IOTEDGE_DEVICEID=self.device_id):
            kill_process(pid)

    def module_processes(self, module):
        """Process ids of a module, when modules are processes."""
        return processes_with(IOTEDGE_DEVICEID=self.device_id, IOTEDGE_MODULEID=module)

    def iotedge(self, *arguments, **options):
        """The device's own tool, by the name of the binary."""
        return farshore("-H", f"unix://{self.socket}", *arguments, program=self.iotedge_path, **options)

    # What runs on it

    def deploy(self, content, wait=True):
        """Applies a manifest; waits until the device says that it is done."""
        if not self.network:
            # An edge hub that is a process has no container to keep its store in.
            agent = content.modules_content["$edgeAgent"]["properties.desired"]
            env = agent.get("systemModules", {}).get("edgeHub", {}).get("env", {})
            env.setdefault("storageFolder", {"value": str(self.dir / "store")})
        try:
            self.hub.configurations().apply_configuration_on_edge_device(self.device_id, content)
        except HttpOperationError as error:
            raise AssertionError(f"the hub refuses the manifest: {error.response.text}") from None
        if wait:
            self.wait_until_applied()

    def agent_twin(self):
        return self.hub.registry().get_module_twin(self.device_id, "$edgeAgent").properties

    def hub_twin(self):
        return self.hub.registry().get_module_twin(self.device_id, "$edgeHub").properties

    def wait_until_applied(self, deadline=90):
        """The newest manifest is applied, and all that should run does."""
        last = {}

        def applied():
            twin = self.agent_twin()
            reported, desired = twin.reported, twin.desired
            last["reported"] = reported
            status = reported.get("lastDesiredStatus", {})
            if status.get("code") != 200 or reported.get("lastDesiredVersion") != desired["$version"]:
                return False
            wanted = {"edgeHub": desired["systemModules"]["edgeHub"], **desired.get("modules", {})}
            there = {**reported.get("systemModules", {}), **reported.get("modules", {})}
            names = set(there) - {"edgeAgent"}
            return names == set(wanted) and all(
                there[name].get("runtimeStatus") == module["status"] for name, module in wanted.items()
            )

        try:
            until("the deployment is applied", applied, deadline)
        except TooLate as error:
            reported = {k: v for k, v in last.get("reported", {}).items() if k != "$metadata"}
            shown = json.dumps(reported)
            raise TooLate(f"{error}\nreported: {shown}\n{self.service.tail(60)}") from None

    def module_logs(self):
        """What the modules said last."""
        parts = []
        for module in [*self.agent_twin().desired.get("modules", {}), "edgeHub"]:
            said = self.iotedge("logs", module, "--tail", "30")
            parts.append(f"--- {module}\n{said.stdout}{said.stderr}")
        return "\n".join(parts)

    def wait_until_hub_listens(self, deadline=60):
        """The edge hub takes connections."""
        until("the edge hub listens", lambda: addresses.accepts(self.address, 8883), deadline)

    def trust_pem(self):
        """What leaf devices have to trust: the Edge CA, which signs the edge hub's certificate."""
        return json.loads((self.dir / "home/certs/edge-ca.json").read_text())["certificate"]

    def new_leaf(self):
        """A device that connects through this one."""
        return self.hub.new_device("leaf", device_scope=self.device.document.device_scope)

    def connected(self, identity, **options):
        """A client of a leaf device or of a module that connects here."""
        return sdk.connected(identity, ca_pem=self.trust_pem(), gateway=self.host_name, **options)


@contextlib.contextmanager
def running(hub, content):
    """An edge device with this deployment whose edge hub listens; nothing in it may have panicked at the end."""
    edge = Edge(hub).start()
    try:
        edge.deploy(content)
        edge.wait_until_hub_listens()
        yield edge
    finally:
        edge.stop()
    assert "panicked" not in edge.service.log(whole=True)
