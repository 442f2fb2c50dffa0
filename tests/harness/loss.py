"""Packets that are lost, by the kernel: real TCP sends them again."""

import contextlib
import os
import shutil
import subprocess

HOW = "packet loss needs root, `nft` (Debian: nftables) and a kernel that can count in it"


def is_possible():
    """Whether this machine would take such a rule."""
    if os.geteuid() != 0 or shutil.which("nft") is None:
        return False
    return Loss(["127.0.0.254"]).would_be_taken()


class Loss:
    """Loses a share of the packets to and from some addresses of this machine."""

    def __init__(self, addresses):
        self._addresses = ", ".join(addresses)
        self._table = f"farshore_{os.getpid()}"

    def set(self, percent):
        self.end()
        subprocess.run(["nft", "-f", "-"], input=self._rules(percent), text=True, check=True, capture_output=True)

    def would_be_taken(self):
        command = ["nft", "--check", "-f", "-"]
        return subprocess.run(command, input=self._rules(1), text=True, capture_output=True).returncode == 0

    def _rules(self, percent):
        lost = f"numgen random mod 100 < {percent} drop"
        return (
            f"table inet {self._table} {{\n chain loss {{\n  type filter hook output priority 0;\n"
            f"  ip daddr {{ {self._addresses} }} tcp dport != 0 {lost}\n"
            f"  ip saddr {{ {self._addresses} }} tcp sport != 0 {lost}\n }}\n}}\n"
        )

    def end(self):
        subprocess.run(["nft", "delete", "table", "inet", self._table], capture_output=True)


@contextlib.contextmanager
def losing(*addresses):
    loss = Loss(addresses)
    try:
        yield loss
    finally:
        loss.end()
