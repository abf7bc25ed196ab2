"""The LSTM layer with the options of the family: alone, in Models and in files."""

import numpy as np
import pytest
from agreement import assert_close, assert_gradient_close, same_bits
from family import expected, family_case

from lstmfast import LSTM, Adam, Dense, Model, load

B, T, I, H = 4, 6, 3, 9
STACKS = {
    "layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "everything": {"num_layers": 2, "bidirectional": True, "projection": 5, "layer_norm": True,
                   "peepholes": True},
    "one": {"projection": 5, "layer_norm": True},
}  # fmt: skip
CHOSEN = {"num_layers": "layers", "projection": "proj", "layer_norm": "norm"}
NOISE = {
    "dropout": 0.2, "recurrent_dropout": 0.2, "weight_drop": 0.1, "zoneout_h": 0.2,
    "zoneout_c": 0.1,
}  # fmt: skip


def layer_and_case(options, training=True, **more):
    """A layer with the weights of a case of the family, batch first."""
    chosen = {CHOSEN.get(name, name): value for name, value in options.items()}
    case = family_case((T, B, I, H), "float64", training=training, **chosen)
    layer = LSTM(H, **options, **more)
    layer.build((None, None, I), dtype="float64")
    layer.set_parts(parts_of(case.weights))
    return layer, case


def parts_of(weights):
    count = len(weights["W_ih"])
    names = [name for name in ("W_ih", "W_hh", "b", "p", "W_hr") if weights[name]]
    parts = [{name: weights[name][k] for name in names} for k in range(count)]
    for k, norm in enumerate(weights["norm"] or []):
        parts[k] |= norm._asdict()
    return parts


def state_of(case):
    h0, c0 = case.h0, case.c0
    return (h0, c0) if len(h0) > 1 else (h0[0], c0[0])


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_all_that_a_layer_returns(options):
    """Output, state and cells; their gradients together."""
    layer, case = layer_and_case(
        options, return_sequences=True, return_state=True, return_cells=True
    )
    outputs, gradients = expected(case)
    x = case.x.swapaxes(0, 1)
    y, h, c, cells = layer.forward(x, training=True, initial_state=state_of(case))
    single = len(case.h0) == 1
    wanted = {name: a[0] if single and name in ("h_n", "c_n") else a for name, a in outputs.items()}
    for got, name in ((h, "h_n"), (c, "c_n")):
        assert_close(got, wanted[name], "float64")
    assert_close(y.swapaxes(0, 1), wanted["y"], "float64")
    assert_close(cells.swapaxes(0, 1), wanted["cells"], "float64")
    up = {name: a[0] if single and name[1] in "hc" and name != "dcells" else a
          for name, a in case.upstream.items()}  # fmt: skip
    dx = layer.backward(
        up["dy"].swapaxes(0, 1),
        dstate=(up["dh_n"], up["dc_n"]),
        dcells=up["dcells"].swapaxes(0, 1),
    )
    assert_gradient_close(dx.swapaxes(0, 1), gradients["dx"], "float64")
    for k, end in enumerate(layer.suffixes()):
        assert_gradient_close(layer.grads[f"W_hh{end}"], gradients[f"dW_hh{k}"], "float64")
    assert list(layer.grads) == list(layer.params)
    dh0 = layer.initial_state_grads[0]
    assert_gradient_close(dh0 if not single else dh0[None], gradients["dh0"], "float64")


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_the_last_output(options):
    """Of both directions side by side, each after its own last step; and its gradient."""
    layer, case = layer_and_case(options, return_state=True)
    outputs, _ = expected(case)
    y, h, _ = layer.forward(case.x.swapaxes(0, 1), True, state_of(case))
    directions = 2 if options.get("bidirectional") else 1
    assert_close(y, np.concatenate(list(outputs["h_n"][-directions:]), axis=-1), "float64")
    dy = np.random.default_rng(0).standard_normal(y.shape)
    case.upstream["dy"][...] = case.upstream["dcells"][...] = case.upstream["dc_n"][...] = 0
    dh = case.upstream["dh_n"].copy()
    case.upstream["dh_n"][-directions:] += np.stack(np.split(dy, directions, axis=-1))
    _, gradients = expected(case)
    dx = layer.backward(dy, dstate=(dh if h.ndim == 3 else dh[0], None))
    assert_gradient_close(dx.swapaxes(0, 1), gradients["dx"], "float64")


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
def test_time_major(options):
    options = options | {"return_sequences": True}
    first, last = LSTM(H, **options, seed=1), LSTM(H, **options, time_major=True, seed=1)
    x = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
    turned = np.ascontiguousarray(x.swapaxes(0, 1))
    assert same_bits(
        np.ascontiguousarray(last(turned, lengths=[6, 2, 0, 3]).swapaxes(0, 1)),
        np.ascontiguousarray(first(x, lengths=[6, 2, 0, 3])),
    )


def test_names_and_shapes_of_weights():
    layer = LSTM(H, num_layers=2, bidirectional=True, projection=5, layer_norm=True)
    layer.build((None, None, I))
    assert layer.params["W_ih_l1_reverse"].shape == (4 * H, 10)
    assert layer.params["W_hr_l0"].shape == (5, H)
    assert list(layer.params)[:4] == ["W_ih_l0", "W_hh_l0", "b_l0", "W_hr_l0"]
    assert (layer.params["gain_c_l1"] == 1).all() and not layer.params["b_c_l1"].any()
    assert (layer.params["b_l1_reverse"][H : 2 * H] == 1).all()
    parts = layer.get_parts()
    assert len(parts) == 4 and list(parts[3]) == [
        "W_ih", "W_hh", "b", "W_hr", "gain_x", "gain_h", "gain_c", "b_c",
    ]  # fmt: skip
    layer.set_parts(parts)
    for weight, again in zip(parts[2].values(), layer.get_parts()[2].values(), strict=True):
        assert same_bits(weight, again)
    with pytest.raises(ValueError, match=r"parts\[0\]: expected .*'W_hr'.*got"):
        layer.set_parts([{name: part[name] for name in ("W_ih", "W_hh")} for part in parts])
    with pytest.raises(ValueError, match=r"parts: expected 4 of a built layer, got 1"):
        layer.set_parts(parts[:1])


def model(seed=0, **options):
    return Model([LSTM(H, input_shape=(None, I), **options), Dense(2)], seed=seed)


def data(samples=24):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((samples, T, I)).astype(np.float32)
    return x, x[:, :, :2].sum(axis=1)


MODELS = STACKS | {
    "noise": NOISE,
    "noise between layers": NOISE | {"num_layers": 2, "layer_dropout": 0.3},
    "recompute": {"recompute": 2, "num_layers": 2},
    "truncate": {"truncate": 2},
    "cell": {"coupled": True, "clip": 1.0, "activation": "softsign", "go_backwards": True},
}


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_model_learns_and_is_saved(options, tmp_path):
    """Trained on from a file it has the same bits: what is dropped goes on, too."""
    x, y = data()
    whole = model(**options)
    whole.compile(Adam(0.01), "mse")
    losses = whole.fit(x, y, batch_size=8, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    whole.save(tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.layers[0].get_config() == whole.layers[0].get_config()
    assert same_bits(twin.predict(x), whole.predict(x))
    for one in (whole, twin):
        one.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert all(map(same_bits, whole.get_weights(), twin.get_weights()))


def test_noise_follows_from_the_seed():
    x, y = data()
    losses = []
    for seed in (1, 1, 2):
        one = model(seed, **NOISE)
        one.compile("sgd", "mse")
        losses.append([one.train_on_batch(x, y) for _ in range(3)])
    assert losses[0] == losses[1] != losses[2]
    layer = LSTM(H, dropout=0.5, seed=4)
    layer(x)
    first, second = (layer.forward(x, training=True) for _ in "ab")
    assert not np.allclose(first, second)
    assert same_bits(layer.forward(x), layer.forward(x))


def test_stateful_stacks():
    x, _ = data(4)
    layer = LSTM(H, num_layers=2, projection=4, stateful=True, return_sequences=True, seed=1)
    whole = LSTM(H, num_layers=2, projection=4, return_sequences=True, seed=1)
    pieces = np.concatenate([layer(x[:, :2]), layer(x[:, 2:])], axis=1)
    np.testing.assert_allclose(pieces, whole(x), atol=2e-6)
    assert layer.state[0].shape == (2, 4, 4) and layer.state[1].shape == (2, 4, H)


def test_streams_of_a_layer():
    x, _ = data(4)
    layer = LSTM(H, num_layers=2, layer_norm=True, zoneout_h=0.2, return_sequences=True, seed=1)
    y = layer(x)
    stream = layer.stream(4)
    for t in range(T):
        got = stream.step(np.ascontiguousarray(x[:, t]))
        np.testing.assert_allclose(got, y[:, t], atol=2e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bidirectional": True, "go_backwards": True}, "go_backwards: expected False"),
        ({"bidirectional": True, "stateful": True}, "stateful: expected False"),
        ({"layer_dropout": 0.1}, "layer_dropout: expected num_layers > 1"),
        ({"num_layers": 0}, "num_layers: expected an integer >= 1"),
        ({"num_layers": 65}, "num_layers: expected at most 64 layers, got 65"),
        ({"projection": 0}, "projection: expected an integer >= 1"),
        ({"dropout": 1.0}, "dropout: expected"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout: expected"),
        ({"truncate": 0}, "truncate: expected"),
        ({"return_state": 1}, "return_state: expected True or False"),
    ],
)
def test_wrong_options(options, text):
    with pytest.raises(ValueError, match=text):
        LSTM(H, **options)


@pytest.mark.parametrize("option", ("return_state", "return_cells", "time_major"))
def test_what_a_model_cannot_hand_on(option):
    with pytest.raises(ValueError, match=r"layers: expected one output each.*got \['lstm'\]"):
        Model([LSTM(H, **{option: True}), Dense(2)])


@pytest.mark.parametrize("options", ({}, {"num_layers": 2}), ids=("one", "stack"))
def test_wrong_gradients(options):
    """Nothing is broadcast or cast, and the call can be taken back afterwards."""
    x, _ = data(4)
    layer = LSTM(H, return_state=True, **options)
    y, h, _ = layer(x)
    layer.forward(x, training=True)
    for dy in (np.ones((1, H), np.float32), np.ones((4, H)), 1, [1.0], np.float32(1)):
        with pytest.raises(ValueError, match="dy: expected"):
            layer.backward(dy)
    for state in (None, 1, (h,), (h[..., :1], None), (h.astype(float), None), (1, None)):
        with pytest.raises(ValueError, match="dstate"):
            layer.backward(np.ones_like(y), dstate=state)
    with pytest.raises(ValueError, match="dcells: expected"):
        layer.backward(np.ones_like(y), dcells=np.ones((4, T, H), np.float32))
    assert layer.backward(np.ones_like(y), dstate=(h, None)).shape == x.shape


@pytest.mark.parametrize(
    "x",
    (np.zeros((4, 5, 0), np.float32), np.zeros((0, 5, 3), np.float32), np.zeros((4, 5, 3), ">f4")),
    ids=("no inputs", "no rows", "bytes"),
)
def test_a_wrong_first_call_builds_nothing(x):
    layer = LSTM(H)
    with pytest.raises(ValueError, match="x: expected"):
        layer(x)
    assert not layer.built
    good, _ = data(4)
    assert layer(good).shape == (4, H)
    with pytest.raises(ValueError, match="x: expected a NumPy array"):
        layer.forward(good.tolist())


def test_options_are_kept_as_json_can_hold_them(tmp_path):
    one = model(clip=np.float32(1), cell_clip=np.int64(2), dropout=np.float32(0.5))
    one.save(tmp_path / "model")
    assert load(tmp_path / "model").layers[0].get_config() == one.layers[0].get_config()


def test_stateful_validation_of_another_size():
    x, y = data(8)
    one = model(stateful=True)
    one.compile("sgd", "mse")
    before = one.get_weights()
    with pytest.raises(ValueError, match="validation_data: expected batches of 4 rows"):
        one.fit(x, y, 4, validation_data=(x[:2], y[:2]), shuffle=False, verbose=0)
    assert all(map(same_bits, before, one.get_weights()))


def test_no_stream_of_both_directions():
    layer = LSTM(H, bidirectional=True)
    layer.build((None, None, I))
    with pytest.raises(ValueError, match="bidirectional: expected False to stream"):
        layer.stream()
