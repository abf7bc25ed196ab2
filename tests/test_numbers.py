"""Numbers that are none, or are too large for what they stand for: ValueError, nothing else."""

import inspect
import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lstmfast
from lstmfast import (
    LSTM,
    SGD,
    Adam,
    Dense,
    Embedding,
    Model,
    constraints,
    initializers,
    layers,
    losses,
    ops,
    optimizers,
    regularizers,
)
from lstmfast.ops.options import CellOptions, Noise

HUGE = [10**400, -(10**400), 10**5000]
NO_NUMBERS = [
    *(float("inf"), float("-inf"), float("nan"), np.float64("inf"), np.longdouble("1e4000")),
    *(Decimal(1), Decimal("1e999"), Fraction(1, 2), Fraction(10**400, 3), 1j, "1", b"1"),
    *("x" * 10**6, {}, object(), np.bool_(True), np.array([1, 2]), [10**400], {"class": 10**400}),
]
HOSTILE = [*HUGE, *NO_NUMBERS]
MADE = {
    **layers.CLASSES,
    **optimizers.CLASSES,
    **losses.CLASSES,
    **initializers.CLASSES,
    **regularizers.CLASSES,
    **constraints.CLASSES,
    "CellOptions": CellOptions,
    "Noise": Noise,
}
NEEDED = {
    "units": 3, "input_dim": 3, "output_dim": 2, "activation": "relu", "rate": 0.1, "stddev": 0.1,
    "target_shape": (2,), "dims": (1,), "n": 2, "axes": 1, "layer": LSTM(2), "filters": 2,
    "kernel_size": 2, "key": (), "operator": "add", "fn": np.square, "scale": 2.0,
    "num_heads": 2, "key_dim": 2,
}  # fmt: skip
X = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("f4")
Y = np.zeros((6, 2), "f4")


def refused(call, *arguments, **keywords):
    """Assert that a call raises a ValueError of a readable length; return its text."""
    with pytest.raises(ValueError) as caught:
        call(*arguments, **keywords)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def model():
    found = Model([LSTM(3, input_shape=(None, 3), dropout=0.1), Dense(2)], seed=1)
    found.compile(Adam(clipnorm=1.0), "mse")
    return found


@pytest.mark.parametrize("name", MADE)
def test_constructors_refuse_what_is_no_number_of_theirs(name):
    parameters = inspect.signature(MADE[name]).parameters
    needed = {key: NEEDED[key] for key, p in parameters.items() if p.default is p.empty}
    for key in parameters:
        for value in HOSTILE:
            is_word = key == "name" and isinstance(value, str)
            is_flag = isinstance(value, np.bool_) and isinstance(parameters[key].default, bool)
            takes_arrays = key in ("scale", "offset")  # of Rescaling
            takes_arrays |= key.endswith(("constant", "value", "izer"))
            is_array = isinstance(value, np.ndarray) and takes_arrays
            if not (is_word or is_flag or is_array):
                refused(MADE[name], **{**needed, key: value})


CALLS = {
    "seed": lambda v: Model([Dense(1)], seed=v),
    "build": lambda v: Model([Dense(2)]).build(v),
    "build of a size": lambda v: Model([Dense(2)]).build((None, v)),
    "build of a layer": lambda v: Dense(2).build((None, v)),
    "input_shape": lambda v: Dense(2, input_shape=(v,)),
    "batch_size": lambda v: model().fit(X, Y, batch_size=v, verbose=0),
    "epochs": lambda v: model().fit(X, Y, epochs=v, verbose=0),
    "initial_epoch": lambda v: model().fit(X, Y, initial_epoch=v, verbose=0),
    "verbose": lambda v: model().fit(X, Y, verbose=v),
    "validation_split": lambda v: model().fit(X, Y, validation_split=v, verbose=0),
    "evaluate": lambda v: model().evaluate(X, Y, batch_size=v),
    "predict": lambda v: model().predict(X, batch_size=v),
    "x": lambda v: model().predict(v),
    "y": lambda v: model().train_on_batch(X, v),
    "weights": lambda v: model().set_weights(v),
    "a weight": lambda v: model().set_weights([v] * 5),
    "optimizer": lambda v: model().compile(v, "mse"),
    "loss": lambda v: model().compile("adam", v),
    "metrics": lambda v: model().compile("adam", "mse", v),
    "iterations": lambda v: Adam().restore(v, {}),
    "learning_rate": lambda v: setattr(SGD(), "learning_rate", v),
    "threads": lstmfast.set_num_threads,
    "stream": lambda v: model().layers[0].stream(v),
    "clip_by_value": lambda v: ops.clip_by_value(np.ones(3, "f4"), v),
    "clip_by_norm": lambda v: ops.clip_by_norm([np.ones(3, "f4")], v),
    "scale": lambda v: ops.scale(np.ones(3, "f4"), v),
    "squared_error": lambda v: ops.squared_error(X, X, scale=v),
    "sgd": lambda v: ops.sgd_update(X.copy(), X, None, learning_rate=v),
    "vocabulary": lambda v: ops.embedding_backward(np.array([0]), np.ones((1, 3), "f4"), v),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_refuse_what_is_no_number_of_theirs(name):
    for value in HOSTILE:
        refused(CALLS[name], value)


def test_true_is_no_number_and_numpy_numbers_are_some():
    assert "units: expected an integer >= 1, got True" in refused(Dense, True)
    assert "units: expected an integer <= 9223372036854775807" in refused(Dense, 2**63)
    assert "learning_rate: expected a finite number >= 0.0, got True" in refused(SGD, True)
    assert Dense(np.int64(3)).units == 3
    assert SGD(np.float32(0.5)).learning_rate == 0.5
    assert refused(Dense, np.uint64(2**64 - 1)).startswith("units: expected an integer <= 92233720")


def test_a_seed_may_have_as_many_bits_as_numpys_own():
    seed = 2**128 - 1
    first, second = (Model([Dense(2, input_shape=(3,))], seed=seed) for _ in range(2))
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])


def test_texts_name_what_was_found_in_a_few_words():
    assert refused(Dense, 10**400) == (
        "units: expected an integer <= 9223372036854775807, got an int of 1329 bits"
    )
    assert refused(SGD, "x" * 10**6).endswith("x...")


def numbers_in(config, path=()):
    """Yield the path to each number in a config."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from numbers_in(value, (*path, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, key)


def test_files_refuse_numbers_that_are_too_large(tmp_path):
    table = Embedding(5, 3, embeddings_constraint="max_norm")
    lstm = LSTM(3, clip=1.0, kernel_regularizer="l2")
    model = Model([table, lstm, Dense(2)], seed=1)
    model.compile(SGD(momentum=0.9, clipnorm=1.0), "mse")
    model.fit(np.zeros((2, 4), int), np.ones((2, 2)), verbose=0)
    path, bad = tmp_path / "model", tmp_path / "bad"
    model.save(path)
    with safe_open(path, "numpy") as file:
        config = json.loads(file.metadata()["config"])
    tensors, places = load_file(path), list(numbers_in(config))
    assert len(places) > 20
    for place in places:
        for value in (10**400, -(10**400)):
            changed = json.loads(json.dumps(config))
            *outer, last = place
            inner = changed
            for key in outer:
                inner = inner[key]
            inner[last] = value
            save_file(tensors, bad, {"format": "1", "config": json.dumps(changed)})
            refused(lstmfast.load, bad)
