"""Keys that are known are looked for everywhere else: in logs at debug, in metrics, answers and errors,
in what tools print and bundle, in reported twins, in core files, and in what lies on the disk, in every
form in which they could stand there. Where keys may be is in SECURITY.md, and `PLACES` here."""

import base64
import os
import re
import resource
import signal
import subprocess
import zipfile
from urllib.parse import quote

import pytest
import requests

from harness import manifest, mqtt, sas, sdk
from harness.certificates import Authority
from harness.edge import Edge
from harness.program import farshore
from harness.wait import until

PASSWORD = "canary-of-a-registry-0815"
# The plain files with keys that SECURITY.md names.
PLACES = {
    "config.toml", "login.toml", "master.key", "ca.key", "server.key", "identity-edge-ca.pem",
}  # fmt: skip


# Twins and the events of their changes are not sealed (SECURITY.md), and a deployment is a twin.
IN_TWINS = ("a registry's password", "hub: data/store/")


class Canary:
    """A secret, and the forms in which it would give itself away."""

    def __init__(self, name, text, raw=None):
        self.name = name
        forms = {text.encode(), text.rstrip("=").encode(), quote(text, safe="").encode()}
        for data in {raw, text.encode()} - {None}:
            encoded = base64.b64encode(data)
            forms |= {data, encoded, encoded.rstrip(b"="), base64.urlsafe_b64encode(data).rstrip(b"=")}
            forms |= {data.hex().encode(), data.hex().upper().encode()}
        self.forms = {form for form in forms if len(form) >= 12}

    @classmethod
    def key(cls, name, text):
        return cls(name, text, base64.b64decode(text))

    def is_in(self, data):
        return any(form in data for form in self.forms)


class Search:
    """What was looked through, and what was found."""

    def __init__(self, canaries):
        self.canaries = canaries
        self.looked, self.found = {}, []

    def look(self, where, data):
        data = data.encode() if isinstance(data, str) else data
        self.looked[where] = len(data)
        for canary in self.canaries:
            is_in_twins = canary.name == IN_TWINS[0] and where.startswith(IN_TWINS[1])
            if canary.is_in(data) and not is_in_twins:
                self.found.append(f"{canary.name} in {where}")

    def look_into(self, where, directory):
        for path in directory.rglob("*"):
            if path.is_file() and path.name not in PLACES:
                self.look(f"{where}: {path.relative_to(directory)}", path.read_bytes())


def test_a_canary_is_found_in_every_form():
    key = base64.b64encode(bytes(range(150, 182))).decode()
    canary = Canary.key("key", key)
    raw = base64.b64decode(key)
    for shown in (key, raw, raw.hex(), raw.hex().upper(), quote(key, safe=""), base64.urlsafe_b64encode(raw)):
        search = Search([canary])
        search.look("here", b"before " + (shown if isinstance(shown, bytes) else shown.encode()) + b" after")
        assert search.found == ["key in here"], shown
    search = Search([canary])
    search.look("here", raw[1:] + raw[:1])
    assert search.found == []


@pytest.fixture
def core_files(tmp_path):
    """Where cores of this machine would go, and leave for them."""
    pattern = open("/proc/sys/kernel/core_pattern").read().strip()
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield pattern
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_known_secrets_are_nowhere_but_where_they_belong(new_hub, tmp_path, core_files):
    hub = new_hub(settings='[log]\nlevel = "debug"').start()
    authority = Authority("Edge CA of the test")
    edge = Edge(hub, config=edge_ca(authority, tmp_path) + '[agent.env]\nRuntimeLogLevel = "debug"\n').start()
    try:
        canaries, search = live(hub, edge, authority)
        look_at_what_runs(hub, edge, search, tmp_path)
        no_core(edge)
    finally:
        edge.stop()
    hub.stop()
    for where, directory in (("hub", hub.dir), ("edge", edge.dir)):
        search.look_into(where, directory)
    forms, size = sum(len(canary.forms) for canary in canaries), sum(search.looked.values())
    print(f"{len(canaries)} secrets in {forms} forms; {len(search.looked)} places, {size >> 20} MiB")
    assert not search.found
    assert not [path for path in (hub.dir, edge.dir, tmp_path) if list(path.rglob("core*"))]


def edge_ca(authority, tmp_path):
    """The Edge CA from files, so that its key is known."""
    key = tmp_path / "identity-edge-ca.pem"
    key.write_bytes(authority.certificate.key_path.read_bytes())
    key.chmod(0o600)
    return f'[edge_ca]\ncert = "file://{authority.certificate.path}"\npk = "file://{key}"\n'


def live(hub, edge, authority):
    """Everything that has to do with keys happens once, right and wrong; gives the secrets."""
    module, leaf = hub.new_module(edge.device_id, "m1"), edge.new_leaf()
    content = manifest.deployment({"sensor": manifest.sensor()}, edge_hub_env={"RuntimeLogLevel": "debug"})
    settings = content.modules_content["$edgeAgent"]["properties.desired"]["runtime"]["settings"]
    settings["registryCredentials"] = {
        "private": {"address": "registry.invalid", "username": "user", "password": PASSWORD}
    }
    edge.deploy(content)
    edge.wait_until_hub_listens()
    with sdk.connected(module, ca_pem=authority.pem, gateway=edge.host_name) as client:
        client.send_message_to_output("1", "out")
        client.patch_twin_reported_properties({"seen": 1})
        client.get_twin()
    canaries = [
        Canary.key("the edge device's key", edge.device.key),
        Canary.key("a leaf's key", leaf.key),
        Canary.key("the owner's key", hub.login_part("SharedAccessKey")),
        Canary("a registry's password", PASSWORD),
        Canary("the hub's master key", (hub.data_dir / "master.key").read_bytes().hex(),
               (hub.data_dir / "master.key").read_bytes()),
    ]  # fmt: skip
    for name in ("m1", "sensor", "$edgeHub", "$edgeAgent"):
        keys = hub.registry().get_module(edge.device_id, name).authentication.symmetric_key
        canaries.append(Canary.key(f"{name}'s primary key", keys.primary_key))
        canaries.append(Canary.key(f"{name}'s secondary key", keys.secondary_key))
    for path in (edge.dir / "home").rglob("master.key"):
        canaries.append(Canary(f"{path.name} of the daemon", path.read_bytes().hex(), path.read_bytes()))
    pem = authority.certificate.key_path.read_text()
    canaries.append(Canary("the Edge CA's key", "".join(pem.splitlines()[1:-1]), private_value(authority.key)))
    search = Search(canaries)
    # By bytes: so the tokens are known, too; one is right, one is wrong.
    ca_path = edge.dir / "edge-ca-for-clients.pem"
    ca_path.write_text(authority.pem)
    for where, ca in ((edge.address, ca_path), (hub.address, hub.ca_path)):
        right, wrong = leaf.token(), sas.token(leaf.resource, wrong_key())
        for name, token, code in (("right", right, 0), ("wrong", wrong, None)):
            canaries.append(signature(f"a {name} token at {where}", token))
            with mqtt.Wire(where, ca) as wire:
                answer, _ = wire.connect(leaf, password=token)
                assert (answer == 0) == (code == 0), answer
                if answer == 0:
                    wire.send(mqtt.publish(f"devices/{leaf.device_id}/messages/events/", b"x"))
                    wire.expect(mqtt.PUBACK)
    wrong = sas.token(hub.address, wrong_key(), "iothubowner")
    for name, token in (("owner's", hub.token()), ("wrong owner's", wrong)):
        canaries.append(signature(f"the {name} token", token))
        for path in (f"/devices/{leaf.device_id}", "/nothing/here", "/twins/nobody"):
            answer = requests.get(
                f"https://{hub.address}{path}", params={"api-version": "2021-04-12"},
                headers={"Authorization": token}, verify=str(hub.ca_path), timeout=10,
            )  # fmt: skip
            if answer.status_code >= 400:
                search.look(f"answer {answer.status_code} to {path}", answer.content + repr(answer.headers).encode())
    return canaries, search


def wrong_key():
    return base64.b64encode(os.urandom(32)).decode()


def signature(name, token):
    """Of a token its signature is the secret."""
    sig = re.search(r"sig=([^&]+)", token)[1]
    text = requests.utils.unquote(sig)
    return Canary.key(name, text)


def private_value(key):
    return key.private_numbers().private_value.to_bytes(32, "big")


def look_at_what_runs(hub, edge, search, tmp_path):
    for name, url in (
        ("metrics of the hub", f"http://{hub.address}:9640/metrics"),
        ("metrics of the edge hub", f"http://{edge.address}:9600/metrics"),
    ):
        search.look(name, requests.get(url, timeout=10).text)
    bundle = tmp_path / "bundle.zip"
    for arguments in (
        ["list"], ["logs", "edgeHub"], ["logs", "edgeAgent"], ["logs", "sensor"], ["system", "status"],
        ["check", "--output", "json"], ["check", "--production", "--verbose"],
        ["support-bundle", "--config", edge.config, "-o", bundle],
    ):  # fmt: skip
        said = edge.iotedge(*arguments, deadline=120)
        search.look("iotedge " + " ".join(map(str, arguments[:2])), said.stdout + said.stderr)
    with zipfile.ZipFile(bundle) as opened:
        for name in opened.namelist():
            search.look(f"support bundle: {name}", opened.read(name))
    for arguments in (["device", "list"], ["device", "show", edge.device_id], ["module", "list", edge.device_id]):
        said = farshore(*arguments, env={"FARSHORE_LOGIN": hub.login, "FARSHORE_CA": str(hub.ca_path)})
        assert said.returncode == 0, said.stderr
        search.look("farshore " + " ".join(arguments[:2]), said.stdout + said.stderr)
    for module in ("$edgeAgent", "$edgeHub", "sensor", "m1"):
        twin = hub.registry().get_module_twin(edge.device_id, module)
        search.look(f"reported twin of {module}", repr(twin.properties.reported))


def no_core(edge):
    """Whoever dies by a signal that makes a core makes none."""
    (edge_hub,) = edge.module_processes("$edgeHub")
    for pid in (edge_hub, edge.service.pid, edge.hub.service.pid):
        limits = open(f"/proc/{pid}/limits").read()
        assert re.search(r"Max core file size\s+0\s", limits), limits
    os.kill(edge_hub, signal.SIGABRT)
    until("the edge hub is gone", lambda: edge_hub not in edge.module_processes("$edgeHub"), 10)
