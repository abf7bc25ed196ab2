"""accelerate(model) swaps in place and training goes on; what lstmfast cannot take falls back."""

import copy
import io

import pytest
from torch.func import grad
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_cases import (
    LSTM,
    LSTMCell,
    accelerate,
    assert_same,
    assert_same_gradients,
    draw,
    one_torch_thread,  # noqa: F401
    outputs,
    torch,
    twins,
    weigh,
)

from lstmfast.fallback import FallbackError
from lstmfast.torch import restore

X, XD = draw(4, 3, 3, dtype=torch.float32), draw(4, 3, 3)
STEPS, CURVE_BAR = 20, 1e-4  # measured: 9e-8 with Adam, 1.1e-5 with RMSprop


class Tagger(torch.nn.Module):
    """Words of sentences of unlike lengths to tags: what a user brings."""

    def __init__(self, vocabulary=50, tags=7):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, 16)
        self.lstm = torch.nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(48, tags)

    def forward(self, words, lengths):
        x = pack_padded_sequence(
            self.embedding(words), lengths, batch_first=True, enforce_sorted=False
        )
        y, _ = pad_packed_sequence(self.lstm(x)[0], batch_first=True, total_length=words.shape[1])
        return self.head(y)


class Decoder(torch.nn.Module):
    """A cell in a loop, in a module in a list in a dict."""

    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ModuleDict({"cells": torch.nn.ModuleList([torch.nn.LSTMCell(4, 6)])})
        self.head = torch.nn.Linear(6, 4)

    def forward(self, x, steps=5):
        state, made = None, []
        for _ in range(steps):
            state = self.parts["cells"][0](x, state)
            x = self.head(state[0])
            made.append(x)
        return torch.stack(made)


class Nested(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tagger = Tagger()
        self.decoder = Decoder()
        self.stack = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LSTM(3, 3))
        self.gru = torch.nn.GRU(3, 3)


def batches(count=STEPS, seed=1):
    """Return sentences with lengths, and tags that follow from the words."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        words = torch.randint(50, (8, 12), generator=generator)
        lengths = torch.randint(1, 13, (8,), generator=generator)
        lengths[0] = 12
        tags = words % 7
        tags[torch.arange(12)[None] >= lengths[:, None]] = -100
        yield words, lengths, tags


def curve(model, optimizer):
    """Return the losses of training steps."""
    losses = []
    for words, lengths, tags in batches():
        optimizer.zero_grad()
        scores = model(words, lengths)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tags.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def made(kind, seed=0):
    torch.manual_seed(seed)
    return kind()


# ---------------------------------------------------------------- what is swapped


def test_swapped_in_place_and_reported():
    model = made(Nested)
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    report = accelerate(model)
    assert sorted(report.swapped) == ["decoder.parts.cells.0", "stack.1", "tagger.lstm"]
    assert all(name in str(report) for name in report.swapped)
    assert not report.left
    assert type(model.tagger.lstm) is LSTM and type(model.stack[1]) is LSTM
    assert type(model.decoder.parts["cells"][0]) is LSTMCell
    assert type(model.gru) is torch.nn.GRU
    assert all(dict(model.named_modules())[name] is module for name, module in modules.items())
    assert all(dict(model.named_parameters())[n] is p for n, p in parameters.items())
    assert list(dict(model.named_parameters())) == list(parameters)


def test_twice_is_once():
    model = made(Nested)
    accelerate(model)
    report = accelerate(model)
    assert not report.swapped and not report.left
    assert type(model.tagger.lstm) is LSTM


def test_the_model_itself():
    layer = torch.nn.LSTM(3, 5)
    assert accelerate(layer).swapped == [""]
    assert type(layer) is LSTM


def test_nothing_to_swap():
    report = accelerate(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GRU(2, 2)))
    assert not report.swapped and not report.left and str(report)


@pytest.mark.parametrize("wrong", (None, 3, torch.zeros(2), torch.nn.LSTM, [torch.nn.LSTM(2, 2)]))
def test_what_is_no_module(wrong):
    with pytest.raises(TypeError, match="model"):
        accelerate(wrong)


class Peeking(torch.nn.LSTM):
    """Somebody's own: its forward does what ours cannot know."""

    def forward(self, x, hx=None):
        return super().forward(2 * x, hx)


def test_subclasses_are_left_and_reported():
    model = torch.nn.ModuleDict({"own": Peeking(3, 5), "plain": torch.nn.LSTM(3, 5)})
    x = torch.randn(4, 2, 3)
    wanted = model["own"](x)[0]
    report = accelerate(model)
    assert report.swapped == ["plain"] and list(report.left) == ["own"]
    assert "own" in str(report) and "Peeking" in str(report)
    assert type(model["own"]) is Peeking
    assert torch.equal(model["own"](x)[0], wanted)


def test_parametrized_modules_are_left_and_reported():
    model = torch.nn.ModuleDict({"normed": torch.nn.LSTM(3, 5), "plain": torch.nn.LSTM(3, 5)})
    parametrizations.weight_norm(model["normed"], "weight_hh_l0")
    x = torch.randn(4, 2, 3)
    wanted = model["normed"](x)[0]
    report = accelerate(model)
    assert report.swapped == ["plain"] and list(report.left) == ["normed"]
    assert torch.equal(model["normed"](x)[0], wanted)


def test_a_module_in_two_places():
    layer = torch.nn.LSTM(3, 3)
    model = torch.nn.ModuleList([layer, torch.nn.Linear(3, 3), layer])
    report = accelerate(model)
    assert type(layer) is LSTM and model[0] is model[2]
    assert report.swapped == ["0", "2"]
    layer.up = model  # named through itself, too
    assert restore(model).swapped == ["0", "2"] and type(layer) is torch.nn.LSTM


class Reader(torch.nn.Module):
    """Both kinds of modules, in a forward that can be scripted."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = torch.nn.LSTM(3, 5), torch.nn.LSTMCell(5, 4)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.cell(y[-1])[0]


def loaded(model):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    return torch.jit.load(file)


def quantized(model):
    return torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM, torch.nn.LSTMCell})


SCRIPTED = dict.fromkeys(("lstm", "cell"), "torch.jit")
COMPILED = {
    "scripted": (torch.jit.script, SCRIPTED),
    "loaded": (loaded, SCRIPTED),
    "traced": (lambda model: torch.jit.trace(model, X), SCRIPTED),
    "frozen": (lambda model: torch.jit.freeze(torch.jit.script(model)), {"": "torch.jit"}),
    "within": (lambda model: torch.nn.Sequential(torch.jit.script(model.lstm)), {"0": "torch.jit"}),
    "exported": (lambda m: torch.export.export(m, (X,)).module(), {"": "torch.export"}),
    "quantized": (quantized, dict.fromkeys(("lstm", "cell"), "quantized")),
    "to be quantized": (
        lambda model: torch.nn.Sequential(torch.ao.nn.quantizable.LSTM(3, 5)),
        {"0": "quantized", "0.layers.0.layer_fw.cell": "quantized"},
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled, left", COMPILED.values(), ids=COMPILED)
def test_what_is_compiled_or_quantized_is_named(compiled, left):
    model = compiled(made(Reader).eval())
    wanted = None if "0" in left else model(X)
    report = accelerate(model)
    assert not report.swapped and list(report.left) == list(left)
    assert all(text in report.left[name] for name, text in left.items())
    assert all(repr(name) in str(report) for name in left)
    assert wanted is None or torch.equal(model(X), wanted)


@pytest.mark.filterwarnings("ignore")
def test_what_is_compiled_without_an_lstm_is_not_named():
    for layer in (torch.nn.Linear(3, 3), torch.nn.GRU(3, 5)):
        report = accelerate(torch.nn.Sequential(torch.jit.script(layer)))
        assert not report.swapped and not report.left
    assert not accelerate(torch.fx.symbolic_trace(torch.nn.Linear(3, 3))).left
    exported = torch.export.export(LSTM(3, 5).eval(), (X,)).module()
    assert not accelerate(exported).left  # it calls lstmfast


def test_ours_are_not_left():
    class Own(LSTM):
        pass

    normed = LSTM(3, 5)
    parametrizations.weight_norm(normed, "weight_hh_l0")
    model = torch.nn.ModuleList([Own(3, 5), normed])
    assert not accelerate(model).left
    assert list(restore(model).left) == ["0", "1"]


def test_a_forward_of_its_own_is_left_and_reported():
    """Libraries put wrappers of the old method there; a change of class would not be seen."""
    layer = torch.nn.LSTM(3, 5)
    layer.forward = layer.forward
    report = accelerate(layer)
    assert not report.swapped and "forward" in report.left[""]
    assert type(layer) is torch.nn.LSTM


def test_a_model_compiled_before_the_swap():
    model = made(Reader)
    compiled = torch.compile(model, backend="eager")
    wanted = compiled(X)
    assert accelerate(compiled).swapped == ["_orig_mod.lstm", "_orig_mod.cell"]
    assert (compiled(X) - wanted).abs().max() < 1e-5
    with torch.no_grad():
        model.lstm.weight_hh_l0.mul_(3)
    assert (compiled(X) - wanted).abs().max() > 1e-3


def test_restore():
    """And back: to script it, or to hand it on."""
    model = made(Nested)
    before = {name: type(module) for name, module in model.named_modules()}
    accelerate(model)
    copied = copy.deepcopy(model)
    report = restore(model)
    assert sorted(report.swapped) == ["decoder.parts.cells.0", "stack.1", "tagger.lstm"]
    assert {name: type(module) for name, module in model.named_modules()} == before
    assert type(copied.tagger.lstm) is LSTM
    torch.jit.script(model.stack[1])


# ---------------------------------------------------------------- what stays


def test_hooks_modes_and_attributes_stay():
    model, seen = made(Tagger), []
    model.lstm.register_forward_hook(lambda m, given, found: seen.append("forward"))
    model.lstm.register_full_backward_hook(lambda m, down, up: seen.append("backward"))
    model.lstm.eval()
    model.lstm.note = "mine"
    model.lstm.weight_ih_l0.requires_grad_(False)
    accelerate(model)
    assert not model.lstm.training and model.training
    assert model.lstm.note == "mine" and not model.lstm.weight_ih_l0.requires_grad
    layer = model.lstm
    layer(torch.randn(2, 3, 16, requires_grad=True))[0].sum().backward()
    assert seen == ["forward", "backward"]


def test_results_stay():
    for kind in (Tagger, Decoder):
        model, twin = made(kind), made(kind)
        accelerate(model)
        words, lengths, _ = next(iter(batches()))
        given = (words, lengths) if kind is Tagger else (torch.randn(3, 4),)
        found = []
        for one in (model, twin):
            y = one(*given)
            (y * draw(*y.shape, dtype=y.dtype)).sum().backward()
            found.append({"y": y, **{name: p.grad for name, p in one.named_parameters()}})
        assert_same_gradients(*found)


def test_state_dict_stays():
    model, twin = made(Nested), made(Nested, 1)
    accelerate(model)
    assert list(model.state_dict()) == list(twin.state_dict())
    twin.load_state_dict(model.state_dict(), strict=True)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )


def test_after_an_eval_call_of_the_old_class():
    """Whatever either class keeps for itself does not outlive the change."""
    layer, twin = torch.nn.LSTM(3, 5).eval(), torch.nn.LSTM(3, 5).eval()
    x = torch.randn(4, 2, 3)
    twin.load_state_dict(layer.state_dict())
    with torch.no_grad():
        for change in (accelerate, restore, accelerate):
            layer(x)
            change(layer)
            for one in (layer, twin):
                one.weight_hh_l0.mul_(1.1)
            assert_same(outputs(layer(x)), outputs(twin(x)))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(
    "kind, rate", ((torch.optim.SGD, 2.0), (torch.optim.Adam, 0.02), (torch.optim.RMSprop, 0.01))
)
def test_training_goes_on(kind, rate):
    """Twenty steps on packed sequences; the optimizer was made before the swap."""
    curves = []
    for swapped in (True, False):
        model = made(Tagger)
        optimizer = kind(model.parameters(), rate)
        if swapped:
            accelerate(model)
        curves.append(curve(model, optimizer))
    assert curves[0] == pytest.approx(curves[1], rel=CURVE_BAR)
    assert curves[0][-1] < 0.98 * curves[0][0]


def test_swapped_in_the_middle():
    """The optimizer's moments belong to parameters that are still the same."""
    curves = []
    for swapped in (True, False):
        model = made(Tagger)
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        losses = curve(model, optimizer)
        if swapped:
            accelerate(model)
        curves.append(losses + curve(model, optimizer))
    assert curves[0][:STEPS] == curves[1][:STEPS]
    assert curves[0] == pytest.approx(curves[1], rel=CURVE_BAR)


# ---------------------------------------------------------------- what falls back


def float16(layer):
    return layer.half()(X.half())[0]


def complex_numbers(layer):
    return layer.to(torch.complex64)(X.to(torch.complex64))[0]


def a_transform(layer):
    return grad(lambda x: layer(x)[0].square().sum())(X)


def forward_mode(layer):
    layer.double()
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(XD, torch.ones_like(XD))
        return torch.autograd.forward_ad.unpack_dual(layer(x)[0]).tangent


def no_rows(layer):
    return layer(X[:, :0])[0]


def a_subclass_of_tensor(layer):
    class Marked(torch.Tensor):
        pass

    return layer(X.as_subclass(Marked))[0].as_subclass(torch.Tensor)


FALLBACKS = (
    float16, complex_numbers, a_transform, forward_mode, no_rows, a_subclass_of_tensor,
)  # fmt: skip
NAMED = pytest.mark.parametrize("call", FALLBACKS, ids=lambda call: call.__name__)


@NAMED
def test_falls_back(call, monkeypatch):
    """torch.nn's own result, bit for bit, dtype and all."""
    monkeypatch.delenv("LSTMFAST_STRICT", raising=False)
    ours, reference = twins({"bidirectional": True}, torch.float32)
    got, wanted = call(ours), call(reference)
    assert got.dtype == wanted.dtype and torch.equal(got, wanted)


@NAMED
@pytest.mark.parametrize("value", ("1", "yes"))
def test_strict(call, value, monkeypatch):
    ours, _ = twins({"bidirectional": True}, torch.float32)
    monkeypatch.setenv("LSTMFAST_STRICT", value)
    with pytest.raises(FallbackError, match="LSTM"):
        call(ours)


@pytest.mark.parametrize("value", ("", "0"))
def test_strict_is_off(value, monkeypatch):
    monkeypatch.setenv("LSTMFAST_STRICT", value)
    ours, _ = twins({}, torch.float32)
    assert float16(ours).dtype is torch.float16


def test_strict_takes_all_that_lstmfast_does(monkeypatch):
    """Nothing of the ordinary falls back unseen: this holds what the other tests measure."""
    monkeypatch.setenv("LSTMFAST_STRICT", "1")
    for options in (
        {},
        {"num_layers": 3, "bidirectional": True, "proj_size": 2, "dropout": 0.5},
        {"bias": False, "batch_first": True},
    ):
        for dtype in (torch.float32, torch.float64):
            layer, _ = twins(options, dtype)
            x = draw(4, 3, 3, dtype=dtype).requires_grad_()
            lengths = torch.tensor([2, 3, 1, 3][: x.shape[0 if options.get("batch_first") else 1]])
            packed = pack_padded_sequence(
                x, lengths, batch_first=layer.batch_first, enforce_sorted=False
            )
            for given in (x, x[0], x.transpose(0, 1), packed):
                weigh(layer(given)).backward()
                with torch.no_grad():
                    layer(given)
                with torch.inference_mode():
                    layer.eval()(given)
                layer.train()
    cell = LSTMCell(3, 5)
    weigh(outputs_of_cell(cell(X[0]))).backward()
    with torch.no_grad():
        cell(X[0, 0])


def outputs_of_cell(found):
    h, c = found
    return h, (h, c)


def test_strict_and_wrong_arguments(monkeypatch):
    """What torch.nn refuses is torch.nn's error, not one of a fall-back."""
    monkeypatch.setenv("LSTMFAST_STRICT", "1")
    ours, reference = twins({}, torch.float32)
    for wrong in (X[..., :2], X.double(), X[None]):
        found = []
        for layer in (ours, reference):
            with pytest.raises(Exception) as error:
                layer(wrong)
            found.append((type(error.value), str(error.value)))
        assert found[0] == found[1]


@pytest.mark.parametrize("strict", (False, True), ids=("not strict", "strict"))
def test_cell_falls_back(strict, monkeypatch):
    torch.manual_seed(0)
    reference = torch.nn.LSTMCell(3, 5, dtype=torch.float16)
    ours = LSTMCell(3, 5, dtype=torch.float16)
    ours.load_state_dict(reference.state_dict())
    x = X[0].half()
    if strict:
        monkeypatch.setenv("LSTMFAST_STRICT", "1")
        with pytest.raises(FallbackError, match="LSTMCell"):
            ours(x)
        return
    for got, wanted in zip(ours(x), reference(x), strict=True):
        assert torch.equal(got, wanted)


def test_gradients_of_a_fall_back():
    """They are torch.nn's, too."""
    found = []
    for layer in twins({}, torch.float16):
        x = X.half().requires_grad_()
        layer(x)[0].sum().backward()
        found.append([x.grad, *(p.grad for p in layer.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
