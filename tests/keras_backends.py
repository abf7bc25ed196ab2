"""A Keras layer's outputs and gradients as NumPy arrays, on each of Keras's backends."""

import keras
import numpy as np


def run(layer, x, state=(), mask=None, training=False, upstream=None, seed=0):
    """Return the outputs of a call, and the gradients of x, the state and the weights.

    The upstream gradients are random; those of `upstream`, one for each output, if it is given.
    """
    x, state = keras.ops.convert_to_tensor(x), [keras.ops.convert_to_tensor(s) for s in state]
    mask = None if mask is None else keras.ops.convert_to_tensor(mask)
    if not layer.built:
        layer.build(x.shape)

    def draw(outputs):
        rng = np.random.default_rng(seed)
        given = upstream or [rng.standard_normal(one.shape) for one in outputs]
        return [keras.ops.cast(one, x.dtype) for one in given]

    found = WAYS[keras.backend.backend()](layer, x, state, mask, training, draw)
    return tuple([keras.ops.convert_to_numpy(one) for one in group] for group in found)


def _listed(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _called(layer, x, state, mask, training):
    return _listed(layer(x, initial_state=state or None, mask=mask, training=training))


def _tensorflow(layer, x, state, mask, training, draw):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch([x, *state])
        outputs = _called(layer, x, state, mask, training)
    sources = [x, *state, *(w.value for w in layer.trainable_weights)]
    return outputs, tape.gradient(outputs, sources, draw(outputs))


def _jax(layer, x, state, mask, training, draw):
    import jax

    others = [w.value for w in layer.non_trainable_variables]

    @jax.jit
    def call(x, state, weights):
        keywords = {"initial_state": state or None, "mask": mask, "training": training}
        return _listed(layer.stateless_call(weights, others, x, **keywords)[0])

    weights = [w.value for w in layer.trainable_variables]
    outputs, way_back = jax.vjp(call, x, state, weights)
    dx, dstate, dweights = way_back(draw(outputs))
    return outputs, [dx, *dstate, *dweights]


def _torch(layer, x, state, mask, training, draw):
    import torch

    x, *state = (one.clone().requires_grad_() for one in (x, *state))
    outputs = _called(layer, x, state, mask, training)
    sources = [x, *state, *(w.value for w in layer.trainable_weights)]
    gradients = torch.autograd.grad(outputs, sources, draw(outputs))
    return [one.detach() for one in outputs], gradients


WAYS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
