"""LSTM layers on the GPU against the float64 oracle, and where that is slow, the CPU's kernels.

A case is one of tests/family.py's: fresh random numbers, random upstream gradients, every output
and every gradient compared element by element. New arrays are filled with NaN, so that an element
that is not written is seen. Each case runs twice (in graphs three times: as it stands, captured,
replayed), which must give the same bits, and tells the kernels that it launched.

Small shapes are held against tests/naive_stack.py, three nested loops in float64; larger ones
against lstmfast's float64 kernels on the CPU, which the tests hold against these loops.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np

from benches.cuda import bars, calls
from benches.cuda.calls import GRAPHS, PATHS, PERSISTENT, STEPS, NotApplicable
from benches.cuda.jobs import Case, Job

# Of which there are no kernels on a GPU; precisions have cases of their own.
BARRED = ("layer_norm", "recompute", "resets", "resets to zeros", "static", "bfloat16")
# (T, B, I, H) for every option: the loops' first, then the CPU's
OPTION_SHAPES = ((3, 3, 2, 5), (1, 1, 4, 17), (6, 2, 9, 33), (7, 33, 20, 65), (21, 64, 96, 130))
INFERENCE = ("plain", "projection", "lengths", "repeat", "zoneout_h", "zoneout_c", "bidirectional")
# for every path and precision; the most telling first
SHAPES = (
    (20, 16, 64, 128), (12, 64, 256, 256), (10, 64, 512, 512), (1, 1, 64, 64), (7, 33, 96, 128),
    (3, 1, 256, 256), (5, 64, 1024, 1024), (6, 32, 768, 768), (9, 5, 384, 384),
    (30, 128, 128, 256), (4, 17, 512, 512), (8, 256, 256, 512), (5, 3, 64, 64), (6, 10, 33, 100),
    (3, 1, 1024, 1024), (2, 256, 640, 1024), (64, 100, 64, 192), (200, 8, 16, 64),
)  # fmt: skip
LAST_ALONE = "h_n alone"  # y is not asked for
LAYER_OPTIONS = ("reverse", "bidirectional", "num_layers", "batch_first", "no state", "no bias",
                 "dy alone", "no dx", "lengths", "peepholes", LAST_ALONE)  # fmt: skip
SMALL = (6, 5, 24, 64)  # where persistent kernels meet options, their own or path one's
PRECISIONS = (  # (arrays, products)
    ("float32", "bfloat16"), ("float32", "tf32"), ("float32", "float32"), ("float32", "float16"),
    ("bfloat16", "bfloat16"), ("float16", "float16"), ("float64", "float64"),
)  # fmt: skip
LOOPS = 3000  # up to so many cells (T·B·H) the oracle's loops take a second or two


def jobs(quick: bool) -> list[Job]:
    """Persistent kernels, both forms of path one, then each option."""
    pairs = PRECISIONS[:3] if quick else PRECISIONS
    shapes = SHAPES[:3] if quick else SHAPES
    found = []
    for paths in ((PERSISTENT,), (STEPS, GRAPHS)):
        for array, precision in pairs:
            if paths == (PERSISTENT,) and array == "float64":
                continue  # they have no such kernels
            name = f"validate {paths[0]}, {array} by {precision}"
            cases = of_paths(paths, array, precision, shapes, LAYER_OPTIONS[: 2 if quick else None])
            found.append(Job(name, "validate", "validate", cases))
    for dtype, part in itertools.product(("float32", "float64"), (0, 1)):
        found.append(Job(f"validate options {part + 1}, {dtype}", "validate", "validate",
                         of_options(dtype, part, quick)))  # fmt: skip
    return found


def of_paths(paths: Any, array: str, precision: str, shapes: Any, options: Any) -> tuple[Case, ...]:
    base = {"array": array, "precision": precision}
    found = [{**base, "path": path, "option": "plain", "shape": shape, "training": True}
             for shape in shapes for path in paths]  # fmt: skip
    found += [{**base, "path": path, "option": "plain", "shape": shape, "training": False}
              for shape in shapes[:2] for path in paths]  # fmt: skip
    return tuple(found + [{**base, "path": paths[0], "option": name, "shape": SMALL,
                           "training": True} for name in options])  # fmt: skip


def of_options(dtype: str, part: int, quick: bool) -> tuple[Case, ...]:
    names = [name for name in calls.of_tests("family").OPTIONS if name not in BARRED]
    names.append(LAST_ALONE)
    base = {"array": dtype, "precision": dtype, "path": STEPS}
    shapes = OPTION_SHAPES[:1] if quick else OPTION_SHAPES
    found = [{**base, "option": name, "shape": shape, "training": True}
             for name in names[part::2] for shape in shapes]  # fmt: skip
    return tuple(found + [{**base, "option": name, "shape": OPTION_SHAPES[0], "training": False}
                          for name in INFERENCE[part::2]])  # fmt: skip


def run(case: Case, seed: int) -> dict[str, Any]:
    """Hold one case against its reference; return the row."""
    # paths stand side by side in `of_paths`: all of them draw what the first one does
    given = (case["option"], tuple(case["shape"]), case["training"], case["precision"],
             seed - PATHS.index(case["path"]))  # fmt: skip
    with calls.on_path(case["path"]), calls.launches() as kernels, calls.poisoned() as poison:
        on_gpu = cast_for(case, draw(*given))
        results = [computed(on_gpu, case["option"]) for _ in range(2 + (case["path"] == GRAPHS))]
    if case["path"] == PERSISTENT and not any(kernels.values()):
        raise NotApplicable("no persistent kernel for this shape or option")
    row = compared(results, reference(*given), case["precision"])
    row |= {"kernels": sorted(kernels), "poisoned": poison}
    row["status"] = "passed" if row.pop("passed") and poison else "failed"
    return row


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case launches, without its reference."""
    drawn = draw(case["option"], tuple(case["shape"]), case["training"], case["precision"], seed)
    with calls.on_path(case["path"]):
        computed(cast_for(case, drawn), case["option"])


def computed(on_gpu: Any, option: str) -> Any:
    """Outputs and gradients by the GPU, by name."""
    by = calls.of_tests("on_device")
    if option != LAST_ALONE:
        return calls.of_tests("family").computed(on_gpu, by)
    W = (on_gpu.weights[name] for name in ("W_ih", "W_hh", "b"))
    keywords = on_gpu.keywords | {"return_sequences": False, "return_cells": False}
    _, (h_n, c_n), cache = by.lstm_forward(on_gpu.x, *W, on_gpu.h0, on_gpu.c0, **keywords)
    found = by.lstm_backward(cache, dh_n=on_gpu.upstream["dh_n"])
    names = ("dx", "dh0", "dc0")
    gradients = {name: getattr(found, name) for name in names}
    gradients |= {f"d{name}0": getattr(found, f"d{name}")[0] for name in ("W_ih", "W_hh", "b")}
    return {"h_n": h_n, "c_n": c_n}, gradients


@lru_cache(2)
def draw(option: str, shape: Any, training: bool, precision: str, seed: int) -> Any:
    """The case in float64, its numbers exact in what they are multiplied as."""
    family = calls.of_tests("family")
    chosen = {"plain": {}, LAST_ALONE: {"only": "dh_n"}, **family.OPTIONS}[option]
    drawn = family.family_case(shape, "float32", training, seed, **chosen)
    return mapped(drawn, lambda a: bars.exact_in(precision, a).astype(np.float64))


@lru_cache(2)
def reference(option: str, shape: Any, training: bool, precision: str, seed: int) -> Any:
    """What the case must give, in float64."""
    family, drawn = calls.of_tests("family"), draw(option, shape, training, precision, seed)
    T, B, _, H = shape
    found = family.expected(drawn) if T * B * H <= LOOPS else family.computed(drawn)
    if option == LAST_ALONE:
        return {name: found[0][name] for name in ("h_n", "c_n")}, found[1]
    return found


def cast_for(case: Case, drawn: Any) -> Any:
    """What the GPU is given: arrays of the case's dtype."""
    dtype = calls.dtype_of(case["array"])
    keywords = drawn.keywords | {"precision": case["precision"]}
    return mapped(drawn, lambda a: a.astype(dtype))._replace(keywords=keywords)


def mapped(case: Any, change: Any) -> Any:
    """The same case with `change` of all its arrays of floats, the oracle's network among them."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: of(one) for name, one in value.items()}
        if isinstance(value, list):
            return [of(one) for one in value]
        if isinstance(value, tuple):
            values = map(of, value)
            return type(value)(*values) if hasattr(value, "_fields") else tuple(values)
        return change(value) if isinstance(value, np.ndarray) else value

    parts = [of(part) for part in case.network.parts]
    names = ("x", "weights", "h0", "c0", "upstream")
    arrays = {name: of(getattr(case, name)) for name in names}
    return case._replace(network=case.network._replace(parts=parts), **arrays)


def compared(results: list[Any], ref: Any, precision: str) -> dict[str, Any]:
    """Errors of all results against the reference, and whether they are of the same bits."""
    bar, found = bars.bars(precision), {}
    passed = len({bits(result) for result in results}) == 1
    found["same_bits"] = passed
    for kind, of, limit in zip(("forward", "gradient"), (0, 1), bar, strict=True):
        errors = {name: 0.0 for name in ref[of]}
        for result in results:
            missing = ref[of].keys() ^ result[of].keys()
            if missing:
                raise AssertionError(f"results: expected {sorted(ref[of])}, differ by {missing}")
            for name in errors:
                one = bars.error(result[of][name], ref[of][name], kind == "gradient")
                errors[name] = max(errors[name], one, key=lambda e: np.inf if np.isnan(e) else e)
        if errors:
            where, error, held = bars.worst(errors, limit)
            found[kind] = {"error": error, "bar": limit, "where": where}
            passed &= held
    return {**found, "passed": passed}


def bits(result: Any) -> tuple[bytes, ...]:
    """All results as bytes, by name."""
    return tuple(of[name].tobytes() for of in result for name in sorted(of))
