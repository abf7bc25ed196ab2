"""One LSTM layer, float32: forward, training and a streaming step, beside other libraries.

    python -m pytest benches --benchmark-json=cpu.json
    python -m benches.report cpu.json -o benches/results/cpu.md

times every shape at one and two threads: two hours with all libraries, most of it Keras's
compiling. `--peers torch,onnxruntime` and `-k "forward and 1thread"` restrict it; the report takes
several files. With `--benchmark-disable` a few small shapes are prepared, checked and run once.
"""

import pytest

from benches.floors import Floors
from benches.measure import measure, timed_by_worker
from benches.shapes import SHAPES, STREAMING

SMALL = sorted((s for s in SHAPES if s.T > 1), key=lambda s: s.operations)[:6]
SMALL_STREAMING = (STREAMING[0], STREAMING[9])


def pytest_generate_tests(metafunc):
    disabled = metafunc.config.getoption("benchmark_disable")
    if metafunc.function is test_step:
        shapes = SMALL_STREAMING if disabled else STREAMING
    else:
        shapes = SMALL if disabled else SHAPES
    metafunc.parametrize("shape", shapes, ids=str)


@timed_by_worker
@pytest.mark.parametrize("kind", ("forward", "training"))
def test_sequence(benchmark, team, kind, shape):
    measure(benchmark, team, kind, shape, Floors(kind, shape, team.threads))


@timed_by_worker
def test_step(benchmark, team, shape):
    measure(benchmark, team, "step", shape, Floors("step", shape, team.threads))
