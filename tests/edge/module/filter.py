"""The filter module of the tutorial: a reading whose machine is hotter than `TemperatureThreshold` of the
twin is passed on as an alert, others are dropped. A page tells how it stands; on request it asks another
module for its threshold."""

import json
import os
import signal
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# As in relay.py: also who is stopped while it still starts ends at once.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from azure.iot.device import IoTHubModuleClient, Message, MethodResponse  # noqa: E402
from azure.iot.device.exceptions import ConnectionFailedError  # noqa: E402

DEFAULT = 25


class Filter:
    def __init__(self, client):
        self.client = client
        self.run = uuid.uuid4().hex
        self.threshold = None
        self.passed = 0
        self.dropped = 0
        # The SDK calls handlers in several threads.
        self.lock = threading.Lock()

    def on_message(self, message):
        if message.input_name == "input1":
            with self.lock:
                self.judge(message)

    def judge(self, message):
        if json.loads(message.data)["machine"]["temperature"] <= self.threshold:
            self.dropped += 1
            return
        alert = Message(message.data)
        alert.content_type = "application/json"
        alert.content_encoding = "utf-8"
        alert.custom_properties["MessageType"] = "Alert"
        # For the test's books.
        alert.custom_properties["run"] = self.run
        alert.custom_properties["number"] = str(self.passed)
        self.client.send_message_to_output(alert, "output1")
        self.passed += 1

    def follow(self, desired):
        wanted = desired.get("TemperatureThreshold", self.threshold)
        self.threshold = DEFAULT if wanted is None else wanted
        self.client.patch_twin_reported_properties({"TemperatureThreshold": self.threshold})

    def on_method(self, request):
        known = request.name == "threshold"
        status, answer = (200, self.threshold) if known else (404, None)
        self.client.send_method_response(
            MethodResponse.create_from_method_request(request, status, {"threshold": answer})
        )

    def ask(self, device_id, module_id):
        question = {
            "methodName": "threshold",
            "payload": None,
            "responseTimeoutInSeconds": 20,
            "connectTimeoutInSeconds": 20,
        }
        return self.client.invoke_method(question, device_id, module_id)

    def state(self):
        return {"run": self.run, "threshold": self.threshold, "passed": self.passed, "dropped": self.dropped}


def page(module):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.strip("/").split("/")
            status = 200
            try:
                said = module.ask(*path[1:]) if path[0] == "ask" else module.state()
            except Exception as error:
                status, said = 502, {"error": repr(error), "cause": repr(error.__cause__)}
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Page


def main():
    client = IoTHubModuleClient.create_from_edge_environment(connection_retry_interval=1)
    done = threading.Event()
    # Modules are started together: the edge hub may not be there yet.
    while not client.connected:
        try:
            client.connect()
        except ConnectionFailedError as error:
            print(f"not connected yet: {error}", flush=True)
            done.wait(0.5)
    module = Filter(client)
    client.on_twin_desired_properties_patch_received = module.follow
    module.follow(client.get_twin()["desired"])
    client.on_method_request_received = module.on_method
    client.on_message_received = module.on_message
    server = ThreadingHTTPServer(("", 8080), page(module))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    print("the filter is running", flush=True)
    done.wait()
    client.shutdown()


main()
