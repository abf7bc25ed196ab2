"""Copies of what keeps something: a right one by copy, deepcopy and pickle, or a TypeError."""

import copy
import pickle

import numpy as np
import pytest
from agreement import same_bits
from test_prepared import stack

import lstmfast
from lstmfast import (
    CellOptions,
    LSTMStream,
    Model,
    Noise,
    Norm,
    PreparedLSTM,
    layers,
    lstm_forward,
    ops,
)

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "pickle 2": lambda one: pickle.loads(pickle.dumps(one, 2)),
}
EVERY_WAY = pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS)
DTYPES = pytest.mark.parametrize("dtype", ("float32", "float64"))
B, T, I = 2, 4, 3


def kind_of_weights(kind, dtype, H, P=5):
    """Return the keywords of weights and options of one kind of layers."""
    rng = np.random.default_rng(H)

    def draw(*shape):
        return rng.uniform(-0.5, 0.5, shape).astype(dtype)

    one = {"W_ih": draw(4 * H, I), "W_hh": draw(4 * H, H), "b": draw(4 * H)}
    if kind == "no bias":
        return {**one, "b": None}
    if kind == "projected":
        return one | {"W_hh": draw(4 * H, P), "W_hr": draw(P, H)}
    if kind == "everything":
        norm = Norm(*map(draw, (4 * H, 4 * H, H, H)))
        noise = Noise(zoneout_h=0.1, weight_drop=0.2)
        options = CellOptions(cell_clip=0.6, clip=1.5, output_activation="relu")
        return one | {"p": draw(3, H), "norm": norm, "options": options, "noise": noise}
    if kind == "stack":
        second = {"W_ih": draw(4 * H, H), "W_hh": draw(4 * H, H), "b": draw(4 * H)}
        return {name: [one[name], second[name]] for name in one}
    return one


KINDS = pytest.mark.parametrize("kind", ("plain", "no bias", "projected", "everything", "stack"))


def steps(dtype, seed=0):
    return np.random.default_rng(seed).standard_normal((T, B, I)).astype(dtype)


# ---------------------------------------------------------------- streams


@EVERY_WAY
@DTYPES
@KINDS
def test_a_stream_and_its_copy_go_on_alike_and_apart(kind, dtype, duplicate):
    for H in (1, 3, 4, 9, 17, 33):  # panels of all widths, whole and not
        weights, x = kind_of_weights(kind, dtype, H), steps(dtype)
        stream, other = (LSTMStream(**weights, batch_size=B) for _ in range(2))
        stream.forward(x), other.forward(x)
        made = duplicate(stream)
        assert all(map(same_bits, made.state, stream.state))
        made.step(x[1])  # must not move the first
        assert same_bits(stream.step(x[0]), other.step(x[0]))
        assert all(map(same_bits, stream.state, other.state))
        made.set_state(*stream.state)
        assert same_bits(made.forward(x), stream.forward(x))


@EVERY_WAY
def test_a_new_and_a_reset_stream(duplicate):
    weights, x = kind_of_weights("plain", "float32", 9), steps("float32")
    wanted = LSTMStream(**weights, batch_size=B).forward(x)
    stream = LSTMStream(**weights, batch_size=B)
    for _ in range(2):
        assert same_bits(duplicate(stream).forward(x), wanted)
        stream.forward(x)
        stream.reset()


@EVERY_WAY
def test_a_stream_of_somebodys_class(duplicate):
    stream = Named(**kind_of_weights("plain", "float32", 9), batch_size=B)
    stream.name = "mine"
    made = duplicate(stream)
    assert type(made) is Named and made.name == "mine"


class Named(LSTMStream):
    pass


# ---------------------------------------------------------------- prepared weights


@EVERY_WAY
@DTYPES
@KINDS
def test_prepared_weights(kind, dtype, duplicate):
    for H in (1, 3, 4, 9, 17, 33):
        weights, x = kind_of_weights(kind, dtype, H), steps(dtype)
        prepared = PreparedLSTM(**weights, variable_lengths=True)
        made = duplicate(prepared)
        for lengths in (None, [4, 2]):
            (y, state), (ref, wanted) = (
                one.forward(x, lengths=lengths) for one in (made, prepared)
            )
            assert same_bits(y, ref) and all(map(same_bits, state, wanted))


@EVERY_WAY
def test_both_directions_of_a_stack(duplicate):
    parts, x = stack(P=3), np.random.default_rng(1).standard_normal((T, B, 5))
    prepared = PreparedLSTM(**parts, bidirectional=True)
    assert same_bits(duplicate(prepared).forward(x)[0], prepared.forward(x)[0])


# ---------------------------------------------------------------- caches


@EVERY_WAY
def test_caches_refuse_and_say_what_to_do(duplicate):
    weights, x = kind_of_weights("plain", "float32", 9), steps("float32")
    _, _, cache = lstm_forward(x, **weights, training=True)
    with pytest.raises(TypeError, match=r"^LSTMCache: .*restore_cache"):
        duplicate(cache)
    square = np.eye(3, dtype=np.float32)
    _, _, cache = ops.rnn_forward(x, square, square, training=True)
    with pytest.raises(TypeError, match=r"^RNNCache: .*rnn_forward"):
        duplicate(cache)


# ---------------------------------------------------------------- layers and models

LAYERS = {
    "LSTM": lambda: layers.LSTM(4, return_sequences=True, dropout=0.3, seed=3),
    "stateful": lambda: layers.LSTM(4, return_sequences=True, stateful=True, seed=3),
    "two ways": lambda: layers.LSTM(4, return_sequences=True, bidirectional=True, seed=3),
    "SimpleRNN": lambda: layers.SimpleRNN(4, return_sequences=True, seed=3),
    "Dense": lambda: layers.Dense(4, "tanh", seed=3),
    "Embedding": lambda: layers.Embedding(5, 4, seed=3),
}


def input_of(layer):
    if isinstance(layer, layers.Embedding):
        return np.array([[0, 3, 1], [2, 2, 4]])
    return np.random.default_rng(4).standard_normal((B, T, I)).astype(np.float32)


def passes(layer, x):
    """Return all that a forward and a backward pass give."""
    y = layer.forward(x, training=True)
    layer.backward(np.ones_like(y))
    return [y, *layer.grads.values()]


@EVERY_WAY
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_between_forward_and_backward(make, duplicate):
    """A copy has no pass to go back over; it goes on as the first one does, and apart from it."""
    layer = make()
    x = input_of(layer)
    layer.build(x.shape)
    y = layer.forward(x, training=True)
    made = duplicate(layer)
    assert type(made) is type(layer) and made.get_config() == layer.get_config()
    with pytest.raises(ValueError, match="backward"):
        made.backward(np.ones_like(y))
    layer.backward(np.ones_like(y))
    made = duplicate(layer)
    assert all(map(same_bits, made.grads.values(), layer.grads.values()))
    if duplicate is copy.copy:
        return  # it shares the weights, and what draws random numbers
    assert all(map(same_bits, passes(made, x), passes(layer, x)))
    made.set_weights([w + 1 for w in made.get_weights()])
    assert not any(map(same_bits, made.params.values(), layer.params.values()))


@pytest.mark.parametrize("duplicate", (WAYS["deepcopy"], WAYS["pickle"]))
def test_a_model_trains_on_as_its_copy(duplicate):
    model = Model([layers.LSTM(4, dropout=0.2, input_shape=(None, I)), layers.Dense(1)], seed=0)
    model.compile("adam", "mse")
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((8, T, I)), rng.standard_normal((8, 1))
    model.fit(x, y, batch_size=3, verbose=0)
    made, before = duplicate(model), model.get_weights()
    losses = made.fit(x, y, batch_size=3, epochs=2, verbose=0).history
    assert all(map(same_bits, before, model.get_weights()))
    assert model.fit(x, y, batch_size=3, epochs=2, verbose=0).history == losses
    assert all(map(same_bits, made.get_weights(), model.get_weights()))


def test_parts_of_the_extension_refuse_by_name():
    handle, block = lstmfast.capi.Handle(I, 4, False, True, 1, {}), lstmfast.capi.Block(4)
    for name, one in (("Handle", handle), ("Block", block)):
        for duplicate in (copy.copy, pickle.dumps):
            with pytest.raises(TypeError, match=rf"lstmfast\.capi\.{name}: expected"):
                duplicate(one)
