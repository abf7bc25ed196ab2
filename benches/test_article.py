"""Training of the article's model, beside torch and Keras: benches/article.py says which.

A call trains on a few batches; `epoch_extrapolated_s` is its time times the number of batches of an
epoch over those of a call. With --benchmark-disable a small model trains once and its losses are
compared.
"""

import pytest

from benches import article
from benches.measure import measure, timed_by_worker
from benches.shapes import Shape

SMALL = Shape(T=6, B=5, I=16, H=24)


@timed_by_worker
@pytest.mark.parametrize("kind", article.BATCHES)
def test_epoch(benchmark, team, kind):
    shape = SMALL if benchmark.disabled else article.SHAPE
    measure(benchmark, team, kind, shape, tolerance=article.TOLERANCE)
    batches = article.BATCHES[kind]
    medians = {
        peer: sorted(entry["seconds"])[len(entry["seconds"]) // 2]
        for peer, entry in benchmark.extra_info["peers"].items()
    }
    benchmark.extra_info.update(
        batches_per_call=batches,
        batches_per_epoch=article.EPOCH,
        batch_ms={peer: seconds / batches * 1e3 for peer, seconds in medians.items()},
        epoch_extrapolated_s={p: s / batches * article.EPOCH for p, s in medians.items()},
    )
