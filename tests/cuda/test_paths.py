"""Which path a pass takes, and that the persistent one, emulated, does what the other does."""

from types import SimpleNamespace

import on_device
import pytest
from agreement import forward_error, gradient_error
from emulator import emulated
from family import computed, expected, family_case

from lstmfast.cuda.kernels.cell_kind import VARIED, CellKind
from lstmfast.cuda.lstm import paths, persistent
from lstmfast.cuda.runtime import device
from lstmfast.cuda.runtime.kernel import Kernel

TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-7}  # gradients with operands of 8 bits


@pytest.fixture
def persistent_runs(monkeypatch):
    """Let every pass that may take the persistent path; return of each kernel if it did."""
    ran, by_simulator = [], Kernel._simulate
    with emulated(monkeypatch), monkeypatch.context() as patch:
        by_emulator = Kernel._simulate

        def simulate(kernel, blocks, given, shared):
            ran.append(kernel.cooperative)
            (by_emulator if kernel.cooperative else by_simulator)(kernel, blocks, given, shared)

        def plan(p, direction):
            if not paths._plain(p):
                return None
            return persistent.plan(direction, p.part.precision, p.B, p.part.H, 8, 200_000)

        patch.setattr(Kernel, "_simulate", simulate)
        patch.setattr(paths, "chosen", plan)
        yield ran


@pytest.mark.parametrize(
    "options", ({}, {"reverse": True, "bias": False}, {"state": False}), ids=str
)
@pytest.mark.parametrize("precision", ("float32", "bfloat16"))
def test_persistent_layer(persistent_runs, precision, options):
    case = family_case((2, 2, 2, 32), "float32", **options)
    upstream = {name: a for name, a in case.upstream.items() if name != "dcells"}
    case = case._replace(
        upstream=upstream, keywords=case.keywords | {"precision": precision, "batch_first": True}
    )
    outputs, gradients = computed(case, on_device)
    assert sum(persistent_runs) == 2
    wanted, wanted_gradients = expected(case)
    for name, ref in wanted.items():
        assert forward_error(outputs[name], ref) <= TOLERANCE[precision], name
    for name, ref in wanted_gradients.items():
        assert gradient_error(gradients[name], ref) <= TOLERANCE[precision], name


def a_pass(precision="float32", H=32, **kind):
    operand = "float32" if precision == "tf32" else precision
    part = SimpleNamespace(
        kind=CellKind("float32", operand, **kind), precision=precision, H=H, reverse=False
    )
    return SimpleNamespace(part=part, B=4, W_hh=SimpleNamespace(address=256))


@pytest.fixture
def a_gpu(monkeypatch):
    """What `chosen` asks of a GPU."""
    answers = {
        "simulated": False, "supports_cooperative": True, "sm_count": 132,
        "shared_limit": 227 * 1024, "current": None,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(device, name, lambda answer=answer: answer)
    monkeypatch.setattr(device, "capability", lambda gpu: (9, 0))
    paths._plan.cache_clear()
    yield
    paths._plan.cache_clear()


def test_nothing_is_chosen_that_was_not_measured(a_gpu, monkeypatch):
    assert paths.MEASURED == () or all(one.H[0] <= one.H[1] for one in paths.MEASURED)
    monkeypatch.setattr(paths, "FORCED", None)
    monkeypatch.setattr(paths, "MEASURED", ())
    assert paths.chosen(a_pass(), "forward") is None
    rows = (paths.Faster((9, 0), "forward", "float32", (16, 64), (1, 8)),)
    monkeypatch.setattr(paths, "MEASURED", rows)
    assert paths.chosen(a_pass(), "forward") is not None
    assert paths.chosen(a_pass(), "backward") is None
    assert paths.chosen(a_pass(H=96), "forward") is None
    assert paths.chosen(a_pass("tf32"), "forward") is None


def test_what_is_forced(a_gpu, monkeypatch):
    monkeypatch.setattr(paths, "FORCED", True)
    assert paths.chosen(a_pass(), "forward") is not None
    for varied in (
        {"formula": VARIED}, {"counted": True}, {"masked": True}, {"projected": True},
        {"zoneout_c": 0.1}, {"truncate": 2},
    ):  # fmt: skip
        assert paths.chosen(a_pass(**varied), "forward") is None, varied
    assert paths.chosen(a_pass("float64"), "forward") is None
    assert paths.chosen(a_pass(H=33), "forward") is None
    not_aligned = a_pass()
    not_aligned.W_hh.address += 4
    assert paths.chosen(not_aligned, "forward") is None
    monkeypatch.setattr(device, "simulated", lambda: True)
    assert paths.chosen(a_pass(), "forward") is None
    monkeypatch.setattr(device, "simulated", lambda: False)
    monkeypatch.setattr(paths, "FORCED", False)
    assert paths.chosen(a_pass(), "forward") is None
