"""What each variant of the layer costs, as a multiple of the plain layer's time.

    python -m benches.variants [-o variants.md]

times forward and training (forward and backward) of every variant in turns, float32, each after a
call that is not timed and brings its memory in. Ratios are of times for each multiplication of the
products (`work_of`); but of unlike lengths, whose fair share is their mean length, and of
recomputation, which does them once more, of times as they are. Beside the lengths stands PyTorch's
packed path, where torch is installed: pack, run, unpack; afterwards, in a process of its own, as
its threads would spin beside ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast
from benches import fresh
from benches.origin import origin
from benches.report import table
from benches.shapes import Shape
from lstmfast import CellOptions, Noise, Norm, ops

SHAPE = Shape(T=100, B=32, I=128, H=256)
ROUNDS = 15
SEED, PROJECTION, RECOMPUTE, STATIC = 1, 128, 10, 64
PLAIN, LENGTHS, PACKED = "plain", "lengths uniform in 1..T", "the same, torch's packed path"

Work = tuple[Callable[[], object], Callable[[], object]]  # forward, training


def options(shape: Shape) -> dict[str, dict[str, Any]]:
    """The keyword arguments of `lstm_forward` for each variant."""
    rng = np.random.default_rng(shape.H)
    p = rng.uniform(-0.05, 0.05, (3, shape.H)).astype(np.float32)
    lengths = rng.integers(1, shape.T + 1, shape.B)
    every = CellOptions("softsign", "hard_sigmoid", "elu", True, 1.0, 1.0)
    normed = Norm(*(np.ones(n, np.float32) for n in (4 * shape.H, 4 * shape.H, shape.H, shape.H)))
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
        f"projection to {PROJECTION}": {"W_hr": weights(shape, PROJECTION, shape.H)},
        "layer norm": {"norm": normed},
        "two layers": {"layers": 2},
        "both directions": {"bidirectional": True},
        "input dropout": {"noise": Noise(input_dropout=0.3)},
        "two layers, dropout between": {"layers": 2, "noise": Noise(layer_dropout=0.3)},
        "recurrent dropout": {"noise": Noise(recurrent_dropout=0.3)},
        "weight drop": {"noise": Noise(weight_drop=0.3)},
        "zoneout": {"noise": Noise(zoneout_h=0.2, zoneout_c=0.1)},
        "truncate": {"truncate": 20},
        f"recompute every {RECOMPUTE}": {"recompute": RECOMPUTE},
        "mask, half of the steps": {"mask": rng.random((shape.T, shape.B)) < 0.5},
        "resets, none set": {"resets": np.zeros((shape.T, shape.B), bool)},
        "resets, one step in 20": {"resets": rng.random((shape.T, shape.B)) < 0.05},
        f"{STATIC} static inputs": {
            "x_static": rng.standard_normal((shape.B, STATIC)).astype(np.float32),
            "W_static": weights(shape, 4 * shape.H, STATIC),
        },
    }


def weights(shape: Shape, *sizes: int) -> np.ndarray:
    k = shape.H**-0.5
    return np.random.default_rng(sizes).uniform(-k, k, sizes).astype(np.float32)


def sizes_of(shape: Shape, chosen: dict[str, Any]) -> tuple[int, int, int, list[int]]:
    """Layers, directions, outputs of one direction, and the inputs of each part."""
    layers, directions = chosen.get("layers", 1), 1 + chosen.get("bidirectional", False)
    P = len(chosen["W_hr"]) if "W_hr" in chosen else shape.H
    inputs = [shape.I] * directions + [directions * P] * directions * (layers - 1)
    return layers, directions, P, inputs


def work_of(shape: Shape, chosen: dict[str, Any]) -> int:
    """Multiplications of one step and row, forward: training does three times as many."""
    _, _, P, inputs = sizes_of(shape, chosen)
    projection = P * shape.H if "W_hr" in chosen else 0
    return sum(4 * shape.H * (I + P) + projection for I in inputs)


def arguments(shape: Shape, chosen: dict[str, Any]) -> dict[str, Any]:
    """All keyword arguments of `lstm_forward` but x; lists of weights where there are several."""
    _, _, P, inputs = sizes_of(shape, chosen)
    H = shape.H
    of = {
        "W_ih": [weights(shape, 4 * H, I) for I in inputs],
        "W_hh": [weights(shape, 4 * H, P) for _ in inputs],
        "b": [weights(shape, 4 * H) for _ in inputs],
    }
    rest = {name: value for name, value in chosen.items() if name != "layers"}
    return {name: a if len(a) > 1 else a[0] for name, a in of.items()} | {"seed": SEED} | rest


def arrays(shape: Shape, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """x and the gradient to y."""
    rng = np.random.default_rng(shape.T)
    x, dy = (
        rng.standard_normal((shape.T, shape.B, n)).astype(np.float32) for n in (shape.I, outputs)
    )
    return x, dy


def work(shape: Shape, chosen: dict[str, Any]) -> Work:
    _, directions, P, _ = sizes_of(shape, chosen)
    (x, dy), given = arrays(shape, directions * P), arguments(shape, chosen)

    def forward():
        return ops.lstm_forward(x, **given)

    def training():
        *_, cache = ops.lstm_forward(x, training=True, **given)
        return ops.lstm_backward(cache, dy)

    return forward, training


def packed_by_torch(shape: Shape, lengths: np.ndarray) -> Work:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(lstmfast.get_num_threads())
    layer, of_lengths = torch.nn.LSTM(shape.I, shape.H), torch.from_numpy(lengths)
    x, dy = (torch.from_numpy(a) for a in arrays(shape, shape.H))
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
                function()
                kept.extend([seconds(function)] * (turn > 0))
    return times


def measure(shape: Shape = SHAPE, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One row for each variant: median microseconds, and the median of its ratios to plain."""
    chosen = options(shape)
    todo = {name: work(shape, of) for name, of in chosen.items()}
    times: dict[str, Any] = turns(todo, rounds)
    if importlib.util.find_spec("torch"):
        count = lstmfast.get_num_threads()
        times[PACKED] = fresh.run("benches.variants", count, rounds, *shape)
    fair = work_of(shape, {})
    more = {name: work_of(shape, of) / fair for name, of in chosen.items()}
    return [row(name, found, times[PLAIN], more.get(name, 1)) for name, found in times.items()]


def row(name: str, times: Any, plain: Any, more: float) -> dict[str, Any]:
    """`more`: how many times as many multiplications as the plain layer's."""
    found: dict[str, Any] = {"variant": name, "threads": lstmfast.get_num_threads()}
    for kind, mine, other in zip(("forward", "training"), times, plain, strict=True):
        low, middle, high = np.percentile(np.array(mine) / np.array(other) / more, (10, 50, 90))
        found[f"{kind}_us"] = float(np.median(mine) * 1e6)
        found[f"{kind}_to_plain"] = f"{middle:.2f} [{low:.2f}-{high:.2f}]"
    return found


def packed(count: int, rounds: int, *sizes: int) -> None:
    """Print the seconds of torch's packed path."""
    lstmfast.set_num_threads(count)
    shape = Shape(*sizes)
    lengths = options(shape)[LENGTHS]["lengths"]
    print(json.dumps(turns({PACKED: packed_by_torch(shape, lengths)}, rounds)[PACKED]))


HEAD = ("variant", "forward, µs", "to plain", "training, µs", "to plain")
FIELDS = ("variant", "forward_us", "forward_to_plain", "training_us", "training_to_plain")


def report() -> str:
    """The whole table: date, commit, machine and every variant on one and two threads."""
    paragraphs = [" ".join(of.split()) for of in str(__doc__).split("\n\n")]
    text = ["# What variants cost", "", paragraphs[0], "", f"This table {paragraphs[2]}", ""]
    text += [f"{origin()}; T, B, I, H = {tuple(SHAPE)}, float32, medians of {ROUNDS} rounds;"]
    text += [
        "ratios with the 10th and 90th percentile of rounds. Made by `python -m benches.variants`."
    ]
    for count in (1, 2):
        lstmfast.set_num_threads(count)
        lines = [[f"{r[f]:.0f}" if "_us" in f else r[f] for f in FIELDS] for r in measure()]
        text += ["", f"## {count} thread{'s' * (count > 1)}", "", table(HEAD, lines)]
    return "\n".join(text) + "\n"


def main(path: str | None = None) -> None:
    found = report()
    if path is None:
        print(found)
    else:
        Path(path).write_text(found)


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", metavar="FILE", help="write the table there")
    parser.add_argument("packed", nargs="*", type=int, help=argparse.SUPPRESS)
    found = parser.parse_args()
    if found.packed:  # a process of its own for torch (`measure`)
        packed(*found.packed)
    else:
        main(found.out)


if __name__ == "__main__":
    command()
