"""Traps of the original's edge hub that show on the wire only (`README.md` has the list)."""

import pytest
from azure.iot.device import Message
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError
from websocket import WebSocketBadStatusException

from harness import manifest, mqtt, sas
from harness.edge import Edge, running
from harness.transport import Closed, WebSocket
from harness.wait import until

REFUSED = 5


@pytest.fixture(scope="module")
def edge(hub):
    with running(hub, manifest.deployment()) as edge:
        yield edge


@pytest.fixture(scope="module")
def module(hub, edge):
    return hub.new_module(edge.device_id, "Mod1")


@pytest.fixture
def connack(edge, module, tmp_path):
    """The code for a CONNECT of the module, with some of it changed."""
    ca = tmp_path / "edge-ca.pem"
    ca.write_text(edge.trust_pem())

    def say(**options):
        with mqtt.Wire(edge.address, ca) as wire:
            return wire.connect(module, **options)[0]

    say.ca = ca
    return say


def test_a_token_is_for_the_hub_or_for_the_edge_device(edge, module, connack):
    """T-AUDIENCE: SDKs name the hub, though they connect to the gateway; ids have any case."""
    path = f"devices/{module.device_id}/modules/{module.module_id}"
    for host in (module.hub.address, edge.host_name):
        assert connack(password=sas.token(f"{host}/{path}", module.key)) == 0, host
        other_case = f"{host}/devices/{module.device_id.upper()}/modules/{module.module_id.upper()}"
        assert connack(password=sas.token(other_case, module.key)) == 0, host
    assert connack(password=sas.token(f"elsewhere.example.org/{path}", module.key)) == REFUSED


def test_the_key_of_a_device_is_not_its_modules(edge, module, connack):
    """T-MODULE-BY-DEVICEKEY, not matched: whoever has a device's key is not its modules."""
    assert connack(password=sas.token(module.resource, edge.device.key)) == REFUSED


def test_user_names_are_taken_as_they_come(module, connack):
    """T-RELAX-USERNAME and T-CLIENTID-CASE."""
    for user_name in (
        f"elsewhere/{module.sender}/?api-version=of-tomorrow",
        f"{module.hub.address}/{module.sender}/api-version=2018-06-30",
        f"{module.hub.address}/{module.sender}/?api-version=2021-04-12&DeviceClientType=x&model-id=dtmi%3Aa%3B1",
    ):
        assert connack(user_name=user_name) == 0, user_name
    assert connack(client_id=module.sender.upper()) != 0


def test_a_websocket_is_upgraded_at_the_paths_that_clients_use(edge, module, connack):
    """T-WS-PATH, matched for what is known: elsewhere it is told that nothing is there."""
    for path in ("/$iothub/websocket", "/%24iothub/websocket?iothub-no-client-cert=true", "/mqtt", "/"):
        transport = WebSocket(edge.address, connack.ca, path, "mqtt")
        with mqtt.Wire(None, None, transport=transport) as wire:
            assert wire.connect(module)[0] == 0, path
    with pytest.raises(WebSocketBadStatusException, match="404"):
        WebSocket(edge.address, connack.ca, "/any/path", "mqtt")


def test_a_method_of_who_is_away_is_not_found(hub, module):
    """T-METHOD-0, not matched: the original answers with status 0."""
    call = CloudToDeviceMethod(method_name="x", payload=1, connect_timeout_in_seconds=0)
    with pytest.raises(HttpOperationError) as refused:
        hub.registry().invoke_device_module_method(module.device_id, module.module_id, call)
    assert refused.value.response.status_code == 404


def test_a_twin_that_was_never_read_is_empty_while_the_hub_is_away(new_hub):
    """T-TWIN-EMPTY, and T-REPORTED-204: what is reported meanwhile is taken and synced later."""
    hub = new_hub().start()
    edge = Edge(hub).start()
    try:
        module = hub.new_module(edge.device_id, "m1")
        edge.deploy(manifest.deployment(twins={"m1": {"colour": "red"}}))
        edge.wait_until_hub_listens()
        # It has to be known; its twin need not.
        with edge.connected(module):
            hub.kill()
        with edge.connected(module) as client:
            twin = client.get_twin()
            assert "colour" not in twin["desired"], twin
            client.patch_twin_reported_properties({"away": True})
            assert client.get_twin()["reported"]["away"] is True
            hub.start()
            patch = hub_knows(hub, module)
            assert patch["away"] is True
    finally:
        edge.stop()


def test_an_expiry_is_carried_and_not_enforced(hub, edge, module):
    """T-EXPIRY: how long a message waits is for the routes to say."""
    since = hub.events.mark()
    with edge.connected(module) as client:
        message = Message("late")
        message.expiry_time_utc = "2020-01-01T00:00:00.0000000Z"
        client.send_message_to_output(message, "out")
    (event,) = hub.events.wait_for(module.sender, since=since, deadline=30)
    assert event.body == b"late"


def test_the_bound_of_the_manifest_holds_for_the_store_on_disk(new_hub, tmp_path):
    """T-LIMIT-NAME, not matched: the original's counts in memory only."""
    hub = new_hub().start()
    edge = Edge(hub).start()
    limits = {"timeToLiveSecs": 7200, "storeLimits": {"maxSizeBytes": 20_000}}
    try:
        module = hub.new_module(edge.device_id, "m1")
        edge.deploy(manifest.deployment(hub_settings={"storeAndForwardConfiguration": limits}))
        edge.wait_until_hub_listens()
        ca = tmp_path / "edge-ca.pem"
        ca.write_text(edge.trust_pem())
        topic = f"devices/{module.device_id}/modules/m1/messages/events/%24.on=out"
        acknowledged = 0
        with mqtt.Wire(edge.address, ca) as wire:
            assert wire.connect(module)[0] == 0
            hub.kill()
            with pytest.raises(Closed):
                for number in range(100):
                    wire.send(mqtt.publish(topic, f"{number:01000}".encode()))
                    wire.expect(mqtt.PUBACK)
                    acknowledged += 1
        assert 10 <= acknowledged <= 20
        said = edge.iotedge("logs", "edgeHub")
        assert "storeLimits.maxSizeBytes allows 20000" in said.stdout + said.stderr
        hub.start()
        events = hub.events.wait_for(module.sender, acknowledged, deadline=60)
        assert [int(event.body) for event in events[:acknowledged]] == list(range(acknowledged))
    finally:
        edge.stop()


def hub_knows(hub, module):
    def reported():
        found = hub.registry().get_module_twin(module.device_id, module.module_id).properties.reported
        return found.get("away") and found

    return until("the hub knows", reported, 60)
