"""The bars: a run in a few lines, each with its worst shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benches.peers import OURS
from benches.results import Results, Row

SERVING = ("torch", "onnxruntime", "openvino")
TRAINING = ("torch", "keras-tensorflow", "keras-jax")
LARGE_BATCH, STREAM_SIZES = 32, (256, 1024)

# what is compared, kinds of job, with whom (None: all)
RATIOS = (
    ("forward, fastest of torch, ONNX Runtime, OpenVINO", ("forward",), SERVING),
    ("forward, fastest of all", ("forward",), None),
    ("training, torch", ("training",), ("torch",)),
    ("training, fastest of all", ("training",), None),
    ("streaming step, fastest of all", ("step",), None),
    ("article's model, last output, fastest of torch, Keras", ("epoch_last",), TRAINING),
    ("article's model, every output, fastest of torch, Keras", ("epoch_every",), TRAINING),
)

Line = list[str]


def summary(results: Results) -> list[Line]:
    """Lines of: what, threads, number of shapes, typical, worst, the worst shape."""
    threads = sorted({row.threads for row in results.rows})
    lines = [ratio_line(results, *bar, n) for bar in RATIOS for n in threads]
    lines += [share_line(results, kind) for kind in ("forward", "training")]
    lines += [stream_line(results, n) for n in threads]
    return [line for line in lines if line] + memory_lines(results)


def ratio_line(
    results: Results, name: str, kinds: tuple[str, ...], among: tuple[str, ...] | None, threads: int
) -> Line | None:
    """Geometric mean and worst of the ratios to the fastest of `among`."""
    rows = [row for row in results.of(*kinds, threads=threads) if row.best(among)]
    if not rows:
        return None
    ratios = [row.ratio(row.best(among)) for row in rows]
    worst = int(np.argmin(ratios))
    slower = sum(ratio < 1 for ratio in ratios)
    what = f"{name}: time over ours, geometric mean"
    what += f" (below 1 in {slower})" if slower else ""
    where = f"{rows[worst].shape}, {rows[worst].best(among)}"
    mean = np.exp(np.mean(np.log(ratios)))
    return [what, str(threads), str(len(rows)), f"{mean:.2f}", f"{ratios[worst]:.2f}", where]


def share_line(results: Results, kind: str) -> Line | None:
    rows = [row for row in results.of(kind, threads=1) if row.shape.B >= LARGE_BATCH]
    what = f"{kind}, B >= {LARGE_BATCH}: share of one core's FMA rate, median"
    return _shares(what, rows, Row.share_of_fma)


def stream_line(results: Results, threads: int) -> Line | None:
    low, high = STREAM_SIZES
    rows = [row for row in results.of("step", threads=threads)
            if row.shape.I == row.shape.H and low <= row.shape.H <= high]  # fmt: skip
    what = f"streaming step, I = H = {low} to {high}: share of bandwidth, median"
    return _shares(what, rows, Row.share_of_bandwidth)


def _shares(what: str, rows: list[Row], share: Callable[[Row], float]) -> Line | None:
    if not rows:
        return None
    shares = [share(row) for row in rows]
    worst = int(np.argmin(shares))
    return [what, str(rows[0].threads), str(len(rows)), f"{np.median(shares):.0%}",
            f"{shares[worst]:.0%}", str(rows[worst].shape)]  # fmt: skip


def memory_lines(results: Results) -> list[Line]:
    """Ratios of every column in MB, for each other library: theirs over ours, job by job."""
    rows = results.tables.get("memory", [])
    # a job's name may come back with other sizes: the n-th row of a peer belongs to our n-th
    by_peer: dict[str, list[dict]] = {}
    for row in rows:
        by_peer.setdefault(row["peer"], []).append(row)
    ours, lines = by_peer.pop(OURS, []), []
    for peer, theirs in by_peer.items():
        for column in (name for name in rows[0] if name.endswith("_mb")):
            pairs = [(b[column] / a[column], a["job"]) for a, b in zip(ours, theirs, strict=False)
                     if a[column] > 0 and b[column] > 0]  # fmt: skip
            if pairs:
                ratios = [ratio for ratio, _ in pairs]
                least, job = min(pairs)
                lines.append([f"memory, {column[:-3]}: {peer}'s over ours, geometric mean", "",
                              str(len(pairs)), f"{np.exp(np.mean(np.log(ratios))):.2f}",
                              f"{least:.2f}", job])  # fmt: skip
    return lines
