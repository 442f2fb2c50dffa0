"""`UploadModuleLogs` puts logs where the caller wants them: blobs at the URL of a container."""

import datetime
import gzip
import http.server
import ipaddress
import json
import ssl
import threading
from urllib.parse import urlsplit

import pytest
from azure.iot.hub.models import CloudToDeviceMethod
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import manifest
from harness.certificates import Authority, Certificate
from harness.edge import Edge
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
ADDRESS = ("127.34.1.1", 8443)
SECRET = "sv=2024-11-04&sig=a-signature-0815%3D"


class Storage(http.server.ThreadingHTTPServer):
    """Takes block blobs from whoever has the signature; fails first as often as it is told."""

    def __init__(self, context):
        self.blobs, self.failures, self.calls = {}, [], 0
        super().__init__(ADDRESS, Blobs)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class Blobs(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        self.server.calls += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        status = 201
        if url.query != SECRET or self.headers["x-ms-blob-type"] != "BlockBlob":
            status = 403
        elif self.server.failures:
            status = self.server.failures.pop()
        else:
            self.server.blobs[url.path] = body
        self.send_response(status)
        self.send_header("x-ms-error-code", "AuthenticationFailed" if status == 403 else "ServerBusy")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def authority():
    return Authority("storage test")


def of_server(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS[0]))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "storage")]))
        .issuer_name(authority.certificate.x509.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Certificate(certificate, key)


@pytest.fixture(scope="module")
def storage(authority):
    certificate = of_server(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key_path)
    server = Storage(context)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def edge(hub, authority):
    edge = Edge(hub, trust_bundle=authority.pem).start()
    try:
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}))
        yield edge
    finally:
        edge.stop()
    log = edge.service.log(whole=True)
    assert "panicked" not in log and "a-signature-0815" not in log


def call(edge, name, payload):
    request = CloudToDeviceMethod(method_name=name, payload=payload, connect_timeout_in_seconds=30)
    return edge.hub.registry().invoke_device_module_method(edge.device_id, "$edgeAgent", request)


def upload(edge, query=SECRET, **more):
    """Asks for an upload; how its task ended."""
    url = f"https://{ADDRESS[0]}:{ADDRESS[1]}/logs?{query}"
    asked = {"schemaVersion": "1.0", "sasUrl": url, "items": [{"id": SENSOR, "filter": {"tail": 5}}], **more}
    begun = call(edge, "UploadModuleLogs", asked)
    assert begun.status == 200, begun.payload
    assert begun.payload["status"] == "NotStarted" and begun.payload["message"] == ""
    question = {"schemaVersion": "1.0", "correlationId": begun.payload["correlationId"]}

    def ended():
        answer = call(edge, "GetTaskStatus", question)
        assert (answer.status, answer.payload["correlationId"]) == (200, begun.payload["correlationId"])
        return answer.payload["status"] in ("Completed", "Failed") and answer.payload

    return until("the task ended", ended, 60)


def test_logs_are_uploaded_and_the_task_says_so(edge, storage):
    until("it says something", lambda: SENSOR in edge.iotedge("logs", SENSOR).stdout, 60)
    assert upload(edge)["status"] == "Completed"
    ((path, body),) = storage.blobs.items()
    hub_name = edge.hub_twin().reported and path.split("/")[2]
    assert path.startswith(f"/logs/{hub_name}/{edge.device_id}/{SENSOR}-20") and path.endswith(".log"), path
    assert 0 < len(body.decode().splitlines()) <= 5

    storage.blobs.clear()
    # The storage is busy twice, and the form is another.
    storage.failures = [503, 500]
    assert upload(edge, contentType="json", encoding="gzip")["status"] == "Completed"
    ((path, body),) = storage.blobs.items()
    assert path.endswith(".json.gz")
    lines = json.loads(gzip.decompress(body))
    assert lines and all(line["device"] == edge.device_id and line["id"] == SENSOR for line in lines)


def test_a_storage_that_refuses_is_told_without_its_signature(edge, storage):
    calls = storage.calls
    failed = upload(edge, query="sv=1&sig=a-signature-0815-wrong")
    assert failed["status"] == "Failed"
    assert failed["message"] == "the storage answered 403 (AuthenticationFailed)"
    # What is refused is not tried again.
    assert storage.calls == calls + 1


def test_wrong_calls_are_named(edge):
    for payload, says in [
        ({"items": [{"id": "all"}]}, "sasUrl is missing"),
        ({"items": [{"id": "all"}], "sasUrl": "http://a/b?c"}, "sasUrl has to be like"),
        ({"sasUrl": "https://a/b?c"}, "items is missing"),
    ]:
        answer = call(edge, "UploadModuleLogs", payload)
        assert answer.status == 400 and answer.payload["message"].startswith(says), answer.payload
    unknown = call(edge, "GetTaskStatus", {"schemaVersion": "1.0", "correlationId": "nothing"})
    assert (unknown.status, unknown.payload["status"]) == (200, "Unknown")
