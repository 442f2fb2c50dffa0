"""Service AMQP with unmodified clients: cloud-to-device messages and their feedback (service-api.md §5.2, §5.3).

uamqp ends its interpreter rather than report a fault of order, so what it does runs in a process of its own;
exit code 139 would be ours."""

import json
import subprocess
import sys
import textwrap

import pytest

from harness import addresses, sdk
from harness.wait import until


def run(hub, script, *arguments):
    """Runs Python with the SDKs in a process of its own; gives what it prints as JSON."""
    environment = {"SSL_CERT_FILE": str(hub.ca_path), "REQUESTS_CA_BUNDLE": str(hub.ca_path), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), hub.login, *arguments],
        capture_output=True, text=True, timeout=60, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
    return json.loads(result.stdout.splitlines()[-1])


SEND = """
    import json, sys
    from azure.iot.hub import IoTHubRegistryManager
    from uamqp import TransportType
    login, device, transport = sys.argv[1:4]
    registry = IoTHubRegistryManager(login, transport_type=getattr(TransportType, transport))
    outcomes = []
    for body, properties in json.loads(sys.argv[4]):
        try:
            registry.send_c2d_message(device, body, properties)
            outcomes.append("sent")
        except Exception as error:
            outcomes.append(str(error))
    print(json.dumps(outcomes))
"""


def send(hub, device_id, messages, transport="Amqp"):
    return run(hub, SEND, device_id, transport, json.dumps(messages))


@pytest.mark.parametrize("transport", ["Amqp", "AmqpOverWebsocket"])
def test_a_message_arrives_with_its_properties(hub, device, transport):
    properties = {"prop": "v/1 ü", "messageId": "m-1", "correlationId": "c-1", "contentType": "text/plain", "iothub-ack": "full"}
    assert send(hub, device.device_id, [["turn on", properties]], transport) == ["sent"]
    with sdk.connected(device) as client:
        message = sdk.listen_for_messages(client).next()
    assert message.data == b"turn on"
    assert (message.message_id, message.correlation_id, message.content_type) == ("m-1", "c-1", "text/plain")
    assert message.custom_properties["prop"] == "v/1 ü"


def test_messages_are_queued_in_order(hub, device):
    messages = [[str(n), {}] for n in range(20)]
    assert send(hub, device.device_id, messages) == ["sent"] * 20
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_messages(client)
        assert [inbox.next().data for _ in range(20)] == [str(n).encode() for n in range(20)]


def test_what_cannot_be_queued_is_rejected(hub, device):
    """The SDK keeps the reason to itself; `test_service_bare` has it."""
    assert send(hub, "nobody-here", [["x", {}]]) != ["sent"]
    outcomes = send(hub, device.device_id, [["x" * (65 * 1024), {}], *[["x", {}]] * 51])
    assert outcomes[0] != "sent" and outcomes[51] != "sent"
    assert outcomes[1:51] == ["sent"] * 50


FEEDBACK = """
    import json, sys, urllib.parse
    import uamqp
    from uamqp import authentication, errors
    from base64 import b64decode, b64encode
    from hashlib import sha256
    from hmac import HMAC
    import time
    login = dict(part.split("=", 1) for part in sys.argv[1].split(";"))
    host, policy = login["HostName"], login["SharedAccessKeyName"]
    expiry = int(time.time()) + 300
    signed = HMAC(b64decode(login["SharedAccessKey"]), f"{host}\\n{expiry}".encode(), sha256).digest()
    token = "SharedAccessSignature sr={}&sig={}&se={}&skn={}".format(
        host, urllib.parse.quote(b64encode(signed)), expiry, policy)
    user = f"{policy}@sas.root.{host.split('.')[0]}"
    auth = authentication.SASLPlain(host, user, token, verify=None)
    source = uamqp.address.Source(f"amqps://{host}/messages/servicebound/feedback")
    client = uamqp.ReceiveClient(source, auth=auth, auto_complete=False, prefetch=10, timeout=30000)
    wanted, settle, got = sys.argv[2], sys.argv[3], []
    for message in client.receive_messages_iter():
        records = json.loads(b"".join(message.get_data()))
        tag = message.delivery_tag
        mine = [record for record in records if record["originalMessageId"] == wanted]
        if not mine:
            message.accept()
            continue
        got.append({"records": mine, "tag": len(tag), "user": message.properties.user_id.decode(),
                    "type": message.properties.content_type.decode(),
                    "time": message.annotations[b"iothub-enqueuedtime"] > 0})
        if settle == "release" and len(got) == 1:
            message.release()
            continue
        message.accept()
        break
    client.close()
    print(json.dumps(got))
"""


@pytest.mark.parametrize("settle, times", [("accept", 1), ("release", 2)])
def test_feedback_is_received_and_settled(hub, device, settle, times):
    """The CLI's way in: SASL PLAIN with a policy's token."""
    wanted = f"wanted-{device.device_id}"
    assert send(hub, device.device_id, [["x", {"messageId": wanted, "iothub-ack": "full"}]]) == ["sent"]
    with sdk.connected(device) as client:
        sdk.listen_for_messages(client).next()
        got = run(hub, FEEDBACK, wanted, settle)
    assert len(got) == times
    for message in got:
        assert message["tag"] == 16
        assert message["type"] == "application/vnd.microsoft.iothub.feedback.json"
        assert message["time"] and message["user"]
        (record,) = message["records"]
        assert record["statusCode"] == "Success" and record["deviceId"] == device.device_id
        assert record["deviceGenerationId"] == device.document.generation_id


REDIRECT = """
    import json, sys, urllib.parse, time
    import uamqp
    from uamqp import authentication, errors
    from base64 import b64decode, b64encode
    from hashlib import sha256
    from hmac import HMAC
    login = dict(part.split("=", 1) for part in sys.argv[1].split(";"))
    host, policy = login["HostName"], login["SharedAccessKeyName"]
    def token(resource, key):
        expiry = int(time.time()) + 300
        resource = urllib.parse.quote_plus(resource)
        signed = HMAC(key, f"{resource}\\n{expiry}".encode(), sha256).digest()
        return "SharedAccessSignature sr={}&sig={}&se={}&skn={}".format(
            resource, urllib.parse.quote(b64encode(signed)), expiry, policy)
    user = f"{policy}@sas.root.{host.split('.')[0]}"
    plain = authentication.SASLPlain(host, user, token(host, b64decode(login["SharedAccessKey"])))
    client = uamqp.ReceiveClient(f"amqps://{host}/messages/events/$management", auth=plain, timeout=10000)
    try:
        client.receive_message_batch()
        print(json.dumps({"error": "no redirect"})); sys.exit()
    except errors.LinkRedirect as redirect:
        there, address = redirect.hostname.decode(), redirect.address.decode()
    entity = address.replace("amqps://", "").split("/")[1]
    audience = f"sb://{there}/{entity}"
    expiry = int(time.time()) + 300
    def sas():
        text = token(audience, login["SharedAccessKey"].encode())
        return authentication.common.AccessToken(text, expiry) if hasattr(authentication, "common") else text
    auth = authentication.SASTokenAuth(audience, f"sb://{there}/{entity}", token(audience, login["SharedAccessKey"].encode()), expires_at=expiry)
    client = uamqp.AMQPClient(f"amqps://{there}/{entity}/$management", auth=auth)
    client.open()
    request = uamqp.Message(application_properties={"name": entity})
    answer = client.mgmt_request(request, b"READ", op_type=b"com.microsoft:eventhub",
                                 status_code_field=b"status-code", description_fields=b"status-description", timeout=10000)
    ids = [i.decode() for i in answer.get_data()[b"partition_ids"]]
    client.close()
    got = None
    source = uamqp.address.Source(f"amqps://{there}/{entity}/ConsumerGroups/$Default/Partitions/{sys.argv[2]}")
    since = int(time.time() * 1000) - 600000
    source.set_filter(f"amqp.annotation.x-opt-enqueuedtimeutc > {since}".encode())
    auth = authentication.SASTokenAuth(audience, f"sb://{there}/{entity}", token(audience, login["SharedAccessKey"].encode()), expires_at=expiry)
    client = uamqp.ReceiveClient(source, auth=auth, prefetch=300, timeout=15000)
    for message in client.receive_messages_iter():
        if message.annotations[b"iothub-connection-device-id"].decode() == sys.argv[3]:
            if message.annotations[b"iothub-message-source"] == b"Telemetry":
                got = b"".join(message.get_data()).decode()
                break
    client.close()
    print(json.dumps({"address": address, "host": there, "ids": ids, "got": got}), flush=True)
    # All clients are closed; uamqp may still fall over what it frees when an interpreter ends that had several.
    import os
    os._exit(0)
"""


def test_the_hubs_name_shows_the_way_to_the_events(hub, device):
    """What `az iot hub monitor-events` does, step by step, with its AMQP library (service-api.md §9.8, §9.9)."""
    with sdk.connected(device) as client:
        client.send_message("monitored")
    partition = str(hub.events.wait_for(device.device_id)[0].partition)
    seen = run(hub, REDIRECT, partition, device.device_id)
    assert seen["address"] == f"amqps://{hub.address}:5671/hub/$management"
    assert seen["host"] == hub.address
    assert seen["ids"] == [str(p["partition"]) for p in hub.events.partitions()]
    assert seen["got"] == "monitored"


def test_the_way_leads_to_a_second_name(new_hub):
    """A hub whose events have a name of their own: the hub's name offers no events, only the way to them."""
    other = addresses.free("127.0.10")
    hub = new_hub(also_listen=[other], settings=f'[events]\nhost_names = ["{other}"]').start()
    device = hub.new_device()
    with sdk.connected(device) as client:
        client.send_message("monitored")
    partition = str(hub.events.wait_for(device.device_id)[0].partition)
    seen = run(hub, REDIRECT, partition, device.device_id)
    assert (seen["host"], seen["address"]) == (other, f"amqps://{other}:5671/hub/$management")
    assert seen["ids"] == [str(p["partition"]) for p in hub.events.partitions()]
    assert seen["got"] == "monitored"
