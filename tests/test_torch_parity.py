"""lstmfast.torch.LSTM gives what torch.nn.LSTM gives: outputs, states and every gradient."""

import contextlib

import pytest
from torch_cases import (
    DTYPE,
    KINDS,
    OPTIONS,
    SOME,
    SOME_OPTIONS,
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

KIND = pytest.mark.parametrize("kind", KINDS)
STATE = pytest.mark.parametrize("with_state", (False, True), ids=("zeros", "state"))


def assert_parity(layers, run, leaves):
    """Hold outputs and gradients of both layers against each other.

    `run(layer, *leaves)` calls the layer; each layer has leaves of its own.
    """
    found = []
    for layer in layers:
        own = [leaf.detach().clone().requires_grad_(leaf.requires_grad) for leaf in leaves]
        result = run(layer, *own)
        weigh(result).backward()
        found.append((outputs(result), gradients(layer, own)))
    (got, got_gradients), (ref, ref_gradients) = found
    assert_same(got, ref)
    assert_same_gradients(got_gradients, ref_gradients)


# ---------------------------------------------------------------- options beside kinds of input


@STATE
@KIND
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_parity(options, kind, with_state):
    check_parity(options, kind, with_state, torch.float32)


@pytest.mark.parametrize("kind", ("batched", "unbatched", "packed unsorted"))
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_parity_in_float64(options, kind):
    check_parity(options, kind, True, torch.float64)


def check_parity(options, kind, with_state, dtype):
    """Compare outputs and gradients for one kind of input."""
    leaves = [leaf_for(kind, options, dtype)]
    if with_state:
        leaves += state_for(kind, options, dtype)

    def run(layer, x, *state):
        return call(layer, kind, options, x, state or None)

    assert_parity(twins(options, dtype), run, leaves)


@SOME
@DTYPE
@pytest.mark.parametrize("shape", ((1, 4), (6, 1), (1, 1), (33, 2), (3, 40)), ids=str)
def test_shapes(shape, dtype, options):
    leaves = [leaf_for("batched", options, dtype, shape)]
    leaves += state_for("batched", options, dtype, shape[1])
    assert_parity(twins(options, dtype), lambda layer, x, *hx: layer(x, hx), leaves)


@SOME
@DTYPE
def test_one_step_unbatched(dtype, options):
    leaves = [leaf_for("unbatched", options, dtype, (1, 1))]
    assert_parity(twins(options, dtype), lambda layer, x: layer(x), leaves)


@DTYPE
@pytest.mark.parametrize("lengths", ((1,), (5,), (1, 1, 1), (5, 5), (1, 5, 2, 4, 3)), ids=str)
@SOME
def test_packed_lengths(options, lengths, dtype):
    x = draw(max(lengths), len(lengths), 3, dtype=dtype).requires_grad_()
    assert_parity(twins(options, dtype), lambda layer, x: layer(packed_in(lengths, x)), [x])


@DTYPE
@pytest.mark.parametrize("sizes", ((1, 1), (1, 16), (17, 3), (64, 64), (70, 130)), ids=str)
@pytest.mark.parametrize("both", (False, True), ids=("one way", "both ways"))
def test_sizes(both, sizes, dtype):
    options = {"num_layers": 2, "bidirectional": both}
    x = draw(9, 5, sizes[0], dtype=dtype).requires_grad_()
    assert_parity(twins(options, dtype, sizes=sizes), lambda layer, x: layer(x), [x])


@DTYPE
@SOME
def test_large_pre_activations(options, dtype):
    """Gates that saturate: nothing overflows, gradients are small but the same."""
    x = (30 * draw(6, 4, 3, dtype=dtype)).requires_grad_()
    x = x.transpose(0, 1).detach().requires_grad_() if options.get("batch_first") else x
    assert_parity(twins(options, dtype), lambda layer, x: layer(x), [x])


# ---------------------------------------------------------------- how tensors lie in memory

# Each makes a view of a wider or otherwise ordered leaf; its shape is (6, 4, 3).
VIEWS = {
    "transposed": ((4, 6, 3), lambda a: a.transpose(0, 1)),
    "all axes turned": ((3, 4, 6), lambda a: a.permute(2, 1, 0)),
    "columns of a wider": ((6, 4, 7), lambda a: a[..., 2:5]),
    "every second column": ((6, 4, 6), lambda a: a[..., ::2]),
    "every second step": ((12, 4, 3), lambda a: a[::2]),
    "every second row": ((6, 8, 3), lambda a: a[:, 1::2]),
    "behind an offset": ((7, 4, 3), lambda a: a[1:]),
    "one row for all": ((6, 1, 3), lambda a: a.expand(6, 4, 3)),
    "one step for all": ((1, 4, 3), lambda a: a.expand(6, 4, 3)),
    "one number for all": ((1,), lambda a: a.expand(6, 4, 3)),
    "windows that overlap": ((8, 3), lambda a: a.as_strided((6, 4, 3), (3, 1, 1))),
    "flipped": ((6, 4, 3), lambda a: a.flip(0)),
    "conjugate's imaginary part": ((6, 4, 3, 2), lambda a: torch.view_as_complex(a).conj().imag),
    "of float64": ((6, 4, 3), lambda a: a.double().to(a.dtype)),
}


@DTYPE
@pytest.mark.parametrize("first", (False, True), ids=("time_first", "batch_first"))
@pytest.mark.parametrize("view", VIEWS)
def test_views_of_x(view, first, dtype):
    shape, made_of = VIEWS[view]
    options = {"num_layers": 2, "batch_first": first}

    def run(layer, a):
        x = made_of(a)
        return layer(x.transpose(0, 1) if first else x)

    assert_parity(twins(options, dtype), run, [draw(*shape, dtype=dtype).requires_grad_()])


STATE_VIEWS = {
    "transposed": ((4, 2, 5), lambda a: a.transpose(0, 1)),
    "last axis strided": ((2, 4, 10), lambda a: a[..., ::2]),
    "columns": ((2, 4, 9), lambda a: a[..., 1:6]),
    "expanded": ((2, 1, 5), lambda a: a.expand(2, 4, 5)),
    "one for all": ((1, 1, 5), lambda a: a.expand(2, 4, 5)),
}


@DTYPE
@pytest.mark.parametrize("kind", ("batched", "packed unsorted"))
@pytest.mark.parametrize("view", STATE_VIEWS)
def test_views_of_the_state(view, kind, dtype):
    shape, made_of = STATE_VIEWS[view]
    options = {"num_layers": 2}
    leaves = [leaf_for(kind, options, dtype)]
    leaves += [draw(*shape, dtype=dtype, seed=k).requires_grad_() for k in (2, 3)]

    def run(layer, x, h0, c0):
        return call(layer, kind, options, x, (made_of(h0), made_of(c0)))

    assert_parity(twins(options, dtype), run, leaves)


@DTYPE
def test_h0_and_c0_are_one_tensor(dtype):
    leaves = [leaf_for("batched", {}, dtype), draw(1, 4, 5, dtype=dtype).requires_grad_()]
    assert_parity(twins({}, dtype), lambda layer, x, s: layer(x, (s, s)), leaves)


@DTYPE
def test_weights_that_are_views(dtype):
    """Parameters need not be contiguous: here they are transposed in memory."""
    layers = twins({"bidirectional": True, "proj_size": 2}, dtype)
    for layer in layers:
        for name, p in list(layer.named_parameters()):
            if p.dim() == 2:
                setattr(layer, name, torch.nn.Parameter(p.detach().t().contiguous().t()))
    assert not layers[0].weight_hh_l0.is_contiguous()
    assert_parity(layers, lambda layer, x: layer(x), [leaf_for("batched", {}, dtype)])


@KIND
def test_layout_of_the_outputs(kind):
    """Outputs can be reshaped and concatenated as torch.nn's: their shape and device agree."""
    for options in SOME_OPTIONS.values():
        ours, reference = twins(options)
        x = leaf_for(kind, options)
        got, ref = (outputs(call(layer, kind, options, x)) for layer in (ours, reference))
        for name, wanted in ref.items():
            assert got[name].shape == wanted.shape and got[name].device == wanted.device
            assert got[name].is_inference() == wanted.is_inference()


# ---------------------------------------------------------------- what needs a gradient

FROZEN = {
    "all": "",
    "input weights": "weight_ih",
    "recurrent weights": "weight_hh",
    "projections": "weight_hr",
    "biases": "bias",
    "one of two biases": "bias_ih",
    "first layer": "_l0",
    "second layer": "_l1",
    "one direction": "reverse",
}


@pytest.mark.parametrize("need_x", (False, True), ids=("x fixed", "x"))
@pytest.mark.parametrize("need_state", (None, "h0", "c0", "both"))
@pytest.mark.parametrize("frozen", FROZEN)
def test_frozen_parameters(frozen, need_state, need_x):
    """Gradients come for what requires them, None for the rest."""
    options = {"num_layers": 2, "bidirectional": True, "proj_size": 2}
    layers = twins(options)
    for layer in layers:
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(FROZEN[frozen] not in name)
    x = leaf_for("batched", options).requires_grad_(need_x)
    h0, c0 = state_for("batched", options)
    h0.requires_grad_(need_state in ("h0", "both"))
    c0.requires_grad_(need_state in ("c0", "both"))
    leaves = [x, h0, c0] if need_state else [x]
    if frozen == "all" and not need_x and need_state is None:
        y, (h_n, c_n) = layers[0](x)
        assert not (y.requires_grad or h_n.requires_grad or c_n.requires_grad)
        return
    assert_parity(layers, lambda layer, x, *hx: layer(x, hx or None), leaves)


@pytest.mark.parametrize("only", range(4), ids=("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
def test_a_single_parameter_needs_a_gradient(only):
    layers = twins({})
    for layer in layers:
        for k, parameter in enumerate(layer.parameters()):
            parameter.requires_grad_(k == only)
    x = leaf_for("batched", {}).detach()
    assert_parity(layers, lambda layer, x: layer(x), [x])


@DTYPE
@SOME
@pytest.mark.parametrize("kind", ("batched", "unbatched", "packed unsorted"))
@pytest.mark.parametrize(
    "names", (("y",), ("h_n",), ("c_n",), ("h_n", "c_n"), ("y", "c_n")), ids=str
)
def test_loss_of_some_outputs(names, kind, options, dtype):
    found = []
    for layer in twins(options, dtype):
        leaves = [leaf_for(kind, options, dtype), *state_for(kind, options, dtype)]
        weigh(call(layer, kind, options, leaves[0], tuple(leaves[1:])), names).backward()
        found.append(gradients(layer, leaves))
    assert_same_gradients(*found)


@pytest.mark.parametrize("which", (0, -1, 2), ids=("first step", "last step", "third step"))
def test_loss_of_one_step(which):
    """What users do most: only one step of y is looked at, by a view of it."""
    options = {"num_layers": 2, "bidirectional": True}
    found = []
    for layer in twins(options):
        x = leaf_for("batched", options)
        y, _ = layer(x)
        (y[which] * draw(4, 10)).sum().backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


def test_upstream_gradients_that_are_expanded_or_strided():
    """sum() sends back a single number, expanded; a transposed output, a strided gradient."""
    options = {"num_layers": 2}
    losses = (
        lambda y, h, c: y.sum(),
        lambda y, h, c: (y.transpose(0, 2) * draw(5, 4, 4)).sum(),
        lambda y, h, c: h.sum() + c.mean(),
        lambda y, h, c: (torch.cat([h, c], -1) * draw(2, 4, 10)).sum(),
        lambda y, h, c: (y[::2, :, 1:4] * draw(2, 4, 3)).sum() + y.flip(0)[0].sum(),
    )
    for loss in losses:
        found = []
        for layer in twins(options):
            x = leaf_for("batched", options)
            y, (h_n, c_n) = layer(x)
            loss(y, h_n, c_n).backward()
            found.append(gradients(layer, [x]))
        assert_same_gradients(*found)


# ---------------------------------------------------------------- no graph

MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "eval with a graph": contextlib.nullcontext,
}


@DTYPE
@KIND
@STATE
@pytest.mark.parametrize("mode", MODES)
def test_modes(mode, with_state, kind, dtype):
    for options in SOME_OPTIONS.values():
        ours, reference = twins(options | {"dropout": 0.5 * ("num_layers" in options)}, dtype)
        x = leaf_for(kind, options, dtype)
        state = state_for(kind, options, dtype) if with_state else None
        found = []
        for layer in (ours.eval(), reference.eval()):
            with MODES[mode]():
                found.append(outputs(call(layer, kind, options, x, state)))
        assert_same(*found)
        assert [a.is_inference() for a in found[0].values()] == [
            a.is_inference() for a in found[1].values()
        ]


def test_training_and_eval_agree_without_dropout():
    ours, _ = twins({"num_layers": 2})
    x = leaf_for("batched", {})
    trained = outputs(ours(x))
    with torch.no_grad():
        assert_same(outputs(ours.eval()(x)), {n: a.detach() for n, a in trained.items()})


def test_gradients_in_eval_mode():
    """eval() says nothing of gradients: fine-tuning what is below goes through a fixed layer."""
    layers = [layer.eval() for layer in twins({"num_layers": 2, "dropout": 0.7})]
    assert_parity(layers, lambda layer, x: layer(x), [leaf_for("batched", {})])


def test_inference_tensors_go_in():
    ours, reference = (layer.eval() for layer in twins({}))
    with torch.inference_mode():
        x = draw(6, 4, 3)
    with torch.no_grad():
        assert_same(outputs(ours(x)), outputs(reference(x)))
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensors"):
        reference(x)
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensors"):
        ours(x)


def test_outputs_are_new_every_time():
    """What a call gave stays as it is whatever is called, or written into, afterwards."""
    ours, _ = twins({"num_layers": 2})
    x = draw(6, 4, 3)
    with torch.no_grad():
        first = outputs(ours.eval()(x))
        kept = {name: a.clone() for name, a in first.items()}
        second = outputs(ours(x))
        for a in second.values():
            a.zero_()
        assert_same(first, kept)
        assert_same(outputs(ours(x)), kept)


# ---------------------------------------------------------------- nothing in it


@pytest.mark.parametrize("mode", ("train", "eval"))
@SOME
def test_a_batch_of_no_rows(options, mode):
    """No rows in, none out; gradients of the parameters are zeros."""
    sizes = (0, 6, 3) if options.get("batch_first") else (6, 0, 3)
    found = []
    for layer in twins(options):
        layer.train(mode == "train")
        x = torch.zeros(*sizes, dtype=torch.float64, requires_grad=True)
        result = layer(x)
        weigh(result).backward()
        made = gradients(layer, [x])
        assert all(not grad.any() for grad in made.values())
        found.append((outputs(result), made))
    assert_same(found[0][0], found[1][0])
    assert_same_gradients(found[0][1], found[1][1])
