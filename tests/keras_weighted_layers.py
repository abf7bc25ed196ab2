"""Wrappers, normalizations, convolutions and attention beside Keras 3, in float64.

Weights are Keras's in Keras's order; outputs, masks, moving means and gradients are held against
those of Keras on TensorFlow, its only backend with float64 throughout:
`test_layers_keras` runs this in a process of its own.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lstmfast import layers

BAR = 1e-10  # measured: 4e-14

B, T, I, H = 3, 6, 4, 5
RIGHT = [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]]
LEFT = [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]]
HOLES = [[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 1]]
MASKS = {"none": None, "right": RIGHT, "left": LEFT, "holes": HOLES}


keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")


def masked(name):
    return None if MASKS[name] is None else np.array(MASKS[name], bool)


def several(found):
    return list(found) if isinstance(found, (list, tuple)) else [found]


class Twins:
    """A layer of ours and Keras's, with the same random weights, and a call of each."""

    def __init__(self, ours, theirs, x, seed=0, **call):
        self.ours, self.theirs, self.call = ours, theirs, call
        self.rng, self.x = np.random.default_rng(seed), x
        states = call.get("initial_state")
        self.told = call | ({} if states is None else {"initial_state": self.tensors(states)})
        self.theirs(self.tensors(x), **self.told)
        self.ours(x, **call)
        weights = [self.rng.uniform(0.2, 1.5, w.shape) for w in self.theirs.get_weights()]
        self.theirs.set_weights(weights)
        self.ours.set_weights(weights)

    def tensors(self, x):
        put = keras.ops.convert_to_tensor
        return [put(one) for one in x] if isinstance(x, list) else put(x)

    def check_forward(self, training=False):
        got = self.ours.forward(self.x, training, **self.call)
        wanted = self.theirs(self.tensors(self.x), training=training, **self.told)
        close(several(got), [array(one) for one in several(wanted)])

    def check_gradients(self, training=True):
        x = self.tensors(several(self.x))
        with tf.GradientTape() as tape:
            tape.watch(x)
            many = isinstance(self.x, list)
            wanted = several(self.theirs(x if many else x[0], training=training, **self.told))
            got = several(self.ours.forward(self.x, training, **self.call))
            close(got, [one.numpy() for one in wanted])
            up = [self.rng.standard_normal(one.shape) for one in got]
            total = sum(tf.reduce_sum(one * d) for one, d in zip(wanted, up, strict=True))
        theirs = [v.value for v in self.theirs.trainable_variables]
        dx, theirs = tape.gradient(total, (x, theirs))
        close(several(self.backward([d.copy() for d in up])), [one.numpy() for one in dx])
        grads = [keras_layout(self.ours, n, self.ours.grads[n]) for n in self.ours.trained]
        close(grads, [one.numpy() for one in theirs])
        close(self.ours.get_weights(), self.theirs.get_weights())

    def backward(self, up):
        if len(up) == 1:
            return self.ours.backward(up[0])
        if isinstance(self.ours, layers.Bidirectional):
            if self.ours.merge_mode is None:
                return self.ours.backward(up[:2], dstates=up[2:] or None)
            return self.ours.backward(up[0], dstates=up[1:])
        return self.ours.backward(up[0], dscores=up[1])


def keras_layout(layer, name, array):
    return array.T if name in layer.transposed else array


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def close(got, wanted):
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=BAR, atol=BAR)


def check(twins):
    twins.check_forward()
    twins.check_gradients()


def steps(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape or (B, T, I))


# ---------------------------------------------------------------- Bidirectional


@pytest.mark.parametrize(
    "kind, sequences, name",
    [("LSTM", True, name) for name in MASKS]
    + [("SimpleRNN", True, "holes"), ("SimpleRNN", False, "left")]
    + [("LSTM", False, "left"), ("LSTM", False, "holes")],
)
def test_both_ways_under_masks(kind, sequences, name):
    of_keras, of_ours = getattr(keras.layers, kind), getattr(layers, kind)
    told = {"return_sequences": sequences}
    theirs = keras.layers.Bidirectional(of_keras(H, **told))
    twins = Twins(layers.Bidirectional(of_ours(H, **told)), theirs, steps(),
                  mask=masked(name))  # fmt: skip
    check(twins)


@pytest.mark.parametrize(
    "kind, mode, state",
    [("LSTM", mode, mode in ("concat", None)) for mode in ("concat", "sum", "ave", "mul", None)]
    + [("SimpleRNN", "concat", True), ("SimpleRNN", None, True)],
)
def test_merge_modes_and_states(kind, mode, state):
    of_keras, of_ours = getattr(keras.layers, kind), getattr(layers, kind)
    told = {"return_sequences": True, "return_state": state}
    theirs = keras.layers.Bidirectional(of_keras(H, **told), merge_mode=mode)
    ours = layers.Bidirectional(of_ours(H, **told), mode)
    states = [steps(B, H, seed=k) for k in range(4 if kind == "LSTM" else 2)]
    check(Twins(ours, theirs, steps(), initial_state=states, mask=masked("right")))


def test_a_backward_layer_of_ones_own():
    def pair(of, **told):
        one = of.LSTM(H, return_sequences=True, **told)
        other = of.LSTM(3, activation="relu", return_sequences=True, go_backwards=True, **told)
        return of.Bidirectional(one, backward_layer=other, **told)

    of_ours = layers.Bidirectional(
        layers.LSTM(H, return_sequences=True),
        backward_layer=layers.LSTM(3, "relu", return_sequences=True, go_backwards=True),
    )
    check(Twins(of_ours, pair(keras.layers), steps()))


# ---------------------------------------------------------------- TimeDistributed


@pytest.mark.parametrize("kind", ("Dense", "LayerNormalization", "Conv1D"))
def test_each_step(kind):
    given = {"Dense": (3,), "LayerNormalization": (), "Conv1D": (3, 2)}[kind]
    theirs = keras.layers.TimeDistributed(getattr(keras.layers, kind)(*given))
    shape = (B, T, 4, I) if kind == "Conv1D" else (B, T, I)
    ours = layers.TimeDistributed(getattr(layers, kind)(*given))
    check(Twins(ours, theirs, steps(*shape), mask=masked("holes")))


def test_an_lstm_of_each_step_sees_its_part_of_the_mask():
    theirs = keras.layers.TimeDistributed(keras.layers.LSTM(H))
    mask = np.random.default_rng(2).random((B, 2, T)) < 0.6
    mask[..., 0] = True
    ours = layers.TimeDistributed(layers.LSTM(H))
    check(Twins(ours, theirs, steps(B, 2, T, I), mask=mask))


# ---------------------------------------------------------------- normalization


@pytest.mark.parametrize("axis", (-1, 1, [1, 2], [-1], (1, 3)))
@pytest.mark.parametrize("center, scale", [(True, True), (False, True), (False, False)])
def test_layer_normalization(axis, center, scale):
    told = {"axis": axis, "center": center, "scale": scale, "epsilon": 0.01}
    theirs = keras.layers.LayerNormalization(**told)
    ours = layers.LayerNormalization(**told)
    check(Twins(ours, theirs, 3 + steps(B, T, I, 2)))


@pytest.mark.parametrize("axis", (-1, 1))
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("center, scale", [(True, True), (False, False)])
def test_batch_normalization(axis, name, center, scale):
    told = {"axis": axis, "center": center, "scale": scale, "momentum": 0.8}
    theirs = keras.layers.BatchNormalization(**told)
    ours = layers.BatchNormalization(**told)
    twins = Twins(ours, theirs, 2 + steps(), mask=masked(name))
    check(twins)
    twins.check_gradients()  # the moving means move on
    twins.theirs.trainable = twins.ours.trainable = False
    twins.check_forward(True)


@pytest.mark.parametrize("shape", [(7, I), (B, T, 2, I)])
def test_batch_normalization_of_other_ranks(shape):
    theirs = keras.layers.BatchNormalization()
    check(Twins(layers.BatchNormalization(), theirs, steps(*shape)))


# ---------------------------------------------------------------- convolution


def conv_cases(count=16):
    """Random options of Conv1D, and the length of x."""
    rng = np.random.default_rng(7)
    for case in range(count):
        groups = 2 if case == 1 else 1  # which TensorFlow has to compile
        strides = int(rng.integers(1, 4))
        told = {
            "filters": groups * int(rng.integers(1, 4)), "kernel_size": int(rng.integers(1, 5)),
            "strides": strides, "padding": str(rng.choice(["valid", "same", "causal"])),
            "dilation_rate": int(rng.integers(1, 4)) if strides == 1 else 1, "groups": groups,
            "activation": [None, "relu", "tanh", "softmax"][rng.integers(4)],
            "use_bias": bool(rng.random() < 0.7),
        }  # fmt: skip
        least = told["dilation_rate"] * (told["kernel_size"] - 1) + 1
        yield told, int(rng.integers(least, least + 6))


@pytest.mark.parametrize("told, length", list(conv_cases()))
def test_convolutions(told, length):
    theirs = keras.layers.Conv1D(**told)
    twins = Twins(layers.Conv1D(**told), theirs, steps(B, length, 4))
    check(twins)
    for size in (length, length + 3, None):
        got = twins.ours.output_shape((None, size, 4))
        assert got == theirs.compute_output_shape((None, size, 4))


# ---------------------------------------------------------------- attention


def attention_masks(name):
    """[query mask, value mask] or None."""
    rng = np.random.default_rng(3)
    query, value = rng.random((B, T)) < 0.6, rng.random((B, 4)) < 0.6
    value[:, 0] = True
    return {"none": None, "value": [None, value], "query": [query, None], "both": [query, value]}[
        name
    ]


@pytest.mark.parametrize("name, causal", [("none", False), ("query", False), ("both", True)])
@pytest.mark.parametrize(
    "kind, told",
    [
        ("Attention", {}),
        ("Attention", {"use_scale": True}),
        ("Attention", {"score_mode": "concat"}),
        ("Attention", {"use_scale": True, "score_mode": "concat"}),
        ("AdditiveAttention", {}),
        ("AdditiveAttention", {"use_scale": False}),
    ],
)
def test_attention(kind, told, causal, name):
    theirs = getattr(keras.layers, kind)(**told)
    ours = getattr(layers, kind)(**told)
    x = [steps(B, T, I), steps(B, 4, I, seed=2)]
    mask = attention_masks(name)
    call = {"use_causal_mask": causal, "return_attention_scores": name == "both"}
    check(Twins(ours, theirs, x, mask=mask, **call))
    wanted = theirs.compute_mask(x, mask)
    np.testing.assert_array_equal(ours.compute_mask(x, mask), wanted)


def test_attention_with_keys_and_a_row_without_values():
    x = [steps(B, T, I), steps(B, 4, 3, seed=2), steps(B, 4, I, seed=3)]
    value = np.zeros((B, 4), bool)
    value[0, 1] = value[2] = True
    for told in ({}, {"score_mode": "concat", "use_scale": True}):
        theirs = keras.layers.Attention(**told)
        twins = Twins(layers.Attention(**told), theirs, x, mask=[None, value])
        # without a value 1e9 is taken off all scores, which rounds away 7 digits after the point
        got = twins.ours.forward(x, mask=[None, value])
        wanted = array(theirs(twins.tensors(x), mask=[None, value]))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
        twins.call["mask"] = twins.told["mask"] = None
        check(twins)


# ---------------------------------------------------------------- masks of LSTM alone


@pytest.mark.parametrize(
    "kind, backwards, name",
    [("LSTM", False, "left"), ("LSTM", True, "holes"), ("SimpleRNN", False, "holes")],
)
def test_repeated_outputs_are_those_of_keras(kind, backwards, name):
    """Keras repeats outputs where a mask leaves steps out: `pad="repeat"`."""
    told = {"return_sequences": True, "go_backwards": backwards}
    theirs = getattr(keras.layers, kind)(H, **told)
    ours = getattr(layers, kind)(H, pad="repeat", **told)
    twins = Twins(ours, theirs, steps(), mask=masked(name))
    check(twins)
    plain = getattr(layers, kind)(H, **told)
    plain.build((None, None, I), dtype="float64")
    plain.set_weights(ours.get_weights())
    got, repeated = (one.forward(twins.x, mask=masked(name)) for one in (plain, ours))
    taken = masked(name)[:, ::-1] if backwards else masked(name)
    np.testing.assert_array_equal(got[taken], repeated[taken])
    assert not got[~taken].any() and (repeated[~taken].any() or name != "holes")


@pytest.mark.parametrize("shared", [None, [1], [2], [1, 2]])
def test_prelu(shared):
    told = {"alpha_initializer": "glorot_uniform", "shared_axes": shared}
    check(Twins(layers.PReLU(**told), keras.layers.PReLU(**told), steps(2, 4, 3)))


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None])
def test_normalization(axis, invert):
    x = np.random.default_rng(0).normal(3, 2, (6, 4, 3))
    theirs = keras.layers.Normalization(axis, invert=invert, dtype="float64")
    ours = layers.Normalization(axis, invert=invert)
    theirs.adapt(x)
    ours.adapt(x)
    bar = 1e-6  # Keras has what it adapts in float32
    np.testing.assert_allclose(ours(x), np.asarray(theirs(x)), rtol=bar, atol=bar)
    shape = [
        size
        for n, size in enumerate(x.shape)
        if axis is not None and n in np.arange(3)[list(np.atleast_1d(axis))]
    ]
    told = {"mean": np.full(shape, 1.5).tolist(), "variance": np.full(shape, 2.25).tolist()}
    theirs = keras.layers.Normalization(axis, **told, invert=invert, dtype="float64")
    ours = layers.Normalization(axis, **told, invert=invert)
    np.testing.assert_allclose(ours(x), np.asarray(theirs(x)), rtol=1e-12, atol=1e-12)


def heads_case(name):
    """Arguments of the constructor and of the call, and whether there is a key."""
    rng = np.random.default_rng(5)
    pairs = rng.random((B, T, 4)) < 0.7
    pairs[..., 0] = True
    told = {"num_heads": 2, "key_dim": 4}  # Keras has 1 / √key_dim in float32
    return {
        "plain": (told, {}, False),
        "key": (told | {"value_dim": 2, "output_shape": 5}, {}, True),
        "no bias": (told | {"use_bias": False}, {"use_causal_mask": True}, False),
        "pairs": (told, {"attention_mask": pairs}, False),
        "scores": (told, {"attention_mask": pairs, "return_attention_scores": True}, True),
        "nothing seen": (told, {"attention_mask": np.zeros((B, T, 4), bool)}, False),
        "no scores": (
            told,
            {"attention_mask": np.zeros((B, T, 4), bool), "return_attention_scores": True},
            False,
        ),
    }[name]


@pytest.mark.parametrize(
    "name", ["plain", "key", "no bias", "pairs", "scores", "nothing seen", "no scores"]
)
def test_multi_head_attention(name):
    told, call, has_key = heads_case(name)
    x = [steps(B, T, I), steps(B, 4, 5, seed=2), steps(B, 4, 6, seed=3)][: 2 + has_key]
    theirs, ours = keras.layers.MultiHeadAttention(**told), layers.MultiHeadAttention(**told)
    ours(*x, **call)
    theirs(*x, **call)
    weights = [np.random.default_rng(n).normal(size=w.shape)
               for n, w in enumerate(theirs.get_weights())]  # fmt: skip
    theirs.set_weights(weights)
    ours.set_weights(weights)
    tensors = [tf.constant(one) for one in x]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        wanted = several(theirs(*tensors, **call))
        got = several(ours.forward(x, training=True, **call))
        close(got, [one.numpy() for one in wanted])
        up = [np.random.default_rng(n).normal(size=one.shape) for n, one in enumerate(got)]
        total = sum(tf.reduce_sum(one * d) for one, d in zip(wanted, up, strict=True))
    dx, grads = tape.gradient(total, (tensors, [v.value for v in theirs.trainable_variables]))
    close(ours.backward_of([*up, None][:2]), [one.numpy() for one in dx])
    for mine, other in zip(ours.grads.values(), grads, strict=True):
        np.testing.assert_allclose(mine, other, rtol=BAR, atol=BAR * 100)


def test_multi_head_attention_with_masks_of_its_inputs():
    query, value = attention_masks("both")
    x = [steps(B, T, I), steps(B, 4, I, seed=2)]
    theirs, ours = keras.layers.MultiHeadAttention(2, 4), layers.MultiHeadAttention(2, 4)
    tensors = [tf.constant(one) for one in x]
    theirs(*tensors)
    ours(x)
    ours.set_weights(theirs.get_weights())
    for tensor, mask in zip(tensors, (query, value), strict=True):
        tensor._keras_mask = tf.constant(mask)
    wanted = theirs(*tensors)
    close([ours.forward(x, mask=[query, value])], [wanted.numpy()])
    np.testing.assert_array_equal(ours.compute_mask(x, [query, value]), wanted._keras_mask)
