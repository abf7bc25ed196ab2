"""Wrappers, normalizations, Conv1D, attention and a user's own layer: values, gradients, refusals.

What Keras says of them is in `keras_weighted_layers`.
"""

import copy
import json
import pickle

import numpy as np
import pytest
from agreement import assert_all_equal, difference_quotient

from lstmfast import Adam, Model, load
from lstmfast.constraints import MaxNorm
from lstmfast.layers import (
    CLASSES,
    LSTM,
    AdditiveAttention,
    Attention,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    SimpleRNN,
    TimeDistributed,
)
from lstmfast.regularizers import L2

GRADIENT_BAR = 1e-8  # measured: 6e-10
B, T, I, H = 2, 5, 3, 4


def steps(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape or (B, T, I)).astype(dtype)


def built(layer, x, dtype="float64"):
    """Return the layer, built for x, with random weights, all positive."""
    many = isinstance(x, list)
    layer.build([one.shape for one in x] if many else x.shape, np.random.default_rng(3), dtype)
    rng = np.random.default_rng(5)
    layer.set_weights([rng.uniform(0.2, 1.2, weight.shape) for weight in layer.get_weights()])
    return layer


def several(found):
    return list(found) if isinstance(found, (list, tuple)) else [found]


def check_gradients(layer, x, zero=(), **call):
    """Hold dx and the gradients of all trained weights against central differences."""
    rng, before = np.random.default_rng(4), layer.params
    up = [rng.normal(size=one.shape) for one in several(layer.forward(x, **call))]

    def weighed():
        layer.params = dict(before)  # as moving means were
        found = several(layer.forward(x, True, **call))
        return sum(np.sum(d * one) for d, one in zip(up, found, strict=True))

    weighed()
    dx = several(layer.backward([d.copy() for d in up] if len(up) > 1 else up[0].copy()))
    grads = {name: np.array(grad) for name, grad in layer.grads.items()}
    assert list(grads) == [name for name in layer.params if name not in layer.statistics]
    expected = [difference_quotient(weighed, one) for one in several(x)]
    for found, wanted in zip(dx, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=GRADIENT_BAR)
        assert np.abs(wanted).max() > 1e-3
    for name, found in grads.items():
        assert found.shape == before[name].shape and found.dtype == before[name].dtype
        wanted = difference_quotient(weighed, before[name])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=GRADIENT_BAR, err_msg=name)
        assert (np.abs(wanted).max() > 1e-4) == (name not in zero), name


HOLES = np.array([[True, False, True, True, False], [False, True, True, False, True]])
PAIR = [steps(B, T, I), steps(B, 4, I, seed=1)]
TRIPLE = [steps(B, T, I), steps(B, 4, 2, seed=1), steps(B, 4, I, seed=2)]
PAIR_MASKS = [HOLES, np.array([[True, False, True, True], [True, True, False, False]])]


@pytest.mark.parametrize(
    ("layer", "x", "call"),
    [
        (Bidirectional(LSTM(H, return_sequences=True)), steps(), {"mask": HOLES}),
        (Bidirectional(LSTM(H), "mul"), steps(), {"lengths": [5, 2]}),
        (Bidirectional(SimpleRNN(H, return_sequences=True), "mul"), steps(), {}),
        (Bidirectional(SimpleRNN(H), "sum"), steps(), {"mask": HOLES}),
        (Bidirectional(LSTM(H, return_sequences=True, num_layers=2), "ave"), steps(), {}),
        (Bidirectional(LSTM(H, peepholes=True), None), steps(), {}),
        (TimeDistributed(Dense(2, "softmax")), steps(), {"mask": HOLES}),
        (TimeDistributed(Bidirectional(SimpleRNN(2))), steps(B, 2, T, I), {}),
        (LayerNormalization(), steps(), {}),
        (LayerNormalization([1, -1], center=False), steps(), {}),
        (BatchNormalization(), steps(), {}),
        (BatchNormalization(1, scale=False), steps(), {}),
        (BatchNormalization(), steps(), {"mask": HOLES}),
        (TimeDistributed(BatchNormalization()), steps(), {"mask": HOLES}),
        (Conv1D(4, 2, activation="tanh"), steps(), {}),
        (Conv1D(2, 3, 2, "same"), steps(), {}),
        (Conv1D(2, 3, padding="causal", dilation_rate=2, use_bias=False), steps(), {}),
        (Conv1D(4, 2, groups=2, activation="softmax"), steps(B, T, 4), {}),
        (Attention(True), PAIR, {"mask": PAIR_MASKS}),
        (Attention(True, "concat"), TRIPLE, {"use_causal_mask": True}),
        (AdditiveAttention(), TRIPLE, {}),
        (AdditiveAttention(False), PAIR, {"mask": PAIR_MASKS}),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_gradients(layer, x, call):
    check_gradients(built(copy.deepcopy(layer), x), copy.deepcopy(x), **call)


# ---------------------------------------------------------------- Bidirectional


def test_a_bidirectional_lstm_is_that_of_lstm_itself():
    x = steps()
    for told in ({}, {"lengths": [5, 3]}, {"mask": HOLES}):
        for sequences in (False, True):
            wrapped = built(Bidirectional(LSTM(H, return_sequences=sequences)), x)
            own = LSTM(H, return_sequences=sequences, bidirectional=True)
            own.build(x.shape, dtype="float64")
            own.set_weights(wrapped.get_weights())
            np.testing.assert_allclose(wrapped(x, **told), own(x, **told), rtol=0, atol=1e-14)


def test_names_layers_and_seeds_of_both_ways():
    layer = Bidirectional(LSTM(H, seed=7, return_state=True, name="memory"))
    layer.build((None, None, I))
    assert layer.forward_layer.name == "forward_memory"
    assert layer.backward_layer.name == "backward_memory" and layer.backward_layer.go_backwards
    parts = [f"{way}/{name}" for way in ("forward", "backward") for name in ("W_ih", "W_hh", "b")]
    assert list(layer.params) == parts
    assert (layer.params["forward/W_ih"] != layer.params["backward/W_ih"]).all()
    alone = LSTM(H, seed=7)
    alone.build((None, None, I))
    np.testing.assert_array_equal(layer.params["forward/W_ih"], alone.params["W_ih"])
    assert [w.shape for w in layer.get_weights()] == 2 * [(I, 4 * H), (H, 4 * H), (4 * H,)]
    assert not layer.single_output and Bidirectional(LSTM(2)).single_output


def test_states_in_and_out():
    layer = Bidirectional(LSTM(H, return_state=True, return_sequences=True))
    x, states = steps(), [steps(B, H, seed=k) for k in range(4)]
    built(layer, x)
    y, *after = layer(x, states)
    assert y.shape == (B, T, 2 * H) and [one.shape for one in after] == 4 * [(B, H)]
    np.testing.assert_array_equal(y[:, -1, :H], after[0])
    np.testing.assert_array_equal(y[:, 0, H:], after[2])
    up = [steps(*one.shape, seed=9) for one in (y, *after)]

    def weighed():
        found = layer.forward(x, True, states)
        return sum(np.sum(d * one) for d, one in zip(up, found, strict=True))

    weighed()
    layer.backward(up[0].copy(), dstates=up[1:])
    for found, state in zip(layer.initial_state_grads, states, strict=True):
        wanted = difference_quotient(weighed, state)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=GRADIENT_BAR)
    with pytest.raises(ValueError, match="initial_state: expected the parts of two states, got 3"):
        layer(x, states[:3])


def test_masks_and_shapes_of_the_outputs():
    of_steps, both = (
        Bidirectional(SimpleRNN(H, return_sequences=True)),
        Bidirectional(LSTM(3), None),
    )
    assert of_steps.compute_mask(None, HOLES) is HOLES
    assert Bidirectional(LSTM(3)).compute_mask(None, HOLES) is None
    assert both.compute_mask(None, HOLES) == [None, None]
    assert of_steps.output_shape((None, 7, I)) == (None, 7, 2 * H)
    assert both.output_shape((None, 7, I)) == [(None, 3), (None, 3)]
    y = built(of_steps, steps())(steps(), mask=HOLES)
    assert not y[~HOLES].any() and y[HOLES].all()


def test_weights_of_the_constructor():
    wanted = built(Bidirectional(LSTM(H)), steps()).get_weights()
    layer = Bidirectional(LSTM(H), weights=wanted)
    layer(steps())
    assert_all_equal(layer.get_weights(), wanted)
    short = Bidirectional(LSTM(H), weights=wanted[:3])
    with pytest.raises(ValueError, match="weights: expected 6 arrays, got 3"):
        short(steps())
    assert not short.built and not short.forward_layer.built


def test_a_stateful_pair_goes_on_and_goes_back():
    layer, x = built(Bidirectional(SimpleRNN(H, stateful=True)), steps()), steps()
    first = layer(x)
    assert [name for _, name, _ in layer.changing()] == ["_state", "_state"]
    assert (layer(x) != first).any()
    layer.reset_state()
    np.testing.assert_array_equal(layer(x), first)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Bidirectional(Dense(2)), "layer: expected a recurrent layer, got Dense"),
        (lambda: Bidirectional("lstm"), "layer: expected a layer, got 'lstm'"),
        (lambda: Bidirectional({"class": "LSTM"}), "layer: expected a mapping with keys"),
        (lambda: Bidirectional(LSTM(2), "max"), "merge_mode: expected one of 'concat'"),
        (lambda: Bidirectional(LSTM(2, bidirectional=True)), "layer: expected one without bidir"),
        (lambda: Bidirectional(LSTM(2, time_major=True)), "layer: expected one without time_major"),
        (lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2)),
         "backward_layer: expected go_backwards=True"),
        (lambda: Bidirectional(LSTM(2), backward_layer=LSTM(2, go_backwards=True, stateful=True)),
         "backward_layer: expected stateful=False"),
        (lambda: TimeDistributed(Attention()), "layer: expected a layer of one input"),
        (lambda: TimeDistributed(LSTM(2, return_state=True)), "layer: expected a layer of one"),
        (lambda: TimeDistributed(Dense(2))(np.ones((2, 3))), r"x: expected \(B, T, N\)"),
        (lambda: LayerNormalization([]), "axis: expected one or more"),
        (lambda: LayerNormalization(1.0), "axis: expected an integer"),
        (lambda: LayerNormalization([1, -1])(np.ones((2, 3))), r"axis: expected different ones"),
        (lambda: LayerNormalization(3)(np.ones((2, 3))), "x: expected an axis 3, got 2 axes"),
        (lambda: LayerNormalization(epsilon=-1.0), "epsilon: expected a finite number >= 0"),
        (lambda: BatchNormalization(momentum=1.5), r"momentum: expected .* in \[0.0, 1.0\]"),
        (lambda: BatchNormalization([1]), "axis: expected an integer"),
        (lambda: BatchNormalization().build((None, None)), "input_shape: expected known sizes"),
        (lambda: BatchNormalization(center=False, scale=False).build((None, None)),
         "input_shape: expected known sizes of axis -1"),
        (lambda: BatchNormalization()(steps(), mask=HOLES[:, :2]), r"mask: expected \(2, 5\)"),
        (lambda: Conv1D(0, 2), "filters: expected an integer >= 1"),
        (lambda: Conv1D(2, (2, 3)), "kernel_size: expected an integer"),
        (lambda: Conv1D(2, 2, padding="full"), "padding: expected one of 'valid'"),
        (lambda: Conv1D(2, 2, data_format="channels_first"), "data_format: expected one of"),
        (lambda: Conv1D(2, 2, 2, dilation_rate=2), "dilation_rate: expected 1 with strides 2"),
        (lambda: Conv1D(3, 2, groups=2), "groups: expected a divisor of filters 3"),
        (lambda: Conv1D(2, 2, groups=2)(steps()), "x: expected channels in 2 groups"),
        (lambda: Conv1D(2, 6)(steps()), "x: expected at least 6 steps, got 5"),
        (lambda: Attention(dropout=1.0), "dropout: expected less than 1"),
        (lambda: Attention(score_mode="cosine"), "score_mode: expected one of 'dot', 'concat'"),
        (lambda: Attention()(steps()), r"x: expected a list \[query, value\]"),
        (lambda: Attention()([steps()]), r"x: expected a list .* got 1 of them"),
        (lambda: Attention()([steps(), steps(B, T, 2)]), r"key: expected \(2, 5, 3\)"),
        (lambda: Attention()([steps(), steps(3, T, I)]), r"value: expected \(2, Tv, V\)"),
        (lambda: Attention()(PAIR, mask=HOLES), r"mask: expected a list \[query_mask"),
        (lambda: Attention()(PAIR, mask=[None, HOLES]), r"value_mask: expected \(2, 4\)"),
        (lambda: Attention()(PAIR, mask=[1 * HOLES, None]), "query_mask: expected an array of b"),
    ],
)  # fmt: skip
def test_what_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# ---------------------------------------------------------------- TimeDistributed


def test_dense_of_each_step_is_dense():
    layer, dense, x = TimeDistributed(Dense(2, "relu")), Dense(2, "relu"), steps()
    built(layer, x)
    assert list(layer.params) == ["layer/kernel", "layer/bias"]
    dense.build(x.shape, dtype="float64")
    dense.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(x), dense(x))
    assert layer.output_shape((None, None, I)) == (None, None, 2)
    assert layer.compute_mask(x, HOLES) is HOLES


def test_an_embedding_of_each_step():
    ids = np.array([[[0, 1], [2, 3]]])
    layer = TimeDistributed(Embedding(4, 2))
    assert layer.takes_ids and layer(ids).shape == (1, 2, 2, 2)
    np.testing.assert_array_equal(layer(ids), layer.params["layer/embeddings"][ids])
    layer.forward(ids, True)
    assert layer.backward(np.ones((1, 2, 2, 2), "float32")) is None
    with pytest.raises(ValueError, match="x: expected integer ids"):
        layer(np.ones((1, 2, 2)))


def test_a_layer_that_is_built_keeps_its_weights():
    dense = Dense(2)
    dense.build((None, I))
    layer = TimeDistributed(dense)
    with pytest.raises(ValueError, match="dense: expected dtype float64, got float32"):
        layer(steps())
    y = layer(steps(dtype="float32"))
    np.testing.assert_array_equal(y, dense(steps(dtype="float32")))


# ---------------------------------------------------------------- normalization


def test_layer_normalization_by_hand():
    layer = LayerNormalization(epsilon=1.0)
    layer.build((None, 2), dtype="float64")
    layer.set_weights([[1.0, 2.0], [0.5, 0.0]])
    root = np.sqrt(8) / np.sqrt(8 + 1) / np.sqrt(8)
    x = np.array([[1.0, 1 + 2 * np.sqrt(8)]])
    wanted = [[-np.sqrt(8) * root + 0.5, 2 * np.sqrt(8) * root]]
    np.testing.assert_allclose(layer(x), wanted, rtol=0, atol=1e-15)


def test_batch_normalization_by_hand():
    layer = BatchNormalization(momentum=0.75, epsilon=0.0)
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    np.testing.assert_array_equal(layer(x), x)  # a new layer's mean is zero, its variance one
    before = layer.params
    np.testing.assert_allclose(layer.forward(x, True), [[-1.0, -1.0], [1.0, 1.0]])
    np.testing.assert_allclose(layer.params["moving_mean"], [0.5, 5.0])
    np.testing.assert_allclose(layer.params["moving_variance"], [1.0, 25.75])
    assert layer.params is not before and not before["moving_mean"].any()
    assert list(layer.trained) == ["gamma", "beta"] == list(before)[:2]
    (place,) = layer.changing()
    assert place[1] == "params" and place[2] is layer.params


def test_a_frozen_batch_normalization_stays():
    layer, x = built(BatchNormalization(), steps()), steps()
    layer.trainable = False
    kept = layer.params
    np.testing.assert_array_equal(layer.forward(x, True), layer.forward(x))
    assert layer.params is kept and layer.trained == {}
    dx = layer.backward(np.ones_like(x))
    scale = kept["gamma"] / np.sqrt(kept["moving_variance"] + layer.epsilon)
    np.testing.assert_allclose(dx, np.broadcast_to(scale, x.shape), rtol=1e-14)


def test_masked_steps_do_not_count():
    layer, x = BatchNormalization(momentum=0.0), steps()
    built(layer, x)
    x[~HOLES] = np.nan
    y = layer.forward(x, True, mask=HOLES)
    assert np.isfinite(y[HOLES]).all()
    np.testing.assert_allclose(layer.params["moving_mean"], x[HOLES].mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.params["moving_variance"], x[HOLES].var(0), rtol=1e-6)


@pytest.mark.parametrize("make", (LayerNormalization, BatchNormalization))
def test_float32_is_summed_in_float64(make):
    x = steps(4000, 8, dtype="float32") + np.float32(1000)
    layer = make(epsilon=1e-9)
    layer(x)
    axis = -1 if make is LayerNormalization else 0
    exact = x.astype("float64")
    exact = (exact - exact.mean(axis, keepdims=True)) / exact.std(axis, keepdims=True)
    np.testing.assert_allclose(layer.forward(x, True), exact, atol=2e-4)  # half a unit of x: 3e-5
    assert layer.forward(np.full_like(x, 3e38), True).dtype == np.float32


# ---------------------------------------------------------------- convolution


def test_convolution_by_hand():
    x = np.array([[[1.0], [2.0], [3.0], [4.0]]])
    for padding, wanted in {
        "valid": [12.0, 23.0, 34.0], "same": [12.0, 23.0, 34.0, 40.0],
        "causal": [1.0, 12.0, 23.0, 34.0],
    }.items():  # fmt: skip
        layer = Conv1D(1, 2, padding=padding, use_bias=False)
        layer.build((None, None, 1), dtype="float64")
        layer.set_weights([[[[10.0]], [[1.0]]]])
        np.testing.assert_array_equal(layer(x)[0, :, 0], wanted)


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("told", [{}, {"strides": 2}, {"dilation_rate": 2}, {"strides": 3}])
def test_convolution_is_its_sum(dtype, told):
    x = steps(3, 12, 4, dtype=dtype)
    layer = Conv1D(5, 3, seed=0, **told)
    y = layer(x)
    stride, dilation = layer.strides, layer.dilation_rate
    kernel = layer.get_weights()[0]
    for t in range(y.shape[1]):
        at = x[:, t * stride : t * stride + 2 * dilation + 1 : dilation]
        wanted = np.einsum("bkc,kcf->bf", at, kernel)
        np.testing.assert_allclose(
            y[:, t], wanted, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14
        )
    assert y.flags.c_contiguous and y.dtype == dtype
    part = np.ascontiguousarray(x[:, ::-1])[:, ::-1]  # strides as a flip has them
    np.testing.assert_array_equal(layer(part), y)


def test_initial_kernels_have_the_width_of_keras():
    kernel = Conv1D(50, 4, seed=0)
    kernel.build((None, None, 30))
    limit = np.sqrt(6 / (4 * 30 + 4 * 50))
    assert 0.99 * limit < np.abs(kernel.params["kernel"]).max() <= limit
    orthogonal = Conv1D(5, 2, kernel_initializer="orthogonal", seed=0)
    orthogonal.build((None, None, 6), dtype="float64")
    matrix = orthogonal.params["kernel"].reshape(12, 5)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(5), atol=1e-14)


# ---------------------------------------------------------------- attention


def test_attention_by_hand():
    query, value = np.array([[[1.0, 0.0]]]), np.array([[[np.log(3.0), 5.0], [0.0, 1.0]]])
    y, scores = Attention()([query, value], return_attention_scores=True)
    np.testing.assert_allclose(scores, [[[0.75, 0.25]]], rtol=1e-15)
    np.testing.assert_allclose(y, [[[0.75 * np.log(3.0), 4.0]]], rtol=1e-15)
    mask = [None, np.array([[False, True]])]
    np.testing.assert_array_equal(Attention()([query, value], mask=mask), [[[0.0, 1.0]]])
    seen = [np.array([[False]]), None]
    np.testing.assert_array_equal(Attention()([query, value], mask=seen), [[[0.0, 0.0]]])


def test_dropout_of_attention_keeps_the_mean_and_its_gradient_is_of_what_was_dropped():
    x = [steps(4, 30, I), steps(4, 40, I, seed=1)]
    layer = Attention(dropout=0.5, seed=2)
    layer(x)
    _, kept = layer.forward(x, True, return_attention_scores=True)
    plain = layer.forward(x, return_attention_scores=True)[1]
    assert 0.45 < (kept == 0).mean() < 0.55
    np.testing.assert_allclose(kept[kept > 0], 2 * plain[kept > 0], rtol=1e-12)
    twin = Attention(dropout=0.5, seed=2)
    twin(x)
    up = steps(4, 30, I, seed=5)

    def weighed():
        twin.rng = np.random.default_rng(8)
        return np.sum(up * twin.forward(x, True))

    weighed()
    dx = twin.backward(up.copy())
    at = x[1][:1, :2]
    np.testing.assert_allclose(dx[1][:1, :2], difference_quotient(weighed, at), rtol=0, atol=1e-7)
    assert layer.draws and not Attention().draws


def test_a_query_sees_no_later_value():
    layer, x = Attention(), [steps(), steps(seed=1)]
    y = layer(x, use_causal_mask=True)
    x[1][:, 3:] = 7.0
    np.testing.assert_array_equal(layer(x, use_causal_mask=True)[:, :3], y[:, :3])
    assert (layer(x, use_causal_mask=True)[:, 3:] != y[:, 3:]).all()


# ---------------------------------------------------------------- what all have


ALL = [
    (Bidirectional(LSTM(H, seed=1, return_sequences=True), "sum", name="both"), (None, None, I)),
    (Bidirectional(SimpleRNN(H), backward_layer=SimpleRNN(2, "relu", go_backwards=True),
                   input_shape=(None, I)), (None, None, I)),
    (TimeDistributed(Dense(2, "relu", kernel_regularizer="l2", bias_constraint="non_neg")),
     (None, None, I)),
    (TimeDistributed(Bidirectional(LSTM(2))), (None, None, T, I)),
    (LayerNormalization([1, 2], 0.1, False, beta_regularizer="l1"), (None, T, I)),
    (BatchNormalization(1, 0.5, gamma_initializer="uniform", gamma_constraint="unit_norm"),
     (None, T, I)),
    (Conv1D(4, (2,), 2, "causal", activation="relu", use_bias=False, kernel_constraint="max_norm",
            input_shape=(None, I), seed=3), (None, None, I)),
    (Attention(True, "concat", 0.25, 4, name="look"), [(None, T, I), (None, 4, I)]),
    (AdditiveAttention(dropout=0.5), [(None, T, I), (None, 4, I)]),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), ALL, ids=lambda value: getattr(value, "name", ""))
def test_config_copies_and_pickles(layer, shape):
    layer = copy.deepcopy(layer)
    config = json.loads(json.dumps(layer.get_config()))
    assert config == layer.get_config() and type(layer) is CLASSES[type(layer).__name__]
    twin = type(layer).from_config(config)
    assert twin.get_config() == config
    layer.build(shape, np.random.default_rng(0), "float64")
    sizes = layer.param_shapes(shape)
    assert twin.param_shapes(shape) == sizes == {n: p.shape for n, p in layer.params.items()}
    twin.adopt(layer.params, shape, "float64")
    assert_all_equal(twin.get_weights(), layer.get_weights())
    x = [steps(B, *one[1:]) for one in shape] if isinstance(shape, list) else None
    x = steps(B, *(size or T for size in shape[1:])) if x is None else x
    y = layer.forward(x)
    for other in (twin, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other.forward(x), y)
        other.set_weights([0 * weight for weight in other.get_weights()])
        np.testing.assert_array_equal(layer.forward(x), y)
    layer.forward(x, True)
    with pytest.raises(ValueError, match="backward needs a forward"):
        copy.deepcopy(layer).backward(y)
    with pytest.raises(ValueError, match="expected"):
        layer.backward(np.zeros((*y.shape, 1)))
    assert layer.backward(y.copy(), need_dx=False) is None
    with pytest.raises(ValueError, match="is built already"):
        layer.build(shape)


@pytest.mark.parametrize(("layer", "shape"), ALL, ids=lambda value: getattr(value, "name", ""))
def test_float32_and_whole_numbers(layer, shape):
    layer = copy.deepcopy(layer)
    layer.build(shape, np.random.default_rng(0))
    shapes = shape if isinstance(shape, list) else [shape]
    rng = np.random.default_rng(1)
    whole = [rng.integers(-2, 3, [B, *(n or T for n in one[1:])]) for one in shapes]
    floats = [one.astype("float32") for one in whole]
    one, other = (x if isinstance(shape, list) else x[0] for x in (whole, floats))
    y = layer.forward(one)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, layer.forward(other))
    layer.forward(one, True)
    dx = several(layer.backward(y.copy()))
    assert {grad.dtype.name for grad in (*dx, *layer.grads.values())} == {"float32"}


def test_adopting_is_all_or_nothing():
    layer = Bidirectional(LSTM(H))
    params = {name: np.ones(s) for name, s in layer.param_shapes((None, None, I)).items()}
    params["backward/b"] = np.ones(3)
    with pytest.raises(ValueError, match=r"params\['backward/b'\]: expected \(16,\), got \(3,\)"):
        layer.adopt(params, (None, None, I), "float32")
    assert not layer.built and not layer.forward_layer.built


def test_rules_of_inner_layers():
    inner = Dense(2, kernel_regularizer=L2(0.5), kernel_constraint=MaxNorm(0.1))
    layer, x = built(TimeDistributed(inner), steps()), steps()
    kernel = layer.params["layer/kernel"]
    assert layer.penalty() == pytest.approx(0.5 * np.sum(kernel**2))
    assert list(layer.regularizers()) == ["layer/kernel"] == list(layer.constraints())
    layer.backward(0 * layer.forward(x, True))
    layer.add_penalty_gradients()
    np.testing.assert_allclose(layer.grads["layer/kernel"], kernel)
    assert layer.is_constrained
    layer.constrain()
    assert layer.params["layer/kernel"] is kernel
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 0.1, rtol=1e-5)


def test_wrappers_hand_on_what_they_are_told():
    layer = TimeDistributed(Bidirectional(LSTM(H, dropout=0.5)))
    inner = layer.layer.forward_layer
    layer.rng = rng = np.random.default_rng(0)
    assert layer.draws and inner.rng is rng
    layer.trainable = False
    assert not inner.trainable
    layer.trainable = True
    inner.trainable = False
    layer.build((None, None, T, I))
    assert [name.split("/")[1] for name in layer.trained] == 3 * ["backward"]
    layer.grads = {name: param + 1 for name, param in layer.params.items()}
    np.testing.assert_array_equal(inner.grads["b"], inner.params["b"] + 1)
    layer.to("cpu", "bfloat16")
    assert inner.precision == "bfloat16"
    moving = TimeDistributed(BatchNormalization())
    moving(steps())
    assert moving.statistics == ("layer/moving_mean", "layer/moving_variance")
    assert list(moving.trained) == ["layer/gamma", "layer/beta"]


def test_a_layer_is_used_twice_by_its_cache():
    """As a graph does with shared layers: each pass gets its own cache back."""
    layer = built(Bidirectional(LSTM(H, return_sequences=True), "mul"), steps())
    first, second, up = steps(seed=1), steps(seed=2), steps(B, T, H, seed=3)
    wanted = []
    for x in (first, second):
        layer.forward(x, True)
        wanted.append(layer.backward(up.copy()))
    layer.forward(first, True)
    kept = layer._cache
    layer.forward(second, True)
    np.testing.assert_array_equal(layer.backward(up.copy()), wanted[1])
    layer._cache = kept
    np.testing.assert_array_equal(layer.backward(up.copy()), wanted[0])


def test_within_a_model_that_is_saved(tmp_path):
    def model():
        made = Model(
            [
                Conv1D(4, 3, padding="causal", activation="relu", input_shape=(None, I)),
                LayerNormalization(),
                Bidirectional(LSTM(H, return_sequences=True)),
                TimeDistributed(Dense(3)),
                Bidirectional(SimpleRNN(2), "ave"),
                Dense(1),
            ],
            seed=1,
        )
        made.compile(Adam(0.01), "mse")
        return made

    x, y = steps(16, T, I, dtype="float32"), steps(16, 1, dtype="float32", seed=2)
    one = model()
    before = one.evaluate(x, y, verbose=0)
    one.fit(x, y, epochs=20, batch_size=8, verbose=0)
    assert np.min(one.evaluate(x, y, verbose=0)) < 0.7 * np.max(before)
    one.save(tmp_path / "model")
    other = load(tmp_path / "model")
    np.testing.assert_array_equal(other.predict(x), one.predict(x))
    assert other.train_on_batch(x, y) == one.train_on_batch(x, y)
    assert_all_equal(other.get_weights(), one.get_weights())


# ---------------------------------------------------------------- a layer of a user's own


class ScaledResidual(Layer):
    """x + scale tanh(x), with one scale for each feature."""

    scale_initializer = "zeros"

    def __init__(self, factor=1.0, name=None, seed=None):
        super().__init__(name, seed)
        self.factor = factor

    def weight_shapes(self, input_shape):
        return {"scale": (input_shape[-1],), "offset": (input_shape[-1],), "gain": ()}

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, x, training=False):
        t = np.tanh(x)
        if training:
            self._cache = t
        return x + self.factor * self.params["scale"] * t + self.params["offset"] * 0

    def backward(self, dy, need_dx=True):
        t, scale = self._cache, self.factor * self.params["scale"]
        axes = tuple(range(dy.ndim - 1))
        self.grads = {"scale": self.factor * np.sum(dy * t, axis=axes)}
        self.grads |= {"offset": 0 * dy.sum(axes), "gain": np.zeros_like(self.params["gain"])}
        return dy + dy * scale * (1 - t * t)


def test_a_layer_of_a_users_own():
    layer, x = ScaledResidual(2.0), steps()
    np.testing.assert_array_equal(layer(x), x)
    assert layer.params["scale"].dtype == np.float64 and layer.params["offset"].any()
    assert abs(layer.params["gain"]) <= np.sqrt(3)
    check_gradients(built(ScaledResidual(2.0), x), x, zero=("offset", "gain"))
    assert layer.get_config() == {"factor": 2.0, "name": "scaled_residual", "seed": None}
    assert ScaledResidual.from_config(layer.get_config()).factor == 2.0
    np.testing.assert_array_equal(copy.deepcopy(layer)(x), layer(x))
    with pytest.raises(ValueError, match="expected what runs on a GPU"):
        layer.check_place("cuda", None)
    model = Model([TimeDistributed(ScaledResidual(1.0)), LSTM(3), Dense(1)], seed=0)
    model.compile("adam", "mse")
    model.fit(x, steps(B, 1), epochs=2, verbose=0)
    assert model.layers[0].params["layer/scale"].any()
