"""A device behind a proxy: daemon, agent and edge hub reach the hub through it, and in no other way."""

import pytest

from harness import addresses, ledger, manifest
from harness.edge import Edge
from harness.proxy import Proxy
from harness.wait import until

SENSOR = "SimulatedTemperatureSensor"
PASSWORD = "geheimes-wort"


class Elsewhere:
    """A hub as a device sees it that is told an address at which nobody listens."""

    def __init__(self, hub):
        self._hub = hub
        self.address = addresses.free("127.0.12")

    def __getattr__(self, name):
        return getattr(self._hub, name)


def values(hub, sender):
    return ledger.without_copies([event.body for event in hub.events.telemetry(sender)])


@pytest.mark.parametrize("protocol", ["AmqpWs", "MqttWs"])
def test_everything_goes_through_the_proxy(hub, protocol):
    """The device dials an address at which only the proxy finds the hub. Every connection is cut on the
    way; what was sent meanwhile arrives all the same. The password is in no log."""
    elsewhere = Elsewhere(hub)
    proxy = Proxy("edge", PASSWORD, names={elsewhere.address: hub.address})
    told = f'[agent.env]\nUpstreamProtocol = "{protocol}"\nhttps_proxy = "{proxy.url}"\n'
    edge = Edge(elsewhere, config=told)
    edge.service.env["https_proxy"] = proxy.url
    try:
        edge.start()
        env = {"UpstreamProtocol": protocol, "HTTPS_PROXY": proxy.url}
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}, edge_hub_env=env))
        edge.wait_until_hub_listens()
        hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=3, deadline=40)
        assert set(proxy.asked()) == {(elsewhere.address, 443, 200)}

        # The daemon's call is over; the agent's, the edge hub's and the sensor's lines stay.
        until("the lines stand", lambda: proxy.connected() >= 3, 20)
        asked = len(proxy.asked())
        proxy.cut()
        until("they come back through the proxy", lambda: len(proxy.asked()) >= asked + 3, 60)
        before = len(values(hub, f"{edge.device_id}/{SENSOR}"))
        hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=before + 2, deadline=60)

        said = edge.service.log(whole=True)
        assert f"edge daemon reaches the hub through http://{proxy.address}" in said, said
        assert f"edge agent reaches the hub through http://{proxy.address}" in said, said
        logs = edge.iotedge("logs", "edgeHub")
        logs = logs.stdout + logs.stderr
        assert f"hub is reached through http://{proxy.address}" in logs, logs
        assert "has no effect" not in logs, logs
        assert PASSWORD not in said + logs
    finally:
        edge.stop()
        proxy.stop()


def test_a_wrong_password_is_told_with_the_fix(hub):
    """The daemon says what the proxy answered, and goes on trying; the hub is never asked around it."""
    elsewhere = Elsewhere(hub)
    proxy = Proxy("edge", PASSWORD, names={elsewhere.address: hub.address})
    edge = Edge(elsewhere)
    edge.service.env["https_proxy"] = proxy.url.replace(PASSWORD, "falsch")
    try:
        edge.start()
        until("it is told", lambda: "(407); set https_proxy to" in edge.service.log(whole=True), 30)
        assert {status for _, _, status in proxy.asked()} == {407}
        assert "falsch" not in edge.service.log(whole=True)
    finally:
        edge.stop()
        proxy.stop()


def test_without_a_websocket_the_proxy_is_not_used_and_the_log_says_so(hub):
    """As in the original. What is asked over HTTPS goes through the proxy all the same."""
    proxy = Proxy("edge", PASSWORD, names={hub.address: hub.address})
    edge = Edge(hub, config=f'[agent.env]\nhttps_proxy = "{proxy.url}"\n').start()
    try:
        env = {"UpstreamProtocol": "Amqp", "https_proxy": proxy.url}
        edge.deploy(manifest.deployment({SENSOR: manifest.sensor()}, edge_hub_env=env))
        hub.events.wait_for(f"{edge.device_id}/{SENSOR}", count=2, deadline=40)
        said = edge.service.log(whole=True)
        assert "https_proxy of [agent.env] is not used for Amqp" in said and "AmqpWs" in said, said
        logs = edge.iotedge("logs", "edgeHub")
        logs = logs.stdout + logs.stderr
        assert "https_proxy is not used for Amqp" in logs and "UpstreamProtocol=AmqpWs" in logs, logs
        assert {port for _, port, _ in proxy.asked()} == {443}
    finally:
        edge.stop()
        proxy.stop()
