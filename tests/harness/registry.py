"""A private image registry with a password: Debian's `docker-registry`, on a loopback address, where
engines take plain HTTP."""

import json
import os
import shutil
import subprocess

from harness import addresses, scratch
from harness.wait import until

USER = "device"
PASSWORD = "a-registry-password-0815"
# Not 5000: where the package has started its own.
PORT = 5016


def is_installed():
    return shutil.which("docker-registry") is not None


class Registry:
    def __init__(self):
        self.dir = scratch.directory("farshore-registry-")
        self.address = f"127.0.16.1:{PORT}"
        self.process = None
        self.pushed = []

    def start(self):
        (self.dir / "htpasswd").write_text(_htpasswd())
        (self.dir / "config.yml").write_text(
            json.dumps(
                {
                    "version": "0.1",
                    "storage": {"filesystem": {"rootdirectory": str(self.dir / "images")}},
                    "http": {"addr": self.address},
                    "auth": {"htpasswd": {"realm": "test", "path": str(self.dir / "htpasswd")}},
                }
            )
        )
        command = ["docker-registry", "serve", str(self.dir / "config.yml")]
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        host, port = self.address.split(":")
        until("the registry listens", lambda: addresses.accepts(host, int(port)), 20)
        return self

    def push(self, image, name):
        """Pushes an image of the engine under this name, and forgets it there; gives the reference."""
        reference = f"{self.address}/{name}"
        environment = {**os.environ, "DOCKER_CONFIG": str(self.dir)}
        login = ["docker", "login", self.address, "-u", USER, "--password-stdin"]
        subprocess.run(login, input=PASSWORD, text=True, check=True, capture_output=True, env=environment)
        for command in (["tag", image, reference], ["push", "-q", reference], ["rmi", reference]):
            subprocess.run(["docker", *command], check=True, capture_output=True, env=environment, timeout=120)
        self.pushed.append(reference)
        return reference

    def credentials(self, password=PASSWORD):
        """As in a manifest's `registryCredentials`."""
        return {"private": {"address": self.address, "username": USER, "password": password}}

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)
        for reference in self.pushed:
            subprocess.run(["docker", "rmi", "-f", reference], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)


def _htpasswd():
    # `htpasswd` is in another package; PHP-style bcrypt comes from the C library.
    script = (
        "import warnings; warnings.simplefilter('ignore'); import crypt; "
        f"print(crypt.crypt({PASSWORD!r}, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))"
    )
    hashed = subprocess.run(["python3", "-c", script], capture_output=True, text=True, check=True)
    return f"{USER}:{hashed.stdout.strip()}\n"
