"""A bare device: mosquitto's command line clients and a password made by hand."""

import subprocess


def mosquitto(tool, device, *arguments, deadline=20):
    command = [
        tool,
        *("-h", device.hub.address, "-p", "8883", "--cafile", str(device.hub.ca_path)),
        *("-V", "mqttv311", "-i", device.sender, "-u", device.user_name, "-P", device.token()),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=deadline)


def test_mosquitto_pub_sends_telemetry(hub, device):
    since = hub.events.mark()
    topic = f"devices/{device.device_id}/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&site=north"
    result = mosquitto("mosquitto_pub", device, "-q", "1", "-t", topic, "-m", '{"t":1}')
    assert result.returncode == 0, result.stderr
    (event,) = hub.events.telemetry(device.sender, since)
    assert event.json == {"t": 1}
    assert event.properties == {"site": "north"}
    assert event.system["content-type"] == "application/json"


def test_mosquitto_pub_with_qos_0_sends_telemetry_too(hub, device):
    since = hub.events.mark()
    topic = f"devices/{device.device_id}/messages/events/"
    result = mosquitto("mosquitto_pub", device, "-q", "0", "-t", topic, "-m", "plain")
    assert result.returncode == 0, result.stderr
    (event,) = hub.events.wait_for(device.sender, since=since)
    assert event.body == b"plain"


def test_mosquitto_sub_receives_a_cloud_to_device_message(hub, device):
    # It waits in the queue until the device comes.
    hub.send_c2d(device.device_id, b"open the gate", {"iothub-app-gate": "3"})
    result = mosquitto(
        "mosquitto_sub", device, "-q", "1", "-C", "1", "-W", "15", "-v", "-t",
        f"devices/{device.device_id}/messages/devicebound/#",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    topic, body = result.stdout.rstrip("\n").split(" ", 1)
    assert body == "open the gate"
    bag = topic.removeprefix(f"devices/{device.device_id}/messages/devicebound/").split("&")
    assert "gate=3" in bag
    assert any(pair.startswith("%24.mid=") for pair in bag)


def test_mosquitto_hears_that_its_password_is_wrong(hub, device):
    result = subprocess.run(
        [
            "mosquitto_pub", "-h", hub.address, "-p", "8883", "--cafile", str(hub.ca_path),
            "-V", "mqttv311", "-i", device.sender, "-u", device.user_name, "-P", "let me in",
            "-t", f"devices/{device.device_id}/messages/events/", "-m", "x",
        ],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert result.returncode != 0
    assert "not authori" in result.stderr.lower()
