"""What a certificate of a registered authority proves on every transport, for devices and for modules; and that
nobody stays (S8), or comes back by a resumed TLS session, once the authority is gone."""

import uuid

import pytest

from harness import resumption
from harness.certificates import Authority
from sessions.test_certificates import Others, connected, is_refused, lets_go, with_

TRANSPORTS = ["mqtt", "mqtt-ws", "amqp", "amqp-ws"]
KINDS = ["device", "module"]


@pytest.fixture
def plant(hub):
    """An authority that the hub knows for as long as a test takes. Leaves are made by one below it."""
    root = Authority("plant root")
    name = hub.add_authority(root)
    plant = Authority("plant line", root)
    plant.delete = lambda: hub.certificate("DELETE", name)
    yield plant
    plant.delete()


@pytest.fixture(scope="module")
def ship(hub):
    """Another one, which stays."""
    root = Authority("ship root")
    root.name = hub.add_authority(root)
    yield root
    hub.certificate("DELETE", root.name)


def signed(hub, authority, kind):
    device_id = f"signed-{uuid.uuid4().hex[:8]}"
    if kind == "device":
        return hub.new_ca_signed(authority, device_id)
    # The device of such a module can have what it likes.
    return hub.new_ca_signed(authority, hub.new_device().device_id, "signed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_whoever_an_authority_lets_in_goes_with_it(hub, plant, ship, transport, kind):
    who, stays = signed(hub, plant, kind), signed(hub, ship, kind)
    with Others(hub), connected(stays, transport) as other, connected(who, transport) as client:
        client.send(b"before")

        def delete():
            assert plant.delete().status_code == 204

        lets_go(who, client, delete)
        assert is_refused(who, transport)
        other.send(b"untouched")
    assert [event.body for event in hub.events.telemetry(who.sender)] == [b"before"]
    assert [event.body for event in hub.events.telemetry(stays.sender)] == [b"untouched"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_certificate_is_for_one_identity(hub, ship, transport):
    device = hub.new_ca_signed(ship, f"one-{uuid.uuid4().hex[:8]}")
    module = hub.new_ca_signed(ship, device.device_id, "one")
    other = hub.new_ca_signed(ship, f"two-{uuid.uuid4().hex[:8]}")
    keyed = hub.new_device()
    for who in [device, module, other]:
        assert not is_refused(who, transport)
    for who, certificate in [
        (device, other.certificate),
        (device, module.certificate),
        (module, device.certificate),
        (module, ship.issue("one")),
        # Registered with keys: what any authority says of it counts for nothing.
        (keyed, ship.issue(keyed.device_id)),
    ]:
        assert is_refused(with_(who, certificate), transport), (who.sender, certificate.x509.subject)


@pytest.mark.parametrize("version", resumption.VERSIONS)
def test_a_resumed_tls_session_is_asked_again(hub, plant, version):
    """A ticket brings the chain along; whether it still proves something is asked of the registry."""
    device = resumption.Resuming(signed(hub, plant, "device"), version)
    assert device.connack() == (0, False)
    assert device.connack() == (0, True)
    assert plant.delete().status_code == 204
    assert device.connack() == (5, True)
