"""Layers without weights: values by hand, gradients, masks, what is drawn, and what is refused."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest
from agreement import difference_quotient, same_bits

from lstmfast import layers
from lstmfast.cuda import support
from lstmfast.layers import (
    ELU,
    Activation,
    Add,
    AlphaDropout,
    Average,
    AveragePooling1D,
    Concatenate,
    Cropping1D,
    Dot,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Identity,
    LeakyReLU,
    Masking,
    Maximum,
    MaxPooling1D,
    Minimum,
    Multiply,
    Permute,
    ReLU,
    RepeatVector,
    Rescaling,
    Reshape,
    Softmax,
    SpatialDropout1D,
    Subtract,
    UnitNormalization,
    UpSampling1D,
    ZeroPadding1D,
)

GRADIENT_BAR = 1e-8  # measured: 4.3e-10, Dot of four axes
A, B = np.array([[1.0, -2.0, 3.0]]), np.array([[4.0, 5.0, -6.0]])
STEPS = np.arange(10.0).reshape(1, 5, 2)
MASK = np.array([[True, False, True, True], [False, True, True, False]])

# One of every class and of its ways, with the shapes of inputs that it takes.
EVERY = [
    *((Activation(name), [(2, 3, 4)]) for name in layers.dense.ACTIVATIONS),
    (ReLU(0.9, 0.3, 0.4), [(3, 4)]),
    (ReLU(), [(3, 4)]),
    (LeakyReLU(), [(3, 4)]),
    (LeakyReLU(0.0), [(3, 4)]),
    (ELU(0.7), [(3, 4)]),
    (Softmax(), [(2, 3, 4)]),
    (Softmax(1), [(2, 3, 4)]),
    (Dropout(0.4, seed=1), [(3, 4, 5)]),
    (Dropout(0.4, (None, 1, None), seed=1), [(3, 4, 5)]),
    (Dropout(0.0), [(3, 4)]),
    (SpatialDropout1D(0.4, seed=2), [(3, 4, 5)]),
    (GaussianNoise(0.3, seed=1), [(3, 4)]),
    (GaussianNoise(0.0), [(3, 4)]),
    (GaussianDropout(0.4, seed=1), [(3, 4)]),
    (GaussianDropout(0.0), [(3, 4)]),
    (AlphaDropout(0.4, seed=1), [(3, 4, 5)]),
    (AlphaDropout(0.3, (None, 1, None), seed=1), [(3, 4, 5)]),
    (AlphaDropout(0.0), [(3, 4)]),
    (Identity(), [(3, 4)]),
    (Rescaling(0.5, -1.0), [(3, 4)]),
    (Rescaling([0.5, 2.0, 3.0], [1.0, 0.0, 2.0]), [(2, 4, 3)]),
    (UnitNormalization(), [(3, 4)]),
    (UnitNormalization([1, 2]), [(2, 4, 3)]),
    (Masking(0.5), [(2, 3, 4)]),
    (Flatten(), [(2, 3, 4)]),
    (Flatten(), [(3,)]),
    (Reshape((4, -1)), [(2, 3, 8)]),
    (Reshape((2, 3, 4)), [(2, 24)]),
    (Permute((2, 3, 1)), [(2, 3, 4, 5)]),
    (RepeatVector(3), [(2, 4)]),
    (ZeroPadding1D((1, 2)), [(2, 3, 4)]),
    (Cropping1D((1, 2)), [(2, 5, 4)]),
    (UpSampling1D(3), [(2, 3, 4)]),
    *(
        (kind(size, stride, padding), [(2, 7, 3)])
        for kind in (MaxPooling1D, AveragePooling1D)
        for size, stride in ((2, None), (3, 1), (2, 3), (4, 3))
        for padding in ("valid", "same")
    ),
    (GlobalMaxPooling1D(), [(2, 5, 3)]),
    (GlobalMaxPooling1D(keepdims=True), [(2, 5, 3)]),
    (GlobalAveragePooling1D(), [(2, 5, 3)]),
    (GlobalAveragePooling1D(keepdims=True), [(2, 5, 3)]),
    *(
        (kind(), shapes)
        for kind in (Add, Average, Multiply, Maximum, Minimum)
        for shapes in (
            [(2, 4, 3), (2, 4, 3), (2, 4, 3)],
            [(2, 4, 3), (2, 1, 3)],
            [(2, 1, 3), (2, 4, 1)],
            [(2, 3), (2, 4, 3)],
        )
    ),
    (Subtract(), [(2, 4, 3), (2, 4, 3)]),
    (Subtract(), [(2, 1, 3), (2, 4, 3)]),
    (Concatenate(), [(2, 4, 3), (2, 4, 1)]),
    (Concatenate(1), [(2, 4, 3), (2, 1, 3), (2, 2, 3)]),
    (Dot(1), [(3, 4), (3, 4)]),
    (Dot((2, 1), True), [(2, 3, 4), (2, 4, 5)]),
    (Dot((1, 3)), [(2, 4, 3), (2, 5, 3, 4)]),
]
IDS = [
    f"{type(one).__name__}-{getattr(one, 'activation', '')}{'x'.join(map(str, shapes[-1]))}-{n}"
    for n, (one, shapes) in enumerate(EVERY)
]
EACH = pytest.mark.parametrize(("layer", "shapes"), EVERY, ids=IDS)
MASKED = [
    (Multiply(), [MASK, MASK[::-1]]),
    (Multiply(), [MASK, None]),
    (Maximum(), [MASK, MASK[::-1]]),
    (Maximum(), [None, MASK]),
    (Minimum(), [MASK, None, MASK[::-1]]),
]


def fresh(layer, dtype="float64", shapes=None):
    """Return a layer of the same arguments, built for inputs of these shapes."""
    made = type(layer).from_config(layer.get_config())
    if shapes:
        made.build(shapes if made.takes_list else shapes[0], None, dtype)
    return made


def inputs(shapes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def given(layer, arrays):
    return arrays if layer.takes_list else arrays[0]


def check_gradients(layer, arrays, **told):
    """Hold the gradients of all inputs against central differences of sum(upstream * y)."""
    x = given(layer, arrays)

    def forward():
        layer.rng = np.random.default_rng(5)  # the same draws in each pass
        return layer.forward(x, training=True, **told)

    upstream = np.random.default_rng(4).standard_normal(forward().shape)
    forward()
    found = layer.backward(upstream.copy())
    found = found if layer.takes_list else [found]
    for one, array in zip(found, arrays, strict=True):
        expected = difference_quotient(lambda: np.sum(upstream * forward()), array)
        np.testing.assert_allclose(one, expected, rtol=0, atol=GRADIENT_BAR)


# ---------------------------------------------------------------- all of them


def test_every_class_is_here():
    named = {made.__name__ for made in layers.OWN if made.__module__.endswith(MODULES)}
    assert {type(one).__name__ for one, _ in EVERY} == named


CLASSES = layers.CLASSES
MODULES = (
    "activation", "dot", "dropout", "masking", "merging", "noise", "pooling", "rescaling", "shapes",
)  # fmt: skip


@EACH
def test_gradients(layer, shapes):
    check_gradients(fresh(layer, "float64", shapes), inputs(shapes))


@pytest.mark.parametrize(("layer", "masks"), MASKED)
def test_gradients_of_masked_inputs(layer, masks):
    shapes = [(2, 4, 3)] * len(masks)
    check_gradients(fresh(layer, "float64", shapes), inputs(shapes), mask=masks)


def test_gradients_of_a_masked_mean_and_a_masked_softmax():
    check_gradients(fresh(GlobalAveragePooling1D(), "float64", [(2, 4, 3)]), inputs([(2, 4, 3)]),
                    mask=MASK)  # fmt: skip
    check_gradients(fresh(Softmax(), "float64", [(2, 4)]), inputs([(2, 4)]), mask=MASK)
    check_gradients(fresh(Softmax(1), "float64", [(2, 4, 3)]), inputs([(2, 4, 3)]),
                    mask=MASK[..., None])  # fmt: skip


@EACH
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_outputs_and_gradients_are_arrays_of_their_own(layer, shapes, dtype):
    """Of the layer's dtype, contiguous; gradients may be overwritten, inputs are not."""
    layer, arrays = fresh(layer, dtype, shapes), inputs(shapes, dtype)
    for one in arrays:
        one.flags.writeable = False
    y = layer.forward(given(layer, arrays), training=True)
    assert y.dtype == dtype and y.flags.c_contiguous
    assert y.shape == layer.output_shape(given(layer, shapes))
    open_batch = [(None, *shape[1:]) for shape in shapes]
    assert layer.output_shape(given(layer, open_batch)) == (None, *y.shape[1:])
    dy = np.ones(y.shape, dtype)
    gradients = layer.backward(dy)
    gradients = gradients if layer.takes_list else [gradients]
    assert [one.shape for one in gradients] == shapes and layer.grads == {}
    for i, one in enumerate(gradients):
        assert one.dtype == dtype and one.flags.c_contiguous and one.flags.writeable
        assert not any(np.shares_memory(one, other) for other in gradients[:i] + arrays)
    layer.forward(given(layer, arrays), training=True)
    assert layer.backward(dy, need_dx=False) is None
    with pytest.raises(ValueError, match=r"backward needs a forward"):
        layer.backward(dy)


@EACH
def test_a_call_builds_and_takes_whole_numbers(layer, shapes):
    layer = fresh(layer)
    arrays = [np.ones(shape, np.int32) for shape in shapes]
    y = layer(given(layer, arrays))
    assert y.dtype == np.float32 and layer.dtype == "float32" and layer.count_params() == 0
    assert same_bits(y, layer(given(layer, [one.astype(np.float32) for one in arrays])))
    with pytest.raises(ValueError, match=r"^x(\[0\])?: expected dtype float32"):
        layer(given(layer, [one.astype(np.float64) for one in arrays]))
    with pytest.raises(ValueError, match=r"^x(\[0\])?: expected real numbers"):
        fresh(layer)(given(layer, [one.astype(complex) for one in arrays]))


@EACH
def test_configurations_and_copies(layer, shapes):
    config = json.loads(json.dumps(layer.get_config()))
    made = type(layer).from_config(config)
    assert made.get_config() == layer.get_config()
    first, arrays = fresh(layer, "float32", shapes), inputs(shapes, "float32")
    x = given(layer, arrays)
    first.forward(x, training=True)
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        with pytest.raises(ValueError, match="backward needs"):
            other.backward(np.ones(first.forward(x).shape, np.float32))
        other.rng, first.rng = np.random.default_rng(1), np.random.default_rng(1)
        assert same_bits(other.forward(x, training=True), first.forward(x, training=True))


@EACH
def test_each_may_be_on_a_gpu_where_the_table_says_so(layer, shapes):
    answer = support.LAYERS[type(layer).__name__]
    if answer is True:
        return layer.check_place("cuda", None)  # tests/cuda holds its results against the CPU's
    with pytest.raises(ValueError, match=f"{answer}$"):
        layer.check_place("cuda", None)


@EACH
def test_wrong_gradients_and_missing_weights(layer, shapes):
    with pytest.raises(ValueError, match="is not built"):
        fresh(layer).forward(given(layer, inputs(shapes)))
    layer = fresh(layer, "float32", shapes)
    x = given(layer, inputs(shapes, "float32"))
    y = layer.forward(x, training=True)
    for dy in (np.ones((*y.shape, 2), "f4"), np.ones(y.shape), None):
        with pytest.raises(ValueError, match=r"^dy: expected .+, got "):
            layer.backward(dy)
    layer.backward(np.ones(y.shape, "f4"))  # still there


def test_a_read_only_or_strided_gradient_is_copied():
    layer = fresh(Activation("tanh"), "float64", [(3, 4)])
    (x,) = inputs([(3, 4)])
    dy = np.broadcast_to(2.0, (3, 4))
    layer.forward(x, training=True)
    np.testing.assert_allclose(layer.backward(dy), 2 * (1 - np.tanh(x) ** 2), atol=1e-15)
    layer.forward(x, training=True)
    layer.backward(np.ones((4, 3)).T)


# ---------------------------------------------------------------- values by hand


@pytest.mark.parametrize(
    ("layer", "x", "wanted"),
    [
        (Activation("relu"), A, [[1, 0, 3]]),
        (Activation("softmax"), np.log([[1.0, 3.0]]), [[0.25, 0.75]]),
        (ReLU(max_value=2.0, negative_slope=0.5, threshold=1.0), A, [[0, -1.5, 2]]),
        (LeakyReLU(), A, [[1, -0.6, 3]]),
        (ELU(2.0), np.log([[0.5, np.e]]), [[-1, 1]]),
        (Softmax(1), np.log([[[1.0, 1.0], [3.0, 1.0]]]), [[[0.25, 0.5], [0.75, 0.5]]]),
        (Rescaling(2.0, 1.0), A, [[3, -3, 7]]),
        (Rescaling([1, 2, 3]), A, [[1, -4, 9]]),
        (UnitNormalization(), np.array([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0, 0]]),
        (Identity(), A, A),
        (Masking(2.0), np.array([[[2.0, 2.0], [2.0, 1.0]]]), [[[0, 0], [2, 1]]]),
        (Flatten(), STEPS, [np.arange(10)]),
        (Reshape((-1, 5)), STEPS, [[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]]),
        (Permute((2, 1)), STEPS, [[[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]]),
        (RepeatVector(2), A, [[[1, -2, 3], [1, -2, 3]]]),
        (ZeroPadding1D((0, 1)), STEPS[:, :1], [[[0, 1], [0, 0]]]),
        (Cropping1D((3, 1)), STEPS, [[[6, 7]]]),
        (UpSampling1D(2), STEPS[:, :2], [[[0, 1], [0, 1], [2, 3], [2, 3]]]),
        (MaxPooling1D(2), STEPS, [[[2, 3], [6, 7]]]),
        (MaxPooling1D(3, 2, "same"), -STEPS, [[[0, -1], [-2, -3], [-6, -7]]]),
        (AveragePooling1D(3, 2, "same"), STEPS, [[[1, 2], [4, 5], [7, 8]]]),
        (AveragePooling1D(2), STEPS, [[[1, 2], [5, 6]]]),
        (GlobalMaxPooling1D(), STEPS, [[8, 9]]),
        (GlobalAveragePooling1D(keepdims=True), STEPS, [[[4, 5]]]),
        (Add(), [A, B, A], [[6, 1, 0]]),
        (Subtract(), [A, B], [[-3, -7, 9]]),
        (Multiply(), [A, B], [[4, -10, -18]]),
        (Average(), [A, B], [[2.5, 1.5, -1.5]]),
        (Maximum(), [A, B], [[4, 5, 3]]),
        (Minimum(), [A, B], [[1, -2, -6]]),
        (Concatenate(), [A, B[:, :1]], [[1, -2, 3, 4]]),
        (Concatenate(1), [STEPS[:, :1], STEPS[:, 4:]], [[[0, 1], [8, 9]]]),
        (Dot(1), [A, B], [[4 - 10 - 18]]),
        (Dot(-1, normalize=True), [np.array([[3.0, 4.0]]), np.array([[0.0, 2.0]])], [[0.8]]),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, layers.Layer) else "",
)
def test_values(layer, x, wanted):
    np.testing.assert_allclose(layer(x), wanted, rtol=0, atol=1e-15)


def test_equal_numbers():
    """The gradient of the largest: the first one's in a window and of inputs, else shared."""
    x = np.ones((1, 4, 1))
    for layer, wanted in (
        (MaxPooling1D(4), [1, 0, 0, 0]),
        (MaxPooling1D(2, 1), [1, 1, 1, 0]),
        (GlobalMaxPooling1D(), [0.25] * 4),
    ):
        layer(x)
        y = layer.forward(x, training=True)
        assert layer.backward(np.ones_like(y)).ravel().tolist() == wanted
    layer = Maximum()
    layer([x, x])
    layer.forward([x, x], training=True)
    first, second = layer.backward(x)
    assert first.all() and not second.any()


def test_nan_and_large_numbers(recwarn):
    nan = np.array([[[np.nan], [1.0], [2.0]]], np.float32)
    assert np.isnan(MaxPooling1D(2, 1)(nan)).ravel().tolist() == [True, False]
    assert np.isnan(GlobalMaxPooling1D()(nan)).all() and np.isnan(ReLU()(nan)).sum() == 1
    assert np.isnan(Maximum()([nan, nan[:, ::-1]])).ravel().tolist() == [True, False, True]
    low = np.full((1, 3, 1), -np.inf, np.float32)
    assert (MaxPooling1D(2, 2, "same")(low) == -np.inf).all()
    large = np.full((1, 4), 3e38, np.float32)
    assert np.isinf(Add()([large, large])).all() and np.isinf(Multiply()([large, large])).all()
    layer = fresh(Dropout(0.5, seed=0), "float32", [(1, 4)])
    assert set(layer.forward(large, training=True).ravel().tolist()) == {0, np.inf}
    assert GlobalAveragePooling1D()(large.reshape(1, 4, 1)) == np.float32(3e38)
    assert not recwarn.list


# ---------------------------------------------------------------- masks


def test_masks_that_go_through():
    x = np.ones((2, 4, 3))
    for layer in (Activation("tanh"), ReLU(), LeakyReLU(), ELU(), Dropout(0.5), Softmax(),
                  SpatialDropout1D(0.5), GaussianNoise(0.1)):  # fmt: skip
        assert layer.supports_masking and layer.compute_mask(x, MASK) is MASK
    for layer in (Flatten(), Reshape((-1,)), Permute((2, 1)), RepeatVector(2), ZeroPadding1D(),
                  Cropping1D(), UpSampling1D(), MaxPooling1D(), AveragePooling1D(),
                  GlobalMaxPooling1D()):  # fmt: skip
        assert not layer.supports_masking and layer.compute_mask(x, MASK) is None
    assert GlobalAveragePooling1D().compute_mask(x, MASK) is None
    assert Dot(2).compute_mask([x, x], [MASK, MASK]) is None


def test_masks_of_merged_inputs():
    x, other = np.ones((2, 4, 3)), MASK[:, ::-1]
    for layer in (Add(), Subtract(), Multiply(), Average(), Maximum(), Minimum(), Concatenate()):
        assert (layer.compute_mask([x, x], [MASK, other]) == (MASK | other)).all()
        assert layer.compute_mask([x, x]) is None
    assert Add().compute_mask([x, x], [MASK, None]) is None
    narrow = Add().compute_mask([x, x[:, :1]], [MASK, other[:, :1]])
    assert (narrow == (MASK | other[:, :1])).all()
    assert Concatenate().compute_mask([x, x], [MASK, None]).all()
    joined = Concatenate(1).compute_mask([x, x], [MASK, None])
    assert (joined == np.hstack([MASK, np.ones_like(MASK)])).all()
    with pytest.raises(ValueError, match=r"^mask: expected a list of 2 or None"):
        Add().compute_mask([x, x], [MASK])
    with pytest.raises(ValueError, match=r"^mask\[1\]: expected \(2, 4\), got \(4, 2\)"):
        Add().compute_mask([x, x], [MASK, MASK.T])
    with pytest.raises(ValueError, match=r"^mask\[0\]: expected an array of bool"):
        Multiply()([x, x], mask=[MASK.astype(int), None])


def test_what_masks_change():
    """Masked steps are passed over: 1 in products, and the other input in a maximum."""
    a, b = np.full((1, 3, 1), 5.0), np.full((1, 3, 1), 2.0)
    first, second = np.array([[True, False, False]]), np.array([[True, True, False]])
    told = {"mask": [first, second]}
    assert Multiply()([a, b], **told).ravel().tolist() == [10, 2, 0]
    assert Maximum()([a, b], **told).ravel().tolist() == [5, 2, 5]
    assert Minimum()([a, b], mask=[first, None]).ravel().tolist() == [2, 2, 2]
    assert GlobalAveragePooling1D()(STEPS[:, :3], mask=second).tolist() == [[1, 2]]
    assert Softmax()(np.zeros((1, 3)), mask=second).tolist() == [[0.5, 0.5, 0]]


def test_the_mean_of_no_step():
    layer, x = GlobalAveragePooling1D(), np.ones((1, 3, 2))
    nothing = np.zeros((1, 3), bool)
    assert np.isnan(layer(x, mask=nothing)).all()
    layer.forward(x, training=True, mask=nothing)
    assert not layer.backward(np.ones((1, 2))).any()


def test_masking_and_an_embedding_that_masks():
    x = np.array([[[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    assert Masking().compute_mask(x, np.zeros((1, 3), bool)).tolist() == [[False, True, False]]
    assert Masking(0.1).compute_mask(np.full((1, 1, 2), 0.1, np.float32)).tolist() == [[False]]
    ids = np.array([[3, 0, 1]])
    embedding = Embedding(4, 2, mask_zero=True)
    assert embedding.compute_mask(ids).tolist() == [[True, False, True]]
    assert embedding.supports_masking and embedding.get_config()["mask_zero"] is True
    assert Embedding(4, 2).compute_mask(ids) is None
    kept = np.array([[True, True, False]])
    assert Embedding(4, 2).compute_mask(ids, kept) is kept
    assert embedding.compute_mask(ids, kept).tolist() == [[True, False, False]]


def test_onnx_has_no_masks(tmp_path):
    pytest.importorskip("onnx")
    from lstmfast import LSTM, Model, onnx

    model = Model([Embedding(4, 2, mask_zero=True), LSTM(2)])
    model.build((None, None))
    with pytest.raises(ValueError, match=r"mask_zero: expected False"):
        onnx.export(model, tmp_path / "m.onnx")


# ---------------------------------------------------------------- what is drawn


def test_dropout_drops_as_often_as_it_is_told():
    x = np.ones((100, 100), np.float32)
    layer = fresh(Dropout(0.3, seed=0), "float32", [x.shape])
    y = layer.forward(x, training=True)
    assert set(np.unique(y).tolist()) == {0, np.float32(1 / 0.7)}
    assert abs((y == 0).mean() - 0.3) < 0.02  # four standard deviations
    np.testing.assert_array_equal(layer.backward(x.copy()), y)
    assert layer(x) is x and layer.forward(x) is x


def test_a_seed_decides_what_is_dropped():
    x = np.ones((20, 20))
    first, same, other = (
        fresh(Dropout(0.5, seed=seed), dtype, [x.shape])
        for seed, dtype in ((1, "float64"), (1, "float32"), (2, "float64"))
    )
    y = [first.forward(x, training=True) for _ in range(2)]
    assert (y[0] != y[1]).any() and (other.forward(x, training=True) != y[0]).any()
    for wanted in y:
        np.testing.assert_array_equal(same.forward(x.astype("f4"), training=True), wanted)
    first.rng = np.random.default_rng(9)
    drawn = first.forward(x, training=True)
    first.rng = np.random.default_rng(9)
    np.testing.assert_array_equal(first.forward(x, training=True), drawn)


def test_one_draw_for_an_axis():
    x = np.ones((4, 5, 6))
    for layer in (SpatialDropout1D(0.5, seed=0), Dropout(0.5, [4, 1, None], seed=0)):
        y = fresh(layer, "float64", [x.shape]).forward(x, training=True)
        assert (y == y[:, :1]).all() and 0 < (y == 0).mean() < 1
    y = fresh(Dropout(0.5, (1, None, 1), seed=0), "float64", [x.shape]).forward(x, training=True)
    assert (y == y[:1, :, :1]).all()


def test_noise_has_its_deviation():
    x = np.full((200, 50), 3.0)
    y = fresh(GaussianNoise(0.5, seed=0), "float64", [x.shape]).forward(x, training=True)
    assert abs(y.mean() - 3) < 0.02 and abs(y.std() - 0.5) < 0.015  # four standard deviations


@pytest.mark.parametrize("layer", [Dropout(0.0), GaussianNoise(0.0), SpatialDropout1D(0.0)])
def test_nothing_is_drawn_for_nothing(layer):
    x = np.ones((2, 3, 4))
    layer = fresh(layer, "float64", [x.shape])
    layer.rng = np.random.default_rng(3)
    assert not layer.draws and layer.forward(x, training=True) is x
    assert layer.rng.integers(2**63) == np.random.default_rng(3).integers(2**63)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Activation("glu"), "activation"),
        (lambda: Activation(None), "activation"),
        (lambda: ReLU(max_value=-1.0), "max_value"),
        (lambda: ReLU(negative_slope=-0.1), "negative_slope"),
        (lambda: LeakyReLU(-0.1), "negative_slope"),
        (lambda: ELU(0.0), "alpha"),
        (lambda: Softmax((1, 2)), "axis"),
        (lambda: Softmax(2, input_shape=(3,)), "axis"),
        (lambda: Dropout(1.0), "rate"),
        (lambda: Dropout(-0.1), "rate"),
        (lambda: Dropout(0.1, "ab"), "noise_shape"),
        (lambda: Dropout(0.1, (0, 1)), "noise_shape"),
        (lambda: GaussianNoise(2.0), "stddev"),
        (lambda: Flatten("channels_first"), "data_format"),
        (lambda: Reshape((-1, -1)), "target_shape"),
        (lambda: Reshape((0, 2)), "target_shape"),
        (lambda: Reshape(4), "target_shape"),
        (lambda: Reshape((3, 5), input_shape=(4, 4)), "x"),
        (lambda: Permute((1, 3)), "dims"),
        (lambda: Permute((0, 1)), "dims"),
        (lambda: RepeatVector(0), "n"),
        (lambda: ZeroPadding1D((1, 2, 3)), "padding"),
        (lambda: ZeroPadding1D(-1), "padding"),
        (lambda: Cropping1D(2, input_shape=(4, 1)), "x"),
        (lambda: UpSampling1D(0), "size"),
        (lambda: MaxPooling1D(0), "pool_size"),
        (lambda: MaxPooling1D(2, 0), "strides"),
        (lambda: MaxPooling1D(2, padding="causal"), "padding"),
        (lambda: GlobalMaxPooling1D(keepdims=1), "keepdims"),
        (lambda: Concatenate(1.5), "axis"),
        (lambda: Dot((1, 2, 3)), "axes"),
        (lambda: Dot(1, normalize=None), "normalize"),
        (lambda: Masking("0"), "mask_value"),
        (lambda: Embedding(2, 2, mask_zero=1), "mask_zero"),
    ],
)
def test_constructors_refuse(make, argument):
    with pytest.raises(ValueError, match=rf"^{argument}: expected"):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (Dropout(0.1, (None, 1)), (2, 3, 4), r"x: expected a shape for noise_shape \(None, 1\)"),
        (Dropout(0.1, (None, 2)), (2, 3), "x: expected a shape for noise_shape"),
        (SpatialDropout1D(0.1), (2, 3), r"x: expected \(B, T, I\), got \(2, 3\)"),
        (Masking(), (2,), r"x: expected \(B, T, I\)"),
        (Reshape((5, -1)), (2, 3, 4), "x: expected a multiple of 5 numbers a row"),
        (Reshape((5,)), (2, 6), r"x: expected 5 numbers a row.*got 6 in \(2, 6\)"),
        (Permute((2, 1)), (2, 3), "x: expected 3 axes"),
        (RepeatVector(2), (2, 3, 4), r"x: expected \(B, I\)"),
        (Cropping1D(2), (2, 4, 1), "x: expected more than 4 steps"),
        (MaxPooling1D(5), (2, 4, 1), "x: expected pool_size 5 steps or more, got 4"),
        (GlobalMaxPooling1D(), (2, 4), r"x: expected \(B, T, I\)"),
        (Softmax(0), (2, 3), "axis: expected one behind the batch"),
        (Activation("softmax"), (2,), r"x: expected \(B, K\)"),
        (Add(), [(2, 3)], r"x: expected two or more inputs"),
        (Add(), [(2, 3), (2, 4)], r"x: expected inputs of sizes that broadcast, got \(2, 3\), \("),
        (Add(), [(2, 3), (1, 3)], r"x: expected inputs of one batch"),
        (Subtract(), [(2, 3)] * 3, r"x: expected two inputs, got 3"),
        (Concatenate(), [(2, 3), (2, 3, 4)], "x: expected as many axes of each input"),
        (Concatenate(), [(2, 3, 1), (2, 4, 1)], "x: expected one size along axis 1"),
        (Concatenate(2), [(2, 3), (2, 3)], "axis: expected one behind the batch of 2 axes, got 2"),
        (Dot(1), [(2, 3), (2, 4)], r"x: expected two of one batch, and of one size along axes"),
        (Dot(1), [(2, 3), (3, 3)], r"x: expected two of one batch"),
        (Dot(0), [(2, 3), (2, 3)], "axis: expected one behind the batch"),
        (Dot(1), [(2, 3)] * 3, "x: expected two inputs, got 3"),
    ],
)
def test_shapes_that_do_not_fit(layer, shape, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        layer.build(shape)
    assert not layer.built
    arrays = [np.ones(one) for one in shape] if layer.takes_list else np.ones(shape)
    with pytest.raises(ValueError, match=f"^{text}"):
        layer(arrays)
    assert not layer.built


def test_lists_and_single_arrays_are_not_mixed_up():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"^x: expected a list of arrays, got ndarray"):
        Add()(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"^x: expected a NumPy array, got list"):
        Flatten()([x, x])
    with pytest.raises(ValueError, match=r"^x\[1\]: expected a NumPy array, got list"):
        Add()([x, [[1.0]]])
    with pytest.raises(ValueError, match=r"^x\[1\]: expected dtype float64"):
        Add()([x, x.astype(np.float32)])
    with pytest.raises(ValueError, match=r"^input_shape: expected a list of shapes, got 3"):
        Add().build(3)
    with pytest.raises(ValueError, match=r"^input_shape\[0\]: expected a tuple"):
        Add().build((2, 3))
    with pytest.raises(ValueError, match=r"^x\[0\]: expected no axis of size 0"):
        Add()([x[:0], x[:0]])


def test_masks_that_do_not_fit():
    x = np.ones((2, 4, 3))
    for layer in (GlobalAveragePooling1D(), Softmax()):
        for mask in (MASK.T, MASK[0], MASK.astype(int), "mask"):
            with pytest.raises(ValueError, match=r"^mask: expected "):
                layer(x, mask=mask)
    with pytest.raises(ValueError, match=r"^mask: expected 3 axes that broadcast"):
        Softmax()(x, mask=MASK)


def test_a_list_of_shapes_is_kept():
    layer = Concatenate()
    layer.build([[None, 4, 3], (None, 4, 2)], np.random.default_rng(0), "float64")
    assert layer.input_shape == ((None, 4, 3), (None, 4, 2)) and layer.dtype == "float64"
    assert "input_shape" not in layer.get_config()
    other = Concatenate()
    other.adopt({}, [(None, 4, 3), (None, 4, 2)], "float32")
    assert other.built and other.input_shape == layer.input_shape


def test_a_model_that_begins_with_one_is_built_at_once():
    from lstmfast import LSTM, Dense, Model

    model = Model([Masking(input_shape=(None, 3)), LSTM(4), Dropout(0.5), Dense(2)], seed=0)
    assert model.built and model.layers[0].get_config()["input_shape"] == [None, 3]
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((6, 5, 3))
    losses = [model.train_on_batch(x, np.zeros((6, 2))) for _ in range(2)]
    again = Model([Masking(), LSTM(4), Dropout(0.5), Dense(2)], seed=0)
    again.compile("sgd", "mse")
    assert [again.train_on_batch(x, np.zeros((6, 2))) for _ in range(2)] == losses
    assert all("name" in inspect.signature(kind).parameters for kind in CLASSES.values())
