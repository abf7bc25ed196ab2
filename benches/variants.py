"""What each variant of the layer costs, as a multiple of the plain layer's time.

    python -m benches.variants

times forward and training (forward and backward) of every variant in turns, float32; all do the
same number of multiplications but those of unlike lengths, whose fair share is their mean length.
Beside the lengths stands PyTorch's packed path, where torch is installed: pack, run, unpack. It
runs afterwards in a process of its own, as its threads would spin beside ours.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import lstmfast
from benches import fresh
from benches.shapes import Shape
from lstmfast import CellOptions, ops

SHAPE = Shape(T=100, B=32, I=128, H=256)
ROUNDS = 15
PLAIN, LENGTHS, PACKED = "plain", "lengths uniform in 1..T", "the same, torch's packed path"

Work = tuple[Callable[[], object], Callable[[], object]]  # forward, training


def options(shape: Shape) -> dict[str, dict[str, Any]]:
    """The keyword arguments of `lstm_forward` for each variant."""
    rng = np.random.default_rng(shape.H)
    p = rng.uniform(-0.05, 0.05, (3, shape.H)).astype(np.float32)
    lengths = rng.integers(1, shape.T + 1, shape.B)
    every = CellOptions("softsign", "hard_sigmoid", "elu", True, 1.0, 1.0)
    return {
        PLAIN: {},
        "peepholes": {"p": p},
        "coupled": {"options": CellOptions(coupled=True)},
        "clip": {"options": CellOptions(clip=1.0)},
        "cell_clip": {"options": CellOptions(cell_clip=1.0)},
        "hard sigmoid gates": {"options": CellOptions(recurrent_activation="hard_sigmoid")},
        "softplus candidate": {"options": CellOptions("softplus", output_activation="tanh")},
        "elu output": {"options": CellOptions(output_activation="elu")},
        "all of these": {"p": p, "options": every},
        "reverse": {"reverse": True},
        "full lengths": {"lengths": np.full(shape.B, shape.T)},
        LENGTHS: {"lengths": lengths},
        "mask, half of the steps": {"mask": rng.random((shape.T, shape.B)) < 0.5},
    }


def arrays(shape: Shape) -> tuple[np.ndarray, ...]:
    rng, k = np.random.default_rng(shape.T), shape.H**-0.5
    sizes = (4 * shape.H, shape.I), (4 * shape.H, shape.H), (4 * shape.H,)
    W_ih, W_hh, b = (rng.uniform(-k, k, size).astype(np.float32) for size in sizes)
    x, dy = (
        rng.standard_normal((shape.T, shape.B, n)).astype(np.float32) for n in (shape.I, shape.H)
    )
    return x, W_ih, W_hh, b, dy


def work(shape: Shape, chosen: dict[str, Any]) -> Work:
    x, W_ih, W_hh, b, dy = arrays(shape)

    def forward():
        return ops.lstm_forward(x, W_ih, W_hh, b, **chosen)

    def training():
        *_, cache = ops.lstm_forward(x, W_ih, W_hh, b, training=True, **chosen)
        return ops.lstm_backward(cache, dy)

    return forward, training


def packed_by_torch(shape: Shape, lengths: np.ndarray) -> Work:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(lstmfast.get_num_threads())
    layer, of_lengths = torch.nn.LSTM(shape.I, shape.H), torch.from_numpy(lengths)
    x, *_, dy = (torch.from_numpy(a) for a in arrays(shape))
    x.requires_grad_(True)

    def run():
        packed = pack_padded_sequence(x, of_lengths, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], total_length=shape.T)[0]

    def forward():
        with torch.no_grad():
            return run()

    def training():
        layer.zero_grad()
        x.grad = None
        run().backward(dy)

    return forward, training


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def turns(todo: dict[str, Work], rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each, round by round; a round before them is not counted."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in todo}
    for turn in range(rounds + 1):
        for name, passes in todo.items():
            for kept, function in zip(times[name], passes, strict=True):
                kept.extend([seconds(function)] * (turn > 0))
    return times


def measure(shape: Shape = SHAPE, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row for each variant: median microseconds, and the median of its ratios to plain."""
    todo = {name: work(shape, chosen) for name, chosen in options(shape).items()}
    times: dict[str, Any] = turns(todo, rounds)
    if importlib.util.find_spec("torch"):
        count = lstmfast.get_num_threads()
        times[PACKED] = fresh.run("benches.variants", count, rounds, *shape)
    return [row(name, found, times[PLAIN]) for name, found in times.items()]


def row(name: str, times: Any, plain: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"variant": name, "threads": lstmfast.get_num_threads()}
    for kind, mine, other in zip(("forward", "training"), times, plain, strict=True):
        low, middle, high = np.percentile(np.array(mine) / np.array(other), (10, 50, 90))
        found[f"{kind}_us"] = float(np.median(mine) * 1e6)
        found[f"{kind}_to_plain"] = f"{middle:.2f} [{low:.2f}-{high:.2f}]"
    return found


def packed(count: int, rounds: int, *sizes: int) -> None:
    """Print the seconds of torch's packed path."""
    lstmfast.set_num_threads(count)
    shape = Shape(*sizes)
    lengths = options(shape)[LENGTHS]["lengths"]
    print(json.dumps(turns({PACKED: packed_by_torch(shape, lengths)}, rounds)[PACKED]))


def main() -> None:
    for count in (1, 2):
        lstmfast.set_num_threads(count)
        for found in measure():
            print("  ".join(f"{v:.0f}" if isinstance(v, float) else str(v) for v in found.values()))


if __name__ == "__main__":
    packed(*map(int, sys.argv[1:])) if len(sys.argv) > 1 else main()
