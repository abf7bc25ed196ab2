"""Every way in which a parameter may change between two calls is seen by the next call.

lstmfast keeps packed weights between calls without a graph; torch.nn.LSTM keeps nothing. So the
same change is made to both layers, and they must go on to agree. Versions do not tell all: fused
optimizers and `.data` leave them alone, but a pass with a graph, or a change of mode, comes first.
"""

import copy

import pytest
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import (
    parameters_to_vector,
    parametrizations,
    parametrize,
    prune,
    vector_to_parameters,
)
from torch_cases import (
    BAR,
    LSTM,
    assert_same,
    assert_same_gradients,
    draw,
    gradients,
    leaf_for,
    one_torch_thread,  # noqa: F401
    outputs,
    torch,
    twins,
    weigh,
)

OPTIONS = {"num_layers": 2, "bidirectional": True}
MODES = pytest.mark.parametrize("mode", ("no_grad", "inference_mode", "graph"))


def called(layer, mode="no_grad", x=None):
    """Return the outputs of an eval call."""
    x = draw(4, 4, 3) if x is None else x
    if mode == "inference_mode":
        with torch.inference_mode():
            return outputs(layer(x))
    with torch.set_grad_enabled(mode == "graph"):
        return {name: a.detach() for name, a in outputs(layer(x)).items()}


def agree_after(change, layers=None, mode="no_grad"):
    """Hold both layers against each other before and after a change of each."""
    ours, reference = (layer.eval() for layer in layers or twins(OPTIONS))
    for _ in range(2):
        before = called(ours, mode)
        assert_same(before, called(reference, mode))
    for layer in (ours, reference):
        torch.manual_seed(5)
        change(layer)
    after = called(ours, mode)
    assert_same(after, called(reference, mode))
    assert not torch.equal(after["y"], before["y"])
    return ours, reference


# ---------------------------------------------------------------- changes of values


def under_no_grad(change):
    """Return a change of every parameter under no_grad."""

    def all_changed(layer):
        with torch.no_grad():
            for parameter in layer.parameters():
                change(parameter)

    return all_changed


def one_parameter(name):
    def changed(layer):
        with torch.no_grad():
            getattr(layer, name).mul_(1.5)

    return changed


def step_of(optimizer, **options):
    def changed(layer):
        made = optimizer(layer.parameters(), lr=0.1, **options)
        weigh(layer(draw(4, 4, 3))).backward()
        made.step()

    return changed


def by_data_swap(layer):
    for parameter in layer.parameters():
        parameter.data = parameter.data * 2


def by_data_in_place(layer):
    """An update as old code writes it: `.data` has a version counter of its own."""
    weigh(layer(draw(4, 4, 3))).backward()
    for parameter in layer.parameters():
        parameter.data.add_(parameter.grad, alpha=-0.1)


def by_data_in_place_and_eval(layer):
    """No pass before it, but a change of mode after it."""
    for parameter in layer.train().parameters():
        parameter.data.mul_(2)
    layer.eval()


def by_vector(layer):
    with torch.no_grad():
        vector_to_parameters(parameters_to_vector(layer.parameters()) * 2, layer.parameters())


def by_new_parameter(layer):
    layer.weight_hh_l1 = torch.nn.Parameter(layer.weight_hh_l1.detach() * 2)


def by_load(layer):
    other, _ = twins(OPTIONS, seed=7)
    layer.load_state_dict(other.state_dict())


def by_load_assign(layer):
    other, _ = twins(OPTIONS, seed=7)
    layer.load_state_dict(other.state_dict(), assign=True)


def by_set(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.set_(parameter.detach() * 2)


def by_inference_mode(layer):
    with torch.inference_mode():
        for parameter in layer.parameters():
            parameter.mul_(2)


def by_setattr_in_parameters(layer):
    """Through _parameters, as some libraries do: __setattr__ is not asked."""
    name = "weight_ih_l0"
    layer._parameters[name] = torch.nn.Parameter(layer._parameters[name].detach() * 2)


CHANGES = {
    "add_": under_no_grad(lambda p: p.add_(0.1)),
    "copy_": under_no_grad(lambda p: p.copy_(2 * p)),
    "a row": under_no_grad(lambda p: p[0].fill_(1)),
    "a view made before": under_no_grad(lambda p: p.view(-1)[:3].zero_()),
    "detach": under_no_grad(lambda p: p.detach().mul_(2)),
    "init": under_no_grad(lambda p: torch.nn.init.normal_(p)),
    "reset_parameters": lambda layer: layer.reset_parameters(),
    "lerp_ of averages": under_no_grad(lambda p: p.lerp_(torch.zeros_like(p), 0.5)),
    "foreach": lambda layer: torch._foreach_mul_([p.detach() for p in layer.parameters()], 2),
    "data swap": by_data_swap,
    "data in place": by_data_in_place,
    "data in place, then eval": by_data_in_place_and_eval,
    "vector_to_parameters": by_vector,
    "new parameter": by_new_parameter,
    "in _parameters": by_setattr_in_parameters,
    "load_state_dict": by_load,
    "load_state_dict assign": by_load_assign,
    "set_": by_set,
    "inference_mode": by_inference_mode,
    "SGD": step_of(torch.optim.SGD),
    "SGD, a loop": step_of(torch.optim.SGD, foreach=False),
    "Adam": step_of(torch.optim.Adam),
    "AdamW, fused": step_of(torch.optim.AdamW, fused=True),
    "RMSprop": step_of(torch.optim.RMSprop),
    "SGD, fused": step_of(torch.optim.SGD, fused=True),
} | {
    name: one_parameter(name)
    for name in ("weight_ih_l0", "weight_hh_l1", "bias_ih_l0", "bias_hh_l1_reverse")
}


@MODES
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_is_seen(change, mode):
    agree_after(change, mode=mode)


def test_data_swapped_again_and_again():
    """Memory that is freed comes back at the same address, with other values in it."""
    ours, reference = (layer.eval() for layer in twins({}))
    for k in range(20):
        values = draw(20, 5, seed=100 + k)
        for layer in (reference, ours):
            layer.weight_hh_l0.data = torch.empty(0)  # frees what was there
            layer.weight_hh_l0.data = values.clone()
        assert_same(called(ours), called(reference))


@pytest.mark.parametrize("how", ("fused", "data"))
def test_update_of_a_single_number(how):
    """A gradient that is zero but in one place, and an update that no version counts."""
    ours, reference = (layer.eval() for layer in twins({}, sizes=(64, 64)))
    x, place = draw(4, 4, 64), (77, 13)
    assert_same(called(ours, x=x), called(reference, x=x))
    before = called(ours, x=x)["y"]
    for layer in (ours, reference):
        layer.weight_ih_l0.register_hook(
            lambda grad: torch.zeros_like(grad).index_put_(
                [torch.tensor([k]) for k in place], torch.tensor([1.0], dtype=grad.dtype)
            )
        )
        weigh(layer(x)).backward()
        if how == "fused":
            torch.optim.SGD([layer.weight_ih_l0], 1.0, fused=True).step()
        else:
            layer.weight_ih_l0.data.sub_(layer.weight_ih_l0.grad)
    after = called(ours, x=x)
    assert_same(after, called(reference, x=x))
    assert not torch.equal(after["y"], before)


def test_weights_swapped_for_their_average_and_back():
    """The loop of an exponential moving average: swap, evaluate, swap back, train on."""
    ours, reference = twins(OPTIONS)
    for layer in (ours, reference):
        average = copy.deepcopy(layer)
        CHANGES["add_"](average)
        for _ in range(3):
            layer.eval()
            called(layer)
            kept = [p.data for p in layer.parameters()]
            for p, q in zip(layer.parameters(), average.parameters(), strict=True):
                p.data = q.data
            layer.found = [called(layer)["y"]]
            for p, data in zip(layer.parameters(), kept, strict=True):
                p.data = data
            layer.found.append(called(layer)["y"])
    assert_same(dict(enumerate(ours.found)), dict(enumerate(reference.found)))


def test_training_and_evaluation_in_turn():
    """Ten steps of Adam, evaluated after each."""
    layers = twins(OPTIONS | {"dropout": 0.0})
    optimizers = [torch.optim.Adam(layer.parameters(), 0.05) for layer in layers]
    for k in range(10):
        for layer, optimizer in zip(layers, optimizers, strict=True):
            layer.train()
            optimizer.zero_grad()
            weigh(layer(draw(4, 4, 3, seed=k))).backward()
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            optimizer.step()
            layer.eval()
        got, ref = (called(layer) for layer in layers)
        assert_same(got, ref, bar=1e-9)  # Adam divides by what is small at first


# ---------------------------------------------------------------- other homes of parameters


def test_layer_made_in_inference_mode():
    """Its parameters have no version counter at all."""
    with torch.inference_mode():
        layers = tuple(layer.eval() for layer in twins(OPTIONS))
    for mode in ("no_grad", "inference_mode"):
        agree_after(by_inference_mode, layers, mode)


def test_shared_memory():
    ours, reference = agree_after(lambda layer: one_parameter("weight_hh_l0")(layer.share_memory()))
    assert all(p.is_shared() for p in ours.parameters())
    agree_after(CHANGES["add_"], (ours, reference))


def test_conversion_between_calls():
    for dtype in (torch.float32, torch.float64):
        ours, reference = (layer.eval() for layer in twins(OPTIONS, dtype))
        other = torch.float64 if dtype is torch.float32 else torch.float32
        x = draw(4, 4, 3)
        for wanted in (dtype, other, dtype):
            for layer in (ours, reference):
                layer.to(wanted)
            got, ref = (called(layer, x=x.to(wanted)) for layer in (ours, reference))
            assert_same(got, ref)


def test_parameter_shared_by_two_layers():
    found = []
    for k in (0, 1):
        first, second = (twins({}, seed=s, sizes=(5, 5))[k] for s in (1, 2))
        second.weight_hh_l0 = first.weight_hh_l0
        second.bias_ih_l0 = first.bias_ih_l0
        x = draw(4, 4, 5).requires_grad_()
        weigh(second(first(x)[0])).backward()
        found.append(gradients(first, [x]) | {"own": second.weight_ih_l0.grad})
        first.eval(), second.eval()
        called(second, x=x.detach())
        with torch.no_grad():
            first.weight_hh_l0.mul_(2)
        found[-1]["after"] = called(second, x=x.detach())["y"]
    assert_same_gradients(*found)


def test_one_parameter_in_two_places_of_a_layer():
    found = []
    for layer in twins({"num_layers": 2}, sizes=(5, 5)):
        layer.weight_ih_l1 = layer.weight_hh_l1 = layer.weight_hh_l0 = layer.weight_ih_l0
        layer.bias_hh_l0 = layer.bias_ih_l0
        x = draw(4, 4, 5).requires_grad_()
        weigh(layer(x)).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


# ---------------------------------------------------------------- parameters from outside


def replaced(layer, factor):
    return {name: (factor * p).detach().requires_grad_() for name, p in layer.named_parameters()}


def test_functional_call():
    """Other parameters for one call; the layer's own are untouched, and used again after it."""
    found = []
    for layer in twins(OPTIONS):
        x, given = leaf_for("batched", OPTIONS), replaced(layer, 1.5)
        layer.eval()
        before = called(layer)
        weigh(functional_call(layer, given, (x,))).backward()
        assert all(p.grad is None for p in layer.parameters())
        with torch.no_grad():
            within = outputs(functional_call(layer, given, (x,)))
        assert_same(called(layer), before)
        made = {name: p.grad for name, p in given.items()}
        found.append((made | {"x": x.grad}, within))
    assert_same_gradients(found[0][0], found[1][0])
    assert_same(found[0][1], found[1][1])


def test_functional_call_with_some_parameters():
    found = []
    for layer in twins(OPTIONS):
        given = {"weight_hh_l1": (2 * layer.weight_hh_l1).detach().requires_grad_()}
        weigh(functional_call(layer, given, (draw(4, 4, 3),))).backward()
        found.append(gradients(layer, []) | {"given": given["weight_hh_l1"].grad})
    assert_same_gradients(*found)


def test_parameters_made_of_others():
    """A hypernetwork: weights are functions of a leaf, gradients go on to it."""
    found = []
    for layer in twins({}):
        leaf = draw(20, 5, seed=3).requires_grad_()
        given = {"weight_hh_l0": leaf.tanh() / 2, "bias_ih_l0": leaf.sum(1)}
        weigh(functional_call(layer, given, (draw(4, 4, 3),))).backward()
        found.append({"leaf": leaf.grad})
    assert_same_gradients(*found)


def parametrized_by(register):
    layers = twins({"num_layers": 2})
    for layer in layers:
        torch.manual_seed(8)  # some of them draw numbers
        register(layer)
    found = []
    for layer in layers:
        torch.manual_seed(6)
        x = leaf_for("batched", {})
        result = layer(x)
        weigh(result).backward()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.sub_(0.1 * parameter.grad)
            again = outputs(layer.eval()(x))
        found.append((outputs(result), again, gradients(layer, [x])))
    for got, ref in list(zip(*found, strict=True))[:2]:
        assert_same(got, ref)
    assert_same_gradients(found[0][2], found[1][2])


def test_weight_norm():
    parametrized_by(lambda layer: parametrizations.weight_norm(layer, "weight_hh_l0"))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_as_it_was():
    parametrized_by(lambda layer: torch.nn.utils.weight_norm(layer, "weight_hh_l0"))


def test_orthogonal_and_other_parametrizations():
    class Halved(torch.nn.Module):
        def forward(self, weight):
            return weight / 2

    parametrized_by(lambda layer: parametrizations.orthogonal(layer, "weight_hh_l1"))
    parametrized_by(lambda layer: parametrizations.spectral_norm(layer.eval(), "weight_ih_l0"))
    parametrized_by(
        lambda layer: parametrize.register_parametrization(layer, "bias_ih_l0", Halved())
    )


def test_parametrization_taken_off():
    layers = twins({})
    for layer in layers:
        parametrizations.weight_norm(layer, "weight_hh_l0")
        called(layer)
        parametrize.remove_parametrizations(layer, "weight_hh_l0")
    agree_after(CHANGES["add_"], layers)
    assert type(layers[0]) is LSTM


def test_pruning():
    """torch.nn.utils.prune puts a masked tensor in place of the parameter."""
    layers = twins({})
    for layer in layers:
        prune.l1_unstructured(layer, "weight_hh_l0", 0.5)
    got, ref = (called(layer) for layer in layers)
    assert_same(got, ref)
    agree_after(lambda layer: prune.l1_unstructured(layer, "weight_ih_l0", 0.5), layers)
    for layer in layers:
        prune.remove(layer, "weight_ih_l0")
    agree_after(CHANGES["add_"], layers)


def test_drop_of_recurrent_weights():
    """DropConnect as in AWD-LSTM: another weight is set before every call."""
    found = []
    for layer in twins({}):
        raw = layer.weight_hh_l0
        del layer.weight_hh_l0
        layer.register_parameter("raw", raw)
        results = []
        for k in range(3):
            torch.manual_seed(k)
            layer.weight_hh_l0 = torch.nn.functional.dropout(layer.raw, 0.5)
            results.append(weigh(layer(draw(4, 4, 3))))
        sum(results).backward()
        found.append({"raw": raw.grad, "input": layer.weight_ih_l0.grad})
    assert_same_gradients(*found)


# ---------------------------------------------------------------- torch.func


def test_grad_of_functional_call():
    """torch.func's transforms: torch.nn's results."""
    found = []
    for layer in twins({}):
        given = {name: p.detach() for name, p in layer.named_parameters()}

        def loss(given, layer=layer):
            return weigh(functional_call(layer, given, (draw(4, 4, 3),)))

        found.append(grad(loss)(given))
    assert_same_gradients(*found)


def test_vmap_over_models():
    """An ensemble by stack_module_state, as torch.func's tutorial has it."""
    found = []
    for k in (0, 1):
        models = [twins({}, torch.float32, seed=s)[k] for s in range(3)]
        parameters, buffers = stack_module_state(models)
        base = models[0]

        def one(parameters, buffers, x, base=base):
            return functional_call(base, (parameters, buffers), (x,))[0]

        x = draw(4, 2, 3, dtype=torch.float32)
        try:
            found.append(vmap(one, (0, 0, None))(parameters, buffers, x).detach())
        except RuntimeError:
            found.append(None)
    assert (found[0] is None) == (found[1] is None)
    if found[0] is not None:
        assert (found[0] - found[1]).abs().max() <= BAR[torch.float32]
