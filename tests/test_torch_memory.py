"""Tensors are shared with lstmfast's arrays, not copied: read off the process's peak of memory.

Sizes are such that one copy of what is large would be seen several times over.
"""

from pathlib import Path

import pytest
from torch_cases import LSTM, torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LARGE = (400, 100, 256)  # x: 41 MB; the layer's own 4 units are 1/64 of it
BYTES = 4 * 400 * 100 * 256


def _now(field):
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


@pytest.fixture
def peak():
    """Return a function: the bytes by which a call raised the process's peak over its start."""
    try:
        CLEAR.write_text("5")
    except OSError:
        pytest.skip("the peak of memory cannot be reset here")

    def measure(function):
        CLEAR.write_text("5")
        before = _now("VmRSS")
        result = function()
        return _now("VmHWM") - before, result

    return measure


def layers_of_few_units(**options):
    """Return a layer that has run once: threads and kernels are ready."""
    layer = LSTM(256, 4, **options)
    layer(torch.randn(2, 2, 256))
    return layer


def test_the_measure_sees_a_copy(peak):
    x = torch.randn(LARGE)
    grown, _ = peak(x.clone)
    assert 0.9 * BYTES < grown < 1.2 * BYTES


@pytest.mark.parametrize("mode", ("no_grad", "inference_mode", "training"))
@pytest.mark.parametrize(
    "view",
    (
        lambda x: x,
        lambda x: x.transpose(0, 1),
        lambda x: x[:, :, :256],
        lambda x: x[::2],
    ),
    ids=("contiguous", "transposed", "whole slice", "every second step"),
)
def test_x_is_not_copied(peak, view, mode):
    layer, x = layers_of_few_units(), view(torch.randn(LARGE))
    modes = {
        "no_grad": torch.no_grad,
        "inference_mode": torch.inference_mode,
        "training": torch.enable_grad,
    }
    with modes[mode]():
        grown, _ = peak(lambda: layer(x))
    assert grown < 0.4 * BYTES


def test_batch_first_is_not_copied(peak):
    layer, x = layers_of_few_units(batch_first=True), torch.randn(LARGE)
    with torch.no_grad():
        grown, _ = peak(lambda: layer(x))
    assert grown < 0.4 * BYTES


def test_gradients_are_not_copied(peak):
    """dx is made once; what comes back for x is that array."""
    layer, x = layers_of_few_units(), torch.randn(LARGE, requires_grad=True)
    y, _ = layer(x)
    dy = torch.randn_like(y)
    grown, (dx,) = peak(lambda: torch.autograd.grad(y, x, dy))
    assert dx.shape == x.shape
    assert grown < 1.5 * BYTES


def test_no_gradient_of_x_where_none_is_wanted(peak):
    layer, x = layers_of_few_units(), torch.randn(LARGE)
    y, _ = layer(x)
    grown, _ = peak(lambda: y.sum().backward())
    assert grown < 0.4 * BYTES


def test_outputs_are_not_copied(peak):
    layer = LSTM(4, 256)
    layer(torch.randn(2, 2, 4))
    x = torch.randn(400, 100, 4)
    with torch.no_grad():
        grown, (y, _) = peak(lambda: layer(x))
    assert y.numel() * 4 == BYTES
    assert grown < 1.5 * BYTES


def test_graph_keeps_no_copy_of_x(peak):
    """What stays between forward and backward is what the layer made, and x itself."""
    layer, x = layers_of_few_units(num_layers=2), torch.randn(LARGE, requires_grad=True)
    grown, (y, _) = peak(lambda: layer(x))
    assert y.grad_fn is not None
    assert grown < 0.6 * BYTES


def test_memory_does_not_grow_with_calls(peak):
    """Hundreds of calls of all kinds leave nothing behind."""
    layer = LSTM(64, 64, num_layers=2)
    x = torch.randn(20, 8, 64)

    def calls(count):
        for k in range(count):
            y, _ = layer.train(k % 3 > 0)(x[: 1 + k % 20])
            if k % 2:
                y.sum().backward()
                layer.zero_grad()

    calls(100)
    grown, _ = peak(lambda: calls(600))
    assert grown < 20e6
