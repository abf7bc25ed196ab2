"""Gradients of some rows of a table: the steps of dense ones, and lazy ones, told apart."""

import time

import numpy as np
import pytest
from agreement import assert_all_equal, same_bits

from lstmfast import ops
from lstmfast.optimizers import SGD, Adagrad, Adam, AdamW, Nadam, RMSprop, RowGradient

V, E = 40, 5
EVERY = [
    lambda **o: SGD(0.1, **o),
    lambda **o: SGD(0.1, 0.9, True, **o),
    lambda **o: SGD(0.1, weight_decay=0.1, **o),
    lambda **o: Adagrad(0.1, **o),
    lambda **o: Adagrad(0.1, weight_decay=0.1, **o),
    lambda **o: Adam(0.1, **o),
    lambda **o: Adam(0.1, amsgrad=True, **o),
    lambda **o: AdamW(0.1, **o),
    lambda **o: Nadam(0.1, **o),
    lambda **o: RMSprop(0.1, momentum=0.5, centered=True, **o),
]
DTYPES = pytest.mark.parametrize("dtype", ("f4", "f8"))


def read(seed, dtype="f8"):
    """Return ids of a batch, and the gradient to what was read."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, V, size=(3, 4), dtype=np.int32)
    return ids, rng.normal(size=(3, 4, E)).astype(dtype)


def table(dtype="f8"):
    return np.random.default_rng(99).normal(size=(V, E)).astype(dtype)


@DTYPES
def test_a_row_gradient_has_the_bits_of_the_dense_one(dtype):
    ids, dy = read(0, dtype)
    found = RowGradient.of(ids, dy, V)
    same_bits(found.dense(), ops.embedding_backward(ids, dy, V))
    assert found.rows.tolist() == sorted(set(ids.reshape(-1).tolist()))
    assert found.shape == (V, E) and found.dtype == dtype and found.rows.dtype == np.int64
    none = RowGradient.of(ids[:0], dy[:0], V)
    assert none.values.shape == (0, E) and not none.dense().any()


@DTYPES
@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    "options", [{}, {"use_ema": True, "ema_overwrite_frequency": 2},
                {"gradient_accumulation_steps": 2}, {"global_clipnorm": 0.5}, {"clipvalue": 0.1}]
)  # fmt: skip
def test_not_lazy_is_the_dense_step(make, options, dtype):
    """To the bit, but for norms, which are summed in another order."""
    sparse, dense, ones = make(**options), make(**options), [table(dtype), table(dtype)]
    biases = [np.ones(3, dtype), np.ones(3, dtype)]
    for step in range(4):
        g = RowGradient.of(*read(step, dtype), V)
        dense.apply([ones[1], biases[1]], [g.dense(), np.ones(3, dtype)])
        sparse.apply([ones[0], biases[0]], [g, np.ones(3, dtype)])
    found = [ones[0], biases[0], *(slot for kept in sparse.slots.values() for slot in kept)]
    wanted = [ones[1], biases[1], *(slot for kept in dense.slots.values() for slot in kept)]
    if "global_clipnorm" not in options:
        assert_all_equal(found, wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4 if dtype == "f4" else 1e-11, atol=1e-6)


@DTYPES
@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("clip", [{}, {"clipnorm": 0.5}])
def test_lazy_is_the_dense_step_of_the_rows_alone(make, clip, dtype):
    """As if each step were on a table of those rows; the others keep what they have."""
    optimizer, w = make(lazy=True, **clip), table(dtype)
    optimizer.apply([w], [RowGradient.of(*read(0, dtype), V)])
    for step in range(1, 5):
        g = RowGradient.of(*read(step, dtype), V)
        whole = [w, *(kept[0] for kept in optimizer.slots.values())]
        before, small = [one.copy() for one in whole], [one[g.rows] for one in whole]
        other = make(**clip)
        other.restore(step, {n: [s] for n, s in zip(optimizer.slots, small[1:], strict=True)})
        other.apply(small[:1], [g.values.copy()])
        optimizer.apply([w], [g])
        for now, then, rows in zip(whole, before, small, strict=True):
            wanted = then.copy()
            wanted[g.rows] = rows
            same_bits(now, wanted)


def test_threads_leave_the_same_bits(threads):
    rng, found = np.random.default_rng(0), []
    ids, dy = rng.integers(0, 5000, size=4000), rng.normal(size=(4000, 33)).astype("f4")
    for count in (1, 3):
        threads(count)
        w = np.ones((5000, 33), "f4")
        Adam(lazy=True).apply([w], [RowGradient.of(ids, dy, 5000)])
        found.append(w)
    same_bits(*found)


def test_no_rows_change_nothing_but_the_count():
    optimizer, w = Adam(lazy=True, global_clipnorm=1.0), table()
    optimizer.apply([w], [RowGradient.of(np.zeros(0, int), np.zeros((0, E)), V)])
    same_bits(w, table())
    assert optimizer.iterations == 1


def test_time_follows_the_batch_and_not_the_table():
    """Measured: 30 to 60 times (Adam, 64 · 50 ids, two busy cores)."""
    rng = np.random.default_rng(0)
    w = np.zeros((100_000, 64), "f4")
    g = RowGradient.of(rng.integers(0, len(w), 3200), np.ones((3200, 64), "f4"), len(w))
    took = {}
    for lazy, grad in ((True, g), (False, g.dense())):
        optimizer = Adam(lazy=lazy)
        optimizer.apply([w], [grad])
        times = []
        for _ in range(5):
            start = time.perf_counter()
            optimizer.apply([w], [grad])
            times.append(time.perf_counter() - start)
        took[lazy] = min(times)
    assert took[False] > 5 * took[True]


ROWS, VALUES = np.array([1, 3]), np.ones((2, E))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1, 3], VALUES, (V, E)), "rows: expected rows of int64, got list"),
        ((ROWS.astype("i4"), VALUES, (V, E)), "rows: expected rows of int64"),
        ((ROWS[::-1].copy(), VALUES, (V, E)), r"rows: expected rows of 0\.\.39, ascending"),
        ((np.array([3, 3]), VALUES, (V, E)), r"rows: expected rows of 0\.\.39, ascending"),
        ((np.array([-1, 3]), VALUES, (V, E)), r"rows: expected rows of 0\.\.39, ascending"),
        ((np.array([1, V]), VALUES, (V, E)), r"rows: expected rows of 0\.\.39, ascending"),
        ((ROWS, VALUES[:1], (V, E)), r"rows: values: expected \(2, 5\), got \(1, 5\)"),
        ((ROWS, VALUES.astype(int), (V, E)), "rows: values: expected"),
        ((ROWS, VALUES, (V, E + 1)), r"rows: values: expected \(2, 6\)"),
        ((ROWS, np.ones((2, 2 * E))[:, ::2], (V, E)), "rows: expected C-contiguous"),
    ],
)
def test_what_does_not_fit_itself_is_refused(arguments, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        RowGradient(*arguments)


def test_what_does_not_fit_the_table_is_refused():
    optimizer, w = Adam(lazy=True), table()
    for g, text in (
        (RowGradient(ROWS, VALUES, (V + 1, E)), r"grads\[0\]: expected \(40, 5\), got \(41, 5\)"),
        (RowGradient(ROWS, VALUES.astype("f4"), (V, E)), r"grads\[0\]: expected dtype float64"),
    ):
        with pytest.raises(ValueError, match=f"^{text}"):
            optimizer.apply([w], [g])
    g = RowGradient(ROWS.copy(), VALUES, (V, E))
    g.rows[1] = 10**9  # what was right once is looked at again: it tells where to write
    with pytest.raises(ValueError, match=r"^grads\[0\]: expected rows of 0\.\.39"):
        optimizer.apply([w], [g])
    same_bits(w, table())
    assert optimizer.iterations == 0
