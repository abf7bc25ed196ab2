"""Guard pages: every argument in memory whose end, or begin, touches a page that kills on access.

    python tests/trust/guards.py --count 2000 [--seed 0] [--isa v2 v3 v4]

Random configurations of the whole family by the C-level API (x, weights, states, outputs,
gradients, lengths, masks, reserve and work, strided in any way), and by `ops` LSTM layers of one
step or two, plain recurrent layers, products and streams; `count` for each instruction set and each
side. Results must be, bit by bit, those of calls on ordinary arrays.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
import family
from agreement import DTYPES, same_bits
from capi_direct import Direct
from capi_family import OVER_TIME, Run, differences, handle_of
from guarded import placed

import lstmfast
from lstmfast import capi, ops
from lstmfast.kernels.isa import up_to

SIDES = ("end", "begin")


def chosen_options(rng):
    """Some options of the family that go together."""
    chosen = {}
    for name in rng.choice(list(family.OPTIONS), rng.integers(0, 8), replace=False):
        if family.compatible(chosen | family.OPTIONS[name]):
            chosen |= family.OPTIONS[name]
    return chosen


def drawn_case(rng):
    """A case of the family, small enough to be quick and odd enough to leave tails everywhere."""
    chosen, training = chosen_options(rng), bool(rng.integers(4))
    if not training and "only" in chosen:
        del chosen["only"]
    if not training and rng.integers(3) == 0:
        chosen = {name: of for name, of in chosen.items() if name != "bfloat16"} | {"int8": True}
    least = (1, 1, 1, 2 if chosen.get("proj") else 1)  # orthogonal weights: 4H >= P
    shape = tuple(int(n) for n in rng.integers(least, (12, 20, 40, 70)))
    return family.family_case(
        shape, DTYPES[rng.integers(2)], training, seed=int(rng.integers(1000)), **chosen
    )


def drawn_strides(rng, array):
    """Rows that lie further apart than they must, batch or time outermost."""
    T, B, n = array.shape
    row = n + int(rng.integers(0, 3))
    strides = (B * row + int(rng.integers(0, 3)), row)
    if rng.integers(2):
        strides = (row, T * row + int(rng.integers(0, 3)))
    return tuple(s * array.itemsize for s in (*strides, 1))


def check_handle(probe, rng, at_end):
    """One case by the C-level API; the names of what differs."""
    case = drawn_case(rng)

    def place(name, array):
        strided = name in OVER_TIME and rng.integers(2)
        return placed(array, at_end, drawn_strides(rng, array) if strided else None)

    training = int(case.keywords["training"])
    lstm = handle_of(probe, case, training, place)
    run = Run(probe, case, lstm, place)
    status = run.status("forward", **({} if training else {"reserve": 0}))
    if training:
        status |= run.status("backward")
    wrong = differences(run, case) if status == 0 else [f"status {status}"]
    if case.h0 is not None and not case.keywords.get("bidirectional"):
        x, h, c = (placed(a, at_end) for a in (case.x[0], case.h0, case.c0))
        if case.x_static is not None:
            static = placed(case.x_static, at_end)
            assert probe.set_static(lstm, len(x), static.ctypes.data) == 0
        if probe.step(lstm, len(x), *(a.ctypes.data for a in (x, h, c))):
            wrong.append("step")
    probe.free(lstm)
    return wrong


def check_arrays(rng, at_end):
    """A plain recurrent layer, products and a stream; the names of what differs."""
    T, B, I, H = (int(n) for n in rng.integers(1, (9, 20, 40, 70)))
    dtype = DTYPES[rng.integers(2)]

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    given = {"x": draw(T, B, I), "W_ih": draw(H, I), "W_hh": draw(H, H) / H, "h0": draw(B, H)}
    mask, dy = rng.random((T, B)) < 0.7, draw(T, B, H)
    table, W, ids = draw(I, H), draw(4 * H, H) / H, rng.integers(0, I, (T, B))

    def results(at):
        a = {name: at(array) for name, array in given.items()}
        y, h, cache = ops.rnn_forward(**a, mask=at(mask), training=True)
        found = [y, h, *ops.rnn_backward(cache, at(dy))]
        x = at(given["x"].reshape(T * B, I))
        rows = at(np.repeat(dy[0, :1], T * B, 0))
        found += [ops.dense_forward(x, at(table)), *ops.dense_backward(x, at(table), rows)]
        found += [ops.embedding_backward(at(ids), at(dy), I), ops.softmax(at(dy[0]))]
        stream = ops.LSTMStream(at(draw_once[0]), at(W), None, B)
        out = at(np.zeros((T, B, H), dtype))
        return [*found, stream.forward(at(given["x"]), out), stream.step(at(given["x"][0]))]

    draw_once = [draw(4 * H, I)]
    plain, guarded = results(np.copy), results(lambda a: placed(np.ascontiguousarray(a), at_end))
    return [
        str(k) for k, pair in enumerate(zip(plain, guarded, strict=True)) if not same_bits(*pair)
    ]


def check_calls(rng, at_end):
    """Calls on weights as they are, which those of one step read unpacked; what differs."""
    T, B, H = (int(n) for n in rng.integers(1, (3, 20, 70)))
    I = int(rng.choice((16, 32, rng.integers(1, 40))))
    H = int(rng.choice((16, 64, H)))
    shapes = {"x": (T, B, I), "W_ih": (4 * H, I), "W_hh": (4 * H, H), "b": (4 * H,)}
    shapes |= {"h0": (B, H), "c0": (B, H), "dy": (T, B, H)}
    dtype = DTYPES[rng.integers(2)]
    given = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}

    def results(at):
        a = {name: at(array) for name, array in given.items()}
        dy = a.pop("dy")
        y, state, cache = ops.lstm_forward(**a, training=True)
        g = ops.lstm_backward(cache, dy)
        return [y, *state, g.dx, g.dW_ih, g.dW_hh, g.db, g.dh0, g.dc0]

    plain, guarded = results(np.copy), results(lambda array: placed(array, at_end))
    pairs = zip(plain, guarded, strict=True)
    return [f"call {k}" for k, pair in enumerate(pairs) if not same_bits(*pair)]


def child(seed, first, count, at_end):
    """Run some cases; each is named before it begins, so that the parent knows who died."""
    probe = Direct()
    for number in range(first, first + count):
        print("case", number, flush=True)
        rng = np.random.default_rng([seed, number])
        ops.set_num_threads(int(rng.integers(1, 4)))
        wrong = check_handle(probe, rng, at_end)
        wrong += check_arrays(rng, at_end) if number % 4 == 0 else []
        wrong += check_calls(rng, at_end) if number % 4 == 1 else []
        if wrong:
            print("wrong", number, *wrong, flush=True)
    print("end", flush=True)


def faults(isa, side, seed, count):
    """Return what went wrong, one line each; after a death the cases behind it are run, too."""
    found, first = [], 0
    while first < count:
        command = [sys.executable, __file__, "--child", str(first), "--side", side, "--seed",
                   str(seed), "--count", str(count)]  # fmt: skip
        environment = os.environ | {"LSTMFAST_ISA": isa, "PYTHONPATH": lstmfast.get_include()}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        lines = result.stdout.splitlines()
        found += [f"{isa} {side} {line}" for line in lines if line.startswith("wrong")]
        if lines and lines[-1] == "end" and result.returncode == 0:
            break
        cases = [line for line in lines if line.startswith("case")]
        number = int(cases[-1].split()[1]) if cases else first
        reason = result.stderr.strip().splitlines()[-1:] or [""]
        found.append(f"{isa} {side} case {number} died ({result.returncode}): {reason[0][:200]}")
        first = number + 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isa", nargs="+", default=None)
    parser.add_argument("--side", choices=SIDES, default=None)
    parser.add_argument("--child", type=int, default=None, help="of a process of its own")
    given = parser.parse_args()
    if given.child is not None:
        return child(given.seed, given.child, given.count - given.child, given.side == "end")
    isas = given.isa or up_to(capi.best_isa())
    sides = [given.side] if given.side else SIDES
    found = [
        f for isa in isas for side in sides for f in faults(isa, side, given.seed, given.count)
    ]
    print(*found[:50], sep="\n", end="\n" if found else "")
    cases = len(isas) * len(sides) * given.count
    where = f"{' '.join(isas)}, {' '.join(sides)}"
    print(f"guards | {cases} configurations, {where} | faults: {len(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
