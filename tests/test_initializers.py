"""Initializers: Keras's and PyTorch's distributions under their names, and what is refused."""

import json

import numpy as np
import pytest

import lstmfast
from lstmfast import Model, initializers, registry
from lstmfast.layers import LSTM, Dense

SHAPE = (300, 500)


def test_variance_scaling_has_keras_limits_and_deviations():
    rng, shape = np.random.default_rng(0), (300, 500)
    for name, fan in {"glorot": 400, "he": 150, "lecun": 300}.items():
        deviation = np.sqrt(1 / fan)
        uniform = initializers.get(f"{name}_uniform")(shape, rng)
        assert 0.999 < np.abs(uniform).max() / (np.sqrt(3) * deviation) <= 1
        normal = initializers.get(f"{name}_normal")(shape, rng)
        assert normal.std() == pytest.approx(deviation, rel=0.01)
        assert 0.99 < np.abs(normal).max() / (2 * deviation / 0.87962566103423978) <= 1


def test_uniform_normal_and_constants_have_keras_defaults():
    rng = np.random.default_rng(0)
    uniform = initializers.get("uniform")((400, 100), rng)
    assert -0.05 <= uniform.min() < -0.0499 and 0.0499 < uniform.max() < 0.05
    assert initializers.get("random_normal")((400, 100), rng).std() == pytest.approx(0.05, rel=0.02)
    assert (initializers.get("zeros")((3,), rng) == 0).all()
    assert (initializers.get("ones")((3,), rng) == 1).all()


def test_truncated_normal_is_cut_at_two_deviations():
    found = initializers.TruncatedNormal(1.0, 0.5)(SHAPE, np.random.default_rng(0))
    assert 0.99 < np.abs(found - 1.0).max() <= 1.0
    assert found.std() == pytest.approx(0.5 * 0.87962566103423978, rel=0.01)
    assert found.mean() == pytest.approx(1.0, abs=0.01)


def test_untruncated_normal_is_not_cut():
    rng = np.random.default_rng(0)
    for name, fan in {"xavier_normal": 400, "kaiming_normal": 150}.items():
        found = initializers.get(name)(SHAPE, rng) * np.sqrt(fan)
        assert found.std() == pytest.approx(1.0, rel=0.01) and np.abs(found).max() > 4.0


def test_identity_is_an_eye_of_any_shape():
    for shape in ((2, 3), (3, 2)):
        found = initializers.Identity(2.0)(shape, np.random.default_rng(0))
        np.testing.assert_array_equal(found, 2.0 * np.eye(*shape))


def test_recurrent_uniform_knows_the_hidden_size_of_every_weight():
    rng, recurrent = np.random.default_rng(0), initializers.get("recurrent_uniform")
    for shape in ((300, 400), (100, 400), (400,)):
        assert 0.97 < np.abs(recurrent(shape, rng)).max() * np.sqrt(100) < 1
    peepholes = initializers.RecurrentUniform(gates=1)((3, 100), rng)
    assert 0.9 < np.abs(peepholes).max() * np.sqrt(100) < 1


def test_recurrent_uniform_starts_an_lstm_as_torch_does():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = LSTM(
        100, kernel_initializer="recurrent_uniform", recurrent_initializer="recurrent_uniform",
        bias_initializer="recurrent_uniform", unit_forget_bias=False, seed=0,
    )  # fmt: skip
    layer.build((None, None, 30))
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
    twin = torch.nn.LSTM(30, 100)
    for name, param in zip(names, layer.params.values(), strict=True):
        theirs = getattr(twin, name).detach().numpy()
        assert param.shape == theirs.shape
        assert np.abs(param).max() == pytest.approx(np.abs(theirs).max(), rel=0.03)
        assert param.std() == pytest.approx(theirs.std(), rel=0.1)


def test_names_mean_what_they_mean_in_keras(keras):
    keras.utils.set_random_seed(0)
    for name, ours in initializers.NAMED.items():
        if name.split("_")[0] in ("xavier", "kaiming", "recurrent"):
            continue
        theirs = keras.ops.convert_to_numpy(keras.initializers.get(name)(SHAPE))
        found = ours(SHAPE, np.random.default_rng(0))
        assert found.std() == pytest.approx(theirs.std(), rel=0.02), name
        assert found.mean() == pytest.approx(theirs.mean(), abs=0.05 * found.std()), name
        edges = [np.quantile(np.abs(one), 0.999) for one in (found, theirs)]  # 2σ when cut, or 3.3
        assert edges[0] == pytest.approx(float(edges[1]), rel=0.1), name


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5)])
def test_orthogonal_makes_the_shorter_side_orthonormal(shape):
    matrix = initializers.Orthogonal(2.0)(shape, np.random.default_rng(0))
    product = matrix @ matrix.T if shape[0] < shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(min(shape)), atol=1e-14)
    drawn = np.random.default_rng(0).standard_normal((max(shape), min(shape)))
    triangle = (matrix if shape[0] < shape[1] else matrix.T) @ drawn
    assert (np.diag(triangle) > 0).all()  # without it the draw would not be uniform


@pytest.mark.parametrize("name", sorted(initializers.NAMED))
def test_a_named_initializer_survives_serialize_and_get(name):
    known = initializers.get(name)
    assert initializers.get(json.loads(json.dumps(initializers.serialize(known)))) == known


def test_an_initializer_with_other_numbers_survives_serialize_and_get():
    own = initializers.VarianceScaling(3.0, "fan_out", "uniform")
    config = initializers.serialize(own)
    assert config == {
        "class": "VarianceScaling", "scale": 3.0, "mode": "fan_out", "distribution": "uniform",
    }  # fmt: skip
    assert initializers.get(config) == own


@pytest.mark.parametrize(
    "bad", ["glorot", None, 3, Dense, {"class": "Nothing"}, {"class": "Constant", "val": 1}]
)
def test_an_unknown_initializer_is_refused(bad):
    with pytest.raises(ValueError, match=r"^kernel_initializer: "):
        LSTM(4, kernel_initializer=bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda: initializers.Constant(float("nan")),
        lambda: initializers.RandomUniform(1.0, 0.0),
        lambda: initializers.RandomNormal(0.0, -1.0),
        lambda: initializers.VarianceScaling(-1.0),
        lambda: initializers.VarianceScaling(1.0, "fan"),
        lambda: initializers.VarianceScaling(1.0, "fan_in", "normal"),
        lambda: initializers.Orthogonal(float("inf")),
        lambda: initializers.Orthogonal()((3,), np.random.default_rng(0)),
        lambda: initializers.TruncatedNormal(0.0, -1.0),
        lambda: initializers.Identity(float("nan")),
        lambda: initializers.Identity()((3,), np.random.default_rng(0)),
        lambda: initializers.RecurrentUniform(0),
        lambda: initializers.RecurrentUniform()((3, 6), np.random.default_rng(0)),
    ],
)
def test_initializers_refuse_arguments_out_of_range(make):
    with pytest.raises(ValueError, match="expected"):
        make()


CLASSES_OF_KERAS = ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform",
                    "LecunNormal", "Zeros", "Ones", "Orthogonal", "RandomNormal", "RandomUniform",
                    "TruncatedNormal", "VarianceScaling")  # fmt: skip


@pytest.mark.parametrize("name", CLASSES_OF_KERAS)
def test_classes_and_names_in_any_case_are_the_same(name):
    made = getattr(initializers, name)
    lower = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).strip("_")
    assert getattr(initializers, lower) is made
    known = initializers.get(lower)
    for given in (made, made(), name, name.upper(), lower, {"class": name}):
        assert initializers.get(given) == known
    assert initializers.get(initializers.deserialize(initializers.serialize(made()))) == known
    if name not in ("Zeros", "Ones"):
        seeded = made(seed=3)
        first = seeded((4, 4))
        np.testing.assert_array_equal(first, seeded((4, 4), np.random.default_rng(0)))
        assert not np.array_equal(first, made()((4, 4)))
        config = json.loads(json.dumps(initializers.serialize(seeded)))
        np.testing.assert_array_equal(first, initializers.get(config)((4, 4)))
        for bad in (-1, 1.5, True):
            with pytest.raises(ValueError, match=r"^seed: expected an integer"):
                made(seed=bad)


def test_names_and_arguments_are_keras_own(keras):
    import inspect

    for name in (*CLASSES_OF_KERAS, "Constant", "Identity"):
        theirs = inspect.signature(getattr(keras.initializers, name)).parameters
        ours = inspect.signature(getattr(initializers, name)).parameters
        wanted = [key for key in theirs if not key.endswith("_axes")]
        assert list(ours) == wanted
        assert all(ours[key].default == theirs[key].default for key in wanted)


def half(shape, dtype=None):
    return np.full(shape, 0.5, dtype)


def test_a_function_draws_weights(tmp_path):
    model = Model([Dense(2, kernel_initializer=half, input_shape=(3,))])
    assert (model.get_weights()[0] == 0.5).all()
    with pytest.raises(ValueError, match=r"^initializer: expected a function that register_ser"):
        model.save(tmp_path / "m")
    registry.register_serializable("mine")(half)
    try:
        model.save(tmp_path / "m")
        assert lstmfast.load(tmp_path / "m").layers[0].kernel_initializer.fn is half
    finally:
        registry.unregister(half)
    for wrong in (lambda shape, dtype=None: np.ones(3), lambda shape, dtype=None: "a"):
        with pytest.raises(ValueError, match=r"^initializer: expected numbers of \(3, 2\), got"):
            Dense(2, kernel_initializer=wrong).build((None, 3))
