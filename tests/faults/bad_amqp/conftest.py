"""What bad input gets, where AMQP clients look (`security.md` §2, B17 to B25; `device-protocol.md` §4.9): the
condition that the standard or the reference names, in the scope that is lost by it. A well-behaved device is
connected all the while, and the hub's memory is at its level in the end."""

import pytest

from harness import amqp
from harness.canary import Canary
from harness.hub import running
from harness.wait import until

# What the hub may hold more after all of this than before: its allocator keeps some of what it had.
LEVEL_BYTES = 48 * 1024 * 1024


@pytest.fixture(scope="package")
def hub(trust):
    """A hub for these tests alone, so that its memory is theirs."""
    with running(trust) as hub:
        # The first connections make what stays: pools, caches, threads.
        for _ in range(20):
            amqp.authorised(hub.new_device()).close()
        with Canary(hub, "amqp") as canary:
            before = hub.service.memory_bytes()
            yield hub
        canary.check(hub)
        level = before + LEVEL_BYTES
        until("memory is at its level", lambda: hub.service.memory_bytes() < level, 20)
        print(f"hub's memory: {before} bytes before, {hub.service.memory_bytes()} after")
