"""Pull the plug while messages go to a device and feedback comes back: every message that was taken
arrives, ends once, and its end is told once."""

import contextlib
import json
import os
import random
import threading
import time

import requests

from harness import sdk
from harness.wait import TooLate, until

# More in long runs: FARSHORE_PLUG_KILLS=100, with the seed of a failure in FARSHORE_PLUG_SEED.
KILLS = int(os.environ.get("FARSHORE_PLUG_KILLS", "5"))
SEED = int(os.environ.get("FARSHORE_PLUG_SEED", str(random.randrange(1 << 32))))
GATHERED_SECONDS = 30

# However often it is killed, no message is given up.
SETTINGS = """
[cloud_to_device]
max_delivery_count = 100
[cloud_to_device.feedback]
lock_duration = "PT5S"
max_delivery_count = 100
"""


class BackEnd:
    """Sends messages one after the other and remembers which of them the hub has taken for certain."""

    def __init__(self, hub, device):
        self.hub, self.device = hub, device
        self.taken, self.tried = [], []
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.end.is_set():
            self.tried.append(f"m-{len(self.tried)}")
            headers = {"iothub-messageid": self.tried[-1], "iothub-ack": "full"}
            path = f"/devices/{self.device.device_id}/messages/deviceBound"
            try:
                answer = self.hub.rest("POST", path, headers=headers, data=self.tried[-1])
            except requests.RequestException:
                # Taken or not, who knows; the next one has an id of its own.
                self.end.wait(0.1)
                continue
            if answer.status_code == 204:
                self.taken.append(self.tried[-1])
            else:
                assert answer.headers["iothub-errorcode"] == "DeviceMaximumQueueDepthExceeded", answer.text
                self.end.wait(0.1)


@contextlib.contextmanager
def receiving(device, received):
    """A client that notes what it gets."""
    with sdk.connected(device) as client:
        client.on_message_received = lambda message: received.append(message.data.decode())
        yield client


def is_back(client):
    """The SDK waits for ever when it was cut off in the middle of connecting; its application has to see to that."""
    try:
        until("the client is back", lambda: client.connected, 20)
    except TooLate:
        return False
    return True


def test_messages_and_their_ends_survive_the_plug(new_hub):
    print(f"seed {SEED}")
    random.seed(SEED)
    hub = new_hub(settings=SETTINGS).start()
    device = hub.new_device()
    sender, received = BackEnd(hub, device), []
    with contextlib.ExitStack() as clients:
        client = clients.enter_context(receiving(device, received))
        sender.thread.start()
        until("messages arrive", lambda: received)
        for _ in range(KILLS):
            # The moment is what is random here; nothing waits for it.
            time.sleep(random.uniform(0.1, 1.0))
            hub.kill()
            hub.start()
        if not is_back(client):
            clients.enter_context(receiving(device, received))
        count = len(sender.taken)
        until("messages are taken again", lambda: len(sender.taken) > count, 60)
        sender.end.set()
        sender.thread.join(60)
        until("nothing is left behind", lambda: waiting(hub, device) == 0, 60)
    missing = set(sender.taken) - set(received)
    assert not missing, f"seed {SEED}: taken and never delivered: {missing}"
    assert set(received) <= set(sender.tried)

    # A receiver that crashes, too: what it has not settled comes again, with the same id.
    told, messages = {}, {}

    def take():
        answer = hub.rest("GET", "/messages/serviceBound/feedback")
        if answer.status_code == 204:
            return not set(sender.taken) - set(told)
        lock, name = answer.headers["ETag"].strip('"'), answer.headers["iothub-messageid"]
        assert messages.setdefault(name, answer.content) == answer.content
        if random.random() < 0.3:
            hub.kill()
            hub.start()
            return False
        if random.random() < 0.3:
            assert hub.rest("POST", f"/messages/serviceBound/feedback/{lock}/abandon").status_code == 204
            return False
        assert hub.rest("DELETE", f"/messages/serviceBound/feedback/{lock}").status_code == 204
        for record in json.loads(answer.content):
            before = told.setdefault(record["originalMessageId"], name)
            assert before == name, f"seed {SEED}: {record} is told twice"
            assert record["statusCode"] == "Success"
        return False

    until("all ends are told", take, 90 + GATHERED_SECONDS)
    assert set(told) <= set(sender.tried)
    # Those about which the hub could not say whether it took them have arrived or have not: who
    # arrived is told, who did not is not.
    assert set(told) == set(received), f"seed {SEED}"


def waiting(hub, device):
    return hub.registry().get_device(device.device_id).cloud_to_device_message_count
