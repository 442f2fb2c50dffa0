"""Registered certificate authorities: how they are registered, and whom they let in.

The verbs and bodies are those of the service's management interface (service-api.md §8.1)."""

import base64
import time
import uuid

import pytest

from harness import mqtt, sas
from harness.certificates import Authority, self_signed
from harness.program import farshore

# S8: from the answer to the change until the connection has ended.
CUT_SECONDS = 1.0


@pytest.fixture(scope="module")
def authority(hub):
    """One that the hub knows, and that is verified."""
    authority = Authority("plant root")
    authority.name = hub.add_authority(authority)
    return authority


@pytest.fixture
def name():
    return f"ca-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def forget(hub, name):
    """Removes what a test registers: there may be 25."""
    yield
    hub.certificate("DELETE", name)


def new_id(prefix="chained"):
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def connect(hub, device_id, certificate):
    """An MQTT connection with this certificate, and the code that the hub answered."""
    wire = mqtt.Wire(hub.address, hub.ca_path, certificate=certificate)
    wire.send(mqtt.connect(device_id, f"{hub.address}/{device_id}/?api-version=2021-04-12", None))
    return wire, wire.expect(mqtt.CONNACK)[1]


def lets_in(hub, device_id, certificate):
    wire, code = connect(hub, device_id, certificate)
    wire.close()
    assert code in (0, 5)
    return code == 0


# Registering


def test_an_authority_is_registered_verified_changed_and_deleted(hub, name):
    authority = Authority("ship root")
    made = hub.certificate("PUT", name, properties={"certificate": authority.pem})
    assert made.status_code == 200, made.text
    shown = made.json()
    properties = shown["properties"]
    assert shown["name"] == name and made.headers["ETag"].strip('"') == shown["etag"]
    assert (properties["subject"], properties["thumbprint"]) == ("ship root", authority.certificate.sha1)
    assert properties["isVerified"] is False and "verificationCode" not in properties
    assert base64.b64decode(properties["certificate"]) in base64.b64decode("".join(authority.pem.splitlines()[1:-1]))
    assert hub.certificate("GET", name).json() == shown

    code = hub.certificate("POST", name, "/generateVerificationCode", etag=shown["etag"]).json()
    assert len(code["properties"]["verificationCode"]) == 48 and code["etag"] != shown["etag"]
    again = hub.certificate("POST", name, "/generateVerificationCode").json()
    assert again["properties"]["verificationCode"] != code["properties"]["verificationCode"]
    proof = authority.issue(again["properties"]["verificationCode"])
    stale = hub.certificate("POST", name, "/verify", etag=code["etag"], certificate=proof.pem)
    assert stale.status_code == 412, stale.text
    verified = hub.certificate("POST", name, "/verify", etag=again["etag"], certificate=proof.pem)
    assert verified.status_code == 200 and verified.json()["properties"]["isVerified"], verified.text
    # A code is good for once.
    used = hub.certificate("POST", name, "/verify", certificate=proof.pem)
    assert used.status_code == 400 and "generate one first" in used.json()["Message"]

    names = [entry["name"] for entry in hub.rest("GET", "/certificates").json()["value"]]
    assert name in names and names == sorted(names)
    # The same certificate again stays verified; another one has to be verified anew.
    etag = verified.json()["etag"]
    same = hub.certificate("PUT", name, etag=etag, properties={"certificate": authority.pem}).json()
    assert same["properties"]["isVerified"] is True
    other = {"certificate": Authority("ship root 2").pem}
    changed = hub.certificate("PUT", name, etag=same["etag"], properties=other).json()
    assert (changed["properties"]["subject"], changed["properties"]["isVerified"]) == ("ship root 2", False)
    assert hub.certificate("DELETE", name).status_code == 204
    assert hub.certificate("GET", name).status_code == 404
    assert hub.certificate("DELETE", name).status_code == 404


@pytest.mark.usefixtures("forget")
def test_whoever_answers_for_an_authority_need_not_verify_it(hub, name):
    der = base64.b64encode(Authority("trusted").certificate.x509.public_bytes(encoding=_der())).decode()
    made = hub.certificate("PUT", name, properties={"certificate": der, "isVerified": True})
    assert made.json()["properties"]["isVerified"] is True, made.text


def _der():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    ("certificate", "says"),
    [
        (lambda: "rubbish", "neither PEM nor Base64"),
        (lambda: base64.b64encode(b"rubbish").decode(), "not an X.509 certificate"),
        (lambda: "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n", "X.509"),
        (lambda: self_signed("leaf").pem, "CA:TRUE"),
        (lambda: Authority("old", days=-1).pem, "valid from"),
        (lambda: Authority("one").pem + Authority("two").pem, "2 certificates"),
        (lambda: "", "properties.certificate is missing"),
    ],
)
def test_what_is_no_authority_is_refused_by_name(hub, name, certificate, says):
    refused = hub.certificate("PUT", name, properties={"certificate": certificate()})
    assert refused.status_code == 400 and says in refused.json()["Message"], refused.text
    assert hub.certificate("GET", name).status_code == 404


@pytest.mark.usefixtures("forget")
def test_a_wrong_proof_verifies_nothing(hub, name):
    authority, stranger = Authority("proven"), Authority("stranger")
    hub.certificate("PUT", name, properties={"certificate": authority.pem})
    early = hub.certificate("POST", name, "/verify", certificate=authority.issue("code").pem)
    assert early.status_code == 400 and "generate one first" in early.json()["Message"]
    coded = hub.certificate("POST", name, "/generateVerificationCode").json()
    code = coded["properties"]["verificationCode"]
    forged = Authority("proven")
    for proof, says in [
        (authority.issue(code.lower()), "common name"),
        (authority.issue("code"), "common name"),
        (stranger.issue(code), "issuer"),
        (forged.issue(code), "signature"),
        (authority.issue(code, days=-1), "not valid now"),
        (self_signed(code), "issuer"),
    ]:
        refused = hub.certificate("POST", name, "/verify", certificate=proof.pem)
        assert refused.status_code == 400 and says in refused.json()["Message"], refused.text
    assert hub.certificate("GET", name).json() == coded


def test_a_certificate_is_registered_once_and_names_are_checked(hub, authority, name):
    twice = hub.certificate("PUT", name, properties={"certificate": authority.pem})
    assert twice.status_code == 412 and "registered already" in twice.json()["Message"]
    over = hub.certificate("PUT", authority.name, properties={"certificate": Authority("other").pem})
    assert over.status_code == 412, over.text
    bad = hub.certificate("PUT", "a%20b", properties={"certificate": authority.pem})
    assert bad.status_code == 400 and "1 to 64" in bad.json()["Message"]


def test_only_the_registrys_rights_register(hub, name):
    # Of the policy `service`: neither RegistryRead nor RegistryWrite.
    printed = farshore("hub", "--print-events-login", "--data", hub.data_dir, "--settings", hub.settings)
    parts = dict(part.split("=", 1) for part in printed.stdout.strip().split(";"))
    token = sas.token(hub.address, parts["SharedAccessKey"], parts["SharedAccessKeyName"])
    headers = {"Authorization": token}
    assert hub.rest("GET", "/devices", headers=headers).status_code in (401, 403)
    assert hub.rest("GET", "/certificates", headers=headers).status_code in (401, 403)
    body = {"properties": {"certificate": Authority("mine").pem, "isVerified": True}}
    assert hub.rest("PUT", f"/certificates/{name}", headers=headers, json=body).status_code in (401, 403)
    assert hub.rest("GET", "/certificates", headers={"Authorization": ""}).status_code == 401


# Letting in


def test_whom_an_authority_lets_in(hub, authority):
    device = hub.new_ca_signed(authority, new_id())
    below = Authority("line 7", authority)
    assert lets_in(hub, device.device_id, device.certificate)
    # Again at once, with a resumed TLS session or without: what counts is what is registered now.
    assert lets_in(hub, device.device_id, device.certificate)
    assert lets_in(hub, device.device_id, below.issue(device.device_id))
    for other in [
        authority.issue(new_id()),
        authority.issue(device.device_id.upper()),
        authority.issue(device.device_id, days=-1),
        Authority("plant root").issue(device.device_id),
        Authority("stranger").issue(device.device_id),
        self_signed(device.device_id),
        authority.certificate,
    ]:
        assert not lets_in(hub, device.device_id, other)


@pytest.mark.usefixtures("forget")
def test_an_unverified_authority_lets_nobody_in(hub, name):
    authority = Authority("unverified")
    made = hub.certificate("PUT", name, properties={"certificate": authority.pem})
    device = hub.new_ca_signed(authority, new_id())
    assert not lets_in(hub, device.device_id, device.certificate)
    trusted = {"certificate": authority.pem, "isVerified": True}
    assert hub.certificate("PUT", name, etag=made.json()["etag"], properties=trusted).status_code == 200
    assert lets_in(hub, device.device_id, device.certificate)


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_removed_authority_takes_its_connections_along(hub, authority, name, change):
    going = Authority("going")
    hub.add_authority(going, name)
    theirs, others = (hub.new_ca_signed(ca, new_id()) for ca in (going, authority))
    mine, code = connect(hub, theirs.device_id, theirs.certificate)
    other, other_code = connect(hub, others.device_id, others.certificate)
    assert (code, other_code) == (0, 0)
    if change == "deleted":
        assert hub.certificate("DELETE", name).status_code == 204
    else:
        etag = hub.certificate("GET", name).json()["etag"]
        new = {"certificate": Authority("new").pem}
        assert hub.certificate("PUT", name, etag=etag, properties=new).status_code == 200
    changed = time.monotonic()
    assert mine.is_closed_by_server()
    assert time.monotonic() - changed < CUT_SECONDS
    assert not lets_in(hub, theirs.device_id, theirs.certificate)
    other.send(mqtt.publish(f"devices/{others.device_id}/messages/events/", b"on", 1))
    other.expect(mqtt.PUBACK)
    other.close()
    hub.certificate("DELETE", name)


def test_what_is_registered_survives_a_kill(new_hub):
    hub = new_hub().start()
    authority = Authority("durable")
    hub.add_authority(authority)
    device = hub.new_ca_signed(authority, new_id())
    hub.kill()
    hub.start()
    assert lets_in(hub, device.device_id, device.certificate)


def test_there_is_a_bound(new_hub):
    hub = new_hub().start()
    for number in range(25):
        made = hub.certificate("PUT", f"ca-{number}", properties={"certificate": Authority(f"ca {number}").pem})
        assert made.status_code == 200, made.text
    full = hub.certificate("PUT", "one-more", properties={"certificate": Authority("one more").pem})
    assert full.status_code == 400 and "25 certificate authorities" in full.json()["Message"]


# By the command line


def test_the_command_line_registers_verifies_and_deletes(hub, name, tmp_path):
    login = ["--login", hub.login, "--ca", hub.ca_path]
    authority = Authority("by hand")

    def certificate(*arguments):
        return farshore("certificate", *arguments, *login)

    made = certificate("create", name, "--path", authority.certificate.path)
    assert made.returncode == 0, made.stderr
    assert f"generate-verification-code {name}" in made.stderr
    coded = certificate("generate-verification-code", name)
    assert coded.returncode == 0, coded.stderr
    code = hub.certificate("GET", name).json()["properties"]["verificationCode"]
    assert code in coded.stdout and code in coded.stderr
    proof = authority.issue(code)
    assert certificate("verify", name, "--path", proof.path).returncode == 0
    device = new_id()
    created = farshore("device", "create", device, "--certificate-authority", *login)
    assert created.returncode == 0 and "certificateAuthority" in created.stdout, created.stderr
    string = farshore("device", "connection-string", device, *login)
    assert string.stdout.strip().endswith(f";DeviceId={device};x509=true"), string.stdout
    assert lets_in(hub, device, authority.issue(device))
    module = farshore("module", "create", device, "m1", "--x509-ca", *login)
    assert module.returncode == 0 and "certificateAuthority" in module.stdout, module.stderr
    assert lets_in(hub, f"{device}/m1", authority.issue(f"{device}/m1"))

    twice = certificate("create", name, "--path", authority.certificate.path)
    assert twice.returncode == 6 and "certificate update" in twice.stderr, twice.stderr
    other = Authority("by hand 2")
    assert certificate("update", name, "--path", other.certificate.path, "--verified").returncode == 0
    listed = certificate("list")
    assert f"{name}  by hand 2" in listed.stdout, listed.stdout
    missing = certificate("verify", name, "--path", tmp_path / "nothing.pem")
    assert missing.returncode == 2 and "nothing.pem" in missing.stderr
    assert "--yes" in certificate("delete", name).stderr
    assert certificate("delete", name, "--yes").returncode == 0
    gone = certificate("show", name)
    assert gone.returncode == 5 and "farshore certificate list" in gone.stderr, (gone.returncode, gone.stderr)
