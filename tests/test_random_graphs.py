"""Random graphs: layers shared and not, several inputs, masks, states wired on, merges.

Gradients are held against central differences along random directions, files against the model.
"""

import copy

import numpy as np
import pytest
from agreement import assert_all_equal

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Input, Model, SimpleRNN, layers

STEP = 1e-5
BAR = 1e-6  # relative to the largest; measured: 2e-9
B, T, V, N = 3, 4, 5, 4  # rows, steps, ids, features of all sequences


def sequences(rng, pool):
    """Return a new sequence (B, T, N) made of one or two of a pool of them."""
    x = pool[rng.integers(len(pool))]
    y = pool[rng.integers(len(pool))]
    kinds = {
        "lstm": lambda: LSTM(N, return_sequences=True, peepholes=bool(rng.integers(2)))(x),
        "rnn": lambda: SimpleRNN(N, return_sequences=True)(x),
        "both": lambda: layers.Bidirectional(LSTM(N // 2, return_sequences=True))(x),
        "sum": lambda: layers.Bidirectional(SimpleRNN(N, return_sequences=True), "sum")(x),
        "dense": lambda: layers.TimeDistributed(Dense(N, "tanh"))(x),
        "add": lambda: layers.Add()([x, y]),
        "multiply": lambda: layers.Multiply()([x, y]),
        "side by side": lambda: Dense(N)(layers.Concatenate()([x, y])),
        "norm": lambda: layers.LayerNormalization()(x),
        "conv": lambda: layers.Conv1D(N, 2, padding="causal")(x),
        "attention": lambda: layers.Attention()([x, y]),
        "states": lambda: with_states(x, y),
        "activation": lambda: layers.Activation("softplus")(x),
        "arithmetic": lambda: (x * 0.5 - y / 2) * y + np.array([1.0, -0.5, 0.25, 0.0]),
        "features": lambda: x[..., :1] * y - x[:, :, -1:],
        "one step": lambda: 1 - x * y[:, -1:, :] ** 2,
        "backwards": lambda: -x[:, ::-1] + y[:, 1:2],
        "flipped": lambda: LSTM(N, return_sequences=True, go_backwards=True)(x),
    }
    return kinds[rng.choice(list(kinds))]()


def with_states(x, y):
    _, h, c = LSTM(N, return_state=True)(x)
    return LSTM(N, return_sequences=True)(y, initial_state=[h, c])


def rows(rng, x):
    """Return (B, ...) of a sequence."""
    kinds = {
        "last": lambda: LSTM(3)(x),
        "mean": lambda: layers.GlobalAveragePooling1D()(x),
        "largest": lambda: layers.GlobalMaxPooling1D()(x),
        "one of them": lambda: x[:, -1] + x[:, 0, :] * 2,
        "flat": lambda: layers.Flatten()(x),
    }
    return kinds[rng.choice(list(kinds))]()


def made(seed):
    """Return a random model of two or three inputs, its data and the names of its layers."""
    rng = np.random.default_rng(seed)
    ids, a = Input((T,), dtype="int32", name="ids"), Input((T, N), name="a")
    shared = LSTM(N, return_sequences=True, name="shared")
    masked = bool(rng.integers(2))
    pool = [Embedding(V, N, mask_zero=masked)(ids), a]
    pool += [shared(pool[0]), shared(a)]
    for _ in range(rng.integers(1, 6)):
        pool.append(sequences(rng, pool))
    outputs = [Dense(2, name="rows")(rows(rng, pool[-1])), Dense(1, name="steps")(pool[-2])]
    model = Model([ids, a], outputs, seed=int(seed), dtype="float64")
    model.compile(lstmfast.Adam(0.01), "mse", loss_weights=[1.0, 0.5])
    x = [rng.integers(0, V, (B, T)), rng.normal(size=(B, T, N))]
    x[0][:, 0] = 1  # no row is masked throughout
    y = [rng.normal(size=(B, 2)), rng.normal(size=(B, T, 1))]
    return model, x, y


@pytest.mark.parametrize("seed", range(40))
def test_gradients(seed):
    model, x, y = made(seed)
    rng = np.random.default_rng(seed)
    _, grads = model.gradients(x, y)
    params, largest = model.params, max(np.abs(g).max() for g in grads)
    for _ in range(3):
        directions = [rng.normal(size=w.shape) for w in params]
        found = sum(np.sum(g * d) for g, d in zip(grads, directions, strict=True))
        expected = (
            moved(model, x, y, directions, STEP) - moved(model, x, y, directions, -STEP)
        ) / (2 * STEP)
        assert abs(found - expected) <= BAR * max(1, largest, abs(expected))


def moved(model, x, y, directions, step):
    """Return the loss with all weights moved along the directions."""
    before = [w.copy() for w in model.params]
    for w, d in zip(model.params, directions, strict=True):
        w += step * d
    loss = model.evaluate(x, y)[0]
    for w, kept in zip(model.params, before, strict=True):
        w[...] = kept
    return loss


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_files_copies_and_order_of_calls(seed, tmp_path):
    """A model that was called in any order before, its copy and its file go on alike."""
    model, x, y = made(seed)
    rng = np.random.default_rng(seed)
    fresh = copy.deepcopy(model)
    for call in rng.permutation(["predict", "evaluate", "gradients", "call"]):
        if call in ("predict", "call"):
            model.predict(x) if call == "predict" else model(x)
        else:
            getattr(model, call)(x, y)
    first = model.train_on_batch(x, y)
    assert fresh.train_on_batch(x, y) == first
    model.save(tmp_path / "graph")
    loaded = lstmfast.load(tmp_path / "graph")
    for _ in range(2):
        expected = model.train_on_batch(x, y)
        assert loaded.train_on_batch(x, y) == expected
        assert fresh.train_on_batch(x, y) == expected
    assert_all_equal(loaded.get_weights(), model.get_weights())
    for one, other in zip(loaded.predict(x), model.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)
