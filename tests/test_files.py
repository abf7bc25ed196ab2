"""Files: what is saved comes back with the same bits, and anything else is refused as a whole."""

import json
import os

import numpy as np
import pytest
from agreement import assert_all_equal
from safetensors import safe_open
from safetensors.numpy import save_file

from lstmfast import initializers
from lstmfast.layers import LSTM, Dense, Embedding
from lstmfast.losses import CategoricalCrossentropy
from lstmfast.model import Model, load
from lstmfast.optimizers import SGD, Adam

SPARSE = "sparse_categorical_crossentropy"
V = 7  # vocabulary
X = np.random.default_rng(0).integers(0, V, (20, 5))
Y = (X[:, -1] + 1) % V


def compiled(optimizer="adam", seed=0, units=4, dtype="float32"):
    """Return a small model, compiled."""
    layers = [Embedding(V, 3, name="words"), LSTM(units), Dense(V, "softmax")]
    model = Model(layers, seed=seed, dtype=dtype, name="small")
    model.compile(optimizer, SPARSE, ["accuracy"])
    return model


@pytest.fixture
def path(tmp_path):
    """Return the path of a file of a model that was trained for an epoch."""
    model = compiled()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model")
    return tmp_path / "model"


def rewritten(path, alter=lambda config: None, alter_tensors=lambda tensors: None, **metadata):
    """Change a model file: its config, tensors or metadata."""
    with safe_open(path, framework="numpy") as file:
        found = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = json.loads(found["config"])
    alter(changed)
    alter_tensors(kept)
    metadata = {"format": "1", "config": json.dumps(changed), **metadata}
    save_file(kept, path, metadata)


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["model", "model.lstm", "model.safetensors", "a.b.keras"])
def test_a_model_comes_back(tmp_path, name, dtype):
    model = compiled(dtype=dtype)
    model.save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    twin = load(str(tmp_path / name))
    assert_all_equal(twin.get_weights(), model.get_weights())
    assert (twin.name, twin.dtype, twin.seed, twin.device) == ("small", dtype, 0, "cpu")
    assert [layer.get_config() for layer in twin.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert_all_equal([twin.predict(X)], [model.predict(X)])
    assert twin.evaluate(X, Y) == model.evaluate(X, Y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adam(0.01, global_clipnorm=0.1),
        lambda: SGD(0.1),
        lambda: SGD(0.1, 0.9, True, clipvalue=0.05),
    ],
)
def test_training_goes_on_with_the_same_bits(tmp_path, make):
    whole, first = compiled(make()), compiled(make())
    history = whole.fit(X, Y, batch_size=8, epochs=4, verbose=0).history
    first.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    first.save(tmp_path / "half")
    second = load(tmp_path / "half")
    rest = second.fit(X, Y, batch_size=8, epochs=4, initial_epoch=2, verbose=0).history
    assert_all_equal(second.get_weights(), whole.get_weights())
    assert {name: values[2:] for name, values in history.items()} == rest
    assert second.optimizer.iterations == whole.optimizer.iterations
    assert second.optimizer.get_config() == whole.optimizer.get_config()


def test_without_the_optimizer_training_starts_anew(tmp_path):
    model = compiled()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "full")
    model.save(tmp_path / "bare", include_optimizer=False)
    bare = load(tmp_path / "bare")
    assert bare.optimizer.iterations == 0 and not bare.optimizer.slots
    assert load(tmp_path / "full").optimizer.iterations == 1
    assert_all_equal(bare.get_weights(), model.get_weights())
    with safe_open(tmp_path / "bare", framework="numpy") as file:
        assert not any(name.startswith("optimizer/") for name in file.keys())  # noqa: SIM118


def test_what_was_not_compiled_comes_back_so(tmp_path):
    model = Model([LSTM(2, input_shape=(None, 3))])
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.optimizer is None and twin.loss is None and twin.metrics == []
    model.compile(SGD(0.5))
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.optimizer.learning_rate == 0.5 and twin.loss is None


def test_every_option_comes_back(tmp_path):
    layers = [
        LSTM(4, use_bias=False, recurrent_initializer="glorot_normal", return_sequences=True,
             stateful=True, seed=3),
        LSTM(3, unit_forget_bias=False, bias_initializer=initializers.Constant(0.5)),
        Dense(5, "relu", kernel_initializer=initializers.RandomNormal(0.0, 0.3), use_bias=False),
    ]  # fmt: skip
    model = Model(layers)
    model.compile("sgd", CategoricalCrossentropy(from_logits=True), ["categorical_accuracy"])
    model.build((None, None, 2))
    model.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert [layer.get_config() for layer in twin.layers] == [layer.get_config() for layer in layers]
    assert twin.loss.get_config() == model.loss.get_config()
    assert twin.metrics == ["categorical_accuracy"] and twin.seed is None
    assert twin.input_shape == (None, None, 2)


def test_the_file_is_what_the_format_says(path):
    with safe_open(path, framework="numpy") as file:
        metadata, names = file.metadata(), set(file.keys())
    params = ["words/embeddings", "lstm/W_ih", "lstm/W_hh", "lstm/b", "dense/kernel", "dense/bias"]
    prefixes = ["layers", "optimizer/momentum", "optimizer/velocity"]
    assert names == {f"{prefix}/{param}" for prefix in prefixes for param in params}
    assert metadata["format"] == "1"
    config = json.loads(metadata["config"])
    assert [node["inputs"] for node in config["model"]["layers"]] == [
        ["input"],
        ["words"],
        ["lstm"],
    ]
    assert config["model"]["outputs"] == ["dense"]
    assert config["compile"]["optimizer"]["class"] == "Adam"
    assert config["training"]["iterations"] == 1


# ---------------------------------------------------------------- writing


def test_a_save_that_fails_leaves_the_earlier_file(path, monkeypatch):
    before = path.read_bytes()
    model = load(path)
    model.params[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="layers/words/embeddings: expected finite values"):
        model.save(path)
    model.params[0][0, 0] = 1

    def full(*_):
        raise OSError("no space left")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(OSError, match="no space left"):
                model.save(path)
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
    model.save(path)
    assert path.read_bytes() != before


def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    load(path).save(link)
    assert link.is_symlink() and load(path).built


def test_saving_needs_weights_and_a_bool(tmp_path):
    with pytest.raises(ValueError, match=r"^model: is not built"):
        Model([LSTM(2)]).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^include_optimizer: expected True or False"):
        compiled().save(tmp_path / "model", include_optimizer="no")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------- reading what is no model


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="expected a whole safetensors file") as error:
        load(path)
    assert str(path) in str(error.value)


def test_another_kind_of_file_is_refused(path):
    path.write_text("import os\n" * 100)
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        load(path)


def test_safetensors_of_others_are_refused(path):
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(
        ValueError, match="format: expected '1' or '2' of an lstmfast model, got None"
    ):
        load(path)


def change(*keys, to):
    """Return a function that sets one entry, deep inside a config."""

    def apply(config):
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = to

    return apply


@pytest.mark.parametrize(
    ("alter", "text"),
    [
        (lambda config: config.pop("model"), "config: expected a mapping with keys"),
        (change("extra", to=1), "config: expected a mapping with keys"),
        (change("model", to=3), "model: expected a mapping with keys"),
        (change("model", "dtype", to="float16"), "dtype: expected one of"),
        (change("model", "dtype", to=["float32"]), "dtype: expected one of"),
        (change("model", "seed", to="x"), "seed: expected an integer"),
        (change("model", "name", to=None), None),
        (change("model", "name", to=1), "name: expected a str"),
        (change("model", "input_shape", to=[]), "input_shape: expected a list of sizes"),
        (change("model", "input_shape", to=["a"]), "input_shape: expected an integer"),
        (change("model", "layers", to=[]), "layers: expected a list"),
        (change("model", "outputs", to=["lstm"]), r"outputs: expected \['dense'\], got \['lstm'\]"),
        (change("model", "layers", 1, "inputs", to=["dense"]), r"layers\[1\]: expected the inputs"),
        (change("model", "layers", 1, "class", to="GRU"), r"layers\[1\]: class: expected one of"),
        (change("model", "layers", 1, "class", to="Layer"), r"layers\[1\]: class: expected one of"),
        (change("model", "layers", 1, "config", to=None), r"layers\[1\]: expected a config"),
        (change("model", "layers", 1, "config", "name", to=None), r"layers\[1\]: expected a conf"),
        (change("model", "layers", 1, "config", "name", to="a/b"), "name: expected a word"),
        (change("model", "layers", 1, "config", "peephole", to=True), "has no argument"),
        (change("model", "layers", 1, "config", "units", to="4"), "units: expected an integer"),
        (change("model", "layers", 0, "config", "input_dim", to=10**15), r"expected \(10+, 3\)"),
        (change("compile", "optimizer", "class", to="Ftrl"), "optimizer: class: expected one of"),
        (change("compile", "optimizer", "beta_1", to=2), "beta_1: expected"),
        (change("compile", "optimizer", to=None), "optimizer: expected a mapping"),
        (change("compile", "loss", "from_logits", to=True), "loss: expected from_logits=False"),
        (change("compile", "loss", to="mse"), "loss: expected a mapping"),
        (change("compile", "metrics", to="accuracy"), "metrics: expected a list"),
        (change("training", "iterations", to=-1), "iterations: expected an integer"),
        (change("training", "iterations", to=0), "tensors: expected .* got also"),
        (change("training", "rng", to={}), "rng: expected the state"),
        (change("training", "rng", "state", "state", to="0"), "rng: expected the state"),
        (change("training", "rng", "state", "inc", to=2**200), "rng: expected the state"),
        (change("training", to=None), "tensors: expected .* got also"),
        (change("compile", to=None), "tensors: expected .* got also"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(path, alter, text):
    rewritten(path, alter)
    if text is None:
        assert load(path).name == "model"
        return
    with pytest.raises(ValueError, match=text) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"format": "3"}, "format: expected '1' or '2' of an lstmfast model, got '3'"),
        ({"config": "{"}, "config: expected JSON"),
        ({"config": "[" * 100_000}, "config: expected JSON"),
        ({"config": "[]"}, "config: expected a JSON object, got list"),
    ],
)
def test_metadata_of_another_format_is_refused(path, metadata, text):
    rewritten(path, **metadata)
    with pytest.raises(ValueError, match=text):
        load(path)


def put(name, tensor):
    """Return a function that sets one tensor, made from the one there was."""

    def apply(tensors):
        tensors[name] = tensor(tensors.get(name))

    return apply


def with_value(value):
    """Return a function that puts one value into a copy."""

    def apply(tensor):
        tensor = tensor.copy()
        tensor.flat[-1] = value
        return tensor

    return apply


TENSORS = [
    (lambda tensors: tensors.pop("layers/lstm/b"), r"expected \['layers/lstm/b'\], got none"),
    (put("layers/lstm/p", lambda _: np.zeros(2, "f4")), r"got also \['layers/lstm/p'\]"),
    (put("layers/lstm/W_ih", lambda w: w.T.copy()), r"W_ih: expected \(16, 3\), got \(3, 16\)"),
    (put("layers/lstm/W_ih", lambda w: w.astype("f8")), "W_ih: expected dtype float32, got F64"),
    (put("layers/lstm/W_ih", lambda w: w.astype("i4")), "W_ih: expected dtype float32, got I32"),
    (put("layers/dense/bias", with_value(np.nan)), "bias: expected finite values, got NaN or Inf"),
    (put("layers/dense/bias", with_value(np.inf)), "bias: expected finite values, got NaN or Inf"),
]
OPTIMIZER_TENSORS = [
    (lambda tensors: tensors.pop("optimizer/velocity/lstm/b"), "got none of that name"),
    (put("optimizer/velocity/lstm/b", lambda v: v[1:]), r"expected \(16,\), got \(15,\)"),
    (put("optimizer/velocity/lstm/b", with_value(np.nan)), "expected finite values"),
    (put("other", lambda _: np.zeros(2, "f4")), r"got also \['other'\]"),
]


@pytest.mark.parametrize(("alter", "text"), TENSORS + OPTIMIZER_TENSORS)
def test_tensors_that_do_not_fit_are_refused(path, alter, text):
    rewritten(path, alter_tensors=alter)
    with pytest.raises(ValueError, match=text) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")


# ---------------------------------------------------------------- weights alone


def test_load_weights_takes_the_weights_alone(path):
    model = compiled(SGD(0.5), seed=9)
    params = model.params
    model.load_weights(path)
    assert_all_equal(model.get_weights(), load(path).get_weights())
    assert all(new is old for new, old in zip(model.params, params, strict=True))
    assert isinstance(model.optimizer, SGD) and model.optimizer.iterations == 0


@pytest.mark.parametrize(("alter", "text"), TENSORS)
def test_load_weights_is_all_or_nothing(path, alter, text):
    rewritten(path, alter_tensors=alter)
    model = compiled(seed=9)
    before = model.get_weights()
    with pytest.raises(ValueError, match=text):
        model.load_weights(path)
    assert_all_equal(model.get_weights(), before)


def test_load_weights_refuses_another_model(path):
    for model, text in (
        (compiled(units=5), r"W_ih: expected \(20, 3\), got \(16, 3\)"),
        (compiled(dtype="float64"), "expected dtype float64, got F32"),
        (Model([Embedding(V, 3), LSTM(4)]), "tensors: expected"),
    ):
        before = model.get_weights()
        with pytest.raises(ValueError, match=text):
            model.load_weights(path)
        assert_all_equal(model.get_weights(), before)
    with pytest.raises(ValueError, match="is not built"):
        Model([LSTM(2)]).load_weights(path)
