"""Devices whose TLS sessions are resumed."""

import socket
import ssl

from harness import mqtt

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Resuming:
    """A device with a certificate that connects by MQTT, and resumes its TLS session when it has one."""

    def __init__(self, device, version, certificate=None):
        self.device, self.hub, self._session = device, device.hub, None
        certificate = certificate or device.certificate
        self._context = ssl.create_default_context(cafile=str(self.hub.ca_path))
        self._context.load_cert_chain(certificate.path, certificate.key_path)
        self._context.minimum_version = self._context.maximum_version = version

    def connack(self):
        """The code of CONNACK, and whether the session was resumed."""
        raw = socket.create_connection((self.hub.address, 8883), timeout=10)
        stream = self._context.wrap_socket(raw, server_hostname=self.hub.address, session=self._session)
        with stream:
            stream.sendall(mqtt.connect(self.device.sender, self.device.user_name, None))
            code = stream.recv(4)[3]
            # A refusal brings no new ticket: the last one stays.
            self._session = stream.session or self._session
            return code, stream.session_reused
