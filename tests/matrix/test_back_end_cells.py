"""The cells of the back ends that no test fills, as the SDKs have nothing for them. The others are filled by the
tests of their features."""

import pytest

from harness import matrix
from matrix.cells import CONSUMERS, SERVICES


def parameters():
    for cell, reason in matrix.not_offered_elsewhere([SERVICES, CONSUMERS]):
        yield pytest.param(reason, id="-".join(matrix.flat(cell)), marks=pytest.mark.cell(*cell))


@pytest.mark.parametrize("reason", parameters())
def test_not_offered(reason, record_property):
    record_property("cell", f"{matrix.NOT_OFFERED}: {reason}")
