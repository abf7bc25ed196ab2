"""Memory of training steps, lstmfast beside torch, and of a million streaming steps.

Each figure comes from a fresh process; benches/memory.py says what is counted. With
--benchmark-disable sizes are small and only the results are checked.
"""

import importlib.util

import pytest

from benches import article, fresh
from benches.shapes import Shape

PEERS = ("lstmfast", "torch")
JOBS = (
    ("epoch_last", article.SHAPE, "article's model, last output"),
    ("epoch_every", article.SHAPE, "article's model, every output"),
    ("training", Shape(T=100, B=32, I=128, H=256), "layer, forward and backward"),
    ("training", Shape(T=243, B=26, I=67, H=361), "layer, forward and backward"),
    ("training", Shape(T=50, B=128, I=256, H=512), "layer, forward and backward"),
    ("training", Shape(T=200, B=8, I=64, H=64), "layer, forward and backward"),
)
SMALL, SMALL_JOBS = Shape(T=7, B=3, I=20, H=33), 3
STEPS, SMALL_STEPS, SIZE = 10**6, 10**4, 64
STRAY_PAGES = 2  # that the interpreter may touch for the first time meanwhile, whatever the steps
STRAY_BYTES = 256  # of the heap: what counting has freed and malloc keeps counts as used
TOLERANCE = 1e-4  # of the norms of results (losses, gradients), relative; measured 1e-7


def measure(benchmark, *work):
    """Run `work` once each as what is timed (the time means nothing); return what they found."""
    return benchmark.pedantic(lambda: [run() for run in work], rounds=1, iterations=1)


def pytest_generate_tests(metafunc):
    if "job" in metafunc.fixturenames:
        small = metafunc.config.getoption("benchmark_disable")
        jobs = JOBS[:SMALL_JOBS] if small else JOBS
        metafunc.parametrize("job", jobs, ids=lambda job: f"{job[0]}-{job[1]}")


def test_training_step(benchmark, request, job):
    kind, shape, name = job
    wanted = request.config.getoption("--peers")
    if importlib.util.find_spec("torch") is None or "torch" not in (wanted or "torch").split(","):
        pytest.skip("torch is not there, or not wanted")
    shape = SMALL if benchmark.disabled else shape
    found = measure(benchmark, *(step_of(peer, kind, shape) for peer in PEERS))
    norms = [row.pop("norms") for row in found]
    assert norms[0] == pytest.approx(norms[1], rel=TOLERANCE)
    rows = [
        {"job": f"{name}, {shape}", "peer": p, **row} for p, row in zip(PEERS, found, strict=True)
    ]
    benchmark.extra_info.update(kind="memory", shape=shape._asdict(), rows=rows)


def step_of(peer, kind, shape):
    return lambda: fresh.run("benches.memory", "training", peer, kind, *shape)


def test_stream(benchmark):
    """No step allocates: neither heap nor resident memory grows, and no array of h is made."""
    steps = SMALL_STEPS if benchmark.disabled else STEPS
    (row,) = measure(benchmark, lambda: fresh.run("benches.memory", "stream", steps, SIZE))
    assert row["heap_bytes"] <= STRAY_BYTES and row["rss_bytes"] <= STRAY_PAGES * 4096
    assert row["python_bytes"] < 4 * SIZE
    row = {"job": f"{steps} streaming steps, I = H = {SIZE}", "peer": "lstmfast", **row}
    benchmark.extra_info.update(kind="stream", rows=[row])
