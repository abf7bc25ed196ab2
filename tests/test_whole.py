"""A step is whole or did not happen, whatever exception comes, wherever it comes."""

import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from agreement import same_bits
from stopping import PACKAGE, stopped_at

import lstmfast
from lstmfast import LSTM, SGD, Adam, Dense, Model, optimizers
from lstmfast.whole import held

sys.path.append(str(Path(__file__).parent / "trust"))
import interrupts
from interrupts import KINDS, X, Y, compiled, state_of


def events_of(call, stride):
    """Return every so-many-th event of a call, and each of the last, where it changes things."""
    count = 0

    def trace(frame, what, value):
        nonlocal count
        inside = frame.f_code.co_filename.startswith(PACKAGE)
        count += inside
        return trace if inside else None

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    assert count > 50
    return [*range(0, count - 120, stride), *range(max(0, count - 120), count)]


def rebuilt(kind, steps):
    model = compiled(kind)
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("steps", [0, 1])
def test_an_exception_at_any_line_of_a_step_leaves_a_whole_one(kind, steps, tmp_path):
    whole = [state_of(rebuilt(kind, steps + more)) for more in range(3)]
    other, model, seen = rebuilt(kind, steps), rebuilt(kind, steps), {0: 0, 1: 0}
    events = events_of(lambda: other.train_on_batch(X, Y), 41)
    for event in events:
        if not stopped_at(event, model.train_on_batch, X, Y):
            break
        found = whole.index(state_of(model))  # fails if it is no whole step
        seen[found] += 1
        if seen[found] == 1:
            model.save(tmp_path / "model")
            lstmfast.load(tmp_path / "model")
        model = rebuilt(kind, steps) if found else model
    assert min(seen.values()) > 3
    assert whole.index(state_of(model)) in (0, 1)
    model = rebuilt(kind, steps)
    stopped_at(events[-60], lambda: model.train_on_batch(X, Y))
    for more in (1, 2):
        if whole.index(state_of(model)) < more:
            model.train_on_batch(X, Y)
    assert whole.index(state_of(model)) == 2


def two_states():
    first = LSTM(4, input_shape=(None, 3), stateful=True, dropout=0.3, return_sequences=True)
    return Model([first, LSTM(3, stateful=True), Dense(2)], seed=6), SGD(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("what", ["fit", "evaluate", "predict", "gradients"])
def test_states_and_generator_go_on_by_whole_batches(what):
    kind, arguments = two_states, (X,) if what == "predict" else (X, Y)
    keywords = {"verbose": 0, "shuffle": False, "batch_size": 8} if what == "fit" else {}
    reference = rebuilt(kind, 1)
    before = state_of(reference)
    getattr(reference, what)(*arguments, **keywords)
    after, model = state_of(reference), rebuilt(kind, 1)
    other = rebuilt(kind, 1)
    for event in events_of(lambda: getattr(other, what)(*arguments, **keywords), 11):
        stopped_at(event, getattr(model, what), *arguments, **keywords)
        found = state_of(model)
        assert found in (before, after)
        model = model if found == before else rebuilt(kind, 1)


def test_signals_at_random_moments():
    """The short form of tests/trust/interrupts.py."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert interrupts.faults(16, 3) == []
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- the optimizers themselves


def some_arrays(dtype="f4"):
    return [np.full(shape, 1.0, dtype) for shape in [(3,), (2, 2), (4,)]]


@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, 0.9), Adam])
def test_apply_is_whole_by_itself_and_counts_what_it_did(make):
    event, reached = 0, set()
    while True:
        params, optimizer = some_arrays(), make()
        raised = stopped_at(event, lambda p=params, o=optimizer: o.apply(p, some_arrays()))
        steps = optimizer.iterations
        reached.add(steps)
        assert bool(optimizer.slots) == bool(steps and optimizer.slot_names)
        expected, other = some_arrays(), make()
        if steps:
            other.apply(expected, some_arrays())
        for found, wanted in zip(params, expected, strict=True):
            same_bits(found, wanted)
        if not raised:
            break
        event += 1
    assert reached == {0, 1}


class Third(Adam):
    """An optimizer of the user's own that fails at the third array."""

    def _update(self, index, w, g):
        if index == 2:
            raise MemoryError
        super()._update(index, w, g)


def test_an_optimizer_of_ones_own_is_undone():
    params, optimizer = some_arrays(), Third()
    with pytest.raises(MemoryError):
        optimizer.apply(params, some_arrays())
    assert optimizer.iterations == 0 and optimizer.slots == {}
    for found, wanted in zip(params, some_arrays(), strict=True):
        same_bits(found, wanted)


@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, 0.9, True), lambda: Adam(0.1)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_one_call_for_all_arrays_has_the_bits_of_one_for_each(make, dtype):
    rng = np.random.default_rng(0)
    shapes = [(3,), (0,), (200, 70), (1,)]
    first = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    second = [w.copy() for w in first]
    at_once, one_by_one = make(), make()
    for _ in range(3):
        grads = [rng.normal(size=shape).astype(dtype) for shape in shapes]
        at_once.apply(first, grads)
        slots = one_by_one.slots or one_by_one._first_slots(second)
        kept = {name: [a for a in of if a.size] for name, of in slots.items()}
        one_by_one._update_all([w for w in second if w.size], [g for g in grads if g.size], kept)
    for found, wanted in zip(first, second, strict=True):
        same_bits(found, wanted)


def test_arrays_of_both_dtypes_take_a_step_together():
    params, grads = [np.ones(3, "f4"), np.ones(3)], [np.ones(3, "f4"), np.ones(3)]
    SGD(0.5).apply(params, grads)
    assert [w.tolist() for w in params] == [[0.5] * 3] * 2


def test_numbers_that_the_weights_dtype_cannot_hold_are_refused():
    w = [np.ones(3, "f4")]
    for optimizer, name in ((SGD(1e39), "learning_rate"), (Adam(epsilon=1e-50), "epsilon")):
        with pytest.raises(ValueError, match=f"^{name}: expected a number that float32 can hold"):
            optimizer.apply(w, [np.zeros(3, "f4")])
        assert optimizer.iterations == 0 and not optimizer.slots and (w[0] == 1.0).all()
        optimizer.apply([np.ones(3)], [np.zeros(3)])
    optimizer = Adam()
    for count in (10**400, -1, 0.5, None):
        optimizer.iterations = count
        with pytest.raises(ValueError, match=r"^iterations: expected an integer"):
            optimizer.apply(w, [np.zeros(3, "f4")])
        assert (w[0] == 1.0).all() and not optimizer.slots
    SGD(0.0).apply(w, w)
    SGD(1e-45).apply(w, [np.ones(3, "f4")])


# ---------------------------------------------------------------- rules of the user's own


class Failing(Dense):
    """A layer whose rule fails after it has changed one weight."""

    fails = True

    def constrain(self):
        self.params["kernel"][...] = 7.0
        if self.fails:
            raise RuntimeError("no")


def test_a_constraint_that_fails_undoes_the_step():
    layer = Failing(2, input_shape=(3,), seed=0)
    model = Model([layer], seed=0)
    model.compile(Adam(), "mse")
    x, before = X[:, 0], model.get_weights()
    for call in (model.train_on_batch, lambda x, y: model.fit(x, y, verbose=0)):
        with pytest.raises(RuntimeError):
            call(x, Y)
        assert model.optimizer.iterations == 0 and model.optimizer.slots == {}
        for found, wanted in zip(model.get_weights(), before, strict=True):
            same_bits(found, wanted)
    weights = model.get_weights()
    with pytest.raises(RuntimeError):
        model.constrain()
    for found, wanted in zip(model.get_weights(), weights, strict=True):
        same_bits(found, wanted)
    layer.fails = False
    model.train_on_batch(x, Y)
    assert model.optimizer.iterations == 1 and (layer.params["kernel"] == 7.0).all()


def test_a_penalty_that_fails_leaves_all_as_it_was(monkeypatch):
    model = compiled(interrupts.constrained)
    before = state_of(model)
    monkeypatch.setattr(type(model.layers[0].kernel_regularizer), "gradient", None)
    with pytest.raises(TypeError):
        model.train_on_batch(X, Y)
    assert state_of(model) == before
    monkeypatch.undo()
    model.train_on_batch(X, Y)


# ---------------------------------------------------------------- weights, building, files


def test_the_first_batch_builds_the_model():
    model = Model([LSTM(3), Dense(2)], seed=0)
    model.compile("adam", "mse")
    assert np.isfinite(model.train_on_batch(X, Y)) and model.optimizer.iterations == 1


def test_weights_are_set_all_or_none():
    model, event = compiled(interrupts.plain), 0
    old, new = ([(w + by).tolist() for w in model.get_weights()] for by in (0, 1))
    while True:
        raised = stopped_at(event, lambda: model.set_weights(new))
        found = [w.tolist() for w in model.get_weights()]
        assert found in (old, new)
        if not raised:
            break
        event += 1
    assert found == new


def test_building_again_after_an_exception_draws_the_same_weights():
    def made():
        return Model([LSTM(4), Dense(3), Dense(2)], seed=5)

    reference, model, event = made(), made(), 0
    reference.build((None, None, 3))
    while stopped_at(event, lambda: model.build((None, None, 3))):
        if model.built:
            break
        assert not any(layer.built for layer in model.layers)
        event += 3
    for found, wanted in zip(model.get_weights(), reference.get_weights(), strict=True):
        same_bits(found, wanted)


def test_what_would_not_load_is_not_saved(tmp_path):
    path, model = tmp_path / "model", compiled(interrupts.plain)
    model.save(path)
    before = path.read_bytes()
    model.optimizer.iterations = 3
    with pytest.raises(ValueError, match=r"^optimizer: expected the slots \['momentum', 'velo"):
        model.save(path)
    other = optimizers.Adam()
    other.apply([np.ones(3, "f4")], [np.ones(3, "f4")])
    model.compile(other, "mse")
    with pytest.raises(ValueError, match=r"^optimizer: expected the slots .* of this model's"):
        model.save(path)
    assert path.read_bytes() == before
    model.save(path, include_optimizer=False)
    lstmfast.load(path)


# ---------------------------------------------------------------- signals


def test_signals_are_held_and_then_answered_as_they_would_have_been():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = []
        with pytest.raises(KeyboardInterrupt), held():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")
        assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        own = lambda number, frame: done.append(number)  # noqa: E731
        signal.signal(signal.SIGINT, own)
        with held():
            signal.raise_signal(signal.SIGINT)
            assert done == ["whole"]
        assert done == ["whole", signal.SIGINT] and signal.getsignal(signal.SIGINT) is own
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_trains_and_handlers_stay():
    before, model = signal.getsignal(signal.SIGINT), compiled(interrupts.noisy)

    def train():
        with held():
            model.train_on_batch(X, Y)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert model.optimizer.iterations == 1 and signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of POSIX")
def test_a_handler_of_ones_own_that_raises_ends_a_fit_between_steps():
    def late(number, frame):
        raise TimeoutError

    before, model = signal.signal(signal.SIGALRM, late), compiled(interrupts.plain)
    undisturbed = interrupts.Undisturbed(interrupts.plain)
    try:
        for wait in (0.002, 0.005, 0.011):
            signal.setitimer(signal.ITIMER_REAL, wait)
            with pytest.raises(TimeoutError):
                model.fit(X, Y, epochs=10**9, batch_size=8, shuffle=False, verbose=0)
            assert state_of(model) == undisturbed.after(model.optimizer.iterations)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert model.optimizer.iterations
