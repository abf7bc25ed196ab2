"""A model's own LSTM layers made lstmfast's."""

from __future__ import annotations

import keras

from .layer import LSTM

__all__ = ["accelerate"]

COMPILED = ("train_function", "test_function", "predict_function")  # as fit and others keep them


def accelerate(model: keras.layers.Layer) -> list[str]:
    """Make every keras.layers.LSTM of a model, or of any layer, an `LSTM` of ours, in place.

    Layers stay the objects that they are, with their weights, states, regularizers, names and
    places, also within Bidirectional and TimeDistributed; the optimizer keeps its state. Subclasses
    of keras.layers.LSTM stay what they are. A tf.function or jax.jit of yours that has run already
    keeps what it has compiled.

    Returns
    -------
    list of str
        The paths of the layers that were changed.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(f"model: expected a Keras model or layer, got {type(model).__name__}")
    layers = list(model._flatten_layers())
    found = [layer for layer in layers if type(layer) is keras.layers.LSTM]
    for layer in found:
        supports_jit = layer.supports_jit
        layer.__class__ = LSTM  # which has methods more than Keras's, and no state
        layer.supports_jit = supports_jit
    for one in layers:
        if found and isinstance(one, keras.Model):
            _forget_compiled(one)
    return [layer.path for layer in found]


def _forget_compiled(model: keras.Model) -> None:
    for name in COMPILED:
        setattr(model, name, None)
    if model.compiled:
        model.jit_compile = model.jit_compile  # asks the layers again
