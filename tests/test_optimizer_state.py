"""Optimizers' state and settings: kept, copied, interrupted, changed between steps, refused."""

import copy
import json
import pickle
import random

import numpy as np
import pytest
from agreement import assert_all_equal
from stopping import stopped_at

import lstmfast
from lstmfast import Dense, Embedding, Model, optimizers
from lstmfast.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    RMSprop,
    RowGradient,
    schedules,
)

SHAPES = [(3, 4), (5,), (2, 2)]
RATE = schedules.CosineDecay(0.0, 9, 0.5, warmup_target=0.25, warmup_steps=3)
EVERYTHING = {
    "weight_decay": 0.1, "clipnorm": 1.0, "use_ema": True, "ema_momentum": 0.8,
    "ema_overwrite_frequency": 3, "gradient_accumulation_steps": 2, "name": "mine", "lazy": True,
}  # fmt: skip
FULL = [
    lambda: SGD(RATE, 0.9, True, **EVERYTHING),
    lambda: Adam(RATE, amsgrad=True, **EVERYTHING),
    lambda: AdamW(RATE, **EVERYTHING),
    lambda: RMSprop(RATE, 0.8, 0.5, centered=True, **EVERYTHING),
    lambda: Adagrad(RATE, 0.5, **EVERYTHING),
    lambda: Nadam(RATE, **EVERYTHING),
    *(
        lambda made=made: made(RATE, **{**EVERYTHING, "lazy": False})
        for made in (Adadelta, Adamax, Lion)
    ),
]
PLAIN = [SGD, Adam, AdamW, RMSprop, Adagrad, Nadam, Adadelta, Adamax, Lion]
MAKES = pytest.mark.parametrize("make", [*FULL, *PLAIN])


def draw(seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES]


def run(optimizer, params, steps):
    for step in steps:
        optimizer.apply(params, draw(step))
    return params


def state(optimizer, params):
    slots = [(name, [s.tobytes() for s in kept]) for name, kept in sorted(optimizer.slots.items())]
    return optimizer.iterations, slots, [w.tobytes() for w in params]


# ---------------------------------------------------------------- kept and copied


@MAKES
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=("deep", "pickle"),
)
def test_a_copy_goes_on_with_the_same_bits(make, duplicate):
    optimizer = make()
    params = run(optimizer, draw(99), range(3))
    other, theirs = duplicate((optimizer, params))
    run(optimizer, params, range(3, 7))
    assert state(other, theirs) != state(optimizer, params)
    run(other, theirs, range(3, 7))
    assert state(other, theirs) == state(optimizer, params)


@MAKES
def test_config_and_state_are_all(make):
    optimizer = make()
    params = run(optimizer, draw(99), range(3))
    config = json.loads(json.dumps(optimizer.get_config()))
    twin = optimizers.get(config)
    assert type(twin) is type(optimizer) and twin.get_config() == optimizer.get_config()
    assert type(optimizer).from_config(config).get_config() == optimizer.get_config()
    slots = {name: [slot.copy() for slot in kept] for name, kept in optimizer.slots.items()}
    twin.restore(optimizer.iterations, slots)
    theirs = [w.copy() for w in params]
    run(optimizer, params, range(3, 7))
    assert state(twin, run(twin, theirs, range(3, 7))) == state(optimizer, params)


@pytest.mark.parametrize("make", FULL)
def test_a_model_is_saved_with_it(make, tmp_path):
    x, y = np.arange(12).reshape(4, 3), np.ones((4, 3, 2))

    def trained(model, steps):
        for _ in range(steps):
            model.train_on_batch(x, y)
        return model.get_weights()

    model = Model([Embedding(12, 3), Dense(2)], seed=0, dtype="float64")
    model.compile(make(), "mse")
    trained(model, 3)
    model.save(tmp_path / "model.safetensors")
    other = lstmfast.load(tmp_path / "model.safetensors")
    assert_all_equal(trained(other, 4), trained(model, 4))
    assert other.optimizer.get_config() == model.optimizer.get_config()


def test_a_config_of_another_class_is_refused():
    with pytest.raises(ValueError, match=r"^optimizer: class: expected one of 'Adam', got 'SGD'"):
        Adam.from_config(SGD().get_config())
    with pytest.raises(ValueError, match=r"^optimizer: AdamW has no argument \['momentum'\]"):
        AdamW.from_config({"momentum": 0.5})


# ---------------------------------------------------------------- whole steps


@pytest.mark.parametrize("make", [*FULL, lambda: Adam(lazy=True)])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_step_is_whole_wherever_it_stops(make, steps):
    """A step that adds gradients up, and one that changes weights; with rows of a table, too."""
    rows = RowGradient(np.array([0, 2]), np.ones((2, 4)), (3, 4))

    def begun():
        optimizer = make()
        return optimizer, run(optimizer, draw(99), range(steps))

    def step(optimizer, params):
        optimizer.apply(params, [copy.deepcopy(rows), *draw(steps)[1:]])

    optimizer, params = begun()
    before = state(optimizer, params)
    step(optimizer, params)
    after, seen, event = state(optimizer, params), set(), 0
    while True:
        optimizer, params = begun()
        raised = stopped_at(event, step, optimizer, params)
        found = state(optimizer, params)
        assert found in (before, after), event
        seen.add(found == after)
        if not raised:
            break
        event += 3 if event < 300 else 1
    assert seen == {False, True}


class Halved(Adam):
    """An optimizer of the user's own, with an update of its own."""

    def _update(self, index, w, g):
        super()._update(index, w, g * 0.5)


def test_an_optimizer_of_ones_own_has_all_options():
    for options in ({}, EVERYTHING | {"clipnorm": None}):
        own, ours = Halved(0.1, **options), Adam(0.1, **options)
        mine, theirs = draw(99), draw(99)
        for step in range(6):
            own.apply(mine, draw(step))
            ours.apply(theirs, [g * 0.5 for g in draw(step)])
        for found, wanted in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)
    own.apply(mine, [RowGradient(np.array([1]), np.ones((1, 4)), (3, 4)), *draw(0)[1:]])


@pytest.mark.parametrize("make", FULL)
def test_one_by_one_has_the_bits_of_all_at_once(make):
    at_once, one_by_one = make(), make()
    first, second = draw(99), draw(99)
    one_by_one._has_kernel = lambda: False
    run(at_once, first, range(6))
    run(one_by_one, second, range(6))
    assert state(at_once, first) == state(one_by_one, second)


# ---------------------------------------------------------------- random sequences


@pytest.mark.parametrize("seed", range(12))
def test_random_sequences_against_a_fresh_object(seed):
    """After each change of the rate, or a copy, a fresh one of the same state goes on as well."""
    rng = random.Random(seed)
    optimizer, params = rng.choice([*FULL, *PLAIN])(), draw(99)
    for step in range(25):
        what = rng.random()
        if what < 0.2 and not isinstance(optimizer._learning_rate, schedules.LearningRateSchedule):
            optimizer.learning_rate = rng.random()
        elif what < 0.3:
            optimizer.learning_rate = schedules.InverseTimeDecay(rng.random(), 3, 0.5)
        elif what < 0.5:
            fresh = optimizers.get(json.loads(json.dumps(optimizer.get_config())))
            slots = {n: [s.copy() for s in kept] for n, kept in optimizer.slots.items()}
            fresh.restore(optimizer.iterations, slots)
            theirs = [w.copy() for w in params]
            run(optimizer, params, [step])
            run(fresh, theirs, [step])
            assert state(fresh, theirs) == state(optimizer, params)
            optimizer, params = fresh, theirs
        else:
            run(optimizer, params, [step])
    assert all(np.isfinite(w).all() for w in params) and optimizer.iterations > 5


# ---------------------------------------------------------------- the learning rate


def test_the_rate_is_read_and_set():
    optimizer, w = SGD(schedules.ExponentialDecay(1.0, 1, 0.5)), np.zeros(1)
    found = []
    for _ in range(3):
        found.append(optimizer.learning_rate)
        optimizer.apply([w], [np.ones(1)])
    assert found == [1.0, 0.5, 0.25] and w[0] == -1.75
    with pytest.raises(ValueError, match=r"^learning_rate: .* in place of the ExponentialDecay"):
        optimizer.learning_rate = 0.1
    optimizer.learning_rate = lambda: 3.0
    assert optimizer.learning_rate == 3.0
    with pytest.raises(ValueError, match=r"^learning_rate: expected a number, or one of our"):
        optimizer.get_config()
    optimizer.learning_rate = 0.5
    assert optimizer.get_config()["learning_rate"] == 0.5


@pytest.mark.parametrize("bad", [float("nan"), -1.0, "fast", None, float("inf")])
def test_a_rate_that_is_no_number_stops_the_step_before_it(bad):
    class Own(schedules.LearningRateSchedule):
        def __call__(self, step):
            return bad

    for rate in (Own(), lambda: bad):
        optimizer, params = Adam(rate), draw(99)
        with pytest.raises(ValueError, match=r"^learning_rate: expected a finite number"):
            optimizer.apply(params, draw(0))
        assert optimizer.iterations == 0 and not optimizer.slots
        assert_all_equal(params, draw(99))
        with pytest.raises(ValueError, match="learning_rate"):
            optimizer.get_config()


def test_a_schedules_config_makes_it_anew():
    for made in schedules.CLASSES.values():
        arguments = ([3, 5], [0.5, 0.25, 0.125]) if "Piece" in made.__name__ else (0.5, 4)
        if made in (schedules.ExponentialDecay, schedules.InverseTimeDecay):
            arguments = (*arguments, 0.5)
        schedule = made(*arguments, name="own")
        config = json.loads(json.dumps(schedule.get_config()))
        assert made.from_config(config) == schedule
        assert Adam(config).get_config() == Adam(schedule).get_config()
        assert pickle.loads(pickle.dumps(schedule)) == schedule
    with pytest.raises(ValueError, match=r"^learning_rate: class: expected one of"):
        Adam({"class": "Mine"})


# ---------------------------------------------------------------- averages, decay, refusals


def test_the_average_by_hand():
    optimizer, w = SGD(1.0, use_ema=True, ema_momentum=0.75), np.array([2.0])
    optimizer.finalize_variable_values([w])
    assert w[0] == 2.0
    for _ in range(3):  # w: 1, 0, -1; average: 1, 0.75, 0.3125
        optimizer.apply([w], [np.ones(1)])
    assert w[0] == -1.0 and optimizer.slots["average"][0] == 0.3125
    optimizer.finalize_variable_values([w])
    assert w[0] == 0.3125
    with pytest.raises(ValueError, match=r"^params: expected 1 arrays"):
        optimizer.finalize_variable_values([w, w])


def test_sums_of_gradients_by_hand():
    optimizer, w = SGD(1.0, gradient_accumulation_steps=3, clipvalue=1.5), np.zeros(2)
    found = []
    for step in range(6):
        optimizer.apply([w], [np.array([step + 0.0, 3.0])])
        found.append(w.tolist())
    zero, first = [0.0, 0.0], [-1.0, -1.5]
    assert found == [zero, zero, first, first, first, [-2.5, -3.0]]


def test_a_variance_that_rounding_makes_negative_is_none():
    optimizer, w = RMSprop(0.001, centered=True), np.zeros(64, "f4")
    g = np.random.default_rng(0).normal(size=64).astype("f4") * 1e3
    for _ in range(300):
        optimizer.apply([w], [g.copy()])
    assert np.isfinite(w).all()


def test_nadams_products_do_not_end():
    optimizer = Nadam(beta_1=0.99)
    optimizer.restore(10**9, {name: draw(1) for name in optimizer.slot_names})
    optimizer.slots["velocity"] = [np.abs(v) for v in optimizer.slots["velocity"]]
    assert all(np.isfinite(w).all() for w in run(optimizer, draw(0), range(2)))


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Adam(amsgrad=1), "amsgrad"),
        (lambda: Adam(weight_decay=-0.1), "weight_decay"),
        (lambda: AdamW(weight_decay=None), "weight_decay"),
        (lambda: Adam(use_ema=1), "use_ema"),
        (lambda: Adam(use_ema=True, ema_momentum=1.5), "ema_momentum"),
        (lambda: Adam(ema_overwrite_frequency=0), "ema_overwrite_frequency"),
        (lambda: Adam(gradient_accumulation_steps=1), "gradient_accumulation_steps"),
        (lambda: Adam(loss_scale_factor=2.0), "loss_scale_factor"),
        (lambda: Adam(name=3), "name"),
        (lambda: Adam(lazy=None), "lazy"),
        (lambda: RMSprop(rho=1.5), "rho"),
        (lambda: RMSprop(momentum=-1.0), "momentum"),
        (lambda: RMSprop(epsilon=0.0), "epsilon"),
        (lambda: RMSprop(centered=None), "centered"),
        (lambda: Adagrad(initial_accumulator_value=-0.1), "initial_accumulator_value"),
        (lambda: Adagrad(epsilon=0.0), "epsilon"),
        (lambda: Nadam(beta_1=1.0), "beta_1"),
        (lambda: Adadelta(rho=1.5), "rho"),
        (lambda: Adadelta(epsilon=0.0), "epsilon"),
        (lambda: Adamax(beta_1=1.0), "beta_1"),
        (lambda: Adamax(beta_2=1.0), "beta_2"),
        (lambda: Lion(beta_1=0.0), "beta_1"),
        (lambda: Lion(beta_2=1.5), "beta_2"),
        (lambda: Lion(lazy=True), "lazy"),
        (lambda: schedules.ExponentialDecay(-0.1, 3, 0.5), "initial_learning_rate"),
        (lambda: schedules.ExponentialDecay(0.1, 0, 0.5), "decay_steps"),
        (lambda: schedules.ExponentialDecay(0.1, 3, -0.5), "decay_rate"),
        (lambda: schedules.ExponentialDecay(0.1, 3, 0.5, 1), "staircase"),
        (lambda: schedules.PolynomialDecay(0.1, 3, power=-1), "power"),
        (lambda: schedules.PolynomialDecay(0.1, 3, cycle=0), "cycle"),
        (lambda: schedules.PiecewiseConstantDecay([3, 2], [1, 1, 1]), "boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([3], [1]), "values"),
        (lambda: schedules.PiecewiseConstantDecay(3, [1]), "boundaries"),
        (lambda: schedules.PiecewiseConstantDecay([3], [1, "a"]), r"values\[1\]"),
        (lambda: schedules.CosineDecay(0.1, 3, warmup_target="a"), "warmup_target"),
        (lambda: schedules.CosineDecayRestarts(0.1, 3, 0.5), "t_mul"),
        (lambda: schedules.CosineDecay(0.1, 3, name=3), "name"),
    ],
)
def test_arguments_out_of_range_are_refused(make, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        make()


def test_what_is_spared_is_told_before_the_first_step():
    optimizer, params = AdamW(), draw(99)
    with pytest.raises(ValueError, match=r"^var_list\[0\]: expected an array"):
        optimizer.exclude_from_weight_decay(["bias"])
    with pytest.raises(ValueError, match=r"^var_names: expected regular expressions"):
        optimizer.exclude_from_weight_decay(var_names=["("])
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match=r"^names: expected 3, as .* got None"):
        optimizer.apply(params, draw(0))
    assert optimizer.iterations == 0
    optimizer.apply(params, draw(0), ["kernel", "bias", "other"])
    with pytest.raises(ValueError, match=r"^iterations: expected 0"):
        optimizer.exclude_from_weight_decay()


def test_read_only_gradients_are_not_averaged():
    optimizer, params, grads = SGD(gradient_accumulation_steps=2), draw(99), draw(0)
    for g in grads:
        g.flags.writeable = False
    optimizer.apply(params, grads)
    with pytest.raises(ValueError, match=r"^grads\[0\]: expected a writeable array"):
        optimizer.apply(params, grads)
    assert optimizer.iterations == 1


def test_rarer_optimizers_by_hand():
    for optimizer, wanted in (
        (Lion(0.5), [0.5, 2.5]),
        (Adamax(0.5, epsilon=1e-30), [0.5, 2.5]),
        (Adadelta(1.0, 0.0, 0.25), [1 - 0.5 * 3 / np.sqrt(9.25), 2 + 0.5 / np.sqrt(1.25)]),
    ):
        w = np.array([1.0, 2.0])
        optimizer.apply([w], [np.array([3.0, -1.0])])
        np.testing.assert_allclose(w, wanted, rtol=1e-14)


def test_names_and_configs_of_all():
    for made in PLAIN:
        one = optimizers.get(made.__name__.lower())
        assert type(one) is type(optimizers.get(made.__name__)) is made
        assert type(optimizers.deserialize(optimizers.serialize(one))) is made
    for name in ("ftrl", "lamb", "adafactor", "muon"):
        with pytest.raises(ValueError, match=f"^optimizer: expected one of .*, got '{name}'"):
            optimizers.get(name)


def test_rows_become_dense_for_optimizers_without_kernels():
    dense, w = np.zeros((4, 2)), np.ones((4, 2))
    dense[[1, 3]] = [[1.0, 2.0], [3.0, 4.0]]
    rows = RowGradient(np.array([1, 3]), dense[[1, 3]].copy(), (4, 2))
    for made in (Adadelta, Adamax, Lion):
        one, other = w.copy(), w.copy()
        made(0.1).apply([one], [rows])
        made(0.1).apply([other], [dense])
        assert not made().takes_rows and (one == other).all() and (one != 1).any()
