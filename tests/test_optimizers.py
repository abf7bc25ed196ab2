"""Optimizers: hand-computed steps, torch where the formulas agree, clips, and saved state."""

import numpy as np
import pytest
from agreement import assert_all_equal

from lstmfast import optimizers
from lstmfast.optimizers import SGD, Adam

SHAPES = [(3, 4), (5,), (2, 2)]
TORCH_BAR = 1e-12  # measured: 2e-16


def arrays(seed, dtype="float64"):
    """Return one random array for each of SHAPES."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(dtype) for shape in SHAPES]


def steps(optimizer, count, dtype="float64", first=0):
    """Return parameters that took `count` steps along random gradients."""
    params = arrays(99, dtype)
    for step in range(first, first + count):
        optimizer.apply(params, arrays(step, dtype))
    return params


def test_sgd_by_hand():
    w = np.array([1.0, -2.0])
    g = np.array([0.5, 4.0])
    SGD(0.1).apply([w], [g.copy()])
    np.testing.assert_allclose(w, [0.95, -2.4], rtol=1e-15)


def test_momentum_and_nesterov_by_hand():
    for nesterov, expected in ((False, [0.9, 0.65]), (True, [0.85, 0.525])):
        w = np.array([1.0])
        optimizer = SGD(0.1, momentum=0.5, nesterov=nesterov)
        found = []
        for g in (1.0, 2.0):  # v: -0.1, then -0.25; nesterov: -0.15, then -0.325 in all
            optimizer.apply([w], [np.array([g])])
            found.append(w[0])
        assert optimizer.slots["velocity"][0] == pytest.approx(-0.25)
        assert found == pytest.approx(expected, rel=1e-14)


def test_adam_by_hand():
    """Epsilon is added to sqrt(v) before the bias correction, as in Keras."""
    w, g = np.array([1.0]), np.array([0.5])
    optimizer = Adam(0.1, beta_1=0.5, beta_2=0.75, epsilon=0.25)
    optimizer.apply([w], [g.copy()])
    # m = 0.25, v = 0.0625, step = 0.1 * sqrt(0.25) / 0.5 = 0.1; 0.1 * 0.25 / (0.25 + 0.25)
    assert w[0] == pytest.approx(0.95, rel=1e-14)
    optimizer.apply([w], [g.copy()])
    m, v = 0.375, 0.109375
    step = 0.1 * np.sqrt(1 - 0.75**2) / (1 - 0.5**2)
    assert w[0] == pytest.approx(0.95 - step * m / (np.sqrt(v) + 0.25), rel=1e-14)
    assert optimizer.iterations == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: SGD(0.03), lambda t, p: t.optim.SGD(p, lr=0.03)),
        (lambda: SGD(0.03, 0.9), lambda t, p: t.optim.SGD(p, lr=0.03, momentum=0.9)),
        (
            lambda: SGD(0.03, 0.9, True),
            lambda t, p: t.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True),
        ),
        (
            lambda: Adam(0.03, 0.8, 0.95, epsilon=1e-30),
            lambda t, p: t.optim.Adam(p, lr=0.03, betas=(0.8, 0.95), eps=1e-30),
        ),
    ],
)
def test_torch_takes_the_same_steps(ours, theirs):
    torch = pytest.importorskip("torch")
    expected = [torch.tensor(w, requires_grad=True) for w in arrays(99)]
    optimizer = theirs(torch, expected)
    for step in range(7):
        for w, g in zip(expected, arrays(step), strict=True):
            w.grad = torch.tensor(g)
        optimizer.step()
    for found, want in zip(steps(ours(), 7), expected, strict=True):
        np.testing.assert_allclose(found, want.detach().numpy(), rtol=0, atol=TORCH_BAR)


@pytest.mark.parametrize("make", [SGD, lambda **clip: SGD(momentum=0.9, **clip), Adam])
def test_float32_follows_float64(make):
    for single, double in zip(steps(make(), 5, "float32"), steps(make(), 5), strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=0, atol=1e-6)
        assert not np.array_equal(single, arrays(99, "float32"))


# ---------------------------------------------------------------- clips

GRADS = [np.array([3.0, 4.0]), np.array([[0.0, -12.0]])]  # norms 5 and 12, together 13


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ({"clipvalue": 3.5}, [[3.0, 3.5], [[0.0, -3.5]]]),
        ({"clipnorm": 6.0}, [[3.0, 4.0], [[0.0, -6.0]]]),
        ({"clipnorm": 1.0}, [[0.6, 0.8], [[0.0, -1.0]]]),
        ({"global_clipnorm": 6.5}, [[1.5, 2.0], [[0.0, -6.0]]]),
        ({"global_clipnorm": 13.5}, [[3.0, 4.0], [[0.0, -12.0]]]),
        ({}, [[3.0, 4.0], [[0.0, -12.0]]]),
    ],
)
def test_clips_by_hand(clip, expected):
    params = [np.zeros(2), np.zeros((1, 2))]
    SGD(1.0, **clip).apply(params, [g.copy() for g in GRADS])
    for w, want in zip(params, expected, strict=True):
        np.testing.assert_allclose(w, -np.array(want), rtol=1e-14)


def test_adam_clips_too():
    clipped, scaled = [np.zeros(2), np.zeros((1, 2))], [np.zeros(2), np.zeros((1, 2))]
    Adam(epsilon=1.0, global_clipnorm=6.5).apply(clipped, [g.copy() for g in GRADS])
    Adam(epsilon=1.0).apply(scaled, [g / 2 for g in GRADS])
    assert_all_equal(clipped, scaled)


def test_one_clip_at_most():
    with pytest.raises(ValueError, match="one clip at most, got clipnorm, global_clipnorm"):
        Adam(clipnorm=1.0, global_clipnorm=1.0)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: SGD(-0.1), "learning_rate"),
        (lambda: SGD(float("nan")), "learning_rate"),
        (lambda: SGD("0.1"), "learning_rate"),
        (lambda: SGD(momentum=1.5), "momentum"),
        (lambda: SGD(nesterov=True), "nesterov"),
        (lambda: SGD(momentum=0.5, nesterov=1), "nesterov"),
        (lambda: Adam(beta_1=1.0), "beta_1"),
        (lambda: Adam(beta_2=-0.1), "beta_2"),
        (lambda: Adam(epsilon=0.0), "epsilon"),
        (lambda: Adam(clipnorm=0.0), "clipnorm"),
        (lambda: Adam(clipvalue=-1.0), "clipvalue"),
        (lambda: Adam(global_clipnorm=float("inf")), "global_clipnorm"),
    ],
)
def test_arguments_out_of_range_are_refused(make, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        make()


def test_the_learning_rate_can_change_between_steps():
    optimizer, w = SGD(1.0), np.zeros(1)
    optimizer.apply([w], [np.ones(1)])
    optimizer.learning_rate *= 0.5
    optimizer.apply([w], [np.ones(1)])
    assert w[0] == -1.5
    with pytest.raises(ValueError, match=r"^learning_rate: expected"):
        optimizer.learning_rate = -1
    assert optimizer.learning_rate == 0.5


def read_only(array):
    """Return the array, not writeable."""
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("params", "grads", "text"),
    [
        ([np.ones(3)], [], "grads: expected 1 arrays, got 0"),
        ([np.ones(3), np.ones(2)], [np.ones(3), np.ones(3)], r"grads\[1\]: expected \(2,\)"),
        ([np.ones(3)], [np.ones(3, "f4")], r"grads\[0\]: expected dtype float64, got float32"),
        ([np.ones(3)], [[1, 1, 1]], r"grads\[0\]: expected an array of float32 or float64"),
        ([np.ones(3, int)], [np.ones(3, int)], r"params\[0\]: expected an array of float32"),
        ([np.ones((2, 3)).T], [np.ones((3, 2))], r"params\[0\]: expected a C-contiguous"),
        ([np.ones((3, 2))], [np.ones((2, 3)).T], r"grads\[0\]: expected a C-contiguous"),
        ([np.ones(3), read_only(np.ones(3))], [np.ones(3)] * 2, r"params\[1\]: expected a writ"),
    ],
)
def test_a_step_that_does_not_fit_changes_nothing(params, grads, text):
    optimizer = Adam(clipnorm=0.5)
    with pytest.raises(ValueError, match=f"^{text}"):
        optimizer.apply(params, grads)
    assert all((w == 1).all() for w in params)
    assert all((np.asarray(g) == 1).all() for g in grads)
    assert optimizer.iterations == 0 and not optimizer.slots


def test_other_parameters_than_before_are_refused():
    optimizer = Adam()
    optimizer.apply([np.ones(3)], [np.ones(3)])
    for other, text in (
        ([np.ones(4)], r"params\[0\] \(momentum of earlier steps\): expected \(3,\), got \(4,\)"),
        ([np.ones(3, "f4")], "expected dtype float64, got float32"),
        ([np.ones(3)] * 2, "params: expected 1 arrays as before, got 2"),
    ):
        with pytest.raises(ValueError, match=text):
            optimizer.apply(other, [np.ones_like(w) for w in other])
        assert optimizer.iterations == 1


# ---------------------------------------------------------------- config and state


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.2, 0.5, True, clipvalue=2.0),
        Adam(0.2, 0.5, 0.75, 1e-3, global_clipnorm=5.0),
        Adam(clipnorm=3),
    ],
)
def test_config_holds_every_argument(optimizer):
    config = optimizer.get_config()
    twin = optimizers.get(config)
    assert twin is not optimizer and twin.get_config() == config
    assert_all_equal(steps(twin, 3), steps(optimizer, 3))


@pytest.mark.parametrize("make", [SGD, lambda: SGD(momentum=0.9), Adam])
def test_a_restored_optimizer_goes_on_with_the_same_bits(make):
    whole, first, second = make(), make(), make()
    expected = steps(whole, 5)
    params = steps(first, 3)
    slots = {name: [slot.copy() for slot in kept] for name, kept in first.slots.items()}
    second.restore(first.iterations, slots)
    for step in (3, 4):
        second.apply(params, arrays(step))
    assert_all_equal(params, expected)
    assert second.iterations == 5


def test_restore_refuses_the_state_of_another_method():
    with pytest.raises(ValueError, match=r"slots: expected \['momentum', 'velocity'\], got \[\]"):
        Adam().restore(3, {})
    with pytest.raises(ValueError, match=r"slots: expected \[\], got \['velocity'\]"):
        SGD().restore(3, {"velocity": [np.ones(3)]})
    with pytest.raises(ValueError, match="iterations: expected an integer >= 0"):
        SGD().restore(-1, {})


COMMON = {
    "weight_decay": None, "clipnorm": None, "clipvalue": None, "global_clipnorm": None,
    "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None,
    "loss_scale_factor": None, "gradient_accumulation_steps": None, "lazy": False,
}  # fmt: skip


def test_get_knows_names_and_defaults():
    assert optimizers.get("adam").get_config() == {
        "class": "Adam", "learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7,
        "amsgrad": False, **COMMON, "name": "adam",
    }  # fmt: skip
    assert optimizers.get("sgd").get_config() == {
        "class": "SGD", "learning_rate": 0.01, "momentum": 0.0, "nesterov": False, **COMMON,
        "name": "sgd",
    }  # fmt: skip
    own = SGD()
    assert optimizers.get(own) is own


@pytest.mark.parametrize("bad", ["ftrl", None, SGD, {"class": "Ftrl"}, {"class": "SGD", "lr": 1}])
def test_get_refuses_what_it_does_not_know(bad):
    with pytest.raises(ValueError, match=r"^optimizer"):
        optimizers.get(bad)
