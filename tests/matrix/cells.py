"""The tables, and what the SDKs do not offer."""

import fnmatch
import json

from harness.matrix import Table
from harness.program import ROOT

VERSIONS = {
    "python": "Python azure-iot-device 2.14.0",
    "node": "Node azure-iot-device 1.18.4",
}
PROTOCOLS = {"mqtt": "MQTT", "mqtt-ws": "MQTT over WebSocket", "amqp": "AMQP", "amqp-ws": "AMQP over WebSocket"}
CREDENTIALS = {"key": "key", "self-signed": "X.509 self-signed", "ca": "X.509 CA"}

DEVICE_COLUMNS = (
    "telemetry", "batch", "C2D complete", "C2D abandon", "C2D reject", "twin get", "twin report",
    "twin desired", "methods", "module at the hub", "edge: output", "edge: input",
)  # fmt: skip
# Below an edge hub: a module calls a module's method; all that a device does.
EDGE_COLUMNS = ("edge: calls", "edge: leaf device")

# (SDK, protocol, credential, column) as patterns, with the reason. Each is tried: an SDK that offers it after
# all fails the test.
NOT_OFFERED = [
    ("python", "amqp*", "*", "*", "the SDK speaks MQTT only"),
    ("python", "*", "*", "edge: calls", "the SDK lets only modules ask that are made from their environment (edge/test_filter_modules.py)"),
    ("python", "*", "*", "batch", "the SDK has no call for batches"),
    ("node", "*", "*", "batch", "the SDK has batches over HTTPS only"),
    ("python", "*", "*", "C2D [ar]*", "the SDK has no call for it; it completes a message when it is received"),
    ("node", "mqtt*", "*", "C2D [ar]*", "MQTT has no way to say it, and the SDK refuses"),
    ("node", "*", "[sc]*", "module at the hub", "the SDK's ModuleClient takes keys only"),
    ("node", "*", "[sc]*", "edge: [oic]*", "the SDK's ModuleClient takes keys only"),
]


def why_not_offered(sdk, protocol, credential, column):
    for *patterns, reason in NOT_OFFERED:
        values = (sdk, protocol, credential, column)
        if all(fnmatch.fnmatchcase(value, pattern) for value, pattern in zip(values, patterns, strict=True)):
            return reason
    return None


def device_row(sdk, protocol, credential):
    return (VERSIONS[sdk], PROTOCOLS[protocol], CREDENTIALS[credential])


DEVICES = Table(
    name="devices",
    heading="Device SDKs",
    words="Unmodified SDKs against the running program. Filled by sending and reading the content back on the other side.",
    headers=("Client", "Protocol", "Credential"),
    columns=DEVICE_COLUMNS + EDGE_COLUMNS,
    rows=tuple(device_row(s, p, c) for s in VERSIONS for p in PROTOCOLS for c in CREDENTIALS),
)

VECTORS = [json.loads(path.read_text()) for path in sorted((ROOT / "vectors").glob("*/*.json"))]

REPLAYS = Table(
    name="replays",
    heading="C, C# and Java",
    words="Not run: what their public sources send is replayed from [`vectors/`](../../vectors/README.md), and the hub has to answer what they need. An empty cell is not replayed: modules are over TCP with a key, below an edge hub over AMQP.",
    headers=("Client", "Protocol", "Credential"),
    columns=DEVICE_COLUMNS,
    rows=tuple(dict.fromkeys(tuple(vector["row"]) for vector in VECTORS)),
    may_have_gaps=True,
)

BACK_END = "Unmodified clients against the running program, each cell by the tests of its feature (`tests/matrix/elsewhere.toml`)."

SERVICES = Table(
    name="services",
    heading="Back ends: service SDKs",
    words=BACK_END,
    headers=("Client", "Protocol"),
    columns=("registry", "twins", "methods", "C2D send", "feedback"),
    rows=tuple(
        (client, protocol)
        for client in ("Python azure-iot-hub 2.7.0", "Node azure-iothub 1.16.6")
        for protocol in ("HTTPS", PROTOCOLS["amqp"], PROTOCOLS["amqp-ws"])
    ),
)

CONSUMERS = Table(
    name="consumers",
    heading="Back ends: readers of the event endpoint",
    words=BACK_END,
    headers=("Client", "Protocol"),
    columns=("log and partitions", "events", "checkpoints"),
    rows=tuple(
        (client, protocol)
        for client in ("Python azure-eventhub 5.15.1", "Node @azure/event-hubs 6.0.4")
        for protocol in (PROTOCOLS["amqp"], PROTOCOLS["amqp-ws"])
    ),
)

TABLES = [DEVICES, REPLAYS, SERVICES, CONSUMERS]
