"""Cases for lstmfast.torch: constructor options beside kinds of input, and how they are compared.

The reference is torch.nn's own class with the same parameters, given the same leaves. Errors are
measured as in `agreement`.
"""

from itertools import product

import pytest
from agreement import forward_error, gradient_error

torch = pytest.importorskip("torch")

from torch.nn.utils.rnn import (  # noqa: E402
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
)

from lstmfast.torch import LSTM, LSTMCell, accelerate  # noqa: E402, F401

DTYPES = {"float32": torch.float32, "float64": torch.float64}
DTYPE = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
BAR = {torch.float32: 1e-5, torch.float64: 1e-12}  # measured: 3.7e-6 and 7.6e-15

T, B, I, H, P = 4, 4, 3, 5, 2
LENGTHS = (2, 4, 1, 2)  # of packed rows: in no order, one of a single step, two alike


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """Torch's threads would wait for each other longer than these shapes take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---------------------------------------------------------------- options of the constructor


def _name(options):
    return " ".join(name if value is True else f"{name}={value}" for name, value in options.items())


def _every_option():
    """Return every combination of the options that change what is computed, by name."""
    varied = {
        "num_layers": (1, 2, 3),
        "bias": (True, False),
        "batch_first": (False, True),
        "bidirectional": (False, True),
        "proj_size": (0, P),
    }
    combined = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    return {_name(options): options for options in combined}


OPTIONS = _every_option()
SOME_OPTIONS = {
    "plain": {},
    "stack": {"num_layers": 2, "bidirectional": True},
    "everything": {
        "num_layers": 2, "bias": False, "batch_first": True, "bidirectional": True, "proj_size": P,
    },
}  # fmt: skip
SOME = pytest.mark.parametrize("options", SOME_OPTIONS.values(), ids=SOME_OPTIONS)


def twins(options, dtype=torch.float64, seed=0, sizes=(I, H)):
    """Return lstmfast's layer and torch.nn's with equal parameters."""
    torch.manual_seed(seed)
    reference = torch.nn.LSTM(*sizes, dtype=dtype, **options)
    ours = LSTM(*sizes, dtype=dtype, **options)
    ours.load_state_dict(reference.state_dict())
    return ours, reference


# ---------------------------------------------------------------- kinds of input


def draw(*shape, dtype=torch.float64, seed=1):
    """Return a random tensor, always the same."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _packed(**how):
    def kind(x, batch_first):
        lengths = sorted(LENGTHS, reverse=True) if how.get("enforce_sorted", True) else LENGTHS
        first = how.get("batch_first", False)
        x = x if first == batch_first else x.transpose(0, 1)
        return pack_padded_sequence(x, torch.tensor(lengths), **how)

    return kind


def _packed_rows(x, batch_first):
    rows = x if batch_first else x.transpose(0, 1)
    chosen = [row[:length] for row, length in zip(rows, LENGTHS, strict=True)]
    return pack_sequence(chosen, enforce_sorted=False)


def packed_in(lengths, x):
    """Return x (T, B, I) packed."""
    return pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)


# What the layer is called with, made of a leaf in the layer's own layout (unbatched: without B).
KINDS = {
    "batched": lambda x, batch_first: x,
    "unbatched": lambda x, batch_first: x,
    "packed": _packed(),
    "packed batch_first": _packed(batch_first=True),
    "packed unsorted": _packed(enforce_sorted=False),
    "packed unsorted batch_first": _packed(enforce_sorted=False, batch_first=True),
    "packed rows": _packed_rows,
}


def leaf_for(kind, options, dtype=torch.float64, shape=(T, B)):
    """Return the random x of a kind of input, which requires its gradient."""
    steps, rows = shape
    if kind == "unbatched":
        sizes = (steps, I)
    else:
        sizes = (rows, steps, I) if options.get("batch_first") else (steps, rows, I)
    return draw(*sizes, dtype=dtype).requires_grad_()


def state_for(kind, options, dtype=torch.float64, rows=B):
    """Return random (h0, c0) for a kind of input, which require their gradients."""
    parts = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    leading = (parts,) if kind == "unbatched" else (parts, rows)
    sizes = options.get("proj_size") or H, H
    h0, c0 = (draw(*leading, n, dtype=dtype, seed=k) for k, n in enumerate(sizes, start=2))
    return h0.tanh().requires_grad_(), c0.requires_grad_()


# ---------------------------------------------------------------- results


def outputs(found):
    """Return what a layer returned as a dict of tensors."""
    y, (h_n, c_n) = found
    if isinstance(y, PackedSequence):
        fields = {name: getattr(y, name) for name in y._fields if getattr(y, name) is not None}
        return {**fields, "h_n": h_n, "c_n": c_n}
    return {"y": y, "h_n": h_n, "c_n": c_n}


def weigh(found, names=None):
    """Return a scalar of the named outputs (None: all), each weighed by a random upstream."""
    kept = {n: a for n, a in outputs(found).items() if a.is_floating_point()}
    chosen = {"y" if n == "data" else n: a for n, a in kept.items()}
    return sum(
        (draw(*chosen[name].shape, dtype=chosen[name].dtype, seed=4 + k) * chosen[name]).sum()
        for k, name in enumerate(sorted(chosen))
        if names is None or name in names
    )


def gradients(layer, leaves):
    """Return the gradients that parameters and leaves have, by name; None where there is none."""
    named = {f"leaf {k}": leaf.grad for k, leaf in enumerate(leaves)}
    return named | {name: parameter.grad for name, parameter in layer.named_parameters()}


def call(layer, kind, options, x, state=None):
    """Return what the layer gives for one kind of input made of the leaf x."""
    made = KINDS[kind](x, options.get("batch_first", False))
    return layer(made) if state is None else layer(made, state)


def assert_same(got, ref, error=forward_error, bar=None):
    """Hold a dict of tensors (or None) against the reference's: metadata, values, order."""
    assert list(got) == list(ref)
    for name, wanted in ref.items():
        found = got[name]
        assert (found is None) == (wanted is None), name
        if wanted is None:
            continue
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, name
        assert found.requires_grad == wanted.requires_grad, name
        if not wanted.is_floating_point():
            assert torch.equal(found, wanted), name
        elif wanted.numel():
            bound = BAR[wanted.dtype] if bar is None else bar
            measured = error(found.detach().numpy(), wanted.detach().numpy())
            assert measured <= bound, name


def assert_same_gradients(got, ref, bar=None):
    """Hold gradients against the reference's."""
    assert_same(got, ref, gradient_error, bar)
