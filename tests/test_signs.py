"""Tests that take long say so on a terminal."""

import os
import time

import pytest
from signs import Signs

SILENCE = 0.05  # seconds


@pytest.fixture
def pipe():
    """Return both ends of a pipe that is read without waiting."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a_long_test_is_named_while_it_goes_on(pipe):
    reading, writing = pipe
    signs = Signs(writing, SILENCE)
    signs.pytest_runtest_logstart("test_x.py::test_long")
    time.sleep(10 * SILENCE)
    signs.pytest_runtest_logfinish()
    signs.pytest_unconfigure()
    assert os.read(reading, 1000).startswith(b"\ntest_x.py::test_long: ")


def test_nothing_is_said_between_tests(pipe):
    reading, writing = pipe
    signs = Signs(writing, SILENCE)
    time.sleep(4 * SILENCE)
    signs.pytest_unconfigure()
    with pytest.raises(BlockingIOError):
        os.read(reading, 1000)
