"""Identities over REST with the service SDK."""

import base64

import pytest
import requests
from msrest.exceptions import HttpOperationError

from harness import manifest, sas, sdk
from harness.wait import until


def status(error):
    return error.value.response.status_code


def code(error):
    return error.value.response.headers["iothub-errorcode"]


def test_a_device_is_created_with_keys_of_the_hubs_making(hub):
    device = hub.new_device().document
    assert (device.status, device.connection_state) == ("enabled", "Disconnected")
    assert device.authentication.type == "sas"
    keys = device.authentication.symmetric_key
    assert len(base64.b64decode(keys.primary_key)) == 32
    assert keys.primary_key != keys.secondary_key
    assert device.generation_id.isdigit() and device.etag
    assert device.capabilities.iot_edge is False
    again = hub.registry().get_device(device.device_id)
    assert again.as_dict() == device.as_dict()


def test_keys_that_are_given_are_kept(hub):
    one, two = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    device = hub.registry().create_device_with_sas("given-keys", one, two, "enabled")
    keys = device.authentication.symmetric_key
    assert (keys.primary_key, keys.secondary_key) == (one, two)


def test_a_device_exists_once(hub, device):
    with pytest.raises(HttpOperationError) as refusal:
        hub.registry().create_device_with_sas(device.device_id, None, None, "enabled")
    assert (status(refusal), code(refusal)) == (409, "DeviceAlreadyExists")
    assert "ErrorCode:DeviceAlreadyExists" in refusal.value.response.json()["Message"]


def test_a_change_needs_the_version_that_was_read(hub, device):
    registry = hub.registry()
    keys = device.document.authentication.symmetric_key

    def disable(etag):
        return registry.update_device_with_sas(
            device.device_id, etag, keys.primary_key, keys.secondary_key, "disabled"
        )

    changed = disable(device.document.etag)
    assert changed.status == "disabled" and changed.etag != device.document.etag
    with pytest.raises(HttpOperationError) as refusal:
        disable(device.document.etag)
    assert (status(refusal), code(refusal)) == (412, "PreconditionFailed")
    with pytest.raises(HttpOperationError) as refusal:
        registry.delete_device(device.device_id, device.document.etag)
    assert status(refusal) == 412
    registry.delete_device(device.device_id, changed.etag)
    with pytest.raises(HttpOperationError) as refusal:
        registry.get_device(device.device_id)
    assert (status(refusal), code(refusal)) == (404, "DeviceNotFound")


def test_an_update_without_keys_keeps_them(hub, device):
    """A server that took absent keys for new ones would cut the device off."""
    changed = hub.registry().update_device_with_sas(
        device.device_id, device.document.etag, None, None, "enabled", status_reason="moved"
    )
    keys, old = changed.authentication.symmetric_key, device.document.authentication.symmetric_key
    assert (keys.primary_key, keys.secondary_key) == (old.primary_key, old.secondary_key)
    assert changed.status_reason == "moved"


def test_a_device_that_is_made_anew_has_a_new_generation(hub, device):
    registry = hub.registry()
    registry.delete_device(device.device_id)
    again = registry.create_device_with_sas(device.device_id, None, None, "enabled")
    assert again.generation_id != device.document.generation_id


def test_devices_are_listed(hub, device):
    listed = hub.registry().get_devices()
    assert device.device_id in [entry.device_id for entry in listed]
    assert len(hub.registry().get_devices(1)) == 1


def test_an_edge_device_has_a_scope_and_its_system_modules(hub):
    edge = hub.new_device("edge", iot_edge=True).document
    assert edge.capabilities.iot_edge is True
    assert edge.device_scope == f"ms-azure-iot-edge://{edge.device_id}-{edge.generation_id}"
    modules = hub.registry().get_modules(edge.device_id)
    assert sorted(module.module_id for module in modules) == ["$edgeAgent", "$edgeHub"]
    leaf = hub.new_device("leaf", device_scope=edge.device_scope).document
    assert leaf.parent_scopes == [edge.device_scope]


def test_modules_are_created_changed_and_deleted(hub, device):
    registry = hub.registry()
    module = registry.create_module_with_sas(device.device_id, "m1", "IotEdge", None, None)
    assert module.managed_by == "IotEdge"
    assert registry.get_module(device.device_id, "m1").etag == module.etag
    with pytest.raises(HttpOperationError) as refusal:
        registry.create_module_with_sas(device.device_id, "m1", "", None, None)
    assert (status(refusal), code(refusal)) == (409, "ModuleAlreadyExistsOnDevice")
    keys = module.authentication.symmetric_key
    changed = registry.update_module_with_sas(
        device.device_id, "m1", "somebody", module.etag, keys.primary_key, keys.secondary_key
    )
    assert changed.managed_by == "somebody"
    with pytest.raises(HttpOperationError) as refusal:
        registry.delete_module(device.device_id, "m1", module.etag)
    assert status(refusal) == 412
    registry.delete_module(device.device_id, "m1")
    with pytest.raises(HttpOperationError) as refusal:
        registry.get_module(device.device_id, "m1")
    assert (status(refusal), code(refusal)) == (404, "ModuleNotFound")
    with pytest.raises(HttpOperationError) as refusal:
        registry.create_module_with_sas("nobody", "m1", "", None, None)
    assert (status(refusal), code(refusal)) == (404, "DeviceNotFound")


def test_statistics_count_devices_and_connections(new_hub):
    hub = new_hub().start()
    registry = hub.registry()
    one, other = hub.new_device(), hub.new_device()
    registry.update_device_with_sas(other.device_id, "*", None, None, "disabled")
    counts = registry.get_device_registry_statistics()
    assert (counts.total_device_count, counts.enabled_device_count, counts.disabled_device_count) == (2, 1, 1)
    assert registry.get_service_statistics().connected_device_count == 0
    with sdk.connected(one):
        until("one is connected", lambda: registry.get_service_statistics().connected_device_count == 1)


def test_a_configuration_content_becomes_the_modules_twins(hub):
    edge = hub.new_device("edge", iot_edge=True)
    content = manifest.deployment(twins={"sensor": {"interval": 5}})
    hub.configurations().apply_configuration_on_edge_device(edge.device_id, content)
    registry = hub.registry()
    desired = registry.get_module_twin(edge.device_id, "$edgeAgent").properties.desired
    wanted = content.modules_content["$edgeAgent"]["properties.desired"]
    assert {name: desired[name] for name in wanted} == wanted
    assert desired["$version"] == 2
    desired = registry.get_module_twin(edge.device_id, "$edgeHub").properties.desired
    assert desired["routes"] == {"upstream": "FROM /messages/* INTO $upstream"}
    desired = registry.get_module_twin(edge.device_id, "sensor").properties.desired
    assert desired["interval"] == 5
    listed = {module.module_id for module in registry.get_modules(edge.device_id)}
    assert listed == {"$edgeAgent", "$edgeHub", "sensor"}


def test_a_configuration_content_is_for_edge_devices(hub, device):
    with pytest.raises(HttpOperationError) as refusal:
        hub.configurations().apply_configuration_on_edge_device(device.device_id, manifest.deployment())
    assert status(refusal) == 400


@pytest.mark.parametrize("bad_id", ["with space", "ü", "x" * 129])
def test_an_id_that_is_none_is_refused(hub, bad_id):
    with pytest.raises(HttpOperationError) as refusal:
        hub.registry().create_device_with_sas(bad_id, None, None, "enabled")
    assert (status(refusal), code(refusal)) == (400, "ArgumentInvalid")


@pytest.mark.parametrize("odd_id", ["a+b", "50%", "it's", "a:b.c_d-e", "x#y?z", "a%2Fb", "../up"])
def test_odd_ids_that_are_legal_are_taken_literally(hub, odd_id):
    """Whatever they look like in a path, they are ids and nothing else."""
    if "/" in odd_id:
        with pytest.raises(HttpOperationError):
            hub.registry().create_device_with_sas(odd_id, None, None, "enabled")
        return
    device = hub.registry().create_device_with_sas(odd_id, None, None, "enabled")
    assert device.device_id == odd_id
    assert hub.registry().get_device(odd_id).device_id == odd_id
    hub.registry().delete_device(odd_id)


def test_who_has_no_good_token_is_turned_away(hub, device):
    key, policy = hub.login_part("SharedAccessKey"), hub.login_part("SharedAccessKeyName")
    tokens = {
        "no token": None,
        "no token at all": "Basic Zm9vOmJhcg==",
        "wrong key": sas.token(hub.address, sas.wrong_key(), policy),
        "unknown policy": sas.token(hub.address, key, "nobody"),
        "expired": sas.token(hub.address, key, policy, expires=1_600_000_000),
        "another hub": sas.token("hub.example.org", key, policy),
        "a device's": device.token(),
    }
    for name, token in tokens.items():
        headers = {"Authorization": token} if token else {}
        answer = requests.get(
            f"https://{hub.address}/devices/{device.device_id}?api-version=2021-04-12",
            headers=headers, verify=str(hub.ca_path), timeout=10,
        )  # fmt: skip
        assert answer.status_code == 401, f"{name}: {answer.status_code} {answer.text}"
        assert answer.headers["iothub-errorcode"], name
        assert device.key not in answer.text and key not in answer.text, name


def test_a_request_without_a_version_or_a_resource_is_told_so(hub):
    answer = hub.rest("GET", "/devices", query={"api-version": None})
    assert answer.status_code == 400 and "api-version" in answer.text
    answer = hub.rest("GET", "/no/such/thing")
    assert answer.status_code == 404
    answer = hub.rest("POST", "/devices/x", data="{}")
    assert answer.status_code == 405
