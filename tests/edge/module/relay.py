"""A module as a customer writes it: made from its environment, it sends what it is told to send to an
output, passes on what comes to an input, answers methods and reports what is desired."""

import json
import os
import signal
import threading

# Who is stopped while it still starts ends at once: process 1 of a container would not hear of it, and be
# killed ten seconds later.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from azure.iot.device import IoTHubModuleClient, Message, MethodResponse  # noqa: E402
from azure.iot.device.exceptions import ConnectionFailedError  # noqa: E402


def main():
    client = IoTHubModuleClient.create_from_edge_environment(connection_retry_interval=1)
    done = threading.Event()

    def send(payload, output):
        message = Message(json.dumps(payload))
        message.content_type = "application/json"
        message.content_encoding = "utf-8"
        message.custom_properties["by"] = "relay"
        client.send_message_to_output(message, output)

    def on_method(request):
        status, answer = 200, None
        if request.name == "echo":
            answer = request.payload
        elif request.name == "send":
            for number in range(request.payload["count"]):
                send({"number": number}, "out")
            answer = {"sent": request.payload["count"]}
        else:
            status, answer = 404, {"unknown": request.name}
        client.send_method_response(MethodResponse.create_from_method_request(request, status, answer))

    def on_message(message):
        print(f"input {message.input_name}: {message.data!r}", flush=True)
        send({"passed on": message.data.decode()}, "out")

    def on_desired(patch):
        seen = {name: value for name, value in patch.items() if not name.startswith("$")}
        client.patch_twin_reported_properties({"seen": seen})

    # Modules are started together: the edge hub may not be there yet.
    while not client.connected:
        try:
            client.connect()
        except ConnectionFailedError as error:
            print(f"not connected yet: {error}", flush=True)
            done.wait(0.5)
    client.on_method_request_received = on_method
    client.on_message_received = on_message
    client.on_twin_desired_properties_patch_received = on_desired
    client.patch_twin_reported_properties({"started": True})
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    print("relay is running", flush=True)
    done.wait()
    client.shutdown()
    print("relay has ended", flush=True)


main()
