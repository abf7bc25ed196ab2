"""The layers that move, merge, pool or mask numbers against Keras 3, in float64.

Outputs, masks and gradients, on random configurations. Run by `test_layers_keras` in a
process of its own: on TensorFlow, as Keras calculates in float64 throughout on no other backend.
"""

import inspect
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from lstmfast import activations, layers

BAR = 1e-12  # measured: 8.3e-16, Activation
SEEDS = range(6)
# Without leaky_relu and gelu: TensorFlow has numbers of theirs in float32. So other slopes here
# have few bits.
NAMES = ("relu", "tanh", "sigmoid", "softmax", "linear", "elu", "softplus", "softsign",
         "hard_sigmoid", *sorted({*activations.OF_INPUTS} - {"gelu"}))  # fmt: skip


def sizes(rng, count, low=1, high=6):
    return tuple(int(one) for one in rng.integers(low, high, count))


def any_shape(rng):
    return sizes(rng, int(rng.integers(2, 5)))


def steps(rng):
    return [(int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(1, 5)))]


def pooled(rng):
    told = {"pool_size": int(rng.integers(1, 5)), "padding": str(rng.choice(["valid", "same"]))}
    if rng.random() < 0.7:
        told["strides"] = int(rng.integers(1, 6))
    return told, steps(rng)


def merged(rng):
    """Shapes that broadcast, of two or three inputs; one may have an axis less."""
    B, T, I = sizes(rng, 3, 2)
    choices = [(B, T, I), (B, 1, I), (B, T, 1), (B, I), (B, 1, 1)]
    others = [choices[i] for i in rng.integers(0, len(choices), int(rng.integers(1, 3)))]
    return {}, [(B, T, I), *others]


def concatenated(rng):
    shape, axis = list(sizes(rng, 3, 2)), int(rng.choice([1, 2, -1, -2]))
    shapes = [list(shape) for _ in range(int(rng.integers(2, 4)))]
    for one in shapes:
        one[axis] = int(rng.integers(1, 4))
    return {"axis": axis}, [tuple(one) for one in shapes]


def dotted(rng):
    B, N, *rest = sizes(rng, 6)
    first, second = [rest[0], rest[1]][: rng.integers(0, 3)], rest[2 : 2 + rng.integers(0, 3)]
    at = int(rng.integers(0, len(first) + 1)), int(rng.integers(0, len(second) + 1))
    first.insert(at[0], N), second.insert(at[1], N)
    told = {"axes": (at[0] + 1, at[1] + 1), "normalize": bool(rng.random() < 0.5)}
    return told, [(B, *first), (B, *second)]


def reshaped(rng):
    a, b, c = sizes(rng, 3, 2)
    target = [(a, -1), (-1,), (b, a, c), (c * b, a), (1, -1, b)][rng.integers(5)]
    return {"target_shape": target}, [(int(rng.integers(1, 4)), a, b, c)]


def permuted(rng):
    count = int(rng.integers(1, 4))
    return {"dims": tuple(int(i) + 1 for i in rng.permutation(count))}, [sizes(rng, count + 1)]


def rectified(rng):
    told = {"negative_slope": 0.25, "threshold": 0.375, "max_value": 0.875}
    return {key: told[key] for key in told if rng.random() < 0.6}, [any_shape(rng)]


def two(rng):
    told, shapes = merged(rng)
    return told, shapes[:2]


def rescaled(rng):
    shape = any_shape(rng)
    features = (rng.integers(0, 9, shape[-1]) / 8).tolist()
    told = {"scale": features if rng.random() < 0.5 else 0.25}
    return (told | {"offset": features[::-1]} if rng.random() < 0.5 else told), [shape]


def unit(rng):
    shape = any_shape(rng)
    axes = [1, -1] if len(shape) > 2 and rng.random() < 0.5 else int(rng.integers(1, len(shape)))
    return {"axis": axes}, [shape]


def pair(rng):
    return sizes(rng, 2, 0, 2)


# What draws the arguments and the shapes of inputs, by class.
CASES = {
    "Activation": lambda rng: ({"activation": str(rng.choice(NAMES))}, [any_shape(rng)]),
    "ReLU": rectified,
    "LeakyReLU": lambda rng: ({"negative_slope": float(rng.integers(5)) / 4}, [any_shape(rng)]),
    "ELU": lambda rng: ({"alpha": 0.5 + float(rng.random())}, [any_shape(rng)]),
    "Softmax": lambda rng: ({"axis": int(rng.choice([1, -1]))}, [any_shape(rng)]),
    "Dropout": lambda rng: ({"rate": 0.4}, [any_shape(rng)]),
    "SpatialDropout1D": lambda rng: ({"rate": 0.4}, steps(rng)),
    "GaussianNoise": lambda rng: ({"stddev": 0.4}, [any_shape(rng)]),
    "Masking": lambda rng: ({"mask_value": float(rng.integers(0, 2))}, [any_shape(rng)]),
    "Flatten": lambda rng: ({}, [sizes(rng, int(rng.integers(1, 5)))]),
    "Reshape": reshaped,
    "Permute": permuted,
    "RepeatVector": lambda rng: ({"n": int(rng.integers(1, 5))}, [sizes(rng, 2)]),
    "ZeroPadding1D": lambda rng: ({"padding": pair(rng)}, steps(rng)),
    "Cropping1D": lambda rng: ({"cropping": pair(rng)}, steps(rng)),
    "UpSampling1D": lambda rng: ({"size": int(rng.integers(1, 4))}, steps(rng)),
    "MaxPooling1D": pooled,
    "AveragePooling1D": pooled,
    "GlobalMaxPooling1D": lambda rng: ({"keepdims": bool(rng.integers(2))}, steps(rng)),
    "GlobalAveragePooling1D": lambda rng: ({"keepdims": bool(rng.integers(2))}, steps(rng)),
    "Add": merged,
    "Subtract": two,
    "Multiply": merged,
    "Average": merged,
    "Maximum": merged,
    "Minimum": merged,
    "Concatenate": concatenated,
    "Dot": dotted,
    "GaussianDropout": lambda rng: ({"rate": 0.4}, [any_shape(rng)]),
    "AlphaDropout": lambda rng: ({"rate": 0.4}, [any_shape(rng)]),
    "Identity": lambda rng: ({}, [any_shape(rng)]),
    "Rescaling": rescaled,
    "UnitNormalization": unit,
}  # fmt: skip
EXACT = {"leaky_relu": 1e-7, "gelu": 1e-8}  # numbers in them are of float32 there


@pytest.mark.parametrize("name", activations.FUNCTIONS)
def test_functions_of_activations(name):
    x = np.random.default_rng(0).normal(size=(4, 5, 6)) * 4
    theirs = getattr(keras.activations, name)(tf.constant(x))
    found = getattr(activations, name)(x)
    np.testing.assert_allclose(found, theirs, rtol=1e-13, atol=EXACT.get(name, 1e-14))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("relu", {"negative_slope": 0.25, "max_value": 1.5, "threshold": 0.5}),
        ("leaky_relu", {"negative_slope": 0.5}),
        ("elu", {"alpha": 0.5}),
        ("gelu", {"approximate": True}),
        ("softmax", {"axis": 1}),
        ("log_softmax", {"axis": 1}),
    ],
)
def test_arguments_of_activations(name, told):
    x = np.random.default_rng(0).normal(size=(4, 5, 6)) * 4
    theirs = getattr(keras.activations, name)(tf.constant(x), **told)
    found = getattr(activations, name)(x, **told)
    np.testing.assert_allclose(found, theirs, rtol=1e-13, atol=EXACT.get(name, 1e-14))


RANDOM = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout")


def drawn(name, rng):
    """Return a layer's arguments and inputs."""
    told, shapes = CASES[name](rng)
    inputs = [rng.standard_normal(shape) for shape in shapes]
    if name == "Masking":
        inputs = [rng.integers(0, 2, shapes[0]).astype(float)]
    return told, inputs


def masks_for(name, inputs, rng):
    """Return a mask, or None, of each input: of (B, T), some rows all False."""
    if name == "Softmax":
        return [rng.random(inputs[0].shape) < 0.7] if inputs[0].ndim == 2 else [None]
    found = []
    for one in inputs:
        mask = rng.random(one.shape[:2]) < 0.6
        mask[-1] &= rng.random() < 0.5
        found.append(mask if one.ndim == 3 and rng.random() < 0.8 else None)
    return found


def of_keras(name, told, inputs, masks, upstream):
    """Return Keras's output, its mask or None, and the gradients of the inputs."""
    layer = getattr(keras.layers, name)(**told, dtype="float64")
    tensors = [tf.constant(one) for one in inputs]
    for tensor, mask in zip(tensors, masks, strict=True):
        if mask is not None:
            tensor._keras_mask = tf.constant(mask)
    with tf.GradientTape() as tape, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masks that are lost
        tape.watch(tensors)
        y = layer(tensors if layers.CLASSES[name].takes_list else tensors[0])
    mask = getattr(y, "_keras_mask", None)
    assert y.dtype == tf.float64
    gradients = tape.gradient(
        y, tensors, tf.constant(upstream(tuple(y.shape))), unconnected_gradients="zero"
    )
    return y.numpy(), None if mask is None else mask.numpy(), [one.numpy() for one in gradients]


def of_ours(name, told, inputs, masks, upstream):
    layer = layers.CLASSES[name](**told)
    x, mask = (inputs, masks) if layer.takes_list else (inputs[0], masks[0])
    layer(x)
    heeded = {"mask": mask} if layer.takes_mask else {}
    y = layer.forward(x, training=name not in RANDOM, **heeded)
    assert y.shape == layer.output_shape([one.shape for one in x] if layer.takes_list else x.shape)
    assert y.dtype == np.float64
    if name in RANDOM:
        return y, layer.compute_mask(x, mask), [upstream(y.shape)]
    dx = layer.backward(upstream(y.shape))
    return y, layer.compute_mask(x, mask), dx if layer.takes_list else [dx]


@pytest.mark.parametrize("masked", (False, True), ids=("plain", "masked"))
@pytest.mark.parametrize("name", CASES)
def test_as_keras(name, masked):
    for seed in SEEDS:
        rng = np.random.default_rng([seed, masked, list(CASES).index(name)])
        told, inputs = drawn(name, rng)
        masks = masks_for(name, inputs, rng) if masked else [None] * len(inputs)
        upstream = lambda shape, seed=seed: np.random.default_rng(seed).standard_normal(shape)  # noqa: E731
        y, mask, gradients = of_keras(name, told, inputs, masks, upstream)
        got, got_mask, got_gradients = of_ours(name, told, inputs, masks, upstream)
        text = f"{told} {[one.shape for one in inputs]}"
        np.testing.assert_allclose(got, y, rtol=BAR, atol=BAR, err_msg=text)
        assert (mask is None) == (got_mask is None), text
        if mask is not None:
            np.testing.assert_array_equal(got_mask, np.broadcast_to(mask, got_mask.shape), text)
        for mine, other in zip(got_gradients, gradients, strict=True):
            np.testing.assert_allclose(mine, other, rtol=BAR, atol=BAR, err_msg=text)


@pytest.mark.parametrize("name", CASES)
def test_output_shapes_as_keras(name):
    """With an open batch, and open steps where a shape follows all the same."""
    for seed in SEEDS:
        told, inputs = drawn(name, np.random.default_rng([seed, 7]))
        shapes = [(None, *one.shape[1:]) for one in inputs]
        shape = shapes if layers.CLASSES[name].takes_list else shapes[0]
        wanted = getattr(keras.layers, name)(**told).compute_output_shape(shape)
        assert layers.CLASSES[name](**told).output_shape(shape) == tuple(wanted), (told, shapes)


def test_an_embedding_masks_as_keras():
    ids = np.array([[1, 0, 2], [0, 0, 4]])
    ours = layers.Embedding(5, 3, "uniform", None, None, True)
    twin = keras.layers.Embedding(5, 3, "uniform", None, None, True)
    y = ours(ids)
    wanted = twin(keras.ops.convert_to_tensor(ids))
    assert tuple(wanted.shape) == y.shape
    np.testing.assert_array_equal(ours.compute_mask(ids), wanted._keras_mask.numpy())


@pytest.mark.parametrize("name", CASES)
def test_every_argument_of_keras_is_there(name):
    """By name, order and default, but for what all layers of Keras take."""
    passed_on = {"kwargs", "name", "dtype", "self"}
    wanted = inspect.signature(getattr(keras.layers, name).__init__).parameters
    found = inspect.signature(layers.CLASSES[name]).parameters
    theirs = {key: one for key, one in wanted.items() if key not in passed_on}
    assert [key for key, one in found.items() if one.kind != one.KEYWORD_ONLY] == list(theirs)
    for key, one in theirs.items():
        assert one.default is one.empty or found[key].default == one.default, key
