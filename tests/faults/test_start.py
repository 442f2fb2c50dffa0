"""A hub that cannot start says why, in one message that names the next step."""

import os
import socket
import subprocess

import pytest

from harness import addresses
from harness.program import binary, farshore


def settings_file(tmp_path, text):
    path = tmp_path / "hub.toml"
    path.write_text(text)
    return path


def refused(*arguments, deadline=30):
    result = farshore(*arguments, deadline=deadline)
    assert result.returncode not in (0, 101), result.stderr
    assert "panicked" not in result.stderr
    return result.stderr


def test_a_taken_port_is_named(new_hub):
    hub = new_hub()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((hub.address, 8883))
        other.listen()
        says = refused("hub", "--settings", hub.settings)
    assert f"{hub.address}:8883" in says and "another program has this port" in says
    # Nothing is broken by it.
    hub.start()


def test_a_data_directory_that_is_in_use_is_named(new_hub, tmp_path):
    hub = new_hub().start()
    other = addresses.free("127.0.10")
    path = settings_file(
        tmp_path,
        f'host_names = ["{other}"]\ndata_dir = "{hub.data_dir}"\n'
        f'[listen]\naddresses = ["{other}"]\noperations = ""\n',
    )
    assert str(hub.data_dir) in refused("hub", "--settings", path)
    hub.new_device()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data_dri = 'x'", "data_dri"),
        ("[listen]\nmqtt_port = 'x'", "mqtt_port"),
        ("[events]\npartitions = 1", "events.partitions"),
        ("host_names = [", "hub.toml"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, says):
    assert says in refused("hub", "--settings", settings_file(tmp_path, text), "--check")


def test_settings_that_are_not_there_are_named(tmp_path):
    assert "nowhere.toml" in refused("hub", "--settings", tmp_path / "nowhere.toml")


def test_a_data_directory_of_a_newer_version_is_left_alone(new_hub):
    import sqlite3

    hub = new_hub().start()
    device = hub.new_device()
    hub.stop()
    databases = list(hub.data_dir.rglob("*.sqlite*")) + list(hub.data_dir.rglob("*.db"))
    (database,) = [path for path in databases if path.suffix in (".sqlite", ".sqlite3", ".db")]
    connection = sqlite3.connect(database)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.commit()
    connection.close()
    says = refused("hub", "--settings", hub.settings)
    assert "version" in says and str(version + 1) in says and str(hub.data_dir) in says
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    hub.start()
    assert hub.registry().get_device(device.device_id).device_id == device.device_id


def test_a_user_without_rights_is_told_what_is_missing(new_hub):
    hub = new_hub()
    nobody = 65534
    os.chmod(hub.dir, 0o755)
    result = subprocess.run(
        [str(binary()), "hub", "--settings", str(hub.settings)],
        capture_output=True, text=True, timeout=30, user=nobody, group=nobody,
    )  # fmt: skip
    assert result.returncode not in (0, 101)
    assert str(hub.data_dir) in result.stderr
