"""Clients whose projects are installed in seconds."""

import harness
import pytest


@pytest.mark.parametrize("name", ["skorch", "torchcrf"])
def test_losses_are_the_same(name):
    row = harness.compare(name)
    assert row.faults == []
    assert row.losses_apart <= harness.BAR  # measured: 1.7e-7 and 5.4e-7
    assert row.ours > 0 and row.fallen_back == 0
