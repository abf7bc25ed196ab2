"""Random sequences of calls on one lstmfast.keras.LSTM, each beside a fresh keras.layers.LSTM.

`test_walk_keras` runs it for each backend, in a process of its own.
"""

import os
import tempfile
from itertools import chain
from pathlib import Path

import conftest
import keras
import keras_backends
import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from lstmfast.keras import LSTM, accelerate

BACKEND = keras.backend.backend()
# Of an array's largest entry, or of 1. Measured: 1.4e-6.
BAR = 1e-5
# TensorFlow and JAX compile; the long form multiplies by LSTMFAST_WALKS.
SEQUENCES = {"torch": 20, "tensorflow": 6, "jax": 3}[BACKEND] * (conftest.WALKS or 1)
COUNT = {"sequences": 0, "calls": 0}
DTYPES = ["float32"] * 4 + ["mixed_bfloat16"] + ["float64"] * (BACKEND != "jax")
ACTIVATIONS = ("tanh", "sigmoid", "relu", "softsign", "gelu")

flags = st.booleans()
seeds = st.integers(0, 2**16)
OPTIONS = st.fixed_dictionaries(
    {
        "units": st.sampled_from((1, 3, 8, 17)),
        "activation": st.sampled_from(("tanh", *ACTIVATIONS)),
        "recurrent_activation": st.sampled_from(("sigmoid", "sigmoid", "hard_sigmoid", "tanh")),
        "dropout": st.sampled_from((0.0, 0.0, 0.4)),
        "recurrent_dropout": st.sampled_from((0.0, 0.0, 0.0, 0.4)),
        "implementation": st.sampled_from((2, 2, 1)),
        "dtype": st.sampled_from(DTYPES),
        **{
            name: flags
            for name in (
                "return_sequences", "return_state", "go_backwards", "stateful", "use_bias",
                "unit_forget_bias", "zero_output_for_mask",
            )
        },
    }
)  # fmt: skip
MASKS = ("none", "none", "right", "holes", "empty")


class Walk(RuleBasedStateMachine):
    """The layer under test is `self.layer`; what it is held against is made anew every time."""

    @initialize(options=OPTIONS, size=st.integers(1, 4), rows=st.integers(1, 4), seed=seeds)
    def begin(self, options, size, rows, seed):
        COUNT["sequences"] += 1
        self.size, self.rows, self.fits = size, rows, 0
        self.layer = LSTM(**options, seed=seed)
        self.layer.build((rows, 3, size))
        self.draw_weights(seed)

    # ------------------------------------------------------------ calls

    @rule(T=st.integers(1, 5), B=st.integers(1, 5), mask=st.sampled_from(MASKS), state=flags,
          training=flags, seed=seeds)  # fmt: skip
    def call(self, T, B, mask, state, training, seed):
        x, state, mask = self.drawn(T, B, mask, state, seed)
        keywords = {"initial_state": state or None, "mask": mask, "training": training}
        self.compare(lambda layer: _listed(layer(x, **keywords)))

    @rule(T=st.integers(1, 4), B=st.integers(1, 4), mask=st.sampled_from(MASKS), state=flags,
          training=flags, seed=seeds)  # fmt: skip
    def differentiate(self, T, B, mask, state, training, seed):
        stateful = self.layer.stateful and BACKEND != "tensorflow"  # Keras's own raises there
        if stateful or self.layer.dtype_policy.name.startswith("mixed"):
            return
        x, state, mask = self.drawn(T, B, mask, state, seed)
        keywords = {"state": state, "mask": mask, "training": training, "seed": seed}
        self.compare(lambda layer: [*chain(*keras_backends.run(layer, x, **keywords))])

    @precondition(lambda self: self.fits < 1 and not (self.layer.stateful and BACKEND == "torch"))
    @rule(seed=seeds, T=st.integers(1, 3), steps=st.integers(1, 2))
    def fit(self, seed, T, steps):
        self.fits += 1
        x, _, _ = self.drawn(T, self.rows, "none", False, seed)

        def losses(layer):
            inputs = keras.Input(batch_shape=(self.rows, T, self.size), dtype=x.dtype)
            model = keras.Model(inputs, keras.ops.mean(_listed(layer(inputs))[0]))
            model.compile(keras.optimizers.SGD(0.1), lambda _, y: y)
            target = np.zeros((self.rows, 1))
            return [np.array([model.train_on_batch(x, target) for _ in range(steps)])]

        self.compare(losses)

    # ------------------------------------------------------------ changes

    @rule(seed=seeds)
    def draw_weights(self, seed):
        rng, layer = np.random.default_rng(seed), self.layer
        drawn = [rng.standard_normal(w.shape) / 2 for w in layer.trainable_weights]
        for weight, value in zip(layer.trainable_weights, drawn, strict=True):
            weight.assign(value)

    @precondition(lambda self: self.layer.stateful)
    @rule()
    def reset_state(self):
        self.layer.reset_state()

    @rule(how=st.sampled_from(("config", "clone", "file", "accelerate", "weights")))
    def another_with_the_same_weights(self, how):
        old, shape = self.layer, (self.rows, 3, self.size)
        if how == "config":
            self.layer = LSTM.from_config(old.get_config())
            self.layer.build(shape)
        elif how == "accelerate":
            self.layer = self.fresh()
            assert accelerate(self.layer) == [self.layer.path]
        elif how == "weights":
            self.layer.set_weights(self.layer.get_weights())
        else:
            self.layer = _through_a_model(old, shape, how)
        assert type(self.layer) is LSTM
        _copy(self.layer, old)

    # ------------------------------------------------------------ helpers

    def compare(self, done_to):
        """Do it to the layer and to a fresh one of Keras's: same results, same state after it."""
        fresh = self.fresh()
        try:
            wanted = done_to(fresh)
        except Exception as theirs:  # as dropout in training with implementation=1 does
            with pytest.raises(type(theirs)):
                done_to(self.layer)
            # A call that failed leaves its dropout masks in the cell, in Keras's layer likewise.
            self.layer = self.copied_to(LSTM)
            return
        assert_alike(done_to(self.layer), wanted)
        assert_alike(_kept(self.layer), _kept(fresh))

    def fresh(self):
        return self.copied_to(keras.layers.LSTM)

    def copied_to(self, kind):
        # Keras's configuration lacks `implementation`.
        implementation = self.layer.cell.implementation
        layer = kind.from_config({**self.layer.get_config(), "implementation": implementation})
        layer.build((self.rows, 3, self.size))
        _copy(layer, self.layer)
        return layer

    def drawn(self, T, B, mask, state, seed):
        """Return x, the state's list and the mask of a call."""
        COUNT["calls"] += 1
        B = self.rows if self.layer.stateful else B
        rng, dtype = np.random.default_rng(seed), self.layer.compute_dtype
        draw = [rng.standard_normal(s) for s in ((B, T, self.size), *[(B, self.layer.units)] * 2)]
        x, *states = (keras.ops.cast(one.astype("float32"), dtype) for one in draw)
        masks = {
            "none": None,
            "right": np.arange(T) < rng.integers(1, T + 1, (B, 1)),
            "holes": rng.random((B, T)) < 0.6,
            "empty": np.zeros((B, T), bool),
        }
        mask = masks[mask]
        return x, states if state else [], None if mask is None else keras.ops.array(mask)


def _listed(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _kept(layer):
    """What a layer keeps between calls: weights, the state of its seed, its own states."""
    return [*layer.variables, *(layer.states if layer.stateful else ())]


def _copy(layer, other):
    for target, source in zip(_kept(layer), _kept(other), strict=True):
        target.assign(keras.ops.copy(source))  # JAX's trainer gives its arrays away


def _through_a_model(layer, shape, how):
    """Return the layer of a model that was cloned, or written and read."""
    inputs = keras.Input(batch_shape=shape, dtype=layer.compute_dtype)
    model = keras.Model(inputs, layer(inputs))
    if how == "clone":
        return keras.models.clone_model(model).layers[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        model.save(path)
        return keras.saving.load_model(path).layers[1]


def assert_alike(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        a, b = (np.asarray(keras.ops.convert_to_numpy(v), "float64") for v in (one, other))
        assert a.shape == b.shape and str(one.dtype) == str(other.dtype)
        assert np.max(np.abs(a - b)) <= BAR * max(1, np.max(np.abs(b)))


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=SEQUENCES,
    stateful_step_count=12 if BACKEND == "torch" else 8,
    phases=list(Phase) if conftest.WALKS else [Phase.generate],  # to make it smaller takes minutes
)


def test_so_many_sequences_ran():
    print(f"walks on {BACKEND}: {COUNT['sequences']} sequences, {COUNT['calls']} calls")
    assert COUNT["sequences"] >= SEQUENCES
    assert COUNT["calls"] and os.environ["KERAS_BACKEND"] == BACKEND
