"""Container engines of a test's own, beside the machine's: each with its own data, socket and network.
They can be stopped and killed. What they need from the machine is told when it is missing."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from harness.wait import TooLate, until

BUSYBOX = "farshore-test/busybox:engines"
# Who runs an engine without root's rights.
USER = "farshore-test"


class Engine:
    """What both kinds have in common. `docker` is the machine's command line, spoken to this one."""

    def __init__(self):
        # Short: the paths of sockets below it are bounded.
        self.dir = Path(tempfile.mkdtemp(prefix="fg-", dir="/tmp"))
        self.dir.chmod(0o755)
        self.socket = self.dir / "engine.sock"
        self.uri = f"unix://{self.socket}"
        self.process = None

    def docker(self, *arguments, check=True):
        command = ["docker", "-H", self.uri, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if check and result.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)}: {result.stderr}\n{self.tail()}")
        return result.stdout.strip()

    def start(self):
        log = open(self.dir / "engine.log", "ab")
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment(), start_new_session=True
        )
        log.close()
        until("the engine answers", self.answers_or_ended, 60)
        return self

    def answers_or_ended(self):
        assert self.process.poll() is None, f"the engine ended\n{self.tail()}"
        return self.answers()

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            if not self.socket.exists() or probe.connect_ex(str(self.socket)) != 0:
                return False
        return subprocess.run(["docker", "-H", self.uri, "version"], capture_output=True).returncode == 0

    def environment(self):
        return {**os.environ}

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)

    def tail(self):
        log = self.dir / "engine.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-30:]) if log.exists() else ""

    def import_busybox(self):
        """An image with a shell, made without a registry."""
        tar = self.dir / "busybox.tar"
        with tarfile.open(tar, "w") as file:
            file.add("/bin/busybox", "bin/busybox")
        self.docker("import", str(tar), BUSYBOX)
        tar.unlink()
        return BUSYBOX

    def inspect(self, container):
        (found,) = json.loads(self.docker("inspect", container))
        return found

    def remove(self):
        """All that is left of it."""
        if self.process.poll() is not None:
            self.start()
        containers = self.docker("ps", "-aq").split()
        if containers:
            self.docker("rm", "-f", *containers, check=False)
        self.end()
        self.clean_up()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(self.dir)):
                subprocess.run(["umount", "-l", line.split()[1]])
        shutil.rmtree(self.dir, ignore_errors=True)

    def clean_up(self):
        pass


class Dockerd(Engine):
    """Docker. It leaves the machine's packet filter alone, which belongs to the machine's engine."""

    BRIDGE = "fgbr0"
    SUBNET, GATEWAY = "172.31.252.0/24", "172.31.252.1"
    # For containers that ask for no network. With none at all, Docker removes the machine's docker0.
    DEFAULT = ["fgbr1", "172.31.251.1/24"]
    RULE = ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"]

    def command(self):
        return [
            "dockerd", "--data-root", self.dir / "data", "--exec-root", self.dir / "exec",
            "--pidfile", self.dir / "pid", "-H", self.uri, "--bridge", self.DEFAULT[0], "--iptables=false", "--ip6tables=false",
        ]  # fmt: skip

    def start(self):
        # An engine that was killed leaves the numbers of its processes, which may be somebody else's by now.
        for left in (self.dir / "pid", self.dir / "exec/containerd/containerd.pid"):
            left.unlink(missing_ok=True)
        name, address = self.DEFAULT
        if not Path("/sys/class/net", name).exists():
            for command in (["link", "add", name, "type", "bridge"], ["addr", "add", address, "dev", name], ["link", "set", name, "up"]):
                subprocess.run(["ip", *command], check=True)
        return super().start()

    def make_network(self, name):
        """Gives the machine's address on it."""
        self.docker("network", "create", "--subnet", self.SUBNET, "--gateway", self.GATEWAY, "-o", f"com.docker.network.bridge.name={self.BRIDGE}", name)
        subprocess.run(["iptables", "-I", *self.RULE], check=True, capture_output=True)
        return self.GATEWAY

    def clean_up(self):
        subprocess.run(["iptables", "-D", *self.RULE], capture_output=True)
        for bridge in (self.BRIDGE, self.DEFAULT[0]):
            subprocess.run(["ip", "link", "del", bridge], capture_output=True)


class Podman(Engine):
    """Podman's service, as root or as a user of its own."""

    def __init__(self, rootless=False):
        super().__init__()
        self.rootless = rootless
        self.uid = None
        # What stands before a command that shall have no more rights than the engine.
        self.as_user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"] if rootless else []
        # What podman asks for by itself, root without CAP_SYS_RESOURCE cannot give.
        files, processes = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
        limits = [f"nofile={files}:{files}"]
        limits += [f"nproc={min(processes, 4096)}:{min(processes, 4096)}" if processes > 0 else "nproc=4096:4096"]
        # crun refuses machines with both versions of control groups.
        is_unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        (self.dir / "containers.conf").write_text(
            "[containers]\n"
            f"default_ulimits = {json.dumps(limits)}\n"
            # Else the machine's own name means the module itself.
            'base_hosts_file = "none"\n'
            "[engine]\n"
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
            f'runtime = "{"crun" if is_unified else "runc"}"\n'
        )
        if rootless:
            self._be_a_user()

    def _be_a_user(self):
        if subprocess.run(["id", USER], capture_output=True).returncode != 0:
            subprocess.run(["useradd", "--create-home", "--shell", "/usr/sbin/nologin", USER], check=True)
        self.uid = int(subprocess.run(["id", "-u", USER], capture_output=True, text=True, check=True).stdout)
        os.chown(self.dir, self.uid, self.uid)
        (self.dir / "xdg").mkdir(mode=0o700)
        os.chown(self.dir / "xdg", self.uid, self.uid)
        # As udev leaves it on every system that has one; slirp4netns needs it.
        os.chmod("/dev/net/tun", 0o666)

    def command(self):
        return [
            *self.as_user, "podman", "--root", self.dir / "data", "--runroot", self.dir / "run",
            "--network-config-dir", self.dir / "net", "system", "service", "--time", "0", self.uri,
        ]  # fmt: skip

    def environment(self):
        environment = {**os.environ, "CONTAINERS_CONF": str(self.dir / "containers.conf")}
        if self.rootless:
            environment |= {"HOME": str(self.dir), "XDG_RUNTIME_DIR": str(self.dir / "xdg")}
        return environment

    def make_network(self, name):
        """Gives the machine's address as containers reach it. A container stays in it, for without one
        there is no bridge to listen on."""
        self.docker("network", "create", name)
        self.import_busybox()
        self.docker("run", "-d", "--name", "stays", "--network", name, BUSYBOX, "/bin/busybox", "sleep", "100000")
        if self.rootless:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(("198.51.100.1", 9))
                return probe.getsockname()[0]
        (network,) = json.loads(self.docker("network", "inspect", name))
        return network["IPAM"]["Config"][0]["Gateway"]

    def clean_up(self):
        """Names' servers and the network of a user outlive the service."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes()
                is_ours = str(self.dir).encode() in arguments or (self.uid and entry.stat().st_uid == self.uid)
                if is_ours and int(entry.name) != os.getpid():
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue
        # Removing its files waits for the last of them.
        end = time.monotonic() + 5
        while self.uid and time.monotonic() < end:
            if subprocess.run(["pgrep", "-u", str(self.uid)], capture_output=True).returncode != 0:
                return
            time.sleep(0.05)
        if self.uid:
            raise TooLate("processes of the rootless engine survive SIGKILL")
