"""Behaviour under load; benches/load.py says what it means.

pytest-benchmark's own figure is the time of the whole measurement; the factors are in `extra_info`:
kind "load", the load, and one row per job. Results are held to the bits of a call alone.
"""

import importlib.util

import pytest

import lstmfast
from benches import load

CHECK_TURNS = 1  # under --benchmark-disable: results only


@pytest.fixture
def threads_put_back():
    before = lstmfast.get_num_threads()
    yield
    lstmfast.set_num_threads(before)


@pytest.mark.parametrize("name", load.LOADS)
def test_load(benchmark, name, threads_put_back):
    if "torch" in name and not importlib.util.find_spec("torch"):
        pytest.skip("torch is not installed")
    turns = load.TURNS if benchmark.enabled else CHECK_TURNS
    works = load.WORKS if benchmark.enabled else load.WORKS[1::2]

    def measured():
        with load.LOADS[name]() as present:
            return [{"load": name, **load.measure(work, present, turns)} for work in works]

    rows = benchmark.pedantic(measured, rounds=1, iterations=1)
    benchmark.extra_info.update(kind="load", load=name, processors=load.PROCESSORS, rows=rows)
    assert len(rows) == len(works)
    print()
    for row in rows:
        print(load.line(name, row))
