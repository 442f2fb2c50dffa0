"""A hub of our own, from a settings file, on an address of its own."""

import json
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

import requests
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager

from harness import addresses, certificates, sas, scratch
from harness.events import EventLog
from harness.program import Service, farshore

API_VERSION = "2021-04-12"


class Hub:
    """One hub: its data directory, its process, and its service interface."""

    def __init__(self, trust, also_listen=(), settings=None, data_dir=None, also_named=()):
        """`trust` takes the hub's CA; `settings` are further lines for the settings file."""
        self.trust = trust
        self.address = addresses.free("127.0.10")
        self.dir = scratch.directory("farshore-hub-")
        self.data_dir = Path(data_dir) if data_dir else self.dir / "data"
        self.settings = self.dir / "hub.toml"
        self.settings.write_text(
            f"host_names = {json.dumps([self.address, *also_named])}\n"
            f'data_dir = "{self.data_dir}"\n'
            f"{settings or ''}\n"
            "[listen]\n"
            f"addresses = {json.dumps([self.address, *also_listen])}\n"
            f'operations = "{self.address}:9640"\n'
        )
        self.service = Service(["hub", "--settings", self.settings], self.dir / "hub.log")
        self.events = EventLog(self)
        self._login = None

    # Its life

    def start(self):
        self.service.start()
        self.service.wait_until_ready(self.is_ready)
        self.trust.add(self.ca_pem)
        return self

    def is_ready(self):
        try:
            return requests.get(f"http://{self.address}:9640/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def stop(self):
        return self.service.stop()

    def kill(self):
        self.service.kill()

    # What its users need

    @property
    def ca_path(self):
        return self.data_dir / "ca.pem"

    @property
    def ca_pem(self):
        return self.ca_path.read_text()

    @property
    def login(self):
        """The connection string of the policy `iothubowner`."""
        if self._login is None:
            result = farshore("hub", "--print-login", "--data", self.data_dir, "--settings", self.settings)
            assert result.returncode == 0, result.stderr
            self._login = next(
                line.strip() for line in result.stdout.splitlines() if "SharedAccessKeyName=" in line
            )
        return self._login

    def login_part(self, name):
        return dict(part.split("=", 1) for part in self.login.split(";"))[name]

    def registry(self):
        return IoTHubRegistryManager.from_connection_string(self.login)

    def configurations(self):
        return IoTHubConfigurationManager.from_connection_string(self.login)

    def token(self):
        return sas.token(
            self.address, self.login_part("SharedAccessKey"), self.login_part("SharedAccessKeyName")
        )

    def rest(self, method, path, query=None, headers=None, **more):
        """A request with the owner's token; for what the SDK has no call for."""
        return requests.request(
            method,
            f"https://{self.address}{path}",
            params={"api-version": API_VERSION, **(query or {})},
            headers={"Authorization": self.token(), **(headers or {})},
            timeout=more.pop("timeout", 30),
            verify=str(self.ca_path),
            **more,
        )

    def send_c2d(self, device_id, body, headers=None):
        """A cloud-to-device message over REST."""
        path = f"/devices/{device_id}/messages/deviceBound"
        answer = self.rest("POST", path, headers=headers, data=body)
        assert answer.status_code == 204, answer.text

    # Identities

    def new_device(self, prefix="device", **options):
        """A fresh device with keys of the hub's making."""
        device_id = f"{prefix}-{uuid.uuid4().hex[:8]}"
        device = self.registry().create_device_with_sas(device_id, None, None, "enabled", **options)
        return Identity(self, device_id, None, device.authentication.symmetric_key.primary_key, device)

    def new_module(self, device_id, module_id):
        """A module identity of a device."""
        module = self.registry().create_module_with_sas(device_id, module_id, "tests", None, None)
        key = module.authentication.symmetric_key.primary_key
        return Identity(self, device_id, module_id, key, module)

    def new_self_signed(self, device_id, module_id=None, **options):
        """A device or module with a certificate of its own making, known by its thumbprint."""
        certificate = certificates.self_signed(f"{device_id}/{module_id}" if module_id else device_id)
        thumbprints = (certificate.sha256, certificates.self_signed("spare").sha256)
        if module_id:
            document = self.registry().create_module_with_x509(device_id, module_id, "tests", *thumbprints)
        else:
            document = self.registry().create_device_with_x509(device_id, *thumbprints, "enabled", **options)
        return Identity(self, device_id, module_id, None, document, certificate)

    def new_ca_signed(self, authority, device_id, module_id=None, **options):
        """A device or module with a certificate by a CA that the hub knows."""
        certificate = authority.issue(f"{device_id}/{module_id}" if module_id else device_id)
        if module_id:
            create = self.registry().create_module_with_certificate_authority
            document = create(device_id, module_id, "tests")
        else:
            create = self.registry().create_device_with_certificate_authority
            document = create(device_id, "enabled", **options)
        return Identity(self, device_id, module_id, None, document, certificate)

    def certificate(self, verb, name, path="", etag=None, **body):
        """A request about a registered certificate authority."""
        headers = {"If-Match": f'"{etag}"'} if etag else None
        return self.rest(verb, f"/certificates/{name}{path}", headers=headers, json=body or None)

    def add_authority(self, authority, name=None):
        """Registers a CA and shows that it is ours; gives its name."""
        name = name or f"ca-{uuid.uuid4().hex[:8]}"
        made = self.certificate("PUT", name, properties={"certificate": authority.pem})
        assert made.status_code == 200, made.text
        coded = self.certificate("POST", name, "/generateVerificationCode")
        assert coded.status_code == 200, coded.text
        proof = authority.issue(coded.json()["properties"]["verificationCode"])
        verified = self.certificate("POST", name, "/verify", certificate=proof.pem)
        assert verified.status_code == 200 and verified.json()["properties"]["isVerified"], verified.text
        return name

    def module(self, device_id, module_id):
        """A module identity that is there already."""
        module = self.registry().get_module(device_id, module_id)
        key = module.authentication.symmetric_key.primary_key
        return Identity(self, device_id, module_id, key, module)


class Identity:
    """A device or module that may connect."""

    def __init__(self, hub, device_id, module_id, key, document, certificate=None):
        self.hub = hub
        self.device_id = device_id
        self.module_id = module_id
        self.key = key
        self.document = document
        self.certificate = certificate

    def credential(self):
        """What it proves itself with, for the drivers."""
        if self.key:
            return {"key": self.key}
        return {"certificate": str(self.certificate.path), "private_key": str(self.certificate.key_path)}

    @property
    def sender(self):
        return f"{self.device_id}/{self.module_id}" if self.module_id else self.device_id

    @property
    def resource(self):
        """What its tokens are for."""
        resource = f"{self.hub.address}/devices/{self.device_id}"
        return f"{resource}/modules/{self.module_id}" if self.module_id else resource

    def token(self, **options):
        return sas.token(self.resource, self.key, **options)

    @property
    def user_name(self):
        return f"{self.hub.address}/{self.sender}/?api-version=2021-04-12"

    def connection_string(self, gateway=None):
        text = f"HostName={self.hub.address};DeviceId={self.device_id}"
        if self.module_id:
            text += f";ModuleId={self.module_id}"
        text += f";SharedAccessKey={self.key}"
        return f"{text};GatewayHostName={gateway}" if gateway else text


@contextmanager
def running(trust):
    """A hub that nobody stops, for as long as tests share it."""
    hub = Hub(trust).start()
    yield hub
    assert hub.service.is_running, f"the hub died\n{hub.service.tail()}"
    hub.stop()
    assert "panicked" not in hub.service.log(whole=True)
    shutil.rmtree(hub.dir, ignore_errors=True)
