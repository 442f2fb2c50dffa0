"""A child that gets another parent while its old one is offline."""

import pytest

from harness import manifest
from harness.edge import Edge
from harness.wait import until
from harness.way import Way, through


@pytest.fixture
def hub(new_hub):
    return new_hub().start()


@pytest.fixture
def way(hub):
    way = Way(hub)
    yield way
    way.close()


@pytest.fixture
def parents(hub, way):
    """Two edge devices; the first one's way to the hub can be cut."""
    edges = [through(Edge(hub), way), Edge(hub)]
    try:
        for edge in edges:
            edge.start()
        for edge in edges:
            edge.deploy(manifest.deployment())
            edge.wait_until_hub_listens()
        yield edges
    finally:
        for edge in edges:
            edge.stop()


def test_a_child_that_moved_while_its_parent_was_offline_has_one_parent(hub, way, parents):
    old, new = parents
    leaf, sibling = old.new_leaf(), old.new_leaf()
    for who in (leaf, sibling):
        assert gets_in(old, who, "first")
        hub.events.wait_for(who.sender, deadline=40)
    assert not gets_in(new, leaf, "not yet")

    way.cut()
    scope = new.device.document.device_scope
    moved = hub.registry().update_device_with_sas(
        leaf.device_id, leaf.document.etag, None, None, "enabled", device_scope=scope
    )
    assert (moved.device_scope, moved.parent_scopes) == (scope, [scope])
    # The new parent serves it at once; the old one cannot know yet.
    until("the new parent lets it in", lambda: gets_in(new, leaf, "second"), 60)
    until("its message arrives", lambda: "second" in bodies(hub, leaf), 40)
    assert gets_in(old, sibling, "offline")

    way.mend()
    until("the old parent is back", lambda: "offline" in bodies(hub, sibling), 60)
    until("the old parent refuses who moved", lambda: not gets_in(old, leaf, "too late"), 60)
    assert gets_in(new, leaf, "third")
    until("its message arrives", lambda: "third" in bodies(hub, leaf), 40)
    assert gets_in(old, sibling, "still")
    assert {"not yet", "too late"}.isdisjoint(bodies(hub, leaf)), bodies(hub, leaf)


def gets_in(edge, identity, text):
    """Whether its message is acknowledged."""
    try:
        with edge.connected(identity) as client:
            client.send_message(text)
    except Exception:
        return False
    return True


def bodies(hub, who):
    return [event.body.decode() for event in hub.events.telemetry(who.sender)]
