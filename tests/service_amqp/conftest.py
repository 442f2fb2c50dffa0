"""What the tests of service AMQP share."""

import pytest

from harness.hub import running


@pytest.fixture(scope="session")
def hub(trust):
    """A hub of these tests' own: they read logs from the beginning, and the shared hub's is long."""
    with running(trust) as hub:
        yield hub
