"""`farshore monitor` as an Event Hubs client: by the event endpoint's connection string, and by the hub's own,
which leads there."""

import json

import pytest

from harness import sdk
from harness.program import farshore

UNREACHABLE, DENIED, NOT_FOUND = 3, 4, 5


@pytest.mark.parametrize("way", ["endpoint", "redirect"])
def test_the_monitor_reads_the_event_endpoint(hub, device, events_login, way):
    with sdk.connected(device) as client:
        for number in range(3):
            client.send_message(f"m{number}")
    login = ["--login", events_login] if way == "endpoint" else ["--login", hub.login, "--consumer-group", "$Default"]
    options = ["--from", "start", "--device", device.device_id, "--count", "3", "--timeout", "20", "-o", "ndjson"]
    result = farshore("monitor", *login, "--ca", hub.ca_path, *options)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    log = hub.events.telemetry(device.device_id)
    assert [line["sequenceNumber"] for line in lines] == [event.sequence for event in log]
    assert [line["bodyBase64"] for line in lines] == [event.line["bodyBase64"] for event in log]
    for line, event in zip(lines, log):
        names = ("iothub-connection-device-id", "iothub-connection-auth-generation-id", "iothub-message-source")
        assert [line["systemProperties"][name] for name in names] == [event.system[name] for name in names]


def test_a_group_that_is_not_there_is_told(hub, events_login):
    options = ["--ca", hub.ca_path, "--consumer-group", "nobody", "--timeout", "20"]
    result = farshore("monitor", "--login", events_login, *options)
    assert result.returncode == NOT_FOUND and "consumer group nobody" in result.stderr
    assert "consumer-group create" in result.stderr


def test_what_keeps_from_reading_names_the_next_step(hub, events_login):
    untrusted = farshore("monitor", "--login", events_login, "--ca", "/etc/ssl/certs/ca-certificates.crt")
    assert untrusted.returncode == UNREACHABLE and "--ca" in untrusted.stderr
    wrong = events_login.replace("SharedAccessKey=", "SharedAccessKey=A")
    refused = farshore("monitor", "--login", wrong, "--ca", hub.ca_path)
    assert refused.returncode == DENIED and "--login" in refused.stderr
    assert "watching" not in untrusted.stderr + refused.stderr
    gone = farshore("consumer-group", "delete", "nobody", "--login", hub.login, "--ca", hub.ca_path)
    assert gone.returncode == NOT_FOUND and "consumer-group list" in gone.stderr
