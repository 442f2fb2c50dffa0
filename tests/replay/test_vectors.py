"""What the C, C# and Java SDKs send, played against the hub."""

import json

import pytest

from harness.matrix import NOT_OFFERED
from harness.program import ROOT
from replay.player import Player

VECTORS = sorted((ROOT / "vectors").glob("*/*.json"))


def parameters(below_an_edge_hub):
    for path in VECTORS:
        vector = json.loads(path.read_text())
        if ("module" in vector) == below_an_edge_hub:
            marks = [pytest.mark.cell("replays", tuple(vector["row"]), column) for column in vector["fills"]]
            yield pytest.param(vector, id=f"{path.parent.name}-{path.stem}", marks=marks)


@pytest.mark.parametrize("vector", parameters(below_an_edge_hub=False))
def test_vector(site, vector, record_property):
    assert vector["sources"], "facts without a source"
    Player(site, vector).play()
    record_property("cell", "replay")


def test_feedback_tells_what_became_of_each_message(site):
    """Of all vectors together: a record is held back for 15 s, to be sent with others."""
    assert site.expected
    for (device_id, message_id), outcome in site.expected.items():
        assert site.feedback(device_id, message_id) == outcome, (device_id, message_id)


def not_offered():
    for path in VECTORS:
        vector = json.loads(path.read_text())
        for column, reason in vector.get("not_offered", {}).items():
            cell = pytest.mark.cell("replays", tuple(vector["row"]), column)
            yield pytest.param(reason, id=f"{path.parent.name}-{path.stem}-{column}", marks=cell)


@pytest.mark.parametrize("reason", not_offered())
def test_not_offered(reason, record_property):
    """Data of the vectors; these SDKs are not here to be asked."""
    record_property("cell", f"{NOT_OFFERED}: {reason}")
