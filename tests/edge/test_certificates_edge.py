"""Certificates of a running edge device change under load, with the real program: an Edge CA of the
operator's that nears its end is replaced in its files, and so is the device's own certificate; nobody who is
connected is cut, and nothing is lost, doubled or disordered."""

import socket
import ssl

import pytest

from harness import certificates, ledger, manifest, scratch, sdk
from harness.edge import Edge
from harness.wait import until

# Long enough for the edge hub to start and to hand over to the next, which it does at 80 %.
FIRST_CA_SECONDS = 45
DAY_SECONDS = 24 * 3600


class EdgeCa:
    """The files that `[edge_ca]` names."""

    def __init__(self):
        self.root = certificates.Authority("operator's root")
        folder = scratch.directory("edge-ca-")
        self.path, self.key_path = folder / "ca.pem", folder / "ca.key"
        self.config = f'[edge_ca]\ncert = "file://{self.path}"\npk = "file://{self.key_path}"\n'

    def put(self, common_name, seconds):
        """The certificate first, as many tools do; until the key follows the two do not fit."""
        authority = certificates.Authority(common_name, self.root, days=seconds / DAY_SECONDS)
        self.path.write_text(authority.pem + self.root.pem)
        self.key_path.write_bytes(authority.certificate.key_path.read_bytes())
        self.key_path.chmod(0o600)


def issuer_at(edge, root_pem):
    """Which CA issued what a new client sees; it has to fit to the root that all of them trust."""
    context = ssl.create_default_context(cadata=root_pem)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with socket.create_connection((edge.address, 8883), timeout=5) as tcp:
        with context.wrap_socket(tcp, server_hostname=edge.host_name) as tls:
            issuer = tls.getpeercert()["issuer"]
    return dict(part[0] for part in issuer)["commonName"]


@pytest.fixture
def edge_ca():
    return EdgeCa()


@pytest.fixture
def edge(new_hub, edge_ca):
    edge_ca.put("edge ca 1", FIRST_CA_SECONDS)
    edge = Edge(new_hub().start(), config=edge_ca.config, credential="certificate")
    edge.start()
    yield edge
    edge.stop()
    assert "panicked" not in edge.service.log(whole=True)


def replace_device_certificate(edge):
    """As an operator does: the hub knows both, the files change, the hub forgets the first."""
    old, new = edge.device.certificate, certificates.self_signed(edge.device_id)
    registry = edge.hub.registry()

    def know(*thumbprints):
        known = registry.get_device(edge.device_id)
        registry.update_device_with_x509(
            edge.device_id, known.etag, *thumbprints, "enabled", iot_edge=True, device_scope=known.device_scope
        )

    know(old.sha256, new.sha256)
    old.path.write_text(new.path.read_text())
    old.key_path.write_bytes(new.key_path.read_bytes())
    edge.service.wait_for_log("read the new certificate of the device", 40)
    know(new.sha256, certificates.self_signed("spare").sha256)


def test_certificates_are_replaced_under_load(edge, edge_ca):
    edge.deploy(manifest.deployment())
    edge.wait_until_hub_listens()
    root = edge_ca.root.pem
    assert issuer_at(edge, root) == "edge ca 1"
    hub = edge.hub
    module, leaf = hub.new_module(edge.device_id, "m1"), edge.new_leaf()
    place = {"ca_pem": root, "gateway": edge.host_name}
    with sdk.connected(module, **place) as first, sdk.connected(leaf, **place) as second:
        clients = [first, second]
        connections = [sdk.Connections(client) for client in clients]
        senders = [
            ledger.Sender(str(who), lambda number, client=client: client.send_message(str(number)))
            for who, client in zip((module, leaf), clients, strict=True)
        ]
        for sender in senders:
            sender.start()
        edge_ca.put("edge ca 2", 30 * DAY_SECONDS)
        replace_device_certificate(edge)
        until("new clients see the new CA", lambda: issuer_at(edge, root) == "edge ca 2", 60)
        for sender in senders:
            sender.finish()
        assert [connection.disconnects for connection in connections] == [0, 0]
    # The daemon asks the hub by its new certificate.
    edge.deploy(manifest.deployment({"sensor": manifest.sensor()}))
    for who, sender in zip((module, leaf), senders, strict=True):
        sent = sender.acknowledged
        assert len(sent) > 100

        def stored(who=who):
            return [int(event.body) for event in hub.events.telemetry(who.sender)]

        until("all of them are at the hub", lambda sent=sent, stored=stored: len(stored()) >= len(sent), 30)
        assert stored() == sent
    assert edge.module_processes("$edgeHub") != []
