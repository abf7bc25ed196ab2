"""lstmfast.torch.LSTM as a module: names, copies, files, hooks, modes, devices of use."""

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from fresh_process import printed
from torch_cases import (
    LSTM,
    OPTIONS,
    SOME,
    assert_same,
    assert_same_gradients,
    call,
    draw,
    gradients,
    leaf_for,
    one_torch_thread,  # noqa: F401
    outputs,
    torch,
    twins,
    weigh,
)


def assert_agree(layer, reference, x=None):
    """Hold the outputs of two layers for one batched input against each other."""
    x = leaf_for("batched", {"batch_first": layer.batch_first}) if x is None else x
    assert_same(outputs(layer(x)), outputs(reference(x)))


# ---------------------------------------------------------------- what it is


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_names_shapes_and_text(options):
    ours, reference = twins(options)
    assert isinstance(ours, torch.nn.LSTM)
    assert str(ours) == str(reference) and ours.extra_repr() == reference.extra_repr()
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, p.shape) for n, p in reference.named_parameters()
    ]
    assert list(ours.state_dict()) == list(reference.state_dict())
    assert not list(ours.buffers()) and not list(ours.children())
    assert [[w.shape for w in ws] for ws in ours.all_weights] == [
        [w.shape for w in ws] for ws in reference.all_weights
    ]


def test_the_same_seed_draws_the_same_parameters():
    made = []
    for layer in (LSTM, torch.nn.LSTM):
        torch.manual_seed(11)
        made.append(layer(3, 5, 2, bidirectional=True, proj_size=2))
    ours, reference = (dict(layer.named_parameters()) for layer in made)
    assert all(torch.equal(ours[name], reference[name]) for name in reference)
    for layer in made:
        torch.manual_seed(12)
        layer.reset_parameters()
    assert all(torch.equal(ours[name], reference[name]) for name in reference)


def test_methods_of_the_base_class_are_there():
    """flatten_parameters() is in most training scripts."""
    ours, _ = twins({"num_layers": 2})
    ours.flatten_parameters()
    x = draw(4, 4, 3)
    ours.check_forward_args(x, (torch.zeros(2, 4, 5),) * 2, None)
    assert ours.get_expected_hidden_size(x, None) == (2, 4, 5)
    assert ours.get_expected_cell_size(x, None) == (2, 4, 5)


# ---------------------------------------------------------------- state_dict


@SOME
def test_state_dict_goes_both_ways(options):
    ours, reference = twins(options, seed=1)
    other, _ = twins(options, seed=2)
    assert other.load_state_dict(reference.state_dict(), strict=True) == ([], [])
    assert_agree(other, reference)
    third = torch.nn.LSTM(3, 5, dtype=torch.float64, **options)
    assert third.load_state_dict(ours.state_dict(), strict=True) == ([], [])
    assert_agree(ours, third)


@pytest.mark.parametrize("assign", (False, True))
def test_state_dict_with_assign(assign):
    ours, _ = twins({}, seed=1)
    _, reference = twins({}, seed=2)
    ours.eval()
    x = leaf_for("batched", {}).detach()
    with torch.no_grad():
        ours(x)
        ours.load_state_dict(reference.state_dict(), assign=assign)
        assert_agree(ours, reference, x)


def test_state_dict_that_does_not_fit():
    ours, reference = twins({})
    _, other = twins({"bias": False, "num_layers": 2})
    errors = []
    for layer in (ours, reference):
        with pytest.raises(RuntimeError) as found:
            layer.load_state_dict(other.state_dict())
        errors.append(str(found.value))
    assert errors[0] == errors[1]


# ---------------------------------------------------------------- copies and files


@SOME
def test_deepcopy_is_independent(options):
    ours, reference = twins(options)
    with torch.no_grad():
        ours.eval()(leaf_for("batched", options))  # there is something to copy, or not to
    copied = copy.deepcopy(ours)
    assert type(copied) is LSTM and not copied.training
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(2)
    assert_agree(ours, reference)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(2)
    assert_agree(copied, reference)
    pointers = [{p.data_ptr() for p in layer.parameters()} for layer in (ours, copied)]
    assert not pointers[0] & pointers[1]


def test_copy_shares_parameters():
    ours, _ = twins({})
    copied = copy.copy(ours)
    assert all(a is b for a, b in zip(ours.parameters(), copied.parameters(), strict=True))
    assert_agree(copied, ours)


def test_a_copy_of_what_was_called_with_a_graph():
    ours, reference = twins({})
    result = ours(leaf_for("batched", {}))
    copied = copy.deepcopy(ours)
    weigh(result).backward()
    assert all(p.grad is None for p in copied.parameters())
    assert_agree(copied, reference)


@pytest.mark.parametrize("mode", ("train", "eval"))
@pytest.mark.parametrize("protocol", (2, 5))
@SOME
def test_pickle(options, protocol, mode):
    ours, reference = twins(options)
    ours.train(mode == "train")
    with torch.no_grad():
        ours(leaf_for("batched", options))
    loaded = pickle.loads(pickle.dumps(ours, protocol))
    assert type(loaded) is LSTM and loaded.training == ours.training
    assert_agree(loaded, reference)
    assert_agree(ours, reference)


def test_pickle_holds_the_parameters_and_little_else():
    """What is kept for speed stays out of files."""
    ours, reference = twins({}, sizes=(64, 64))
    with torch.no_grad():
        ours.eval()(draw(2, 2, 64))
    assert len(pickle.dumps(ours)) < 1.1 * len(pickle.dumps(reference)) + 1000


def test_save_and_load():
    ours, reference = twins({"num_layers": 2})
    whole, state = io.BytesIO(), io.BytesIO()
    torch.save(ours, whole)
    torch.save(ours.state_dict(), state)
    whole.seek(0)
    state.seek(0)
    loaded = torch.load(whole, weights_only=False)
    assert type(loaded) is LSTM
    assert_agree(loaded, reference)
    other, _ = twins({"num_layers": 2}, seed=5)
    other.load_state_dict(torch.load(state, weights_only=True))
    assert_agree(other, reference)


IN_A_FRESH_PROCESS = """
import sys
import torch
folder = sys.argv[1]
if sys.argv[2] == "state":
    from lstmfast.torch import LSTM
    layer = LSTM(3, 5, num_layers=2, bidirectional=True, dtype=torch.float64)
    layer.load_state_dict(torch.load(folder + "/state.pt", weights_only=True))
else:
    layer = torch.load(folder + "/whole.pt", weights_only=False)
assert type(layer).__module__.startswith("lstmfast.torch"), type(layer)
x, wanted = torch.load(folder + "/case.pt")
y, _ = layer(x)
y.sum().backward()
assert layer.weight_hh_l1_reverse.grad.abs().sum() > 0
assert torch.equal(y, wanted), (y - wanted).abs().max()
"""


@pytest.mark.parametrize("what", ("state", "whole"))
def test_load_in_a_fresh_process(what, tmp_path, environment):
    ours, _ = twins({"num_layers": 2, "bidirectional": True})
    x = draw(4, 4, 3)
    torch.save(ours.state_dict(), tmp_path / "state.pt")
    torch.save(ours, tmp_path / "whole.pt")
    torch.save((x, ours(x)[0].detach()), tmp_path / "case.pt")
    printed(environment, IN_A_FRESH_PROCESS, tmp_path, what, timeout=120)


# ---------------------------------------------------------------- hooks and modes


def hooked(layer):
    """Return what hooks of every kind see in one pass, and the gradients."""
    calls = []
    layer.register_forward_pre_hook(lambda m, given: (2 * given[0],))
    layer.register_forward_hook(lambda m, given, found: calls.append(found[0].detach()))
    layer.register_forward_hook(lambda m, given, found: (3 * found[0], found[1]))
    layer.register_full_backward_pre_hook(lambda m, up: calls.append(up[0].detach()))
    layer.register_full_backward_hook(lambda m, down, up: calls.append(down[0].detach()))
    x = leaf_for("batched", {})
    y, _ = layer(x)
    (y * draw(*y.shape, seed=3)).sum().backward()
    return {str(k): a for k, a in enumerate(calls)}, gradients(layer, [x])


def test_hooks_of_the_module():
    (got, got_gradients), (ref, ref_gradients) = map(hooked, twins({"num_layers": 2}))
    assert len(got) == 3
    assert_same(got, ref)
    assert_same_gradients(got_gradients, ref_gradients)


def test_global_hooks_see_it():
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, found: seen.append(type(module))
    )
    try:
        twins({})[0](draw(4, 4, 3))
    finally:
        handle.remove()
    assert seen == [LSTM]


@pytest.mark.parametrize("change", ("float", "double", "to float32", "to like"))
def test_change_of_dtype(change):
    start = torch.float32 if change == "double" else torch.float64
    ours, reference = twins({"num_layers": 2}, start)
    for layer in (ours, reference):
        layer.eval()
        with torch.no_grad():
            layer(draw(4, 4, 3, dtype=start))
        if change == "to float32":
            assert layer.to(torch.float32) is layer
        elif change == "to like":
            layer.to(torch.zeros(1, dtype=torch.float32))
        else:
            getattr(layer, change)()
    x = draw(4, 4, 3, dtype=ours.weight_ih_l0.dtype)
    with torch.no_grad():
        assert_agree(ours, reference, x)
    assert_agree(ours, reference, x)
    with pytest.raises(ValueError):
        ours(draw(4, 4, 3, dtype=start))


def test_train_and_eval():
    ours, _ = twins({"num_layers": 2, "dropout": 0.5})
    assert ours.training and not ours.eval().training and ours.train() is ours
    assert ours.requires_grad_(False) is ours
    ours.zero_grad()


def test_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        ours = LSTM(3, 5)
        assert ours(torch.randn(4, 2, 3))[0].dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_default_device_and_to_empty():
    """The idiom that builds large models without memory, then loads them."""
    with torch.device("meta"):
        ours = LSTM(3, 5, num_layers=2, dtype=torch.float64)
    _, reference = twins({"num_layers": 2})
    ours.to_empty(device="cpu").load_state_dict(reference.state_dict())
    assert_agree(ours, reference)
    with torch.device("meta"):
        ours = LSTM(3, 5, num_layers=2, dtype=torch.float64)
    ours.load_state_dict(reference.state_dict(), assign=True)
    assert_agree(ours, reference)


def test_on_meta():
    ours, reference = (layer.to("meta") for layer in twins({"bidirectional": True}))
    x = torch.empty(4, 4, 3, dtype=torch.float64, device="meta")
    got, ref = outputs(ours(x)), outputs(reference(x))
    assert {n: a.shape for n, a in got.items()} == {n: a.shape for n, a in ref.items()}
    assert all(a.is_meta for a in got.values())


# ---------------------------------------------------------------- as part of more


class Tagger(torch.nn.Module):
    """Embedding, LSTM, a linear head."""

    def __init__(self, layer):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 3, dtype=torch.float64)
        self.lstm = layer
        self.head = torch.nn.Linear(5, 4, dtype=torch.float64)

    def forward(self, words):
        return self.head(self.lstm(self.embedding(words))[0])


def test_in_a_model():
    found = []
    for layer in twins({"num_layers": 2}):
        torch.manual_seed(4)
        model = Tagger(layer)
        words = torch.arange(12).reshape(3, 4)
        model(words).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()})
    assert_same_gradients(*found)


def test_in_a_sequential():
    class First(torch.nn.Module):
        def forward(self, found):
            return found[0]

    found = []
    for ours in (0, 1):
        layers = [twins({}, seed=k, sizes=(5, 5))[ours] for k in range(2)]
        model = torch.nn.Sequential(layers[0], First(), torch.nn.Tanh(), layers[1], First())
        x = draw(4, 4, 5).requires_grad_()
        model(x).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters()} | {"x": x.grad})
    assert_same_gradients(*found)


def test_subclasses():
    """A user's subclass of ours works as one of torch.nn's."""

    class Named(LSTM):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, x, hx=None):
            y, state = super().forward(x, hx)
            return self.scale * y, state

    _, reference = twins({"num_layers": 2})
    layer = Named(3, 5, num_layers=2, dtype=torch.float64)
    layer.load_state_dict(reference.state_dict(), strict=False)
    assert_agree(layer, reference)
    assert_agree(copy.deepcopy(layer), reference)


@pytest.mark.parametrize("mode", ("eval", "train"))
def test_many_threads_at_once(mode):
    """Eight threads call one layer, the first call among them: all the same results."""
    ours, reference = (layer.train(mode == "train") for layer in twins({"num_layers": 2}))
    inputs = [draw(9, 3, 3, seed=k) for k in range(64)]

    def run(x):
        with torch.set_grad_enabled(mode == "train"):
            return ours(x)[0].detach()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, inputs))
    with torch.no_grad():
        wanted = [reference(x)[0] for x in inputs]
    assert_same(dict(enumerate(found)), dict(enumerate(wanted)))


def test_training_in_many_threads():
    """Hogwild's pattern: each thread goes forward and back through the shared layer."""
    ours, reference = twins({"num_layers": 2})
    inputs = [draw(9, 3, 3, seed=k) for k in range(16)]

    def run(x, layer):
        return torch.autograd.grad(weigh(layer(x)), list(layer.parameters()))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: run(x, ours), inputs))
    for got, x in zip(found, inputs, strict=True):
        wanted = run(x, reference)
        assert_same_gradients(dict(enumerate(got)), dict(enumerate(wanted)))


@SOME
def test_calls_of_many_shapes(options):
    """Shapes, kinds and modes change from call to call; nothing of one leaks into the next."""
    ours, reference = twins(options)
    for k, shape in enumerate(((4, 4), (9, 1), (1, 7), (4, 4), (2, 3), (30, 2))):
        x = leaf_for("batched", options, shape=shape)
        kind = "unbatched" if k % 2 else "batched"
        x = x[0] if k % 2 else x
        with torch.set_grad_enabled(k % 3 > 0):
            got, ref = (outputs(call(layer, kind, options, x)) for layer in (ours, reference))
        assert_same(got, ref)
