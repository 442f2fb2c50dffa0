"""A Debian machine with systemd and a container engine of its own, as a container of this machine's engine.

Its file system is made once (`cargo xtask package-root`). It gets all the rights that this process has, but
for a few that older engines do not know by name. Nothing of this machine is mounted, and of its control groups
only what is below the container's own: a systemd that saw the others would make what it misses among them."""

import subprocess
from pathlib import Path

from harness import docker
from harness.program import TARGET
from harness.wait import until

ROOT = TARGET / "debian-bookworm-systemd-1.tar"
IMAGE = "farshore-test/debian-systemd:1"
# By their numbers; what came later is no loss.
CAPABILITIES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace
sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control
setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read""".split()

# The engine mounts a container's control groups read-only.
WRITABLE_GROUPS = """
mount -o remount,bind,rw /sys/fs/cgroup
for group in /sys/fs/cgroup/*; do mountpoint -q "$group" && mount -o remount,bind,rw "$group"; done
exec /sbin/init"""


class Box:
    """One such machine."""

    def __init__(self, name, network):
        self.name = name
        self.network = network

    def start(self):
        """Boots it; waits until everything is up."""
        ensure_image()
        docker.docker("rm", "-f", "-v", self.name, check=False)
        docker.docker(
            "run", "--detach", "--name", self.name, "--hostname", self.name, "--network", self.network,
            *(f"--cap-add={capability}" for capability in capabilities()),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
            *("--security-opt", "systempaths=unconfined"),
            *("--cgroupns", "private"),
            *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec,mode=1777"),
            # An overlay does not lie upon an overlay.
            *("--volume", "/var/lib/docker"),
            *("--env", "container=docker"),
            IMAGE, "/bin/sh", "-c", WRITABLE_GROUPS,
        )  # fmt: skip
        until("it has booted", lambda: self.run("systemctl", "is-system-running").stdout.strip() == "running", 60)
        return self

    def destroy(self):
        docker.docker("rm", "-f", "-v", self.name, check=False)

    def run(self, *command, user=None, deadline=60, input=None):
        """A command in there; gives its result, whatever the exit code."""
        options = ["--interactive"] if input is not None else []
        options += ["--user", user] if user else []
        return subprocess.run(
            ["docker", "exec", *options, self.name, *map(str, command)],
            input=input,
            capture_output=True,
            text=True,
            timeout=deadline,
        )

    def good(self, *command, **options):
        """What a command prints that has to end well."""
        result = self.run(*command, **options)
        assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def type(self, line, **options):
        """A line as a person types it into a shell; what it prints."""
        return self.good("bash", "-c", line, **options)

    def copy(self, source, target):
        docker.docker("cp", str(source), f"{self.name}:{target}")

    def read(self, path):
        return self.good("cat", path)

    def write(self, path, text):
        self.good("bash", "-c", f"cat > {path}", input=text)

    def facts(self, *paths):
        """`mode owner:group` of each file."""
        return self.good("stat", "-c", "%a %U:%G", *paths).splitlines()


def ensure_image():
    """Makes the engine's image of the file system, if the engine lacks it."""
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode != 0:
        assert ROOT.exists(), f"there is no {ROOT}; make it: cargo xtask package-root"
        docker.docker("import", str(ROOT), IMAGE)


def capabilities():
    """Those of this process that an engine knows: it can give no others."""
    status = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
    return [name for number, name in enumerate(CAPABILITIES) if held >> number & 1]
