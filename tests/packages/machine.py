"""The machine of these tests: what it is called, who uses it, and what is asked of it again and again."""

import subprocess
from pathlib import Path

from harness import manifest
from harness.program import binary
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
# A user who may use sudo, as in the guide.
USER = "anna"
FIRST, SECOND = "0.1.0", "0.1.1"


class Machine:
    """The machine, the hub outside of it, and the device that it becomes."""

    def __init__(self, box, hub, gateway, packages):
        self.box = box
        self.hub = hub
        self.packages = packages
        self.device = hub.new_device("box", iot_edge=True)
        self.device_id = self.device.device_id
        self.connection_string = f"HostName={gateway};DeviceId={self.device_id};SharedAccessKey={self.device.key}"

    def type(self, line, **options):
        """A line that a user of the machine types; what it prints."""
        return self.box.type(line, user=USER, **options)

    def modules(self):
        """Status of each module, by name."""
        lines = self.box.run("iotedge", "list").stdout.splitlines()[1:]
        return {line.split()[0]: line.split()[1] for line in lines}

    def wait_until_all_run(self, deadline=60):
        names = {SENSOR, "edgeAgent", "edgeHub"}
        wanted = dict.fromkeys(names, "running")
        until("all modules run", lambda: self.modules() == wanted, deadline)

    def started(self):
        """When the engine started each module that is a container."""
        form = "{{.Name}} {{.State.StartedAt}}"
        found = self.box.run("docker", "inspect", "--format", form, SENSOR, "edgeHub").stdout
        return dict(line.split() for line in found.splitlines())

    def wait_until_started_after(self, began):
        """Both containers have been started since, and run."""

        def are_new():
            now = self.started()
            return len(now) == 2 and all(began.get(name) != at for name, at in now.items())

        until("modules were started anew", are_new, 60)
        self.wait_until_all_run()

    def deploy(self, **options):
        content = manifest.deployment({SENSOR: manifest.sensor()}, **options)
        self.apply(content)

    def apply(self, content):
        self.hub.configurations().apply_configuration_on_edge_device(self.device_id, content)

    def is_active(self, unit="aziot-edged"):
        return self.box.run("systemctl", "is-active", unit).stdout.strip() == "active"

    def journal(self):
        return self.box.good("journalctl", "-u", "aziot-edged", "--no-pager", "-o", "cat")

    def telemetry(self, since=None):
        return self.hub.events.telemetry(f"{self.device_id}/{SENSOR}", since)

    def main_pid(self):
        return self.box.good("systemctl", "show", "--property", "MainPID", "--value", "aziot-edged").strip()


def package(program, version, folder):
    """As `cargo xtask package` makes it."""
    xtask = binary().with_name("xtask")
    command = [xtask, "package", "--binary", program, "--version", version, "--out", folder, "--uncompressed"]
    subprocess.run(command, check=True, capture_output=True)
    return Path(folder) / f"farshore_{version}_amd64.deb"
