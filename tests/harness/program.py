"""The program under test, and running it."""

import atexit
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from harness.wait import TooLate, until

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"


def binary():
    """The program, as `cargo xtask test` names it."""
    named = os.environ.get("FARSHORE_BINARY")
    built = [Path(named)] if named else sorted(TARGET.glob("*/debug/farshore"))
    if not built or not built[0].exists():
        raise RuntimeError("there is no farshore to test; build it, or set FARSHORE_BINARY")
    return built[0]


def farshore(*arguments, deadline=30.0, env=None, program=None):
    """Runs a command to its end; gives its result, whatever the exit code."""
    command = [str(program or binary()), *map(str, arguments)]
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline,
        env={**os.environ, **(env or {})},
    )


class Service:
    """A long-running command with its log in a file."""

    def __init__(self, arguments, log, env=None):
        self.arguments = [str(argument) for argument in arguments]
        # The file that is run; the one under test when absent.
        self.program = None
        self.log_path = Path(log)
        self.env = env or {}
        # Before the command, such as `ip netns exec NAME`; it has to become the program.
        self.prefix = []
        self.process = None
        # Where the log of the present run begins.
        self.log_start = 0
        atexit.register(self.kill)

    def start(self):
        assert not self.is_running, "it runs already"
        log = open(self.log_path, "ab")
        self.log_start = log.tell()
        self.process = subprocess.Popen(
            [*self.prefix, str(self.program or binary()), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.env},
            start_new_session=True,
        )
        log.close()
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As a power cut of the process: SIGKILL, without a word."""
        if self.is_running:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def stop(self, deadline=20.0):
        """Asks it to end, and gives its exit code."""
        if self.process is None:
            return None
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TooLate(f"did not end within {deadline:g} s of SIGTERM\n{self.tail()}") from None

    def wait_until_ready(self, is_ready, deadline=30.0):
        """Waits for `is_ready()`; a program that ends meanwhile fails at once, with its log."""

        def ready_or_gone():
            if not self.is_running:
                raise AssertionError(f"ended with {self.process.returncode}\n{self.tail()}")
            return is_ready()

        try:
            until(f"{self.arguments[0]} is ready", ready_or_gone, deadline)
        except TooLate as error:
            raise TooLate(f"{error}\n{self.tail()}") from None

    def log(self, whole=False):
        """What it has said in this run, or ever."""
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as file:
            file.seek(0 if whole else self.log_start)
            return file.read().decode(errors="replace")

    def tail(self, lines=40):
        return "\n".join(self.log().splitlines()[-lines:])

    def wait_for_log(self, pattern, deadline=15.0):
        """The first match of a pattern in this run's log."""
        try:
            return until(f"log line {pattern!r}", lambda: re.search(pattern, self.log()), deadline)
        except TooLate as error:
            raise TooLate(f"{error}\n{self.tail()}") from None

    def memory_bytes(self):
        """What it holds in memory now (resident set)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")


def processes_with(**env):
    """Ids of running processes whose environment holds all of these variables."""
    wanted = [f"{name}={value}".encode() for name, value in env.items()]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z" and all(text in variables for text in wanted):
            found.append(int(entry.name))
    return found


def kill_process(pid):
    """SIGKILL to one process, and waits until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise TooLate(f"process {pid} survives SIGKILL")
