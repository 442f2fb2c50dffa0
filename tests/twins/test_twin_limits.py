"""What a twin can hold: the same rules, and the same errors, for devices (MQTT) and back ends (REST)."""

import json

import pytest

from harness import mqtt, sdk


def deep(levels):
    return 1 if levels == 0 else {"d": deep(levels - 1)}


def wide(size, text=4000):
    """Properties whose keys and texts have that many bytes together."""
    properties, number = {}, 0
    while size > 0:
        key = f"{number:04}"
        length = min(text, size - len(key))
        properties[key] = "x" * length
        size -= len(key) + length
        number += 1
    return properties


# What is refused, and a word of the reason.
REFUSED = {
    "depth": (deep(11), "10 levels"),
    "depth-of-arrays": ({"a": json.loads("[" * 10 + "]" * 10)}, "10 levels"),
    "dot": ({"a.b": 1}, "'.'"),
    "dollar": ({"a$b": 1}, "'$'"),
    "dollar-word": ({"$unknown": 1}, "'$'"),
    "nested-metadata": ({"a": {"$metadata": {}}}, "'$'"),
    "space": ({"a b": 1}, "space"),
    "control": ({"a\u0007": 1}, "control"),
    "c1-control": ({"a\u0085": 1}, "control"),
    "empty-key": ({"": 1}, "empty"),
    "long-key": ({"k" * 1025: 1}, "1024"),
    "long-text": ({"a": "ü" * 2049}, "4096"),
    "integer": ({"a": 2**52}, "2^52"),
    "negative-integer": ({"a": -(2**52) - 1}, "2^52"),
    "size": (wide(32 * 1024 + 1), "32768"),
}

ALLOWED = {
    "depth": deep(10),
    "long-key": {"k" * 1024: 1},
    "long-text": {"a": "ü" * 2048},
    "integers": {"a": 2**52 - 1, "b": -(2**52)},
    "float": {"a": 1e300},
    "nulls-in-arrays": {"a": [None, {"b": None}]},
    "size": wide(32 * 1024),
}


def ask(wire, topic, body):
    """A twin request; gives the answer's topic and body."""
    wire.send(mqtt.publish(topic, body, packet_id=1))
    answer = wire.expect(mqtt.PUBLISH)
    length = int.from_bytes(answer[:2], "big")
    return answer[2 : 2 + length].decode(), answer[2 + length :]


def report(wire, body):
    return ask(wire, "$iothub/twin/PATCH/properties/reported/?$rid=r-1", body)


def test_a_device_hears_what_is_wrong_with_its_patch(hub, device):
    bodies = {name: (json.dumps(patch).encode(), reason) for name, (patch, reason) in REFUSED.items()}
    bodies |= {
        "not-json": (b"{", "JSON object"),
        "array": (b"[]", "JSON object"),
        "nothing": (b"", "JSON object"),
        "twice": (b'{"a":1,"a":2}', "twice"),
    }
    with mqtt.connected(device) as wire:
        for name, (body, reason) in bodies.items():
            topic, answer = report(wire, body)
            assert topic == "$iothub/twin/res/400/?$rid=r-1", name
            error = json.loads(answer)
            assert error["errorCode"] == 400004, name
            assert reason in error["message"], (name, error)
            assert error["trackingId"] and error["timestampUtc"].endswith("Z"), name
        topic, answer = ask(wire, "$iothub/twin/GET/?$rid=g", b" ")
        assert (topic, json.loads(answer)["reported"]) == ("$iothub/twin/res/200/?$rid=g", {"$version": 1})
        for version, patch in enumerate(ALLOWED.values(), 2):
            clean = {key: None for key in json.loads(answer)["reported"] if key != "$version"}
            topic, _ = report(wire, json.dumps({**clean, **patch}).encode())
            assert topic == f"$iothub/twin/res/204/?$rid=r-1&$version={version}"
            _, answer = ask(wire, "$iothub/twin/GET/?$rid=g", b" ")
            assert json.loads(answer)["reported"] == {**patch, "$version": version}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_back_end_hears_what_is_wrong_with_its_change(hub, device, method):
    path = f"/twins/{device.device_id}"
    for name, (patch, reason) in REFUSED.items():
        answer = hub.rest(method, path, json={"properties": {"desired": patch}})
        assert answer.status_code == 400, name
        assert answer.headers["iothub-errorcode"] == "ArgumentInvalid", name
        assert answer.json()["Message"].startswith("ErrorCode:ArgumentInvalid;"), name
        assert reason in answer.json()["Message"], name
    for tags, status in [(wide(8 * 1024), 200), (wide(8 * 1024 + 1), 400)]:
        assert hub.rest(method, path, json={"tags": tags}).status_code == status
    twin = hub.rest("GET", path).json()
    assert twin["tags"] == wide(8 * 1024)
    assert [key for key in twin["properties"]["desired"] if not key.startswith("$")] == []


def test_a_replacement_is_notified_with_nulls_for_what_is_gone(hub, device):
    path = f"/twins/{device.device_id}"
    with sdk.connected(device) as client:
        inbox = sdk.listen_for_desired(client)
        client.get_twin()
        hub.rest("PATCH", path, json={"properties": {"desired": {"a": {"b": 1, "c": 2}, "gone": [1]}}})
        assert inbox.next() == {"a": {"b": 1, "c": 2}, "gone": [1], "$version": 2}
        hub.rest("PUT", path, json={"properties": {"desired": {"a": {"c": 3}, "new": True}}})
        assert inbox.next() == {"a": {"b": None, "c": 3}, "gone": None, "new": True, "$version": 3}
        assert client.get_twin()["desired"] == {"a": {"c": 3}, "new": True, "$version": 3}
        # Without desired it becomes empty; tags alone leave it as it is.
        hub.rest("PATCH", path, json={"tags": {"t": 1}})
        hub.rest("PUT", path, json={})
        assert inbox.next() == {"a": None, "new": None, "$version": 4}


def test_versions_and_metadata_move_as_documented(hub, device):
    path = f"/twins/{device.device_id}"
    fresh = hub.rest("GET", path).json()
    never = {"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1}
    assert fresh["properties"] == {"desired": never, "reported": never}
    assert (fresh["version"], fresh["etag"]) == (2, "AAAAAAAAAAE=")
    tagged = hub.rest("PATCH", path, json={"tags": {"t": 1}}).json()
    assert tagged["properties"] == fresh["properties"]
    assert (tagged["version"], tagged["etag"]) == (3, "AAAAAAAAAAI=")
    # A client that sends the whole twin back changes what it names; the rest of it is ignored.
    tagged["properties"]["desired"]["a"] = {"b": 1}
    tagged["properties"]["reported"]["x"] = 1
    desired = hub.rest("PATCH", path, json=tagged).json()
    section = desired["properties"]["desired"]
    stamp = section["$metadata"]["a"]["b"]
    assert (section["$version"], stamp["$lastUpdatedVersion"]) == (2, 2)
    assert len(stamp["$lastUpdated"]) == len("2026-01-01T00:00:00.0000000Z")
    assert section["$metadata"] == {**stamp, "a": {**stamp, "b": stamp}}
    assert desired["properties"]["reported"] == never
    with sdk.connected(device) as client:
        client.patch_twin_reported_properties({"r": 1})
    reported = hub.rest("GET", path).json()
    assert (reported["version"], reported["etag"]) == (5, desired["etag"])
    assert reported["properties"]["desired"] == section
    assert set(reported["properties"]["reported"]["$metadata"]["r"]) == {"$lastUpdated"}
