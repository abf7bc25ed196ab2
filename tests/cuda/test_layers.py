"""Layers of the support table in the simulator, against themselves on the CPU: there and back."""

import numpy as np
import pytest
from layer_cases import EACH, MASKED, STEPS, B, I, T, both_ways, drawn

from lstmfast import layers as all_layers
from lstmfast.cuda import support
from lstmfast.cuda.runtime.array import from_host
from lstmfast.layers import Activation, Add, Embedding, Softmax

BOUND = {"float32": 6e-6, "float64": 1e-13}  # of the largest; measured: 2.4e-6, 6e-16


def name_of(value):
    return type(value).__name__ if isinstance(value, all_layers.Layer) else ""


def test_every_layer_is_tried():
    """Here, or in test_support.py."""
    tried = {type(layer).__name__ for layer, _ in EACH} | {"Embedding", "LSTM", "Dense"}
    assert tried == {name for name, answer in support.LAYERS.items() if answer is True}


def assert_same(layer, shape, masks, dtype):
    shapes = shape if isinstance(shape, list) else [shape]
    xs = [drawn(one, dtype, seed) for seed, one in enumerate(shapes)]
    wanted = both_ways(layer, xs, masks, dtype, "cpu", np.copy, np.asarray)
    got = both_ways(layer, xs, masks, dtype, "cuda", from_host, lambda a: a.copy_to_host())
    for g, w in zip(got, wanted, strict=True):
        assert (g is None) == (w is None)
        if w is not None:
            assert (g.shape, g.dtype) == (w.shape, w.dtype)
            size = np.abs(w, where=w == w, out=np.zeros(w.shape)).max(initial=1.0)
            np.testing.assert_allclose(g, w, rtol=0, atol=BOUND[dtype] * size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("layer", "shape"), EACH, ids=name_of)
def test_there_and_back(layer, shape, dtype):
    assert_same(layer, shape, None, dtype)


@pytest.mark.parametrize(("layer", "shape"), MASKED, ids=name_of)
def test_with_masks(layer, shape):
    first = np.array([[True, False, True, True, False], [False, True, False, False, False]])
    second = np.array([[False, False, True, False, True], [True] * T])
    assert_same(layer, shape, [first, second], "float32")


def test_softmax_with_a_mask():
    mask = np.random.default_rng(1).random((B, 1, I)) > 0.4
    assert_same(Softmax(), STEPS, [mask], "float64")


def test_masks_of_ids():
    ids = np.array([[1, 0, 3], [0, 0, 2]], np.int32)
    for mask in (None, np.array([[True, True, False], [True, False, True]])):
        layer = Embedding(4, 2, mask_zero=True)
        wanted = layer.compute_mask(ids, mask)
        found = layer.compute_mask(from_host(ids), None if mask is None else from_host(mask))
        np.testing.assert_array_equal(found.copy_to_host(), wanted)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_whole_numbers_become_floats(kind):
    layer = Activation("relu")
    layer.build((None, 3))
    y = layer.to("cuda").forward(from_host(np.array([[-1, 0, 2]], kind)))
    assert y.dtype == np.float32 and y.copy_to_host().tolist() == [[0, 0, 2]]


def test_gradients_of_inputs_lie_apart():
    """Who gets one may overwrite it."""
    layer = Add()
    layer.build([(None, 3)] * 2)
    layer.to("cuda").forward([from_host(np.ones((2, 3), "f4"))] * 2, training=True)
    one, other = layer.backward(from_host(np.ones((2, 3), "f4")))
    one *= 5
    assert (other.copy_to_host() == 1).all()
