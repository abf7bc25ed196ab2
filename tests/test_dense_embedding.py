"""Dense and Embedding, forward and backward, against the oracle."""

import naive
import numpy as np
import pytest
from agreement import (
    DTYPES,
    THREADS,
    assert_close,
    assert_gradient_close,
    glorot_uniform,
    same_bits,
)

from lstmfast import ops

# (M, K, N): tails in every direction, a vector, a column, and the article's output layer.
DENSE_SHAPES = (
    (1, 1, 1), (1, 130, 33), (2, 3, 5), (5, 17, 1), (6, 16, 16), (7, 1, 31), (13, 33, 65),
    (32, 64, 100), (33, 65, 130), (100, 31, 17), (64, 256, 1000), (500, 130, 3),
)  # fmt: skip


def dense_case(M, K, N, dtype):
    """Return x, W, b and an upstream gradient dy."""
    rng = np.random.default_rng([M, K, N])
    draw = rng.standard_normal
    arrays = draw((M, K)), glorot_uniform(rng, K, N), draw(N), draw((M, N))
    return tuple(a.astype(dtype) for a in arrays)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", DENSE_SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_dense(shape, dtype):
    x, W, b, dy = dense_case(*shape, dtype)
    assert_close(ops.dense_forward(x, W, b), naive.dense_forward(x, W, b), dtype)
    assert_close(ops.dense_forward(x, W), naive.dense_forward(x, W), dtype)
    for got, ref in zip(ops.dense_backward(x, W, dy), naive.dense_backward(x, W, dy), strict=True):
        assert_gradient_close(got, ref, dtype)


def test_dense_need_dx_false_leaves_dx_out():
    x, W, _, dy = dense_case(6, 16, 5, "float32")
    _, dW, db = ops.dense_backward(x, W, dy)
    without = ops.dense_backward(x, W, dy, need_dx=False)
    assert without[0] is None
    assert same_bits(without[1], dW) and same_bits(without[2], db)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ((13, 33, 65), (300, 40, 1100), (64, 256, 1000), (1, 256, 1000)))
def test_dense_bits_do_not_depend_on_threads(shape, dtype, threads):
    x, W, b, dy = dense_case(*shape, dtype)
    results = []
    for n in THREADS:
        threads(n)
        results.append((ops.dense_forward(x, W, b), *ops.dense_backward(x, W, dy)))
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


# ---------------------------------------------------------------- embedding


def embedding_case(shape, V, E, dtype, ids_dtype="int64"):
    """Return ids (repeated ones among them), a table and an upstream gradient."""
    rng = np.random.default_rng([V, E, *shape])
    ids = np.minimum(rng.zipf(1.3, shape), V) - 1
    table, dy = rng.uniform(-0.05, 0.05, (V, E)), rng.standard_normal((*shape, E))
    return ids.astype(ids_dtype), table.astype(dtype), dy.astype(dtype)


EMBEDDINGS = (((7,), 5, 3), ((4, 9), 11, 16), ((2, 3, 4), 1, 1), ((64, 50), 1000, 128))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ids_dtype", ("int32", "int64"))
@pytest.mark.parametrize("case", EMBEDDINGS, ids=str)
def test_embedding(case, ids_dtype, dtype):
    ids, table, dy = embedding_case(*case, dtype, ids_dtype)
    assert same_bits(ops.embedding_forward(ids, table), table[ids])
    got = ops.embedding_backward(ids, dy, len(table))
    assert_gradient_close(got, naive.embedding_backward(ids, dy, len(table)), dtype)
    unused = np.setdiff1d(np.arange(len(table)), ids)
    assert not got[unused].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_bits_do_not_depend_on_threads(dtype, threads):
    ids, table, dy = embedding_case((64, 50), 1000, 128, dtype)
    results = []
    for n in THREADS:
        threads(n)
        results.append((ops.embedding_forward(ids, table), ops.embedding_backward(ids, dy, 1000)))
    for other in results[1:]:
        assert all(map(same_bits, results[0], other))


def test_embedding_of_no_ids():
    ids, table = np.zeros((0, 3), np.int64), np.ones((4, 5), np.float32)
    assert ops.embedding_forward(ids, table).shape == (0, 3, 5)
    assert not ops.embedding_backward(ids, np.zeros((0, 3, 5), np.float32), 4).any()
