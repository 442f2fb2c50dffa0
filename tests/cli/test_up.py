"""`farshore up`: the first minutes of a new user."""

import json
import re
import signal
import time

import pytest

from harness import docker, scratch
from harness.program import Service, farshore, processes_with
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
# From the start to the first message; the promise is 15 s after the build.
FIRST_MESSAGE_SECONDS = 15
MESSAGE = re.compile(rf"p\d+ #\d+ +{SENSOR} (\{{.*\}})")


class Up:
    """A running `farshore up`."""

    def __init__(self, data, *arguments):
        self.data = data
        self.service = Service(["up", "--data", data, *arguments], data.parent / "up.log")

    def start(self):
        self.started = time.monotonic()
        self.service.start()
        return self

    def wait_for_telemetry(self, count=2, deadline=FIRST_MESSAGE_SECONDS):
        def lines():
            assert self.service.is_running, self.service.tail()
            found = MESSAGE.findall(self.service.log())
            return found if len(found) >= count else None

        return until("telemetry is shown", lines, deadline)

    def interrupt(self):
        """Ctrl-C."""
        self.service.process.send_signal(signal.SIGINT)
        return self.service.process.wait(30)


@pytest.fixture(scope="module")
def data():
    # Short: sockets lie below it.
    return scratch.directory("fu-") / "data"


@pytest.fixture
def up(data):
    up = Up(data, "--no-docker").start()
    yield up
    up.service.stop()
    assert "panicked" not in up.service.log(whole=True)


def test_a_first_edge_device_and_its_telemetry_are_seen(up):
    messages = up.wait_for_telemetry()
    assert set(json.loads(messages[0])) == {"machine", "ambient", "timeCreated"}
    log = up.service.log()
    for step in ("hub", "device", "runtime", "deployment", "modules"):
        assert re.search(rf"ok {step} ", log), log
    assert "registered" in log


def test_a_second_run_resumes_the_same_device(up):
    messages = up.wait_for_telemetry()
    assert "is known from an earlier run" in up.service.log()
    assert messages
    devices = json.loads(farshore("device", "list", "--data", up.data, "-o", "json").stdout)
    assert len(devices) == 1


def test_the_tools_find_it_by_its_data_directory(up):
    up.wait_for_telemetry(1)
    modules = farshore("iotedge", "--data", up.data, "list")
    assert modules.returncode == 0, modules.stderr
    assert [line.split()[1] for line in modules.stdout.splitlines()[1:]] == ["running"] * 3
    made = farshore("device", "create", "my-device", "--data", up.data)
    assert made.returncode == 0, made.stderr
    string = farshore("device", "connection-string", "my-device", "--data", up.data)
    assert re.search(r"HostName=localhost[^;]*;DeviceId=my-device;SharedAccessKey=\S+", string.stdout)


def test_ctrl_c_ends_everything_in_order(up):
    up.wait_for_telemetry(1)
    device = json.loads(farshore("device", "list", "--data", up.data, "-o", "json").stdout)
    ids = [entry.get("deviceId") or entry["id"] for entry in device]
    assert up.interrupt() == 0, up.service.tail()
    assert up.service.log().rstrip().splitlines()[-1].startswith("stopped")
    for device_id in ids:
        assert processes_with(IOTEDGE_DEVICEID=device_id) == []


def test_a_run_may_be_limited_and_begun_anew(data):
    result = farshore("up", "--data", data, "--no-docker", "--reset", "--duration", "3s", deadline=60)
    assert result.returncode == 0, result.stderr
    assert "registered" in result.stdout
    wrong = farshore("up", "--data", data, "--duration", "soon")
    assert wrong.returncode == 2 and "soon" in wrong.stderr


@pytest.mark.docker
def test_with_an_engine_modules_are_containers():
    data = scratch.directory("fu-") / "data"
    up = Up(data).start()
    try:
        # The images are made and loaded first.
        up.wait_for_telemetry(deadline=60)
        assert "container engine" in up.service.log()
        assert docker.inspect(SENSOR)["State"]["Running"]
        assert up.interrupt() == 0, up.service.tail()
        assert not docker.inspect(SENSOR)["State"]["Running"]
    finally:
        up.service.stop()
        for name in (SENSOR, "edgeHub"):
            docker.docker("rm", "-f", name, check=False)
    assert "panicked" not in up.service.log(whole=True)
