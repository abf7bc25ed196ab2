"""Fixtures shared by the tests."""

import pytest

from lstmfast import ops


@pytest.fixture
def threads():
    """Return `ops.set_num_threads`; the number of threads is put back after the test."""
    before = ops.get_num_threads()
    yield ops.set_num_threads
    ops.set_num_threads(before)
