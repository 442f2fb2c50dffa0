"""`farshore up`: the first minute of a new user."""

import re
import tempfile
from pathlib import Path

import pytest

from harness import addresses
from harness.program import farshore

pytestmark = pytest.mark.skipif(
    not (addresses._is_free("127.0.0.1", 8883) and addresses._is_free("127.0.0.1", 443)),
    reason="127.0.0.1:8883 or 443 is in use",
)


@pytest.fixture(scope="module")
def data():
    return Path(tempfile.mkdtemp(prefix="fu-", dir="/tmp")) / "data"


def up(data, *more, seconds=20):
    result = farshore("up", "--data", data, "--no-docker", "--duration", f"{seconds}s", *more, deadline=90)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_telemetry_of_a_first_edge_device_is_seen(data):
    output = up(data)
    assert "HostName=" in output
    assert output.count("SimulatedTemperatureSensor") >= 2
    assert output.count('"machine"') >= 1 or output.count("temperature") >= 1, output


def test_a_second_run_resumes_the_same_device(data):
    first = set(re.findall(r"DeviceId=[^; ]+", up(data, seconds=15)))
    second = set(re.findall(r"DeviceId=[^; ]+", up(data, seconds=15)))
    assert first and first == second
