"""What modules of the C# and Java SDKs send to an edge hub, played against one."""

import pytest

from replay.player import Player
from replay.test_vectors import parameters


@pytest.mark.parametrize("vector", parameters(below_an_edge_hub=True))
def test_vector(site, edge_of_vectors, vector, record_property):
    assert vector["sources"], "facts without a source"
    Player(site, vector, edge_of_vectors).play()
    record_property("cell", "replay")
