"""Step, forward and training of one layer, beside torch where it is installed.

    python -m pytest benches --benchmark-group-by=group

Every result is checked before it is timed. pytest-benchmark does not interleave the peers: read
ratios from `python -m benches.compare`, which does.
"""

import pytest

from benches import cases

THREADS = (1, 2)
SHAPES = ((100, 32, 128, 256), (50, 64, 128, 256), (100, 1, 128, 256), (100, 7, 33, 65))


@pytest.fixture(params=THREADS, ids=lambda n: f"{n}threads")
def threads(request):
    with cases.threads(request.param):
        yield request.param


@pytest.mark.parametrize("peer", cases.PEERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("job", ("forward", "training"))
def test_sequence(benchmark, threads, job, shape, peer):
    run = cases.sequence(job, peer, shape)
    benchmark.group = f"{job} (T, B, I, H) = {shape}, {threads} threads"
    benchmark(run)


@pytest.mark.parametrize("peer", cases.PEERS)
def test_step(benchmark, threads, peer):
    run = cases.step(peer, 256, 256)
    benchmark.group = f"one step, batch 1, I = H = 256, {threads} threads"
    benchmark(run)
