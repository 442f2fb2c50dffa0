"""The driver of the Python device SDK; see README.md."""

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from azure.iot.device import X509, IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse
from azure.iot.device.exceptions import ClientError

# The SDK's own is 10 s; a test that restarts a server need not wait that long.
RETRY_SECONDS = 1

clients = {}
output = threading.Lock()


class NotOffered(Exception):
    """The SDK has no call for this."""


def say(message):
    with output:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def encode(data):
    return base64.b64encode(data.encode() if isinstance(data, str) else data or b"").decode()


def open_(name, protocol, host, gateway, device, module, ca, credential):
    if protocol not in ("mqtt", "mqtt-ws"):
        raise NotOffered("the SDK speaks MQTT only")
    kind = IoTHubModuleClient if module else IoTHubDeviceClient
    options = {
        "server_verification_cert": ca,
        "websockets": protocol == "mqtt-ws",
        "connection_retry_interval": RETRY_SECONDS,
    }
    if key := credential.get("key"):
        text = f"HostName={host};DeviceId={device}" + (f";ModuleId={module}" if module else "")
        text += f";SharedAccessKey={key}" + (f";GatewayHostName={gateway}" if gateway else "")
        client = kind.create_from_connection_string(text, **options)
    else:
        if gateway:
            options["gateway_hostname"] = gateway
        if module:
            options["module_id"] = module
        certificate = X509(credential["certificate"], credential["private_key"])
        client = kind.create_from_x509_certificate(certificate, host, device_id=device, **options)
    client.on_connection_state_change = lambda: say(
        {"event": "connection", "client": name, "connected": client.connected}
    )
    clients[name] = client
    client.connect()


def close(name):
    if client := clients.pop(name, None):
        client.shutdown()


def send(name, body, properties=None, message_id=None, correlation_id=None, content_type=None, content_encoding=None, output=None):
    message = Message(base64.b64decode(body))
    message.message_id = message_id
    message.correlation_id = correlation_id
    message.content_type = content_type
    message.content_encoding = content_encoding
    message.custom_properties.update(properties or {})
    client = clients[name]
    if output:
        client.send_message_to_output(message, output)
    else:
        client.send_message(message)


def send_batch(name, bodies, output=None):
    if not hasattr(clients[name], "send_message_batch"):
        raise NotOffered("the SDK has no call for batches")
    raise AssertionError("the SDK has batches now: drive them")


def listen(name, what, method=None, status=200):
    client = clients[name]

    def on_message(message):
        say(
            {
                "event": "input" if message.input_name else "c2d",
                "client": name,
                "handle": None,
                "body": encode(message.data),
                "properties": message.custom_properties,
                "message_id": message.message_id,
                "correlation_id": message.correlation_id,
                "input": message.input_name,
            }
        )

    def on_method(request):
        response = MethodResponse.create_from_method_request(request, status, {"got": request.payload})
        client.send_method_response(response)

    def on_desired(patch):
        say({"event": "desired", "client": name, "patch": patch})

    if what in ("c2d", "input"):
        client.on_message_received = on_message
    elif what == "desired":
        client.on_twin_desired_properties_patch_received = on_desired
    else:
        client.on_method_request_received = on_method


def settle(name, handle, how):
    if how != "complete":
        raise NotOffered("the SDK has no call for it; it completes a message when it is received")


def invoke(name, device, module, method, payload):
    question = {
        "methodName": method,
        "payload": payload,
        "responseTimeoutInSeconds": 20,
        "connectTimeoutInSeconds": 20,
    }
    try:
        return clients[name].invoke_method(question, device, module)
    except ClientError as error:
        if "only supported on module clients generated from an edge environment" in f"{error.__cause__}":
            raise NotOffered("the SDK lets only modules ask that are made from their environment") from None
        raise


CALLS = {
    "open": open_,
    "close": close,
    "send": send,
    "send_batch": send_batch,
    "listen": listen,
    "settle": settle,
    "invoke": invoke,
    "twin": lambda name: clients[name].get_twin(),
    "report": lambda name, patch: clients[name].patch_twin_reported_properties(patch),
}


def answer(request):
    number, call, client = request.pop("id"), request.pop("call"), request.pop("client")
    try:
        say({"id": number, "ok": CALLS[call](client, **request)})
    except BaseException as error:
        cause = error.__cause__ or error.__context__
        text = f"{error}" + (f" ({cause!r})" if cause else "")
        say({"id": number, "error": {"kind": type(error).__name__, "message": text}})


if __name__ == "__main__":
    with ThreadPoolExecutor(32) as pool:
        for line in sys.stdin:
            pool.submit(answer, json.loads(line))
        for name in list(clients):
            close(name)
