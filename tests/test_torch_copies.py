"""Copies of modules, whatever they keep: what torch.nn's can do ours can, with the same results."""

import copy
import io
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torch_cases import (
    LSTM,
    LSTMCell,
    accelerate,
    assert_same,
    draw,
    one_torch_thread,  # noqa: F401
    outputs,
    packed_in,
    torch,
    twins,
)


def through_torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def for_another_process(module):
    from torch.multiprocessing import reductions

    reductions.init_reductions()
    return pickle.loads(ForkingPickler.dumps(module.share_memory()))


def by_state_dict(module):
    made = type(module)(module.input_size, module.hidden_size, 2, dtype=torch.float64).eval()
    made.load_state_dict(module.state_dict())
    return made


def in_a_model(module):
    model = torch.nn.ModuleList([module])
    return copy.deepcopy(model)[0]


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": through_torch_save,
    "another process": for_another_process,
    "state_dict": by_state_dict,
    "in a model": in_a_model,
    "average": lambda module: AveragedModel(module).module,
}


def evaluated(layer, x):
    """Return the outputs of two kinds of calls, after which weights are kept for both."""
    with torch.no_grad():
        padded, (packed, state) = layer(x), layer(packed_in((2, 4, 1), x))
    return outputs(padded) | {"packed": packed.data, "packed h": state[0]}


@pytest.mark.parametrize("duplicate", WAYS.values(), ids=WAYS)
def test_a_copy_after_evaluation(duplicate):
    """It goes on alike; changed, it does not move the first (but for copy.copy, as with torch)."""
    layer, _ = twins({"num_layers": 2})
    x = draw(4, 3, 3)
    wanted = evaluated(layer.eval(), x)
    made = duplicate(layer)
    assert type(made) is LSTM and made is not layer and made.__dict__.get("_kept") is None
    assert_same(evaluated(made, x), wanted)
    for parameter in made.parameters():
        parameter.data.mul_(2)
    made.invalidate(), layer.invalidate()
    assert not torch.equal(evaluated(made, x)["y"], wanted["y"])
    shared = duplicate in (copy.copy, for_another_process)
    assert torch.equal(evaluated(layer, x)["y"], wanted["y"]) != shared


PARAMETRIZED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda layer, name: prune.l1_unstructured(layer, name, 0.5),
}


@pytest.mark.parametrize("register", PARAMETRIZED.values(), ids=PARAMETRIZED)
@pytest.mark.parametrize("duplicate", (copy.deepcopy, in_a_model, WAYS["average"]))
def test_a_parametrized_module_after_evaluation(duplicate, register):
    """PyTorch copies the dict of these itself; it says of pickle that it cannot."""
    layer, _ = twins({})
    register(layer, "weight_hh_l0")
    x = draw(4, 3, 3)
    wanted = evaluated(layer.eval(), x)
    made = duplicate(layer)
    assert isinstance(made, LSTM) and made.__dict__.get("_kept") is None
    assert_same(evaluated(made, x), wanted)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5).add_(0.1)
    assert not torch.equal(evaluated(made, x)["y"], wanted["y"])
    assert_same(evaluated(layer, x), wanted)


def test_a_module_with_a_state_of_its_own():
    """Somebody's __getstate__ does not know what is kept."""
    layer = Whole(3, 5, dtype=torch.float64).eval()
    x = draw(4, 3, 3)
    wanted = evaluated(layer, x)
    for duplicate in (copy.copy, copy.deepcopy):
        assert_same(evaluated(duplicate(layer), x), wanted)


class Whole(LSTM):
    def __getstate__(self):
        return self.__dict__


def test_a_cell_and_an_accelerated_module():
    cell = LSTMCell(3, 5).eval()
    layer = torch.nn.LSTM(3, 5).eval()
    accelerate(layer)
    x = draw(4, 3, dtype=torch.float32)
    for module in (cell, layer):
        with torch.no_grad():
            wanted = module(x)[0]
            for duplicate in (copy.deepcopy, WAYS["pickle"], through_torch_save):
                assert torch.equal(duplicate(module)(x)[0], wanted)


def test_a_copy_between_forward_and_backward():
    layer, reference = twins({})
    x = draw(4, 3, 3)
    for one in (layer, reference):
        y, _ = one(x)
        made = copy.deepcopy(one)
        y.sum().backward()
        assert all(p.grad is not None for p in one.parameters())
        assert all(p.grad is None for p in made.parameters())
