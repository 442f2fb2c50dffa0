"""The line to the hub is down for a while: what a module got an acknowledgement for arrives later, all
of it and in order."""

from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from harness import ledger, manifest, sdk
from harness.edge import Edge
from harness.wait import until


def test_what_was_acknowledged_while_the_hub_was_away_arrives_in_order(new_hub):
    hub = new_hub().start()
    edge = Edge(hub).start()
    try:
        module = hub.new_module(edge.device_id, "m1")
        leaf = edge.new_leaf()
        edge.deploy(manifest.deployment())
        edge.wait_until_hub_listens()
        with edge.connected(module) as first, edge.connected(leaf) as second:
            first.send_message_to_output("0", "out")
            second.send_message("0")
            for client in (first, second):
                sdk.answer_methods(client, lambda name, payload: (200, payload))
            desired = sdk.listen_for_desired(first)
            hub.kill()
            for number in range(1, 20):
                first.send_message_to_output(str(number), "out")
                second.send_message(str(number))
            # The edge hub dies too, with all that in its store.
            (pid,) = edge.module_processes("$edgeHub")
            edge.iotedge("restart", "edgeHub")
            until("another edge hub runs", lambda: edge.module_processes("$edgeHub") not in ([], [pid]), 30)
            edge.wait_until_hub_listens()
            until("the module is back", lambda: first.connected, 40)
            until("the leaf is back", lambda: second.connected, 40)
            first.send_message_to_output("20", "out")
            second.send_message("20")
            hub.start()
            for who in (module, leaf):
                until(
                    f"all of {who.sender} has arrived, in order",
                    lambda who=who: ledger.without_copies(numbers(hub, who)) == list(range(21)),
                    60,
                )
            # Neither the SDK nor the edge hub's clients say again what they listen to.
            call = CloudToDeviceMethod(method_name="echo", payload=7, connect_timeout_in_seconds=30)
            registry = hub.registry()
            assert registry.invoke_device_module_method(edge.device_id, "m1", call).payload == 7
            assert registry.invoke_device_method(leaf.device_id, call).payload == 7
            patch = Twin(properties=TwinProperties(desired={"back": True}))
            registry.update_module_twin(edge.device_id, "m1", patch)
            while "back" not in desired.next():
                pass
    finally:
        edge.stop()


def numbers(hub, who):
    return [int(event.body) for event in hub.events.telemetry(who.sender)]
