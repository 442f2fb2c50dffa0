"""The cells of the device SDKs: each is sent by the SDK and read back on the other side, or the other way."""

import functools
import json
import uuid

import pytest
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness.drivers import NotOffered
from harness.wait import until
from matrix import cells

COMBINATIONS = [
    (sdk, protocol, credential)
    for sdk in cells.VERSIONS
    for protocol in cells.PROTOCOLS
    for credential in cells.CREDENTIALS
]


def cell(column):
    """Runs a test once for each combination, each filling its cell of this column. Where the SDK is
    known not to offer something it is asked all the same, and has to say so itself."""

    def decorate(test):
        @functools.wraps(test)
        def run(site, sdk, protocol, credential, record_property, request):
            reason = cells.why_not_offered(sdk, protocol, credential, column)
            more = [request.getfixturevalue("edge")] if column.startswith("edge:") else []
            try:
                test(site, sdk, protocol, credential, *more)
            except NotOffered as error:
                assert reason is not None, f"not in the list of what is not offered: {error}"
                record_property("cell", f"not offered: {reason}")
            else:
                assert reason is None, f"the SDK offers it after all; it is listed: {reason}"

        del run.__wrapped__
        parameters = [
            pytest.param(*c, id="-".join(c), marks=pytest.mark.cell("devices", cells.device_row(*c), column))
            for c in COMBINATIONS
        ]
        return pytest.mark.parametrize(("sdk", "protocol", "credential"), parameters)(run)

    return decorate


def new_client(site, sdk, protocol, credential, module=None):
    name = f"{sdk}-{protocol}-{credential}-{uuid.uuid4().hex[:6]}"
    if module:
        name = site.hub.new_device("host").device_id
    return site.driver(sdk).client(site.identity(credential, name, module), protocol)


def auth_type(credential):
    return "sas" if credential == "key" else "x509"


@cell("telemetry")
def test_telemetry(site, sdk, protocol, credential):
    since = site.hub.events.mark()
    with new_client(site, sdk, protocol, credential) as client:
        client.send(
            json.dumps({"temperature": 21.5, "name": "Zoë"}),
            properties={"site": "north", "b key": "v&=/ü %41"},
            message_id="id 1", correlation_id="c/1", content_type="application/json", content_encoding="utf-8",
        )  # fmt: skip
        client.send(bytes(range(256)))
        first, second = site.hub.events.wait_for(client.identity.sender, 2, since)
    assert first.json == {"temperature": 21.5, "name": "Zoë"}
    assert first.properties == {"site": "north", "b key": "v&=/ü %41"}
    assert second.body == bytes(range(256))
    expected = {
        "message-id": "id 1",
        "correlation-id": "c/1",
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    assert {name: first.system.get(name) for name in expected} == expected
    auth = json.loads(first.system["iothub-connection-auth-method"])
    assert (auth["scope"], auth["type"]) == ("device", auth_type(credential))


@cell("batch")
def test_batch(site, sdk, protocol, credential):
    since = site.hub.events.mark()
    with new_client(site, sdk, protocol, credential) as client:
        client.send_batch(["1", "2", "3"])
        events = site.hub.events.wait_for(client.identity.sender, 3, since)
    assert [event.body for event in events] == [b"1", b"2", b"3"]


def send_c2d(site, device_id, body, message_id):
    headers = {
        "iothub-messageid": message_id,
        "iothub-correlationid": "c/1",
        "iothub-ack": "full",
        "iothub-app-prop": "v/1 ü".encode(),
    }
    site.hub.send_c2d(device_id, body, headers)


def wait_until_queue_is_empty(site, device_id):
    registry = site.hub.registry()
    until("the queue is empty", lambda: registry.get_device(device_id).cloud_to_device_message_count == 0)


@cell("C2D complete")
def test_cloud_to_device_complete(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        device_id = client.identity.device_id
        client.listen("c2d")
        send_c2d(site, device_id, b"\x00\x01body", "m 1")
        message = client.next("c2d")
        assert message["body"] == b"\x00\x01body"
        assert (message["message_id"], message["correlation_id"]) == ("m 1", "c/1")
        assert message["properties"]["prop"] == "v/1 ü"
        client.settle(message, "complete")
        wait_until_queue_is_empty(site, device_id)
    site.expect_feedback(device_id, "m 1", "Success")


@cell("C2D abandon")
def test_cloud_to_device_abandon(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        device_id = client.identity.device_id
        client.listen("c2d")
        send_c2d(site, device_id, b"again", "m-2")
        message = client.next("c2d")
        client.settle(message, "abandon")
        again = client.next("c2d")
        assert (again["body"], again["message_id"]) == (b"again", "m-2")
        client.settle(again, "complete")
        wait_until_queue_is_empty(site, device_id)
    site.expect_feedback(device_id, "m-2", "Success")


@cell("C2D reject")
def test_cloud_to_device_reject(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        device_id = client.identity.device_id
        client.listen("c2d")
        send_c2d(site, device_id, b"unwanted", "m-3")
        client.settle(client.next("c2d"), "reject")
        wait_until_queue_is_empty(site, device_id)
        assert client.inboxes["c2d"].empty()
    site.expect_feedback(device_id, "m-3", "Rejected")


def set_desired(site, identity, desired):
    patch = Twin(properties=TwinProperties(desired=desired))
    if identity.module_id:
        site.hub.registry().update_module_twin(identity.device_id, identity.module_id, patch)
    else:
        site.hub.registry().update_twin(identity.device_id, patch)


@cell("twin get")
def test_twin_get(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        set_desired(site, client.identity, {"interval": 9, "net": {"name": "ü"}})
        twin = client.twin()
    assert twin["desired"] == {"interval": 9, "net": {"name": "ü"}, "$version": 2}
    assert twin["reported"] == {"$version": 1}


@cell("twin report")
def test_twin_report(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        client.report({"firmware": "1.2", "net": {"ip": "10.0.0.1", "up": True}})
        client.report({"firmware": None, "net": {"ip": "10.0.0.2"}})
        stored = site.hub.registry().get_twin(client.identity.device_id).properties.reported
    assert stored["net"] == {"ip": "10.0.0.2", "up": True}
    assert "firmware" not in stored
    assert stored["$version"] == 3


@cell("twin desired")
def test_twin_desired(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        check_desired(site, client)


def check_desired(site, client):
    client.listen("desired")
    # The Node SDK begins with what is there; nobody misses the first change if it can be seen twice.
    client.twin()
    set_desired(site, client.identity, {"interval": 5, "mode": "day"})
    wait_for_patch(client, {"interval": 5, "mode": "day", "$version": 2})
    set_desired(site, client.identity, {"mode": None})
    wait_for_patch(client, {"mode": None, "$version": 3})


def wait_for_patch(client, wanted):
    while (patch := client.next("desired")["patch"]) != wanted:
        assert patch["$version"] < wanted["$version"], f"{patch} instead of {wanted}"


@cell("methods")
def test_methods(site, sdk, protocol, credential):
    with new_client(site, sdk, protocol, credential) as client:
        check_method(site, client)


def check_method(site, client):
    client.listen("methods", method="reboot", status=201)
    payload = {"delay": 5, "why": ["ü"]}
    call = CloudToDeviceMethod(method_name="reboot", payload=payload, connect_timeout_in_seconds=15)
    who, registry = client.identity, site.hub.registry()
    if who.module_id:
        answer = registry.invoke_device_module_method(who.device_id, who.module_id, call)
    else:
        answer = registry.invoke_device_method(who.device_id, call)
    assert (answer.status, answer.payload) == (201, {"got": payload})


@cell("module at the hub")
def test_module_at_the_hub(site, sdk, protocol, credential):
    since = site.hub.events.mark()
    with new_client(site, sdk, protocol, credential, module="m1") as client:
        client.send("seen", properties={"a": "b"})
        client.send("seen at", output="north")
        bodies = [event.body for event in site.hub.events.wait_for(client.identity.sender, 2, since)]
        assert bodies == [b"seen", b"seen at"]
        client.report({"mine": client.identity.sender})
        check_desired(site, client)
        check_method(site, client)
        who = client.identity
        stored = site.hub.registry().get_module_twin(who.device_id, who.module_id).properties
    assert (stored.reported["mine"], stored.desired["interval"]) == (who.sender, 5)


# Below an edge hub


def edge_client(site, edge, sdk, protocol, credential, purpose):
    """A module of the edge device; its routes were laid before (see `edge` in conftest). There is no room
    for many more: a device has 50."""
    name = edge.module_name(sdk, protocol, credential, purpose)
    if name not in edge.identities:
        edge.identities[name] = site.identity(credential, edge.device_id, name)
    identity = edge.identities[name]
    return site.driver(sdk).client(identity, protocol, gateway=edge.host_name, ca_pem=edge.trust_pem())


@cell("edge: output")
def test_edge_output(site, sdk, protocol, credential, edge):
    since = site.hub.events.mark()
    with edge_client(site, edge, sdk, protocol, credential, "out") as client:
        client.send(json.dumps({"t": 1}), output="up", properties={"a": "ü"}, content_type="application/json", content_encoding="utf-8")
        client.send("elsewhere", output="nowhere")
        (event,) = site.hub.events.wait_for(client.identity.sender, 1, since)
    assert (event.json, event.properties) == ({"t": 1}, {"a": "ü"})


@cell("edge: input")
def test_edge_input(site, sdk, protocol, credential, edge):
    with edge_client(site, edge, sdk, protocol, credential, "in") as client:
        client.listen("input")
        client.send("round", output="loop", properties={"a": "ü"}, message_id="m1")
        message = client.next("input")
        assert (message["input"], message["body"], message["properties"]["a"]) == ("in", b"round", "ü")
        assert message["message_id"] == "m1"
        if message["handle"]:
            client.settle(message, "complete")
        client.send("again", output="loop")
        assert client.next("input")["body"] == b"again"


@cell("edge: calls")
def test_edge_calls(site, sdk, protocol, credential, edge):
    with edge_client(site, edge, sdk, protocol, credential, "in") as client:
        client.listen("methods", method="reboot", status=201)
        payload = {"delay": 5, "why": ["ü"]}
        assert client.invoke(client.identity, "reboot", payload) == (201, {"got": payload})


def leaf_client(site, edge, sdk, protocol, credential):
    """A device that connects to the edge device."""
    scope = edge.device.document.device_scope
    name = f"leaf-{sdk}-{protocol}-{credential}-{uuid.uuid4().hex[:6]}"
    leaf = site.identity(credential, name, device_scope=scope)
    client = site.driver(sdk).client(leaf, protocol, gateway=edge.host_name, ca_pem=edge.trust_pem())
    if sdk == "node" and leaf.certificate:
        # With a certificate, Node's SDK forgets the gateway; as its users have to, we name it as the hub.
        client._arguments.update(host=edge.host_name, gateway=None)
    return client


@cell("edge: leaf device")
def test_edge_leaf(site, sdk, protocol, credential, edge):
    since = site.hub.events.mark()
    with leaf_client(site, edge, sdk, protocol, credential) as client:
        device_id = client.identity.device_id
        for number in range(3):
            client.send(str(number), properties={"a": "ü"})
        events = site.hub.events.wait_for(device_id, 3, since)
        assert [(event.body, event.properties) for event in events] == [
            (str(number).encode(), {"a": "ü"}) for number in range(3)
        ]
        check_desired(site, client)
        client.report({"firmware": "1.2"})
        assert client.twin()["reported"]["firmware"] == "1.2"
        stored = site.hub.registry().get_twin(device_id).properties.reported
        assert stored["firmware"] == "1.2"
        check_method(site, client)
        client.listen("c2d")
        check_edge_c2d(site, client, gives_back=protocol.startswith("amqp"))


def check_edge_c2d(site, client, gives_back):
    """A message comes to the device, and the hub learns what became of it."""
    device_id = client.identity.device_id
    outcomes = [("complete", "Success")]
    if gives_back:
        outcomes += [("reject", "Rejected"), ("complete", "Success")]
    for number, (how, outcome) in enumerate(outcomes):
        send_c2d(site, device_id, b"\x00body", f"m-{number}")
        message = client.next("c2d")
        assert (message["body"], message["message_id"]) == (b"\x00body", f"m-{number}")
        assert message["properties"]["prop"] == "v/1 ü"
        if number == 2:
            client.settle(message, "abandon")
            message = client.next("c2d")
            assert message["message_id"] == "m-2"
        client.settle(message, how)
        wait_until_queue_is_empty(site, device_id)
        site.expect_feedback(device_id, f"m-{number}", outcome)


def test_feedback_tells_what_became_of_each_message(site):
    """Of all cells together: a record is held back for 15 s, to be sent with others."""
    assert site.expected
    for (device_id, message_id), outcome in site.expected.items():
        assert site.feedback(device_id, message_id) == outcome, (device_id, message_id)
