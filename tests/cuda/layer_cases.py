"""Layers and losses with inputs, and what they give there and back: for tests and for benches.

No GPU and no pytest is needed to read it.
"""

import copy

import numpy as np

from lstmfast import losses
from lstmfast.layers import (
    ELU,
    LSTM,
    Activation,
    Add,
    AdditiveAttention,
    Attention,
    Average,
    AveragePooling1D,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Conv1D,
    Cropping1D,
    Dense,
    Dot,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    LayerNormalization,
    LeakyReLU,
    Masking,
    Maximum,
    MaxPooling1D,
    Minimum,
    Multiply,
    Permute,
    ReLU,
    RepeatVector,
    Reshape,
    Softmax,
    SpatialDropout1D,
    Subtract,
    TimeDistributed,
    UpSampling1D,
    ZeroPadding1D,
)

B, T, I = 2, 5, 3
STEPS = (B, T, I)
EACH = [
    (Activation("tanh"), STEPS), (Activation("softmax"), STEPS), (Softmax(axis=1), STEPS),
    (ReLU(0.6, 0.1, 0.2), STEPS), (ReLU(), STEPS), (LeakyReLU(0.1), STEPS), (ELU(0.5), STEPS),
    (Dropout(0.4, seed=1), STEPS), (Dropout(0.4, (None, 1, None), seed=1), STEPS),
    (SpatialDropout1D(0.5, seed=2), STEPS), (GaussianNoise(0.5, seed=3), STEPS),
    (Masking(0.0), STEPS), (Flatten(), STEPS), (Reshape((I, -1)), STEPS), (Permute((2, 1)), STEPS),
    (Permute((3, 1, 2)), (B, 2, 3, 2)), (RepeatVector(3), (B, I)), (ZeroPadding1D((1, 2)), STEPS),
    (Cropping1D((2, 1)), STEPS), (UpSampling1D(2), STEPS), (MaxPooling1D(2, 1, "same"), STEPS),
    (MaxPooling1D(3), STEPS), (AveragePooling1D(2, 2, "same"), STEPS),
    (GlobalMaxPooling1D(keepdims=True), STEPS), (GlobalAveragePooling1D(), STEPS),
    (Add(), [STEPS, STEPS, (B, 1, I)]), (Subtract(), [STEPS, (B, T, 1)]),
    (Average(), [STEPS, STEPS]), (Multiply(), [STEPS, (B, 1, I), STEPS]),
    (Maximum(), [STEPS, STEPS]), (Minimum(), [STEPS, (B, T, 1)]),
    (Concatenate(), [STEPS, (B, T, 2)]), (Concatenate(axis=1), [STEPS, (B, 1, I)]),
    (Dot((1, 1)), [STEPS, (B, T, 2)]), (Dot(-1, normalize=True), [STEPS, (B, 2, I)]),
    (Bidirectional(LSTM(2, seed=1, return_sequences=True)), STEPS),
    (Bidirectional(LSTM(2, seed=1), merge_mode="mul"), STEPS),
    (Bidirectional(LSTM(2, seed=1), merge_mode="ave"), STEPS),
    (TimeDistributed(Dense(2, "relu", seed=1)), STEPS), (LayerNormalization(), STEPS),
    (LayerNormalization([1, 2], center=False), STEPS), (BatchNormalization(), STEPS),
    (BatchNormalization(axis=1, scale=False), STEPS), (Conv1D(2, 3, seed=1), STEPS),
    (Conv1D(4, 2, strides=2, padding="same", activation="softmax", seed=1), STEPS),
    (Conv1D(2, 2, padding="causal", dilation_rate=2, groups=2, seed=1), (B, T, 4)),
    (Attention(use_scale=True), [(B, 2, I), STEPS]),
    (Attention(score_mode="concat", use_scale=True, dropout=0.3, seed=1), [(B, 2, I), STEPS]),
    (AdditiveAttention(seed=1), [(B, 2, I), (B, T, 2), STEPS]),
]  # fmt: skip
MASKED = [
    (Multiply(), [STEPS, STEPS]), (Maximum(), [STEPS, STEPS]), (Concatenate(), [STEPS, STEPS]),
    (Concatenate(axis=1), [STEPS, STEPS]), (Add(), [STEPS, STEPS]),
    (GlobalAveragePooling1D(), STEPS), (BatchNormalization(), STEPS),
    (Bidirectional(LSTM(2, seed=1, return_sequences=True)), STEPS), (Attention(), [STEPS, STEPS]),
    (TimeDistributed(Dense(2, seed=1)), STEPS), (Masking(), STEPS), (Dropout(0.5, seed=1), STEPS),
]  # fmt: skip
ROW_LOSSES = [
    (losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1), "linear"),
    (losses.BinaryCrossentropy(), "tanh"), (losses.Huber(0.3), "linear"),
    (losses.Quantile([0.1, 0.5, 0.9]), "linear"), (losses.KLDivergence(), "softmax"),
    (losses.MeanAbsoluteError(), "linear"), (losses.CategoricalCrossentropy(), "relu"),
    (losses.CategoricalCrossentropy(from_logits=True), "linear"),
]  # fmt: skip


def drawn(shape, dtype, seed=5):
    """Numbers of which some are equal, and one step is of zeros."""
    x = np.random.default_rng(seed).normal(size=shape).round(1).astype(dtype)
    x[..., 0, :] = 0
    return x


def both_ways(layer, xs, masks, dtype, device, put, get):
    """Outputs, mask, gradients of inputs and weights, and statistics."""
    layer = copy.deepcopy(layer)
    shapes = [(None, *x.shape[1:]) for x in xs]
    layer.build(shapes if layer.takes_list else shapes[0], np.random.default_rng(2), dtype)
    layer.to(device)
    given = [put(x) for x in xs] if layer.takes_list else put(xs[0])
    found, told = [], {}
    if masks is not None:
        mask = [None if m is None else put(m) for m in masks] if layer.takes_list else put(masks[0])
        told = layer.mask_arguments(mask) if layer.takes_mask else {}
        found.append(layer.compute_mask(given, mask))
    y = layer.forward(given, True, **told)
    cache, layer._cache = layer._cache, None
    found += [layer.forward(given, **told), y]
    layer._cache = cache
    dy = np.random.default_rng(3).normal(size=y.shape).astype(dtype)
    dx = layer.backward(put(dy))
    found += dx if isinstance(dx, list) else [dx]
    found += [*layer.grads.values(), *layer.params.values()]
    return [None if one is None else get(one) for one in found]
