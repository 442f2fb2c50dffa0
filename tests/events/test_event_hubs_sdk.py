"""The event endpoint, read with `azure-eventhub` (service-api.md §9): every trap of §9.7 that its AMQP library
falls into would show here as a lost connection or a time-out."""

import datetime

import pytest
from azure.eventhub import CheckpointStore, EventHubConsumerClient, EventHubProducerClient, EventData, TransportType
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from events.conftest import reader
from harness import sdk
from harness.program import farshore
from harness.wait import until


def send(device, bodies):
    with sdk.connected(device) as client:
        for body in bodies:
            client.send_message(body)


def partition_of(hub, device):
    return str(hub.events.wait_for(device.device_id)[0].partition)


TRANSPORTS = pytest.mark.parametrize(
    "transport", [TransportType.Amqp, TransportType.AmqpOverWebsocket], ids=["tcp", "websocket"]
)


@TRANSPORTS
def test_the_log_and_its_partitions_tell_what_they_hold(hub, device, events_login, transport):
    send(device, ["one", "two"])
    partition = partition_of(hub, device)
    client = EventHubConsumerClient.from_connection_string(
        events_login, "$Default", connection_verify=str(hub.ca_path), transport_type=transport
    )
    with client:
        about = client.get_eventhub_properties()
        assert about["partition_ids"] == [str(p["partition"]) for p in hub.events.partitions()]
        now = datetime.datetime.now(datetime.timezone.utc)
        assert now - about["created_at"] < datetime.timedelta(hours=1)
        told = client.get_partition_properties(partition)
        assert told["last_enqueued_sequence_number"] >= 1
        assert told["last_enqueued_offset"] == str(told["last_enqueued_sequence_number"])
        assert told["beginning_sequence_number"] == 0 and not told["is_empty"]
        assert now - told["last_enqueued_time_utc"] < datetime.timedelta(minutes=1)


@TRANSPORTS
def test_events_arrive_with_everything_that_belongs_to_them(hub, device, events_login, transport):
    from azure.iot.device import Message

    message = Message(b"\x00body", content_type="application/json", content_encoding="utf-8")
    message.message_id, message.correlation_id = "m-1", "c-1"
    message.custom_properties["alert"] = "true"
    with sdk.connected(device) as client:
        client.send_message(message)
    # Over WebSocket the SDK waits a second for each partition that is silent: it reads one.
    at = {"partition_id": partition_of(hub, device)}
    with reader(hub, events_login, transport_type=transport, **at) as events:
        (event,) = events.wait_for(device.device_id, 1)
    assert b"".join(event.body) == b"\x00body"
    system = event.system_properties
    assert (event.message_id, event.correlation_id, event.content_type) == ("m-1", "c-1", "application/json")
    assert event.properties == {b"alert": b"true"}
    assert event.partition_key == device.device_id.encode()
    assert system[b"iothub-connection-auth-generation-id"] == device.document.generation_id.encode()
    assert b'"scope":"device"' in system[b"iothub-connection-auth-method"]
    assert system[b"iothub-enqueuedtime"] == system[b"x-opt-enqueued-time"]
    assert event.offset == str(event.sequence_number)
    age = datetime.datetime.now(datetime.timezone.utc) - event.enqueued_time
    assert abs(age) < datetime.timedelta(minutes=1)


def test_a_reader_begins_where_it_is_told(hub, device, events_login):
    send(device, [str(n) for n in range(5)])
    log = hub.events.wait_for(device.device_id, 5)
    partition, first = str(log[0].partition), log[0].sequence
    at = {"partition_id": partition}
    for position, inclusive, expected in [
        ("-1", False, 0),
        (first + 2, False, 3),
        (first + 2, True, 2),
        (str(first + 2), True, 2),
        (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5), False, 0),
    ]:
        options = {"starting_position": position, "starting_position_inclusive": inclusive, **at}
        with reader(hub, events_login, **options) as events:
            got = events.wait_for(device.device_id, 5 - expected)
            assert [event.body_as_str() for event in got] == [str(n) for n in range(expected, 5)], position


def test_a_reader_from_now_on_sees_only_what_comes(hub, device, events_login):
    send(device, ["before"])
    partition = partition_of(hub, device)
    options = {"partition_id": partition, "starting_position": "@latest", "track_last_enqueued_event_properties": True}
    with reader(hub, events_login, **options) as events:

        def arrives():
            # The SDK hands over when its line has been silent for a moment: a pause between two.
            send(device, ["after"])
            assert not events.errors, events.errors
            return events.has(device.device_id, 1, deadline=1.0)

        until("something new arrives", arrives)
        assert {event.body_as_str() for event in events.of(device.device_id)} == {"after"}
        # The runtime metric comes with each event.
        context = events.events[-1][2]
        last = context.last_enqueued_event_properties
        assert last["sequence_number"] >= events.events[-1][1].sequence_number
        assert last["offset"] == str(last["sequence_number"])


def test_an_owner_takes_over_from_a_lower_one(hub, device, events_login):
    send(device, ["x"])
    at = {"partition_id": partition_of(hub, device)}
    with reader(hub, events_login, owner_level=1, **at) as first:
        first.wait_for(device.device_id, 1)
        with reader(hub, events_login, owner_level=0, **at) as lower:
            assert "amqp:link:stolen" in str(lower.wait_for_error()) or "epoch" in str(lower.wait_for_error())
        with reader(hub, events_login, **at) as plain:
            assert "epoch" in str(plain.wait_for_error())
        assert not first.errors
        with reader(hub, events_login, owner_level=2, **at) as second:
            second.wait_for(device.device_id, 1)
            assert "epoch" in str(first.wait_for_error())


def test_five_readers_without_an_owner_are_enough(hub, device, events_login):
    send(device, ["x"])
    at = {"partition_id": partition_of(hub, device)}
    from contextlib import ExitStack

    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(reader(hub, events_login, **at)).wait_for(device.device_id, 1)
        sixth = stack.enter_context(reader(hub, events_login, **at))
        assert "no more" in str(sixth.wait_for_error())


class Checkpoints(CheckpointStore):
    """A store that outlives its consumers, as BlobCheckpointStore does. One partition is to be had: over
    WebSocket the SDK waits a second for each that is silent."""

    def __init__(self, partition):
        self.partition = partition
        self.owners, self.checkpoints = {}, {}

    def list_ownership(self, *place, **_):
        return list(self.owners.values())

    def claim_ownership(self, ownership_list, **_):
        claimed = []
        for ownership in ownership_list:
            known = self.owners.get(ownership["partition_id"])
            if ownership["partition_id"] != self.partition:
                continue
            if known is None or known["etag"] == ownership.get("etag"):
                made = {**ownership, "etag": object(), "last_modified_time": datetime.datetime.now().timestamp()}
                self.owners[ownership["partition_id"]] = made
                claimed.append(made)
        return claimed

    def update_checkpoint(self, checkpoint, **_):
        self.checkpoints[checkpoint["partition_id"]] = checkpoint

    def list_checkpoints(self, *place, **_):
        return list(self.checkpoints.values())


@TRANSPORTS
def test_a_consumer_with_checkpoints_goes_on_where_it_was(hub, device, events_login, transport):
    send(device, ["1", "2", "3"])
    store = Checkpoints(partition_of(hub, device))
    with reader(hub, events_login, checkpoint_store=store, transport_type=transport) as first:
        first.wait_for(device.device_id, 3)
        for _, event, context in list(first.events):
            context.update_checkpoint(event)
    send(device, ["4"])
    with reader(hub, events_login, checkpoint_store=store, transport_type=transport) as second:
        got = second.wait_for(device.device_id, 1)
        assert [event.body_as_str() for event in got] == ["4"]


@pytest.mark.parametrize(
    "change, error",
    [
        # Its tokens are for a log that is not there, so they are worth nothing for the one that is.
        (lambda text: text.replace("EntityPath=hub", "EntityPath=other"), EventHubError),
        (lambda text: text.replace("SharedAccessKey=", "SharedAccessKey=AAAA"), AuthenticationError),
        (lambda text: text.replace("Name=service", "Name=nobody"), AuthenticationError),
        (lambda text: text.replace("Name=service", "Name=device"), AuthenticationError),
    ],
    ids=["entity", "key", "policy", "right"],
)
def test_who_asks_wrongly_is_refused(hub, events_login, change, error):
    client = EventHubConsumerClient.from_connection_string(
        change(events_login), "$Default", connection_verify=str(hub.ca_path), retry_total=0
    )
    with client, pytest.raises(error):
        client.get_eventhub_properties()


def test_an_unknown_group_partition_or_number_is_refused(hub, events_login):
    for group, options, says in [
        ("nobody", {"partition_id": "0"}, "consumer group"),
        ("$Default", {"partition_id": "77"}, "partition"),
        ("$Default", {"partition_id": "0", "starting_position": 10**15}, "another log"),
    ]:
        with reader(hub, events_login, group, **options) as refused:
            assert says in str(refused.wait_for_error())


def test_nobody_but_devices_writes_the_log(hub, events_login):
    producer = EventHubProducerClient.from_connection_string(
        events_login, connection_verify=str(hub.ca_path), retry_total=0
    )
    with producer, pytest.raises(EventHubError) as refused:
        producer.send_batch([EventData("forged")])
    assert "only read" in str(refused.value)


def test_groups_read_side_by_side_and_end_with_their_group(hub, device, events_login):
    def groups(*arguments):
        options = ["--login", hub.login, "--ca", hub.ca_path]
        result = farshore("consumer-group", *arguments, *options)
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    name = f"group-{device.device_id}"[:50]
    groups("create", name)
    groups("create", name)
    assert groups("list")[0] == "$Default" and name in groups("list")
    send(device, ["x"])
    at = {"partition_id": partition_of(hub, device), "owner_level": 1}
    with reader(hub, events_login, **at) as default, reader(hub, events_login, name.upper(), **at) as other:
        default.wait_for(device.device_id, 1)
        other.wait_for(device.device_id, 1)
        groups("delete", name)
        assert "deleted" in str(other.wait_for_error()) or "consumer group" in str(other.wait_for_error())
        assert not default.errors
    assert name not in groups("list")
    assert hub.rest("PUT", "/events/consumerGroups/a%20b").status_code == 400
    assert hub.rest("DELETE", "/events/consumerGroups/$Default").status_code == 400
