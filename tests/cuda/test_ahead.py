"""Batches ahead in the simulator: what comes out is what went in."""

import numpy as np
import pytest

from lstmfast.cuda.runtime import array
from lstmfast.cuda.runtime.array import BFLOAT16
from lstmfast.cuda.runtime.prefetch import ahead


def batch(size, seed=0):
    random = np.random.default_rng([size, seed])
    x = random.normal(size=(3, size, 2)).astype(np.float32)
    return x, random.integers(0, 9, size), x[..., 0].T.astype(BFLOAT16)


@pytest.mark.parametrize("sizes", ((), (4,), (4, 4), (4, 4, 4, 3), (1, 5, 2, 7, 7, 1), (0, 2)))
def test_batches_come_in_order_whatever_their_sizes(sizes):
    batches = [batch(size, seed) for seed, size in enumerate(sizes)]
    count = 0
    for given, expected in zip(ahead(iter(batches)), batches, strict=True):
        count += 1
        assert isinstance(given, tuple)
        for found, values in zip(given, expected, strict=True):
            assert found.dtype == values.dtype and found.shape == values.shape
            assert found.address % 16 == 0 and found.is_contiguous
            assert (found.copy_to_host() == values).all()
    assert count == len(sizes)


def test_a_smaller_batch_takes_no_new_memory(monkeypatch):
    taken = []
    empty = array.empty
    monkeypatch.setattr(array, "empty", lambda *given: taken.append(given) or empty(*given))
    for _ in ahead(batch(size) for size in (8, 8, 8, 3, 1)):
        pass
    assert len(taken) == 2


def test_the_next_batch_is_on_its_way_before_this_one_is_used():
    asked = []

    def source():
        for number in range(4):
            asked.append(number)
            yield batch(2, number)

    batches = ahead(source())
    next(batches)
    assert asked == [0, 1]
    next(batches)
    assert asked == [0, 1, 2]


def test_errors_of_the_source_come_through():
    def source():
        yield batch(2)
        yield batch(2)
        raise OSError("a file is gone")

    batches = ahead(source())
    next(batches)
    with pytest.raises(OSError, match="a file is gone"):
        next(batches)
    assert list(batches) == []


@pytest.mark.parametrize(
    ("given", "message"),
    (
        (np.ones(3), "batch: expected a tuple of arrays, got ndarray"),
        ((np.ones(3), np.array([None])), r"batch\[1\]: expected numbers, got dtype object"),
    ),
)
def test_what_is_no_batch(given, message):
    with pytest.raises(ValueError, match=message):
        next(ahead([given]))
