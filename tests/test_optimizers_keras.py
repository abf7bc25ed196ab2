"""Optimizers and schedules against Keras 3: every option alone, and many together.

Options are numbers that float32 holds exactly: Keras on PyTorch keeps some of them in it, and
calculates norms with it.
"""

import inspect
import random

import numpy as np
import pytest

from lstmfast import optimizers
from lstmfast.optimizers import schedules

SHAPES = [(3, 4), (5,), (2, 3, 2)]
BARS = {"float64": 1e-12, "norms": 1e-6, "float32": 3e-6}
RATE = 0.03125
OWN = {  # options of one alone; each list is tried one by one, and drawn from
    "SGD": {"momentum": [0.0, 0.75], "nesterov": [True]},
    "Adam": {"beta_1": [0.5], "beta_2": [0.75], "epsilon": [1e-3], "amsgrad": [True]},
    "AdamW": {"weight_decay": [0.125], "amsgrad": [True], "epsilon": [1e-2]},
    "RMSprop": {"rho": [0.5], "momentum": [0.75], "epsilon": [1e-3], "centered": [True]},
    "Adagrad": {"initial_accumulator_value": [0.0, 0.5], "epsilon": [1e-3]},
    "Nadam": {"beta_1": [0.5], "beta_2": [0.75], "epsilon": [1e-3]},
    "Adadelta": {"rho": [0.5], "epsilon": [1e-3]},
    "Adamax": {"beta_1": [0.5], "beta_2": [0.75], "epsilon": [1e-3]},
    "Lion": {"beta_1": [0.5], "beta_2": [0.75]},
}
COMMON = {
    "weight_decay": [0.25],
    "clipnorm": [0.5],
    "clipvalue": [0.25],
    "global_clipnorm": [1.0],
    "use_ema": [True],
    "ema_momentum": [0.75],
    "ema_overwrite_frequency": [2, 3],
    "gradient_accumulation_steps": [2, 3],
}
CLIPS = {"clipnorm", "clipvalue", "global_clipnorm"}


def single_options():
    for name, own in OWN.items():
        yield name, {}
        for option, values in (own | COMMON).items():
            for value in values:
                chosen = {option: value}
                if option.startswith("ema"):
                    chosen["use_ema"] = True
                if option == "nesterov":
                    chosen["momentum"] = 0.75
                yield name, chosen


def drawn_options(count):
    rng = random.Random(3)
    for _ in range(count):
        name = rng.choice(sorted(OWN))
        options = {}
        for option, values in (OWN[name] | COMMON).items():
            if rng.random() < 0.5 and not (option in CLIPS and CLIPS & options.keys()):
                options[option] = rng.choice(values)
        if not options.get("momentum"):
            options.pop("nesterov", None)
        yield name, options


def draw(seed, dtype):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def assert_close(found, expected, dtype, bar=None):
    bar = bar or BARS[dtype]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=bar, atol=bar)


def follow(keras, name, options, dtype="float64", steps=6, rates=None):
    """Take the same steps with both; compare weights after each, and after all is done."""
    options = {"learning_rate": RATE, "ema_momentum": 0.5, **options}
    if name == "AdamW":
        options = {"weight_decay": 0.0625, **options}
    ours = getattr(optimizers, name)(**options)
    theirs = getattr(keras.optimizers, name)(**options | (rates or {}))
    params = draw(99, dtype)
    variables = [keras.Variable(w, dtype=dtype) for w in params]
    norms = {"clipnorm", "global_clipnorm"} & options.keys()
    bar = BARS["norms" if norms and dtype == "float64" else dtype]
    for step in range(steps):
        grads = draw(step, dtype)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
        ours.apply(params, grads)
        assert_close(params, [keras.ops.convert_to_numpy(v) for v in variables], dtype, bar)
    theirs.finalize_variable_values(variables)
    ours.finalize_variable_values(params)
    assert_close(params, [keras.ops.convert_to_numpy(v) for v in variables], dtype, bar)
    assert not np.allclose(params[0], draw(99, dtype)[0])


@pytest.mark.parametrize(("name", "options"), list(single_options()), ids=str)
def test_each_option(keras, name, options):
    follow(keras, name, options)


@pytest.mark.parametrize(("name", "options"), list(drawn_options(25)), ids=str)
def test_options_together(keras, name, options):
    follow(keras, name, options)


@pytest.mark.parametrize("name", OWN)
def test_float32(keras, name):
    follow(keras, name, {"weight_decay": 0.25, "global_clipnorm": 1.0}, "float32")


@pytest.mark.parametrize("name", OWN)
def test_arguments_and_defaults_are_keras_own(keras, name):
    ours, theirs = getattr(optimizers, name), getattr(keras.optimizers, name)
    config = theirs().get_config()
    del config["name"]  # Keras counts in it
    rate = config.pop("learning_rate")
    assert ours().learning_rate == pytest.approx(rate, rel=1e-7)
    assert config.items() <= ours().get_config().items()
    wanted = [*inspect.signature(theirs.__init__).parameters][1:-1]  # without self and kwargs
    assert [*wanted, "lazy"] == list(inspect.signature(ours).parameters)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("steps", [None, 2])
def test_a_schedule_follows_the_calls_of_apply(keras, name, steps):
    told = {"initial_learning_rate": 0.25, "decay_steps": 2, "decay_rate": 0.5, "staircase": True}
    ours, theirs = schedules.ExponentialDecay(**told), keras.optimizers.schedules.ExponentialDecay
    options = {"learning_rate": ours, "gradient_accumulation_steps": steps, "weight_decay": 0.25}
    follow(keras, name, options, rates={"learning_rate": theirs(**told)})


def test_a_function_is_asked_for_the_rate(keras):
    follow(keras, "Adam", {"learning_rate": lambda: 0.5})


def test_parameters_can_be_spared_from_the_decay(keras):
    for told in ("list", "names"):
        ours, theirs = optimizers.AdamW(RATE, 0.5), keras.optimizers.AdamW(RATE, 0.5)
        params, names = draw(99, "float64"), ["kernel", "bias", "gamma"]
        variables = [
            keras.Variable(w, dtype="float64", name=n) for w, n in zip(params, names, strict=True)
        ]
        if told == "list":
            ours.exclude_from_weight_decay(var_list=[params[1]])
            theirs.exclude_from_weight_decay(var_list=[variables[1]])
        else:
            ours.exclude_from_weight_decay(var_names=["bi.s", "gam"])
            theirs.exclude_from_weight_decay(var_names=["bi.s", "gam"])
        for step in range(3):
            grads = draw(step, "float64")
            theirs.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
            ours.apply(params, grads, names)
        assert_close(params, [keras.ops.convert_to_numpy(v) for v in variables], "float64")


# ---------------------------------------------------------------- schedules

SCHEDULES = [
    ("ExponentialDecay", (0.25, 10, 0.75), {}),
    ("ExponentialDecay", (0.25, 7, 0.5), {"staircase": True}),
    ("InverseTimeDecay", (0.25, 10, 0.75), {}),
    ("InverseTimeDecay", (0.25, 7, 0.5), {"staircase": True}),
    ("PolynomialDecay", (0.25, 20), {}),
    ("PolynomialDecay", (0.25, 20, 0.0625, 2.0), {}),
    ("PolynomialDecay", (0.25, 20, 0.0625, 0.5, True), {}),
    ("PiecewiseConstantDecay", ([5, 10, 30], [1.0, 0.5, 0.25, 0.125]), {}),
    ("PiecewiseConstantDecay", ([5], [1.0, 0.5]), {}),
    ("CosineDecay", (0.25, 20), {}),
    ("CosineDecay", (0.25, 20, 0.25), {}),
    ("CosineDecay", (0.0, 20), {"warmup_target": 0.5, "warmup_steps": 10}),
    ("CosineDecay", (0.125, 20, 0.25), {"warmup_target": 0.5, "warmup_steps": 3}),
    ("CosineDecay", (0.125, 20), {"warmup_target": 0.5}),
    ("CosineDecayRestarts", (0.25, 8), {}),
    ("CosineDecayRestarts", (0.25, 8, 1.0, 0.5, 0.25), {}),
    ("CosineDecayRestarts", (0.25, 7, 1.5, 0.75, 0.125), {}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES)
def test_schedules(keras, name, arguments, options):
    ours = getattr(schedules, name)(*arguments, **options)
    theirs = getattr(keras.optimizers.schedules, name)(*arguments, **options)
    for step in range(70):
        wanted = float(keras.ops.convert_to_numpy(theirs(step)))
        assert ours(step) == pytest.approx(wanted, rel=2e-6, abs=1e-7), step
    config = {key: value for key, value in ours.get_config().items() if key != "class"}
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()} == (
        theirs.get_config()
    )


def test_a_restart_is_at_its_step():
    """Keras's, in float32, is a step late here, and ends at alpha."""
    rate = schedules.CosineDecayRestarts(0.25, 8, 1.5, alpha=0.125)
    assert [rate(step) for step in (0, 8, 20, 38)] == [0.25] * 4
    assert rate(19.999) == pytest.approx(0.03125, rel=1e-4)
    ten = schedules.CosineDecayRestarts(0.25, 9, 10.0)  # log 1000 / log 10 is less than 3
    assert ten(999) == 0.25 and ten(998) < 1e-6


@pytest.mark.parametrize("name", sorted({name for name, _, _ in SCHEDULES}))
def test_arguments_of_schedules_are_keras_own(keras, name):
    theirs = inspect.signature(getattr(keras.optimizers.schedules, name)).parameters
    ours = inspect.signature(getattr(schedules, name)).parameters
    assert [(p.name, p.default) for p in theirs.values()] == [
        (p.name, p.default) for p in ours.values()
    ]
