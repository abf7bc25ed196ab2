"""What the clients share: a project's own training, by PyTorch's LSTMs and by lstmfast's.

A client is a file `with_NAME.py` beside this one: `WHAT` says in a line what is run, and
`run(trial)` seeds nothing, builds the project's model, hands it to `trial.model` before the first
step, each loss to `trial.step`, and what the trained model makes in evaluation to `trial.output`.
Sizes are `trial.size(test, usual)`: small ones here, the project's own where timed.py takes its
times; `USUAL` says in a line what that is and where it is from. Here a client is run several times
in one process, always from the same seeds: on PyTorch and on lstmfast by turns, and where their
losses are further apart than BAR, on LSTMs that compute in float64, too.

    python tests/clients/harness.py NAME       # one client, in this environment: prints JSON
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

import lstmfast.torch

__all__ = ["Outcome", "Row", "Trial", "compare", "seed"]

BAR = 1e-5  # losses, relative to each
OUTPUTS_BAR = 1e-4  # of trained models, relative to the largest; measured: 7e-6
NO_FURTHER = 4  # times: from float64's losses, compared with how far PyTorch's are
TURNS = ("torch", "lstmfast", "torch", "lstmfast")  # the second two are for the times
SEED = 7


@dataclass
class Outcome:
    """What one run came to."""

    losses: list[float] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    start: list[np.ndarray] = field(default_factory=list)  # parameters before the first step
    seconds: list[float] = field(default_factory=list)  # from loss to loss
    swapped: int = 0
    left: dict[str, str] = field(default_factory=dict)
    entered: int = 0  # calls of lstmfast's modules
    theirs: int = 0  # calls of PyTorch's operators lstm and lstm_cell
    reasons: Counter[str] = field(default_factory=Counter)  # of lstmfast's, for falling back

    @property
    def ours(self) -> int:
        """Calls that lstmfast's kernels took."""
        return self.entered - sum(self.reasons.values())


class Trial:
    """What a client tells of its run, and where the LSTMs of its model are changed."""

    def __init__(self, kind: str):
        self.kind, self.outcome, self._since = kind, Outcome(), time.perf_counter()

    def model(self, module: nn.Module) -> Any:
        """Take the model before its first step; return it, with LSTMs of this trial's kind."""
        self.outcome.start += [
            p.detach().double().cpu().numpy().copy() for p in module.parameters()
        ]
        for one in module.modules():
            if isinstance(one, nn.LSTM):
                one.dropout = 0.0  # lstmfast draws other masks
        self.swap(module)
        self._since = time.perf_counter()
        return module

    def swap(self, module: nn.Module) -> Any:
        """Change the LSTMs of a model, also of one that the project made anew of a trained one."""
        out = self.outcome
        if self.kind == "lstmfast":
            report = lstmfast.torch.accelerate(module)
            out.swapped += len(report.swapped)
            out.left |= report.left
        elif self.kind == "float64":
            for one in module.modules():
                one.__class__ = WIDE.get(type(one), type(one))
        return module

    def size(self, test: Any, usual: Any) -> Any:
        """Return what a test takes; `usual` is for timed.py."""
        return test

    def step(self, loss: Any) -> None:
        """Note the loss of a training step that has been made."""
        now = time.perf_counter()
        self.outcome.seconds.append(now - self._since)
        self.outcome.losses.append(loss.item() if isinstance(loss, torch.Tensor) else float(loss))
        self._since = time.perf_counter()

    def output(self, *results: Any) -> None:
        """Note what the model makes in evaluation: tensors, arrays or numbers."""
        for one in results:
            array = one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one
            self.outcome.outputs.append(np.array(array, np.float64))


# ---------------------------------------------------------------- LSTMs that compute in float64


def _wide(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_wide(one) for one in value]
    return value.double()


class WideLSTM(nn.LSTM):
    """torch.nn.LSTM: float32 in and out, float64 between."""

    def forward(self, input, hx=None):
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        one = x.dim() == 2 and not packed  # a sequence without a batch
        axis = 0 if self.batch_first else 1
        if one:
            x, hx = x.unsqueeze(axis), hx and [s.unsqueeze(1) for s in hx]
        if hx is None:
            B = input.batch_sizes[0] if packed else x.shape[axis]
            parts = self.num_layers * (1 + self.bidirectional)
            sizes = self.proj_size or self.hidden_size, self.hidden_size
            hx = [x.new_zeros(parts, B, size) for size in sizes]
        elif packed:
            hx = self.permute_hidden(hx, input.sorted_indices)
        tail = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        given = (_wide(x), input.batch_sizes) if packed else (_wide(x),)
        tail = tail if packed else (*tail, self.batch_first)
        found = torch._VF.lstm(*given, _wide(hx), _wide(self._flat_weights), *tail)
        y, h, c = (one.to(x.dtype) for one in found)
        if packed:
            y = PackedSequence(y, *input[1:])
            return y, self.permute_hidden((h, c), input.unsorted_indices)
        return (y.squeeze(axis), (h.squeeze(1), c.squeeze(1))) if one else (y, (h, c))


class WideLSTMCell(nn.LSTMCell):
    """torch.nn.LSTMCell, likewise."""

    def forward(self, input, hx=None):
        zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
        weights = _wide([self.weight_ih, self.weight_hh])
        biases = _wide([self.bias_ih, self.bias_hh]) if self.bias else (None, None)
        found = torch._VF.lstm_cell(_wide(input), _wide(hx or (zeros, zeros)), *weights, *biases)
        return tuple(one.to(input.dtype) for one in found)


WIDE: dict[type, type] = {nn.LSTM: WideLSTM, nn.LSTMCell: WideLSTMCell}

# ---------------------------------------------------------------- who did the work


@contextmanager
def counted(outcome: Outcome) -> Iterator[None]:
    """Count who takes calls: lstmfast's word of it, and PyTorch's operators, which cannot lie."""
    with ExitStack() as stack:

        def around(owner: Any, name: str, note: Any) -> None:
            before = getattr(owner, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                note(*args)
                return before(*args, **kwargs)

            stack.enter_context(mock.patch.object(owner, name, call))

        def entered(*_: Any) -> None:
            outcome.entered += 1

        def theirs(*_: Any) -> None:
            outcome.theirs += 1

        def fell_back(what: str, reason: str) -> None:
            outcome.reasons[reason] += 1

        around(torch._VF, "lstm", theirs)
        around(torch._VF, "lstm_cell", theirs)
        around(lstmfast.torch.LSTM, "forward", entered)
        around(lstmfast.torch.LSTMCell, "forward", entered)
        for name, module in list(sys.modules.items()):
            if name.startswith("lstmfast.torch.") and hasattr(module, "fall_back"):
                around(module, "fall_back", fell_back)
        yield


# ---------------------------------------------------------------- runs and what they came to


def seed() -> None:
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


def attempt(client: Any, kind: str) -> Outcome:
    """Run a client once, from the seeds."""
    seed()
    trial = Trial(kind)
    with counted(trial.outcome):
        client.run(trial)
    return trial.outcome


@dataclass
class Row:
    """A line of the table."""

    name: str
    what: str
    steps: int = 0
    losses_apart: float = 0.0
    outputs_apart: float = 0.0
    ours: int = 0
    fallen_back: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    milliseconds: tuple[float, float] = (0.0, 0.0)  # PyTorch's step and lstmfast's
    float64: tuple[float, float] | None = None  # how far PyTorch's, lstmfast's losses are from it
    faults: list[str] = field(default_factory=list)


def losses_apart(a: list[float], b: list[float]) -> float:
    """The largest difference, each relative to a's."""
    if len(a) != len(b) or not np.isfinite([*a, *b]).all():
        return float("inf")
    return max((abs(x - y) / max(abs(x), 1e-30) for x, y in zip(a, b, strict=True)), default=0.0)


def outputs_apart(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest number of the same output."""
    if [x.shape for x in a] != [y.shape for y in b]:
        return float("inf")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x.size]
    if not all(np.isfinite(x).all() and np.isfinite(y).all() for x, y in pairs):
        return float("inf")
    return max((float(abs(x - y).max() / (abs(x).max() or 1.0)) for x, y in pairs), default=0.0)


def compare(name: str) -> Row:
    """Run the client on both by turns and say how far they are apart, and by whom."""
    client = import_module(f"with_{name}")
    row = Row(name, client.WHAT)
    outcomes = [attempt(client, kind) for kind in TURNS]
    torchs, ours, again, _ = outcomes
    row.steps, row.ours = len(torchs.losses), ours.ours
    row.fallen_back, row.reasons = ours.theirs, dict(ours.reasons) | ours.left
    row.losses_apart = losses_apart(torchs.losses, ours.losses)
    row.outputs_apart = outputs_apart(torchs.outputs, ours.outputs)
    first, second = ([*outcomes[k].seconds[1:], *outcomes[k + 2].seconds[1:]] for k in (0, 1))
    row.milliseconds = tuple(1e3 * statistics.median(s or [0.0]) for s in (first, second))
    row.faults = list(faults(torchs, ours, again))
    if row.losses_apart > BAR:
        row.faults += further_than_torch(client, torchs, ours, row)
    return row


def faults(torchs: Outcome, ours: Outcome, again: Outcome) -> Iterator[str]:
    """Yield what makes the comparison worth nothing, or shows an error."""
    if len(torchs.losses) < 3 or not torchs.outputs:
        yield f"expected 3 steps and an output at least, got {len(torchs.losses)}"
    if torchs.losses != again.losses:
        yield "PyTorch's own losses are others in the second run"
    if outputs_apart(torchs.start, ours.start) > 0:
        yield "the parameters are others at the start"
    if not ours.swapped or not ours.ours:
        yield f"lstmfast did nothing: {ours.swapped} modules swapped, {ours.entered} calls"
    if ours.ours + ours.theirs != torchs.theirs:
        yield f"of {torchs.theirs} calls lstmfast took {ours.ours}, PyTorch {ours.theirs}"
    if outputs_apart(torchs.outputs, ours.outputs) > OUTPUTS_BAR:
        yield "the outputs are others"


def further_than_torch(client: Any, torchs: Outcome, ours: Outcome, row: Row) -> list[str]:
    """Losses that are apart must be as near to float64's as PyTorch's own are."""
    exact = attempt(client, "float64").losses
    row.float64 = losses_apart(exact, torchs.losses), losses_apart(exact, ours.losses)
    if row.float64[1] <= NO_FURTHER * row.float64[0]:
        return []
    return [f"losses are apart by {row.losses_apart:.1g}, and further from float64's"]


def main() -> int:
    name = sys.argv[1]
    sys.path.insert(0, str(Path(__file__).parent))
    warnings.simplefilter("ignore")
    try:
        row = compare(name)
    except Exception as error:
        traceback.print_exc()
        row = Row(name, "", faults=[f"{type(error).__name__}: {error}"[:300]])
    print("ROW " + json.dumps(asdict(row)), flush=True)
    return bool(row.faults)


if __name__ == "__main__":
    sys.exit(main())
