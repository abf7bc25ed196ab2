"""Write a run's JSON file, or files, as Markdown and a chart.

    python -m benches.report cpu.json -o benches/results/cpu.md

also writes benches/results/cpu.png (it needs matplotlib: the extra `plot`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benches.peers import OURS
from benches.results import Results, Row
from benches.summary import summary

TITLES = {
    "forward": "Forward",
    "training": "Training: forward and backward",
    "step": "One streaming step of batch 1",
    "epoch_last": "Batches of the article's model, last output",
    "epoch_every": "Batches of the article's model, every output",
    "memory": "Memory",
    "stream": "A long stream",
    "import": "Import",
    "load": "Beside other load",
    "variants": "Variants of the layer, beside the plain one: T100-B32-I128-H256",
}
METHOD = """
Each library runs in a process of its own, in blocks of calls that take turns, in an order that
moves on from round to round; a block begins when the threads of the one before have stopped
spinning, with one call that is not timed. All compute in float32 on the same arrays; results were
compared before they were timed. Where a library can be used in several ways, all were tried for
each shape, and the fastest is what stands here.

Forward and training begin from a state of zeros: lstmfast leaves out the products with it, which is
much of the work where T is 1; the floor leaves them out too.

Times are medians over rounds. A ratio is their time over lstmfast's, taken round by round: median
[10-90%]; above 1 lstmfast is faster, below 1 it is set in bold. Machines drift: only ratios within
a row say something. The floor is the least that the job must take by the FMA rate and bandwidth of
a core, measured in the same rounds; `benches/floors.py` says what is counted. Of FMA rate: the
operations of the products over the time, as a share of the FMA rate of as many cores; with gates:
the same with the multiplying instructions of the cell (`benches/gates.py`), for I + H < 512.
"""
SHARES = ("of FMA rate", "with gates")


def table(head: Iterable[str], lines: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (head, rule, *lines))


def number(value: Any) -> str:
    """Four digits; what is no number as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def header(results: Results) -> str:
    commit, machine = results.commit, results.machine
    dirty = ", with uncommitted changes" if commit["dirty"] else ""
    busy = [row.others_busy for row in results.rows]
    system = ("system", "release", "libc", "python_implementation", "python_version")
    lines = [
        f"{results.date} UTC, commit {commit['id'][:10]}{dirty}",
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, "
        f"{machine['processors']} processors, {' '.join(machine[name] for name in system)}",
        *(f"{name} {version}" for name, version in versions(results.rows).items()),
    ]
    if busy:
        others = f"median {np.median(busy):.2f}, at most {max(busy):.2f} in one test"
        lines.append(f"Processors that other programs kept busy meanwhile: {others}")
    return "\n".join(f"- {line}" for line in lines) + "\n" + METHOD.rstrip()


def versions(rows: list[Row]) -> dict[str, str]:
    return {name: entry["version"] for row in rows for name, entry in row.peers.items()}


def timed(results: Results, kind: str, threads: int) -> str:
    rows = results.of(kind, threads=threads)
    names = [name for name in versions(rows) if name != OURS]
    head = ["T, B, I, H", f"{OURS} µs"]
    head += ["floor µs", "× floor", *SHARES] if rows[0].floors else []
    head += [f"{name} µs" for name in names] + ["fastest other", "ratio to it"]
    text = f"### {threads} thread{'s' * (threads > 1)}\n\n"
    text += table(head, (line(row, names) for row in rows))
    notes = [*ways(rows), *missing(rows)]
    return text + "".join(f"\n\n{note}" for note in notes)


def line(row: Row, names: list[str]) -> list[str]:
    cells = [", ".join(map(str, row.shape)), number(row.microseconds())]
    if row.floors:
        cells += [number(np.median(row.floors["seconds"]) * 1e6), f"{row.to_floor():.2f}"]
        cells += shares(row)
    cells += [number(row.microseconds(n)) if n in row.peers else "not run" for n in names]
    best = row.best()
    return cells + ([best, spread(row, best)] if best else ["", ""])


def shares(row: Row) -> list[str]:
    """Cells of the columns SHARES."""
    with_gates = row.share_with_gates()
    return [f"{row.share_of_fma():.0%}", "" if with_gates is None else f"{with_gates:.0%}"]


def spread(row: Row, peer: str) -> str:
    low, middle, high = np.percentile(row.ratios(peer), (10, 50, 90))
    text = f"{middle:.2f} [{low:.2f}-{high:.2f}]"
    return f"**{text}**" if middle < 1 else text


def ways(rows: list[Row]) -> list[str]:
    """Which of several ways of a library was the fastest, and for how many shapes."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        for name, entry in row.peers.items():
            if entry["variant"]:
                counts.setdefault(name, Counter())[entry["variant"]] += 1
    return [f"{name}: " + ", ".join(f"{way} for {n}" for way, n in found.most_common()) + "."
            for name, found in counts.items()]  # fmt: skip


def missing(rows: list[Row]) -> list[str]:
    """Libraries that were not run, with the reason and the number of rows."""
    counts = Counter((n, reason) for row in rows for n, reason in row.not_run.items())
    return [f"{name}, not run in {n} of {len(rows)}: {reason}."
            for (name, reason), n in counts.items()]  # fmt: skip


def first_calls(results: Results) -> str:
    """Seconds of starting and of building, compiling and calling a job for the first time."""
    kinds = list(dict.fromkeys(kind for kind, _ in results.groups()))
    lines = []
    for name in versions(results.rows):
        entries = [[r.peers[name] for r in results.of(k) if name in r.peers] for k in kinds]
        start = median(list(chain(*entries)), "start_seconds")
        lines.append([name, start, *(median(found, "first_call_seconds") for found in entries)])
    return table(["", "import, settings", *kinds], lines)


def median(entries: list[dict[str, Any]], name: str) -> str:
    return f"{np.median([entry[name] for entry in entries]):.4f}" if entries else ""


def other(results: Results, kind: str) -> str:
    """Rows of a test that is not timed in turns: any columns."""
    rows = results.tables[kind]
    head = list(dict.fromkeys(column for row in rows for column in row))
    text = table(head, ([number(row.get(column)) for column in head] for row in rows))
    absent = results.not_run.get(kind, {}).items()
    return text + "".join(f"\n\n{name}, not run: {reason}." for name, reason in absent)


def report(results: Results, picture: str | None) -> str:
    parts = ["# lstmfast on the CPU, beside other libraries", header(results), "## Summary"]
    parts.append(table(["", "threads", "shapes", "typical", "worst", "worst shape"],
                       summary(results)))  # fmt: skip
    parts += [f"![Ratios to the fastest other library]({picture})"] * bool(picture)
    for kind, threads in results.groups():
        heading = f"## {TITLES[kind]}"
        parts += [heading] * (heading not in parts) + [timed(results, kind, threads)]
    if results.rows:
        parts += ["## Start and first call, which no time above holds: medians, seconds",
                  first_calls(results)]  # fmt: skip
    for kind in results.tables:
        parts += [f"## {TITLES.get(kind, kind)}", other(results, kind)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, nargs="+", help="written by pytest --benchmark-json")
    parser.add_argument("-o", "--out", type=Path, default=Path("benches/results/cpu.md"))
    arguments = parser.parse_args()
    results, picture = Results(*arguments.json), None
    if results.rows:
        from benches.chart import draw

        picture = arguments.out.with_suffix(".png")
        draw(results, picture)
    arguments.out.write_text(report(results, picture and picture.name), encoding="utf-8")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
