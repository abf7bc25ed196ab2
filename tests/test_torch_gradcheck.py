"""What autograd asks of lstmfast.torch.LSTM: derivatives that are right, or a clear error."""

import pytest
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from torch_cases import (
    SOME,
    SOME_OPTIONS,
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

# ---------------------------------------------------------------- finite differences


def random_case(seed):
    """Return a layer in float64, a function of its leaves and parameters, and these."""
    rng = torch.Generator().manual_seed(seed)

    def one_of(*values):
        return values[int(torch.randint(len(values), (), generator=rng))]

    hidden = one_of(2, 3, 5)
    options = {
        "num_layers": one_of(1, 1, 2, 3),
        "bias": one_of(True, True, False),
        "batch_first": one_of(False, True),
        "bidirectional": one_of(False, True),
        "proj_size": one_of(0, 0, 1, hidden - 1),
    }
    steps, rows, inputs = one_of(1, 2, 4), one_of(1, 2, 3), one_of(1, 3)
    kind = one_of("batched", "unbatched", "packed")
    layer, _ = twins(options, seed=seed, sizes=(inputs, hidden))
    leading = () if kind == "unbatched" else (rows,)
    order = (*leading, steps) if options["batch_first"] and leading else (steps, *leading)
    leaves = [draw(*order, inputs, seed=seed).requires_grad_()]
    if one_of(True, False):
        parts = options["num_layers"] * (1 + options["bidirectional"])
        for k, size in enumerate((options["proj_size"] or hidden, hidden)):
            leaves.append(draw(parts, *leading, size, seed=seed + 1 + k).requires_grad_())
    lengths = [one_of(*range(1, steps + 1)) for _ in range(rows)]
    lengths[-1] = steps

    def function(*values):
        x, state, weights = values[0], values[1 : len(leaves)], values[len(leaves) :]
        named = dict(zip(dict(layer.named_parameters()), weights, strict=True))
        if kind == "packed":
            x = packed_in(lengths, x.transpose(0, 1) if options["batch_first"] else x)
        found = outputs(functional_call(layer, named, (x, tuple(state) or None)))
        return tuple(a for a in found.values() if a.is_floating_point())

    return function, (*leaves, *layer.parameters())


@pytest.mark.parametrize("seed", range(30))
def test_gradcheck(seed):
    function, inputs = random_case(seed)
    assert gradcheck(function, inputs)


@pytest.mark.parametrize("seed", range(4))
def test_gradcheck_of_parameters_in_place(seed):
    """The same without functional_call, through the layer's own parameters."""
    options = list(SOME_OPTIONS.values())[seed % 3]
    layer, _ = twins(options, seed=seed)
    x = leaf_for("batched", options, shape=(2, 2))

    def function(x, *_):
        y, (h_n, c_n) = layer(x)
        return y, h_n, c_n

    assert gradcheck(function, (x, *layer.parameters()))


def right_or_refused(check):
    """Whatever `check` does in a derivative that may be missing: true, or RuntimeError."""
    try:
        assert check()
    except RuntimeError as error:
        assert not isinstance(error, torch.autograd.gradcheck.GradcheckError), error


@pytest.mark.parametrize("seed", range(6))
def test_second_derivatives_are_right_or_refused(seed):
    function, inputs = random_case(seed)
    right_or_refused(lambda: gradgradcheck(function, inputs, fast_mode=True))


# ---------------------------------------------------------------- several passes


def both_passes(layer, kind="batched"):
    options = {"batch_first": layer.batch_first, "num_layers": 2}
    x = leaf_for(kind, options)
    return x, call(layer, kind, options, x)


@pytest.mark.parametrize("kind", ("batched", "packed unsorted"))
def test_backward_twice_with_retain_graph(kind):
    found = []
    for layer in twins({"num_layers": 2}):
        x, result = both_passes(layer, kind)
        loss = weigh(result)
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        weigh(result, ("h_n",)).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


def test_backward_twice_without_retain_graph():
    for layer in twins({"num_layers": 2}):
        _, result = both_passes(layer)
        loss = weigh(result)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_each_output_backward_alone():
    """Two losses on one forward pass, the first of which keeps the graph."""
    found = []
    for layer in twins({"num_layers": 2}):
        x, result = both_passes(layer)
        for name in ("y", "h_n"):
            weigh(result, (name,)).backward(retain_graph=True)
        weigh(result, ("c_n",)).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


def test_two_forwards_then_two_backwards():
    """The second forward pass does not disturb what the first one kept."""
    found = []
    for layer in twins({"num_layers": 2}):
        inputs = [draw(6, 4, 3, seed=k).requires_grad_() for k in (11, 12)]
        losses = [weigh(layer(x)) for x in inputs]
        for loss in reversed(losses):
            loss.backward()
        found.append(gradients(layer, inputs))
    assert_same_gradients(*found)


def test_the_layer_twice_in_one_graph():
    """Its output goes in again: a state is carried over chunks (and truncated by detach)."""
    found = []
    for layer in twins({"proj_size": 0}, sizes=(5, 5)):
        x = draw(6, 4, 5).requires_grad_()
        y, state = layer(x)
        z, state = layer(y, state)
        w, state = layer(x, tuple(s.detach() for s in state))
        weigh((torch.cat([z, w]), state)).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


def test_autograd_grad_of_some_inputs():
    found = []
    for layer in twins({"num_layers": 2}):
        x, result = both_passes(layer)
        wanted = [x, layer.weight_hh_l1, layer.bias_ih_l0]
        made = torch.autograd.grad(weigh(result), wanted)
        found.append(dict(zip("xwb", made, strict=True)))
        assert all(p.grad is None for p in layer.parameters())
    assert_same_gradients(*found)


def test_gradients_of_the_result_are_not_ours_to_keep():
    """Gradients are new memory each time: accumulation and zeroing in place harm nothing."""
    ours, _ = twins({})
    x = leaf_for("batched", {})
    weigh(ours(x)).backward()
    first = {name: grad.clone() for name, grad in gradients(ours, [x]).items()}
    for tensor in (x, *ours.parameters()):
        tensor.grad.zero_()
    weigh(ours(x)).backward()
    assert_same_gradients(gradients(ours, [x]), first)


# ---------------------------------------------------------------- second derivatives


def penalty(layer, x, of, names=None):
    """Return the gradients of a gradient penalty: what a double backward pass makes."""
    wanted = {"x": x, **dict(layer.named_parameters())}
    first = torch.autograd.grad(weigh(layer(x), names), wanted[of], create_graph=True)[0]
    second = torch.autograd.grad(
        (first * first).sum(), list(wanted.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(wanted, second, strict=True))


@pytest.mark.parametrize("names", (None, ("h_n",), ("c_n",)), ids=str)
@pytest.mark.parametrize("of", ("x", "weight_ih_l0", "weight_hh_l1", "bias_ih_l0"))
def test_gradient_penalty(of, names):
    """WGAN-GP's term: equal to torch.nn's, or a RuntimeError."""
    ours, reference = twins({"num_layers": 2})
    x = leaf_for("batched", {})
    wanted = penalty(reference, x, of, names)
    try:
        found = penalty(ours, x, of, names)
    except RuntimeError:
        return
    assert_same_gradients(found, wanted)


def test_derivative_by_the_upstream_gradient():
    """A gradient is linear in dy: its derivative by dy is a forward-mode product."""
    found = []
    for layer in twins({}):
        x = leaf_for("batched", {})
        y, _ = layer(x)
        dy = draw(*y.shape, seed=9).requires_grad_()
        dx = torch.autograd.grad(y, x, dy, create_graph=True)[0]
        try:
            found.append(torch.autograd.grad(dx.sum(), dy)[0])
        except RuntimeError:
            assert len(found) == 0  # torch.nn's own is never refused
            return
    assert_same_gradients({"dy": found[0]}, {"dy": found[1]})


def test_create_graph_alone_costs_no_error():
    """create_graph=True is often left on where no second derivative is ever taken."""
    found = []
    for layer in twins({"num_layers": 2}):
        x = leaf_for("batched", {})
        made = torch.autograd.grad(weigh(layer(x)), [x, *layer.parameters()], create_graph=True)
        found.append({str(k): a.detach() for k, a in enumerate(made)})
    assert_same_gradients(*found)


# ---------------------------------------------------------------- what changed in between


def changed(what, layer, x, result):
    """Return the tensor of this name."""
    y, (h_n, c_n) = result
    named = {"x": x, "y": y, "h_n": h_n, "c_n": c_n, **dict(layer.named_parameters())}
    return named[what]


@pytest.mark.parametrize("what", ("x", "weight_ih_l0", "weight_hh_l0", "weight_hh_l1"))
def test_change_of_what_backward_reads(what):
    """torch.nn tells a change between forward and backward by the version: so do we."""
    for layer in twins({"num_layers": 2}):
        x = leaf_for("batched", {})
        result = layer(x)
        with torch.no_grad():
            changed(what, layer, x, result).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            weigh(result).backward()


@pytest.mark.parametrize("what", ("y", "h_n", "c_n", "bias_ih_l0", "bias_hh_l1"))
@SOME
def test_change_of_what_backward_may_read(what, options):
    """The gradients of the values as they were, or a RuntimeError."""
    if (not options.get("bias", True) and "bias" in what) or ("_l1" in what and not options):
        what = "y"
    ours, reference = twins(options)
    wanted, found = ([leaf_for("batched", options)] for _ in range(2))
    weigh(reference(*wanted)).backward()
    result = ours(*found)
    loss = weigh(result)
    with torch.no_grad():
        changed(what, ours, found[0], result).mul_(3)
    try:
        loss.backward()
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)
        return
    assert_same_gradients(gradients(ours, found), gradients(reference, wanted))


def test_outputs_changed_in_place_under_autograd():
    """relu_, dropout_ and += on y: the graph goes on from the changed value, or torch says no."""
    found = []
    for layer in twins({"num_layers": 2}, dtype=torch.float64):
        x = leaf_for("batched", {})
        y, (h_n, c_n) = layer(x)
        try:
            y.relu_()
            h_n += 1
            c_n.mul_(2)
            weigh((y, (h_n, c_n))).backward()
        except RuntimeError as error:
            assert "in-place" in str(error) or "inplace" in str(error)
            continue
        found.append(gradients(layer, [x]))
    if len(found) == 2:
        assert_same_gradients(*found)


# ---------------------------------------------------------------- hooks, detection, other modes


def test_hooks_on_tensors():
    """register_hook on x, on an output and on a parameter sees and changes the gradient."""
    found = []
    for layer in twins({"num_layers": 2}):
        x, seen = leaf_for("batched", {}), []
        handles = [layer.weight_hh_l0.register_hook(lambda g: 2 * g), x.register_hook(seen.append)]
        y, state = layer(x)
        y.register_hook(lambda g: g / 2)
        y.retain_grad()
        weigh((y, state)).backward()
        found.append(gradients(layer, [x]) | {"seen": seen[0], "y": y.grad})
        assert len(handles) == 2
    assert_same_gradients(*found)


def test_saved_tensors_hooks():
    """save_on_cpu and the like may pack what is kept for the way back, and give back copies."""
    found = []
    for layer in twins({"num_layers": 2}):
        x = leaf_for("batched", {})
        with torch.autograd.graph.saved_tensors_hooks(lambda a: a.clone(), lambda a: a.clone()):
            result = layer(x)
        weigh(result).backward()
        found.append(gradients(layer, [x]))
    assert_same_gradients(*found)


def test_anomaly_detection():
    with torch.autograd.detect_anomaly(check_nan=True):
        ours, _ = twins({"num_layers": 2})
        weigh(ours(leaf_for("batched", {}))).backward()


def flattened(found):
    """Return (y, h_n, c_n): a checkpoint sees no tensor within a tuple."""
    y, state = found
    return (y, *state)


@pytest.mark.parametrize("reentrant", (False, True))
def test_checkpoint(reentrant):
    """Forward runs again on the way back, with the same dropout."""
    found = []
    for checkpointed in (False, True):
        ours, _ = twins({"num_layers": 2, "dropout": 0.4})
        x = leaf_for("batched", {})
        torch.manual_seed(3)
        if checkpointed:
            flat = checkpoint(lambda x, layer=ours: flattened(layer(x)), x, use_reentrant=reentrant)
        else:
            flat = flattened(ours(x))
        weigh((flat[0], flat[1:])).backward()
        found.append(gradients(ours, [x]))
    assert_same_gradients(*found)


def test_forward_mode():
    """jvp of forward_ad: torch.nn's tangent, or an error; never a tangent that is dropped."""
    ours, reference = twins({})
    found = []
    for layer in (reference, ours):
        try:
            with forward_ad.dual_level():
                x = forward_ad.make_dual(draw(4, 4, 3), draw(4, 4, 3, seed=8))
                found.append(forward_ad.unpack_dual(layer(x)[0]).tangent)
        except (RuntimeError, NotImplementedError):
            assert layer is ours
            return
    assert found[1] is not None
    assert_same_gradients({"tangent": found[1]}, {"tangent": found[0]})


def test_many_upstream_gradients_at_once():
    """is_grads_batched, as in jacobian(vectorize=True): torch.nn's, or a RuntimeError."""
    found = []
    for layer in twins({"num_layers": 2}):
        x = leaf_for("batched", {})
        y, _ = layer(x)
        above = draw(3, *y.shape, seed=6)
        try:
            found.append({"x": torch.autograd.grad(y, x, above, is_grads_batched=True)[0]})
        except RuntimeError:
            assert not found  # torch.nn's own can, in float64
            return
    assert_same_gradients(*found)


def test_nothing_is_kept_without_a_graph():
    """Neither frozen parameters nor no_grad leave a graph behind."""
    ours, _ = twins({"num_layers": 2})
    ours.requires_grad_(False)
    for found in (ours(draw(4, 4, 3)), ours.eval()(draw(4, 4, 3))):
        assert all(a.grad_fn is None for a in outputs(found).values())


@pytest.mark.parametrize("kind", ("batched", "unbatched", "packed unsorted"))
def test_graph_is_freed(kind):
    """After backward, and without one, nothing of a call lives on: no cycle through the graph."""
    import gc
    import weakref

    ours, _ = twins({"num_layers": 2})
    gc.collect()
    gc.disable()
    try:
        x = leaf_for(kind, {})
        result = call(ours, kind, {}, x, state_for(kind, {"num_layers": 2}))
        dead = weakref.ref(outputs(result)["h_n"])
        assert dead() is not None
        weigh(result).backward()
        del result
        assert dead() is None
    finally:
        gc.enable()
