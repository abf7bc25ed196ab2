"""Graphs of torch.compile and torch.export hold lstmfast.torch.LSTM as one node."""

import copy

import pytest
from fresh_process import printed
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch_cases import (
    LSTM,
    LSTMCell,
    assert_same,
    assert_same_gradients,
    call,
    draw,
    gradients,
    leaf_for,
    one_torch_thread,  # noqa: F401
    outputs,
    packed_in,
    state_for,
    torch,
    twins,
    weigh,
)

OPTIONS = {
    "plain": {},
    "stack, both ways": {"num_layers": 2, "bidirectional": True},
    "projected, batch_first, no bias": {
        "num_layers": 2, "proj_size": 2, "batch_first": True, "bias": False,
    },
}  # fmt: skip
SOME = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture(autouse=True)
def fresh():
    """Forget what other tests compiled."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def nodes(graph):
    """Return the operators of a graph that are lstmfast's."""
    calls = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return [name for name in calls if "lstmfast" in name]


def compiled(module, backend="aot_eager", **how):
    """Return a module compiled without a break, and the counter of its graphs."""
    counter = CompileCounterWithBackend(backend)
    return torch.compile(module, backend=counter, fullgraph=True, **how), counter


# ---------------------------------------------------------------- torch.compile


@SOME
@pytest.mark.parametrize("with_state", (False, True), ids=("zeros", "state"))
def test_one_node_and_the_same_results(with_state, options):
    """Forward and backward through aot_autograd, against eager torch.nn."""
    ours, reference = twins(options)
    module, counter = compiled(ours)
    leaves = [leaf_for("batched", options)]
    leaves += state_for("batched", options) if with_state else []
    found = []
    for layer in (module, reference):
        own = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        result = layer(own[0], tuple(own[1:]) or None)
        weigh(result).backward()
        found.append((outputs(result), gradients(reference if layer is reference else ours, own)))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])
    assert [len(nodes(made.graph)) for made in counter.graphs] == [1]


@pytest.mark.parametrize("mode", ("no_grad", "inference_mode"))
@SOME
def test_without_gradients(options, mode):
    ours, reference = (layer.eval() for layer in twins(options))
    module, counter = compiled(ours, "eager")
    x = leaf_for("batched", options).detach()
    with torch.no_grad() if mode == "no_grad" else torch.inference_mode():
        assert_same(outputs(module(x)), outputs(reference(x)))
        with torch.no_grad():
            for layer in (ours, reference):
                layer.weight_hh_l0.mul_(2)
        assert_same(outputs(module(x)), outputs(reference(x)))
    assert [len(nodes(made.graph)) for made in counter.graphs] == [1]


def test_unbatched():
    ours, reference = twins({"num_layers": 2})
    module, counter = compiled(ours)
    x = leaf_for("unbatched", {})
    assert_same(outputs(module(x)), outputs(reference(x)))
    assert [len(nodes(made.graph)) for made in counter.graphs] == [1]


@pytest.mark.parametrize("shared", ("x", "parameters", "state"))
def test_gradients_of_a_part(shared):
    """Frozen parameters, fixed inputs, a learnt initial state."""
    found = []
    for k, layer in enumerate(twins({"num_layers": 2})):
        run = compiled(layer)[0] if k == 0 else layer
        layer.requires_grad_(shared == "parameters")
        x = leaf_for("batched", {}).requires_grad_(shared == "x")
        state = tuple(
            s.detach().requires_grad_(shared == "state")
            for s in state_for("batched", {"num_layers": 2})
        )
        weigh(run(x, state)).backward()
        found.append(gradients(layer, [x, *state]))
    assert_same_gradients(*found)


def test_dynamic_shapes():
    """T and B change without another graph than that of the first call."""
    ours, reference = twins({"num_layers": 2, "bidirectional": True})
    module, counter = compiled(ours, dynamic=True)
    module(draw(5, 4, 3).requires_grad_())
    before = counter.frame_count
    for shape in ((5, 4, 3), (9, 2, 3), (6, 7, 3), (30, 11, 3)):
        found = []
        for layer in (module, reference):
            reference.zero_grad(), ours.zero_grad()
            x = draw(*shape).requires_grad_()
            result = layer(x)
            weigh(result).backward()
            found.append((outputs(result), {"x": x.grad}))
        assert_same(found[0][0], found[1][0])
        assert_same_gradients(found[0][1], found[1][1])
    assert counter.frame_count == before


def test_shapes_that_turn_out_to_be_dynamic():
    """The default: compiled for one shape, then once more for any."""
    ours, reference = twins({})
    module, counter = compiled(ours)
    for steps in (5, 6, 7, 8):
        x = draw(steps, 4, 3)
        assert_same(outputs(module(x)), outputs(reference(x)))
    assert counter.frame_count <= 2


class Model(torch.nn.Module):
    """What a user has: words in, classes out."""

    def __init__(self, layer=LSTM):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 3)
        self.lstm = layer(3, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.head = torch.nn.Linear(10, 4)

    def forward(self, words):
        y, (h_n, _) = self.lstm(self.embedding(words))
        return self.head(torch.relu(y) + h_n[-1].mean())


def model_and_words(seed=0):
    torch.manual_seed(seed)
    return Model(), torch.randint(20, (3, 7))


def test_a_model_trains_compiled():
    """Ten steps of Adam: the losses of torch.nn's eager twin."""
    torch.manual_seed(0)
    ours, words = Model(), torch.randint(20, (3, 7))
    reference = Model(torch.nn.LSTM)
    reference.load_state_dict(ours.state_dict())
    module, counter = compiled(ours)
    curves = []
    for model, run in ((ours, module), (reference, reference)):
        optimizer, losses = torch.optim.Adam(model.parameters(), 0.01), []
        for _ in range(10):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(run(words).flatten(0, 1), words.flatten() % 4)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert [len(nodes(made.graph)) for made in counter.graphs] == [1]


def test_dropout_in_a_graph():
    """Masks follow torch.manual_seed, differ from call to call, and backward has the same ones."""
    ours, _ = twins({"num_layers": 2, "dropout": 0.5})
    module, counter = compiled(ours)
    x = leaf_for("batched", {})

    def run(seed):
        torch.manual_seed(seed)
        return module(x)[0]

    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
    torch.manual_seed(1)
    first, second = module(x)[0], module(x)[0]
    assert not torch.equal(first, second)

    def loss(value):
        torch.manual_seed(3)
        return weigh(module(value))

    (dx,) = torch.autograd.grad(loss(x), x)
    step = torch.zeros_like(x)
    step[1, 2, 0] = 1e-6
    quotient = (loss(x + step) - loss(x - step)) / 2e-6
    assert dx[1, 2, 0] == pytest.approx(quotient.item(), rel=1e-5)
    assert nodes(counter.graphs[0].graph)


@pytest.mark.parametrize("mode", ("no_grad", "inference_mode", "frozen"))
def test_dropout_in_a_graph_without_gradients(mode):
    """Monte Carlo dropout: a module in training drops, whether or not gradients are wanted."""
    ours, _ = twins({"num_layers": 2, "dropout": 0.5})
    ours.requires_grad_(mode != "frozen")
    module, _ = compiled(ours)
    modes = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    x, found = draw(4, 4, 3), []
    with modes.get(mode, torch.enable_grad)():
        for run in (module, module, ours):
            torch.manual_seed(3)
            found.append(run(x)[0].clone())
        other = module(x)[0]
        whole = ours.eval()(x)[0]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], other)
    assert torch.allclose(found[0], found[2]) and not torch.allclose(found[0], whole)


def test_packed_sequences_run_compiled():
    """They may break the graph; the results are the same."""
    ours, reference = twins({"num_layers": 2, "bidirectional": True})
    x, lengths = draw(6, 4, 3), (2, 6, 1, 4)

    def run(layer, x):
        return layer(packed_in(lengths, x))

    module = torch.compile(lambda x: run(ours, x), backend="eager")
    assert_same(outputs(module(x)), outputs(run(reference, x)))


def test_other_modules_are_treated_as_before():
    """torch.nn.LSTM keeps breaking graphs by default: importing lstmfast changes nothing there."""
    layer = torch.nn.LSTM(3, 5)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(layer, backend="eager", fullgraph=True)(torch.randn(4, 2, 3))
    assert torch._dynamo.config.allow_rnn is False


def test_cell():
    """Its step is one node, too."""
    torch.manual_seed(0)
    cell, x, state = LSTMCell(3, 5), torch.randn(4, 3), (torch.randn(4, 5), torch.randn(4, 5))
    module, counter = compiled(cell)
    for given in ((x,), (x, state)):
        for got, wanted in zip(module(*given), cell(*given), strict=True):
            assert torch.allclose(got, wanted, atol=1e-6)
    assert [len(nodes(made.graph)) for made in counter.graphs] == [1, 1]


# ---------------------------------------------------------------- torch.export


def exported(model, *given, **how):
    program = torch.export.export(model, given, **how)
    assert len(nodes(program.graph)) == 1
    return program


@SOME
@pytest.mark.parametrize("strict", (False, True), ids=("non-strict", "strict"))
def test_export(options, strict):
    ours, reference = (layer.eval() for layer in twins(options))
    x = leaf_for("batched", options).detach()
    program = exported(ours, x, strict=strict)
    assert_same(
        {n: a.detach() for n, a in outputs(program.module()(x)).items()},
        {n: a.detach() for n, a in outputs(reference(x)).items()},
    )


def test_export_with_dynamic_shapes(tmp_path):
    """T and B are symbols, also after the program was saved and loaded."""
    ours, reference = (layer.eval() for layer in twins({"num_layers": 2}))
    steps, rows = torch.export.Dim("steps", min=2), torch.export.Dim("rows", min=2)
    program = exported(ours, draw(5, 4, 3), dynamic_shapes=({0: steps, 1: rows},))
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2")
    assert len(nodes(loaded.graph)) == 1
    for module in (program.module(), loaded.module()):
        for shape in ((5, 4, 3), (9, 2, 3), (2, 17, 3)):
            with torch.no_grad():
                assert_same(outputs(module(draw(*shape))), outputs(reference(draw(*shape))))


def test_export_holds_the_weights_as_parameters():
    """They are in the program's state_dict under their names."""
    model, words = model_and_words()
    program = exported(model.eval(), words)
    assert program.state_dict.keys() == model.state_dict().keys()


def test_export_in_training_can_be_trained():
    """A module exported in training mode has gradients."""
    model, words = model_and_words()
    program = torch.export.export(model, (words,))
    found = []
    for run in (program.module(), copy.deepcopy(model)):
        run(words).square().sum().backward()
        found.append({name: p.grad for name, p in run.named_parameters()})
    for name, wanted in found[1].items():
        assert torch.allclose(found[0][name], wanted, atol=1e-5), name


RUN_EXPORTED = """
import sys
import torch
import lstmfast.torch
program = torch.export.load(sys.argv[1] + "/model.pt2")
words, wanted = torch.load(sys.argv[1] + "/case.pt")
assert torch.allclose(program.module()(words), wanted, atol=1e-6)
"""


def test_exported_model_in_a_fresh_process(tmp_path, environment):
    model, words = model_and_words()
    program = exported(model.eval(), words)
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((words, model(words).detach()), tmp_path / "case.pt")
    printed(environment, RUN_EXPORTED, tmp_path, timeout=120)


# ---------------------------------------------------------------- the operators


class Recorder(TorchDispatchMode):
    """Keeps the calls of lstmfast's operators."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "lstmfast":
            self.calls.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))


def recorded(options):
    """Return the calls of operators that a layer makes, forward and back, where it is watched."""
    layer, _ = twins(options)
    with Recorder() as recorder:
        weigh(layer(leaf_for("batched", options, shape=(3, 2)))).backward()
    return recorder.calls


@pytest.mark.filterwarnings("ignore")
@SOME
def test_opcheck(options):
    """PyTorch's own checks: schema, fake kernel, registration of the gradient, dynamic shapes."""
    calls = recorded(options | {"bidirectional": True})
    assert {str(function) for function, _, _ in calls} == {
        "lstmfast.lstm.default", "lstmfast.lstm_backward.default",
    }  # fmt: skip
    for function, args, kwargs in calls:
        own = torch.utils._pytree.tree_map(
            lambda a: a.detach().clone() if isinstance(a, torch.Tensor) else a, (args, kwargs)
        )
        torch.library.opcheck(function, *own)


# ---------------------------------------------------------------- older ways


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_jit_trace(tmp_path):
    """A traced model gives the same, for other inputs too, also after saving."""
    model, words = model_and_words()
    traced = torch.jit.trace(model.eval(), (words,))
    traced.save(tmp_path / "model.ts")
    for run in (traced, torch.jit.load(tmp_path / "model.ts")):
        for other in (words, torch.randint(20, (3, 7))):
            assert torch.allclose(run(other), model(other), atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_jit_script():
    model, words = model_and_words()
    wanted = model.eval()(words)
    assert torch.allclose(torch.jit.script(model)(words), wanted, atol=1e-6)


def test_make_fx():
    """Tracing by dispatch sees the node."""
    from torch.fx.experimental.proxy_tensor import make_fx

    ours, reference = (layer.eval() for layer in twins({"num_layers": 2}))
    x = draw(5, 4, 3)
    with torch.no_grad():
        graph = make_fx(lambda x: ours(x)[0], tracing_mode="real")(x)
        assert torch.allclose(graph(x), reference(x)[0], atol=1e-9)
    assert len(nodes(graph.graph)) == 1


@pytest.mark.parametrize("kind", ("batched", "packed unsorted"))
def test_under_a_dispatch_mode(kind):
    """Counters of operations and the like look at every operator; results are the same."""
    found = []
    for layer in twins({"num_layers": 2, "bidirectional": True}):
        x = leaf_for(kind, {})
        with FlopCounterMode(display=False):
            result = call(layer, kind, {}, x)
            weigh(result).backward()
        found.append((outputs(result), gradients(layer, [x])))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])


def test_symbolic_trace():
    """To torch.fx a layer of torch.nn is one node that it does not look into."""

    class Doubled(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return 2 * self.layer(x)[0]

    graphs = [torch.fx.symbolic_trace(Doubled(layer)) for layer in twins({"num_layers": 2})]
    ours, reference = ([(n.op, str(n.target)) for n in made.graph.nodes] for made in graphs)
    assert ours == reference and ("call_module", "layer") in ours
    x = draw(4, 4, 3)
    assert torch.allclose(graphs[0](x), graphs[1](x), atol=1e-9)


def test_fake_tensors():
    """Shapes without values, as memory planners use them."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        layer = LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2)
        y, (h_n, c_n) = layer(torch.empty(7, 4, 3))
    assert [tuple(a.shape) for a in (y, h_n, c_n)] == [(7, 4, 4), (4, 4, 2), (4, 4, 5)]
