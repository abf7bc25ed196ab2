"""Random sequences of fit, evaluate and predict on data of every kind, beside those on arrays."""

import threading
import warnings

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_walk_model import NUMBERS, optimizer_configs, state_of, twin

from lstmfast import LSTM, Dense, Model, callbacks, data

Y = np.random.default_rng(1).normal(size=(len(NUMBERS), 2))
SIZE = 3
COUNT = -(-len(NUMBERS) // SIZE)
KINDS = st.sampled_from(["numbered", "anew", "generator", "prefetch", "file"])


class Numbered:
    def __len__(self):
        return COUNT

    def __getitem__(self, n):
        rows = slice(SIZE * n, SIZE * n + SIZE)
        return NUMBERS[rows], Y[rows]


class Anew:
    def __iter__(self):
        return (Numbered()[n] for n in range(COUNT))


def endless():
    while True:
        yield from Anew()


def source(kind):
    made = {"numbered": Numbered, "anew": Anew, "generator": endless}
    return data.prefetch(endless()) if kind == "prefetch" else made[kind]()


class DataWalk(RuleBasedStateMachine):
    @initialize(dropout=st.sampled_from([0.0, 0.3]), optimizer=optimizer_configs,
                dtype=st.sampled_from(["float32", "float64"]))  # fmt: skip
    def start(self, dropout, optimizer, dtype):
        lstm = LSTM(3, input_shape=(None, NUMBERS.shape[2]), dropout=dropout)
        self.model = Model([lstm, Dense(2)], seed=0, dtype=dtype)
        self.model.compile(optimizer, "mse")

    def given(self, kind, parts=2):
        """Return arguments, and for data without an end how much of it to take."""
        if kind == "file":
            arrays = [array.view(np.memmap) for array in (NUMBERS, Y)]
            return arrays[:parts], {"batch_size": SIZE}, {}
        steps = {"steps": COUNT} if kind in ("generator", "prefetch") else {}
        return [source(kind)], {}, steps

    @rule(kind=KINDS, epochs=st.integers(1, 3), steps=st.sampled_from([None, 1, COUNT, COUNT + 2]),
          held_out=st.sampled_from([None, "numbered", "anew", "generator"]),
          stop=st.integers(0, 6))  # fmt: skip
    def fit(self, kind, epochs, steps, held_out, stop):
        other = twin(self.model)
        arrays, size, endless_steps = self.given(kind)
        steps = steps or endless_steps.get("steps")
        how = {"epochs": epochs, "shuffle": False, "verbose": 0, "steps_per_epoch": steps}
        theirs = {} if held_out is None else {"validation_data": (NUMBERS, Y)}
        ours = {} if held_out is None else {"validation_data": source(held_out)}
        ours |= {"validation_steps": COUNT} if held_out == "generator" else {}
        expected = other.fit(
            NUMBERS, Y, SIZE, callbacks=[stops(stop)], validation_batch_size=SIZE, **theirs, **how
        )
        found = self.model.fit(*arrays, **size, callbacks=[stops(stop)], **ours, **how)
        assert found.history == expected.history
        assert state_of(other) == state_of(self.model)

    @rule(kind=KINDS)
    def evaluate(self, kind):
        arrays, size, steps = self.given(kind)
        other = twin(self.model)
        assert self.model.evaluate(*arrays, **size, **steps) == other.evaluate(NUMBERS, Y, SIZE)
        assert state_of(other) == state_of(self.model)

    @rule(kind=KINDS, most=st.sampled_from([None, 1, 2]))
    def predict(self, kind, most):
        arrays, size, steps = self.given(kind, 1)
        steps = steps if most is None else {"steps": most}
        wanted = twin(self.model).predict(NUMBERS, SIZE, steps=most)
        np.testing.assert_array_equal(self.model.predict(*arrays, **size, **steps), wanted)

    @rule(n=st.integers(0, COUNT - 1), kind=st.sampled_from(["numbered", "anew", "generator"]))
    def fails(self, n, kind):
        """A batch that does not fit: the steps before it were taken, and no other."""
        items = [*Anew()][:n]

        def bad():
            yield from items
            yield NUMBERS[:2, :, :1], Y[:2]

        other = twin(self.model)
        for x, y in items:
            other.train_on_batch(x, y)
        members = {
            "numbered": {"__len__": lambda one: n + 1, "__getitem__": lambda one, k: [*bad()][k]},
            "anew": {"__iter__": lambda one: bad()},
        }
        given = bad() if kind == "generator" else type("Bad", (), members[kind])()
        try:
            self.model.fit(given, shuffle=False, verbose=0)
            raise AssertionError("expected an error")
        except ValueError as error:
            assert str(error).startswith(f"batch {n}: x: expected")
        assert state_of(other) == state_of(self.model)

    @invariant()
    def no_thread_is_left(self):
        left = [one for one in threading.enumerate() if one.name == "lstmfast-prefetch"]
        assert left == []


def stops(batches):
    """Return a callback that ends the training after so many batches."""
    left = iter(range(batches))

    def end(batch, logs):
        if next(left, None) is None:
            made.model.stop_training = True

    made = callbacks.LambdaCallback(on_train_batch_end=end)
    return made


warnings.filterwarnings("ignore", "x: no batches are left")
TestDataWalk = DataWalk.TestCase
