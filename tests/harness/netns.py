"""A network namespace, joined to this machine's by a wire that can be cut. Linux's own: needs root and
`ip` (Debian's iproute2)."""

import os
import subprocess

# Only between here and the namespace; the same for all, as only one stands at a time.
HERE, THERE, PREFIX = "10.138.77.1", "10.138.77.2", 30


def ip(*arguments, check=True):
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if check and result.returncode != 0:
        raise AssertionError(f"ip {' '.join(arguments)}: {result.stderr}")
    return result.stdout


class Namespace:
    """What runs in it reaches this machine at `HERE`, over a plug, a socket (a bridge) and nothing else."""

    def __init__(self, name="farshore-test"):
        self.name = name
        # Names of interfaces have at most 15 letters.
        self.bridge, self.plug, self.end = "fs-bridge", "fs-plug", "fs-end"
        self.remove()
        ip("netns", "add", name)
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"{HERE}/{PREFIX}", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        ip("link", "add", self.plug, "type", "veth", "peer", "name", self.end, "netns", name)
        ip("link", "set", self.plug, "master", self.bridge, "up")
        ip("-n", name, "address", "add", f"{THERE}/{PREFIX}", "dev", self.end)
        for link in ("lo", self.end):
            ip("-n", name, "link", "set", link, "up")

    @property
    def prefix(self):
        """Before a command that shall run in it."""
        return ["ip", "netns", "exec", self.name]

    def inode(self):
        """Which namespace it is, as `/proc/PID/ns/net` says it."""
        return os.stat(f"/run/netns/{self.name}").st_ino

    # The wire

    def unplug(self):
        """Both ends see that the wire is gone; connections do not."""
        ip("link", "set", self.plug, "down")

    def swallow(self):
        """The wire is there and everything on it vanishes, as behind a router that lost its own."""
        ip("link", "set", self.plug, "nomaster")

    def mend(self):
        ip("link", "set", self.plug, "master", self.bridge, "up")

    def remove(self):
        ip("netns", "delete", self.name, check=False)
        ip("link", "delete", self.plug, check=False)
        ip("link", "delete", self.bridge, check=False)
