"""Random sequences of calls on one Model, each beside a fresh Model brought to the same state."""

import copy
import pickle
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from stopping import stopped_at

import lstmfast
from lstmfast import LSTM, Dense, Embedding, Model, SimpleRNN, losses, ops, optimizers

ROWS, STEPS, FEATURES, CLASSES = 8, 3, 2, 3
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(ROWS, STEPS, FEATURES))
IDS = RNG.integers(0, 5, (ROWS, STEPS))

rates = st.sampled_from([0.0, 0.0, 0.3])
rules_of_weights = st.sampled_from([None, None, "max_norm", "unit_norm"])
penalties = st.sampled_from([None, None, "l2", "l1"])
optimizer_configs = st.one_of(
    st.fixed_dictionaries(
        {"class": st.just("SGD"), "learning_rate": st.sampled_from([0.0, 0.01, 0.1]),
         "momentum": st.sampled_from([0.0, 0.9]), "clipnorm": st.sampled_from([None, 0.1])}
    ),
    st.fixed_dictionaries(
        {"class": st.just("Adam"), "learning_rate": st.sampled_from([0.001, 0.1]),
         "global_clipnorm": st.sampled_from([None, 1.0])}
    ),
)  # fmt: skip


@st.composite
def layers(draw):
    """Draw a small chain that ends in (B, CLASSES): configs, as a file has them."""
    made = [Embedding(5, 2, embeddings_constraint=draw(rules_of_weights))] * draw(st.booleans())
    stateful = draw(st.booleans())
    for _ in range(draw(st.integers(0, 1))):
        made.append(LSTM(3, return_sequences=True, bidirectional=draw(st.booleans()),
                         dropout=draw(rates), layer_norm=draw(st.booleans())))  # fmt: skip
    if draw(st.booleans()):
        made.append(SimpleRNN(4, stateful=stateful, kernel_regularizer=draw(penalties)))
    else:
        made.append(LSTM(4, stateful=stateful, peepholes=draw(st.booleans()),
                         recurrent_dropout=draw(rates), zoneout_h=draw(rates),
                         recurrent_constraint=draw(rules_of_weights)))  # fmt: skip
    rules = {"kernel_constraint": draw(rules_of_weights), "bias_regularizer": draw(penalties)}
    made.append(Dense(CLASSES, draw(st.sampled_from(["softmax", None])), **rules))
    return [(type(layer), {**layer.get_config(), "name": None}) for layer in made]


def state_of(model):
    """Return all that calls change, as bytes."""
    kept = model.optimizer.slots
    return pickle.dumps(
        (
            [w.tobytes() for w in model.params],
            model.optimizer.iterations,
            {name: [a.tobytes() for a in kept[name]] for name in sorted(kept)},
            [_bytes(getattr(layer, "state", None)) for layer in model.layers],
            sorted(model.rng.bit_generator.state["state"].items()),
        )
    )


def _bytes(state):
    return None if state is None else np.array(state).tobytes()


def twin(model):
    """Return a fresh model of the same configs, brought to the same state from outside."""
    made = Model(
        [type(layer).from_config(layer.get_config()) for layer in model.layers],
        dtype=model.dtype, name=model.name, seed=model.seed,
    )  # fmt: skip
    made.build(model.input_shape)
    made.set_weights(model.get_weights())
    optimizer = optimizers.get(model.optimizer.get_config())
    slots = {name: [a.copy() for a in kept] for name, kept in model.optimizer.slots.items()}
    optimizer.restore(model.optimizer.iterations, slots)
    made.compile(optimizer, losses.get(model.loss.get_config()), model.metrics)
    made.rng.bit_generator.state = model.rng.bit_generator.state
    for own, other in zip(made.layers, model.layers, strict=True):
        if getattr(other, "_state", None) is not None:
            own._state = copy.deepcopy(other._state)
    return made


class ModelWalk(RuleBasedStateMachine):
    @initialize(chain=layers(), dtype=st.sampled_from(["float32", "float64"]), data=st.data())
    def start(self, chain, dtype, data):
        made = [kind.from_config(config) for kind, config in chain]
        self.model = Model(made, dtype=dtype, seed=data.draw(st.integers(0, 3)))
        ids = made[0].takes_ids
        self.x = IDS if ids else NUMBERS
        self.model.build((None, STEPS) if ids else (None, STEPS, FEATURES))
        self.stateful = any(getattr(layer, "stateful", False) for layer in made)
        self.recompile(data.draw(optimizer_configs), data.draw(st.integers(0, 2)))

    def both(self, call):
        """Do the same to the model and to a fresh one; nothing may differ."""
        other = twin(self.model)
        assert state_of(other) == state_of(self.model)
        expected, found = call(other), call(self.model)
        assert pickle.dumps(expected) == pickle.dumps(found)
        assert state_of(other) == state_of(self.model)
        return found

    @rule(optimizer=optimizer_configs, loss=st.integers(0, 2))
    def recompile(self, optimizer, loss):
        softmax = self.model.layers[-1].activation == "softmax"
        name = ("sparse_categorical_crossentropy", "categorical_crossentropy", "mse")[loss]
        chosen = name if loss == 2 else losses.NAMED[name](from_logits=not softmax)
        self.model.compile(optimizer, chosen, [] if loss == 2 else ["acc"])
        self.y = np.arange(ROWS) % CLASSES if loss == 0 else np.eye(CLASSES)[np.arange(ROWS) % 3]

    @rule(epochs=st.integers(1, 2), size=st.sampled_from([3, 4, 8]), shuffle=st.booleans(),
          validated=st.booleans())  # fmt: skip
    def fit(self, epochs, size, shuffle, validated):
        how = {"epochs": epochs, "verbose": 0, "batch_size": 8 if self.stateful else size,
               "shuffle": shuffle and not self.stateful}  # fmt: skip
        if validated:
            how["validation_data"] = (self.x, self.y)
        history = self.both(lambda model: model.fit(self.x, self.y, **how).history)
        assert np.isfinite(history["loss"]).all()

    @rule(size=st.sampled_from([1, 3, 8]))
    def evaluate(self, size):
        size = 8 if self.stateful else size
        assert np.isfinite(
            self.both(lambda model: model.evaluate(self.x, self.y, batch_size=size))
        ).all()

    @rule(size=st.sampled_from([1, 3, 8]), double=st.booleans())
    def predict(self, size, double):
        x = self.x if self.model.layers[0].takes_ids or double else self.x.astype("f4")
        self.both(lambda model: model.predict(x, batch_size=8 if self.stateful else size))

    @rule()
    def train_on_batch(self):
        self.both(lambda model: model.train_on_batch(self.x, self.y))

    @rule(steps=st.booleans())
    def gradients(self, steps):
        def call(model):
            loss, grads = model.gradients(self.x, self.y)
            if steps:
                model.optimizer.apply(model.params, grads)
                model.constrain()
            return loss, [g.tobytes() for g in grads]

        self.both(call)

    @rule(event=st.integers(0, 2600))
    def stopped_step(self, event):
        other = twin(self.model)
        whole = [state_of(other)]
        other.train_on_batch(self.x, self.y)
        whole.append(state_of(other))
        stopped_at(event, self.model.train_on_batch, self.x, self.y)
        assert state_of(self.model) in whole

    @rule(factor=st.sampled_from([0.5, 1.0, -1.0]))
    def set_weights(self, factor):
        weights = [factor * w for w in self.model.get_weights()]
        self.both(lambda model: model.set_weights(weights))

    @rule(bad=st.sampled_from(["weights", "x", "y", "huge"]))
    def refused(self, bad):
        before = state_of(self.model)
        x = self.x if self.x is IDS else np.full(self.x.shape, np.nan)
        calls = {
            "weights": lambda: self.model.set_weights([*self.model.get_weights()[:-1], [1]]),
            "x": lambda: self.model.fit(x + 10, self.y, verbose=0),
            "y": lambda: self.model.train_on_batch(self.x, self.y[:-1]),
            "huge": lambda: self.model.train_on_batch(
                self.x, np.full(self.y.shape, 10**30, object)
            ),
        }
        try:
            calls[bad]()
        except ValueError:
            assert state_of(self.model) == before
        else:
            raise AssertionError(bad)

    @rule(how=st.sampled_from(["file", "copy", "pickle"]), goes_on=st.booleans())
    def copied(self, how, goes_on):
        before = state_of(self.model)
        if how == "file":
            folder = Path(self.folder())
            self.model.save(folder / "m")
            found = lstmfast.load(folder / "m")
            for own, other in zip(found.layers, self.model.layers, strict=True):
                if getattr(other, "_state", None) is not None:  # which no file keeps
                    own._state = copy.deepcopy(other._state)
        elif how == "copy":
            found = copy.deepcopy(self.model)
        else:
            found = pickle.loads(pickle.dumps(self.model))
        assert state_of(found) == before == state_of(self.model)
        first, second = found.train_on_batch(self.x, self.y), None
        assert state_of(self.model) == before  # nothing is shared
        second = self.model.train_on_batch(self.x, self.y)
        assert first == second and state_of(found) == state_of(self.model)
        if goes_on:
            self.model = found

    def folder(self):
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        return self.temporary.name

    @rule(rate=st.sampled_from([0.0, 0.02]))
    def learning_rate(self, rate):
        self.model.optimizer.learning_rate = rate

    @precondition(lambda self: self.stateful)
    @rule()
    def reset_state(self):
        self.both(lambda model: model.reset_state())

    @rule(count=st.integers(1, 3))
    def threads(self, count):
        ops.set_num_threads(count)

    @rule()
    def to_cpu(self):
        self.both(lambda model: model.to("cpu").device)

    def teardown(self):
        ops.set_num_threads(2)


TestModelWalk = ModelWalk.TestCase
