"""The CAs that the clients of these tests trust: one file that every new hub adds to."""

import os

from harness import scratch


class Trust:
    """A bundle of CA certificates, known to the service SDK by its environment variable."""

    def __init__(self):
        self.path = scratch.directory("farshore-trust-") / "ca-bundle.pem"
        self.path.write_text("")
        os.environ["REQUESTS_CA_BUNDLE"] = str(self.path)

    def add(self, pem):
        if pem not in self.path.read_text():
            with open(self.path, "a") as file:
                file.write(pem if pem.endswith("\n") else f"{pem}\n")
