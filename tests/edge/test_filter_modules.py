"""The tutorial's filter module, twice, in real containers: in Python over MQTT and in Node over AMQP, each
made from its environment. A hot and a cold sensor send to both. Their pages are reached from this machine
through `PortBindings`, so that they can be asked while the hub is away."""

from pathlib import Path

import pytest
import requests
from azure.iot.hub.models import Twin, TwinProperties

from harness import docker, image, ledger, manifest
from harness.wait import until

pytestmark = pytest.mark.docker

FOLDER = Path(__file__).parent / "module"
HOST = "127.0.0.1"
FILTERS = {"filter-python": 8391, "filter-node": 8392}
# The machine of a sensor stays within a few degrees of its range.
COLD, HOT, HOTTEST = (10, 11), (40, 41), 60


def sensor_of(low, high):
    env = {"MessageDelay": "00:00:00.2", "machineTempMin": str(low), "machineTempMax": str(high), "MessageCount": "-1"}
    return manifest.module(manifest.SENSOR, env)


def filter_of(program, port):
    options = {"ExposedPorts": {"8080/tcp": {}}, "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": HOST, "HostPort": str(port)}]}}}
    return manifest.module(
        image.ensure(FOLDER / program), {"TRANSPORT": "amqp"}, options, imagePullPolicy="never"
    )


def routes():
    laid = {}
    for name in FILTERS:
        for sensor in ("cold", "hot"):
            sink = f'BrokeredEndpoint("/modules/{name}/inputs/input1")'
            source = f"/messages/modules/{sensor}/outputs/temperatureOutput"
            laid[f"{sensor}-to-{name}"] = f"FROM {source} INTO {sink}"
        laid[f"{name}-up"] = f"FROM /messages/modules/{name}/outputs/output1 INTO $upstream"
    return laid


@pytest.fixture(scope="module")
def edge(container_edge):
    modules = {
        "cold": sensor_of(*COLD),
        "hot": sensor_of(*HOT),
        "filter-python": filter_of("filter.py", FILTERS["filter-python"]),
        "filter-node": filter_of("filter.js", FILTERS["filter-node"]),
    }
    twins = {name: {"TemperatureThreshold": 25} for name in FILTERS}
    container_edge.deploy(manifest.deployment(modules, routes(), twins=twins))
    return container_edge


def page(name, path=""):
    """What its page says, from outside of the engine's networks."""
    try:
        return requests.get(f"http://{HOST}:{FILTERS[name]}/{path}", timeout=60).json()
    except requests.ConnectionError:
        return {}


def wait_for_page(name, what, condition, deadline=60):
    def fits():
        said = page(name)
        return said and condition(said) and said

    return until(f"{name}: {what}", fits, deadline)


def alerts(edge, name, since=None):
    """What it sent upstream, without copies, in the order of its runs."""
    runs = {}
    for event in edge.hub.events.telemetry(f"{edge.device_id}/{name}", since):
        assert event.properties["MessageType"] == "Alert"
        assert event.system["content-type"] == "application/json"
        runs.setdefault(event.properties["run"], []).append(event)
    for run, events in runs.items():
        numbers = ledger.without_copies([int(event.properties["number"]) for event in events])
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (name, run, numbers)
    return runs


def temperatures(runs):
    return [event.json["machine"]["temperature"] for events in runs.values() for event in events]


def reported(edge, name):
    return edge.hub.registry().get_module_twin(edge.device_id, name).properties.reported


def set_threshold(edge, name, value):
    patch = Twin(properties=TwinProperties(desired={"TemperatureThreshold": value}))
    edge.hub.registry().update_module_twin(edge.device_id, name, patch)
    until(f"{name} reports it", lambda: reported(edge, name).get("TemperatureThreshold") == value, 30)


@pytest.mark.parametrize("name", FILTERS)
def test_only_what_is_above_the_threshold_of_its_twin_is_passed_on(edge, name):
    said = wait_for_page(name, "five of each", lambda said: said["passed"] >= 5 and said["dropped"] >= 5)
    assert said["threshold"] == 25
    until("it reports its threshold", lambda: reported(edge, name).get("TemperatureThreshold") == 25, 30)
    runs = until("five alerts", lambda: len(temperatures(found := alerts(edge, name))) >= 5 and found, 30)
    assert min(temperatures(runs)) > 30
    assert runs[said["run"]][0].properties["number"] == "0"


@pytest.mark.parametrize("name", FILTERS)
def test_a_changed_threshold_holds_at_once(edge, name):
    set_threshold(edge, name, HOTTEST)
    before = page(name)
    after = wait_for_page(name, "ten more dropped", lambda said: said["dropped"] >= before["dropped"] + 10)
    assert (after["threshold"], after["passed"]) == (HOTTEST, before["passed"])
    # Below zero all pass, also what is cold.
    set_threshold(edge, name, -40)
    since = edge.hub.events.mark()
    until("cold alerts", lambda: min(temperatures(alerts(edge, name, since)), default=99) < 20, 30)
    set_threshold(edge, name, 25)


@pytest.mark.parametrize(("asker", "asked"), [("filter-python", "filter-node"), ("filter-node", "filter-python")])
def test_modules_call_each_others_methods(edge, asker, asked):
    answer = page(asker, f"ask/{edge.device_id}/{asked}")
    answer = answer.get("result", answer)
    assert (answer["status"], answer["payload"]) == (200, {"threshold": 25}), answer


def test_offline_they_work_with_the_last_threshold(edge):
    """The hub dies; the filters go on, also those that begin anew. Later everything arrives, in order."""
    edge.hub.kill()
    try:
        for name in FILTERS:
            docker.docker("restart", name)
        afresh = {}
        for name in FILTERS:
            afresh[name] = wait_for_page(
                name, "five of each", lambda said: said["passed"] >= 5 and said["dropped"] >= 5
            )
            assert afresh[name]["threshold"] == 25
        answer = page("filter-python", f"ask/{edge.device_id}/filter-node")
        assert answer["payload"] == {"threshold": 25}, answer
    finally:
        edge.hub.start()
    for name, said in afresh.items():

        def arrived():
            events = alerts(edge, name).get(said["run"], [])
            return len(events) >= said["passed"] and events

        events = until(f"what {name} passed on meanwhile", arrived, 60)
        assert events[0].properties["number"] == "0"
        assert min(temperatures({said["run"]: events})) > 30
