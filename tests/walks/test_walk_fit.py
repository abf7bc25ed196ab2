"""Random sequences of fits with callbacks, interrupted and taken up, beside fits left alone."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from stopping import stopped_at
from test_walk_model import NUMBERS, optimizer_configs, state_of, twin

import lstmfast
from lstmfast import LSTM, Dense, Model, callbacks

Y = np.random.default_rng(1).normal(size=(len(NUMBERS), 2))


class Stop(Exception):
    pass


def stops(batches):
    """Return a callback that raises after so many batches."""
    left = iter(range(batches))

    def end(batch, logs):
        if next(left, None) is None:
            raise Stop

    return callbacks.LambdaCallback(on_train_batch_end=end)


callbacks_drawn = st.lists(
    st.sampled_from(["stop", "reduce", "schedule", "save", "table"]), max_size=3
)


class FitWalk(RuleBasedStateMachine):
    @initialize(dropout=st.sampled_from([0.0, 0.3]), stateful=st.booleans(),
                dtype=st.sampled_from(["float32", "float64"]),
                optimizer=optimizer_configs)  # fmt: skip
    def start(self, dropout, stateful, dtype, optimizer):
        lstm = LSTM(3, input_shape=(None, NUMBERS.shape[2]), stateful=stateful, dropout=dropout)
        self.model = Model([lstm, Dense(2)], seed=0, dtype=dtype)
        self.model.compile(optimizer, "mse")
        self.stateful = stateful
        self.temporary = tempfile.TemporaryDirectory()
        self.folder, self.count = Path(self.temporary.name), 0

    def new_folder(self):
        self.count += 1
        found = self.folder / str(self.count)
        found.mkdir()
        return found

    def made(self, kinds, folder):
        """Return new callbacks of these kinds."""
        ways = {
            "stop": lambda: callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True),
            "reduce": lambda: callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.9),
            "schedule": lambda: callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
            "save": lambda: callbacks.ModelCheckpoint(folder / "{epoch}-{loss}"),
            "table": lambda: callbacks.CSVLogger(folder / "table"),
        }
        return [ways[kind]() for kind in kinds]

    def how(self, draw):
        return {"batch_size": 4, "shuffle": not self.stateful, "verbose": 0, **draw}

    @rule(kinds=callbacks_drawn, epochs=st.integers(1, 4),
          every=st.sampled_from(["epoch", 1, 2, 3]), steps=st.sampled_from([None, 1, 3]),
          moment=st.integers(0, 8),
          event=st.sampled_from([None, None, 700, 1500, 2600, 3900]), twice=st.booleans(),
          validated=st.booleans())  # fmt: skip
    def interrupted(self, kinds, epochs, every, steps, moment, event, twice, validated):
        """A fit that is stopped, and taken up by fresh objects, ends as one that was not."""
        how = self.how({"epochs": epochs, "steps_per_epoch": steps})
        if validated:
            how["validation_data"] = (NUMBERS[:4], Y[:4])
        alone, whole = twin(self.model), self.new_folder()
        expected = alone.fit(NUMBERS, Y, callbacks=self.made(kinds, whole), **how)
        folder = self.new_folder()
        backup = callbacks.BackupAndRestore(folder / "backup", save_freq=every)
        for _ in range(1 + twice):
            other = twin(self.model)
            given = [*self.made(kinds, folder), backup, stops(moment)]
            if event is None:
                with suppress(Stop):
                    other.fit(NUMBERS, Y, callbacks=given, **how)
            else:
                stopped_at(event, other.fit, NUMBERS, Y, callbacks=given[:-1], **how)
            if (folder / "backup" / "backup.lstm").exists():
                lstmfast.load(folder / "backup" / "backup.lstm")
        again = twin(self.model)
        found = again.fit(NUMBERS, Y, callbacks=[*self.made(kinds, folder), backup], **how)
        assert found.history == expected.history and found.epoch == expected.epoch
        assert state_of(again) == state_of(alone)
        assert again.optimizer.learning_rate == alone.optimizer.learning_rate
        assert self.files(folder) == self.files(whole)
        self.model = again

    def files(self, folder):
        """Return names and contents; of models their weights."""
        found = {}
        for path in folder.iterdir():
            kept = path.read_bytes() if path.name == "table" else state_of(lstmfast.load(path))
            found[path.name] = kept
        return found

    @rule(kinds=callbacks_drawn, epochs=st.integers(1, 3))
    def fit(self, kinds, epochs):
        other = twin(self.model)
        how = self.how({"epochs": epochs})
        one, two = self.new_folder(), self.new_folder()
        expected = other.fit(NUMBERS, Y, callbacks=self.made(kinds, one), **how)
        found = self.model.fit(NUMBERS, Y, callbacks=self.made(kinds, two), **how)
        assert found.history == expected.history and self.model.history is found
        assert state_of(other) == state_of(self.model)

    @rule(moment=st.integers(0, 3))
    def left(self, moment):
        """A fit that is stopped and not taken up leaves whole steps."""
        other, how = twin(self.model), self.how({"shuffle": False})
        with suppress(Stop):
            self.model.fit(NUMBERS, Y, callbacks=[stops(moment)], **how)
        for at in (0, 4)[: moment + 1]:
            other.train_on_batch(NUMBERS[at : at + 4], Y[at : at + 4])
        assert state_of(other) == state_of(self.model)

    @rule()
    def evaluate_and_predict(self):
        other, seen = twin(self.model), []
        told = callbacks.LambdaCallback(on_test_end=seen.append)
        expected = other.evaluate(NUMBERS, Y, 4)
        assert self.model.evaluate(NUMBERS, Y, 4, callbacks=[told]) == expected
        assert seen == [{"loss": expected}]
        np.testing.assert_array_equal(self.model.predict(NUMBERS, 4), other.predict(NUMBERS, 4))
        assert state_of(other) == state_of(self.model)

    @rule(weights=st.booleans())
    def saved(self, weights):
        path = self.new_folder() / "m"
        if weights:
            self.model.save_weights(path)
            other = twin(self.model)
            other.load_weights(path)
            assert state_of(other) == state_of(self.model)
        else:
            self.model.save(path)
            found = lstmfast.load(path)
            found.layers[0]._state = self.model.layers[0]._state
            assert state_of(found) == state_of(self.model)

    def teardown(self):
        if hasattr(self, "temporary"):
            self.temporary.cleanup()


TestFitWalk = FitWalk.TestCase
