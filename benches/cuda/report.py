"""A run's rows as JSON, and as Markdown that says what held, what did not, and what was not run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benches.cuda import article, peers
from benches.cuda.calls import GRAPHS, PERSISTENT
from benches.cuda.floors import ceilings_of, floor
from benches.cuda.jobs import Job, label
from benches.report import number, table
from benches.shapes import Shape

RIGHT = ("passed", "measured", "not applicable")
KINDS = {"forward": "forward", "training": "forward and backward"}
ARTICLE_BAR = 1.2
BARS = """
Bars, of forward and backward against nn.LSTM: bf16 and tf32 at H 256-768, B ≤ 128: 2; strict fp32
at H > 128: 1.3; fp16, and any H ≤ 128: 0.8; a training step of the article's model: 1.2. Other rows
have none.
"""


def bar_of(shape: Shape, precision: str) -> float | None:
    """How many times as fast as cuDNN training shall be at least (DESIGN, section 7)."""
    if precision == "float16" or shape.H <= 128:
        return 0.8
    if precision == "float32":
        return 1.3
    return 2.0 if 256 <= shape.H <= 768 and shape.B <= 128 else None


# ---------------------------------------------------------------- the files


def results(jobs: list[Job], rows: dict[str, dict[int, Any]], about: dict[str, Any]) -> Any:
    """All that is known: {..., "jobs": [{name, section, cases: [{case, row}]}]}; no row: None."""
    found = [
        {"name": job.name, "section": job.section,
         "cases": [{"case": case, "row": rows.get(job.name, {}).get(k)}
                   for k, case in enumerate(job.cases)]}
        for job in jobs
    ]  # fmt: skip
    return {**about, "jobs": found}


def known(jobs: list[Job], path: Path, commit: str) -> dict[str, dict[int, Any]]:
    """The rows of an earlier run that hold; those of another commit say of which they are."""
    earlier = json.loads(path.read_text(encoding="utf-8"))
    rows = {(job["name"], label(entry["case"])): entry["row"]
            for job in earlier["jobs"] for entry in job["cases"]}  # fmt: skip
    found: dict[str, dict[int, Any]] = {job.name: {} for job in jobs}
    for job in jobs:
        for k, case in enumerate(job.cases):
            row = rows.get((job.name, label(case)))
            if row and row["status"] in RIGHT:
                old = {} if earlier["commit"] == commit else {"commit": earlier["commit"]}
                found[job.name][k] = old | row
    return found


def write(found: Any, path: Path) -> None:
    """Write path.json and path.md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


def markdown(found: Any) -> str:
    entries = [{"job": job["name"], "section": job["section"], **entry}
               for job in found["jobs"] for entry in job["cases"]]  # fmt: skip
    done = [entry for entry in entries if entry["row"] is not None]
    rows = [entry["row"] for entry in done]
    parts = ["# lstmfast on the GPU", header(found, rows), "## Outcome", outcome(entries)]
    parts += ["## Kernels and what they were validated by", kernels(done)]
    parts += ["## Cases that failed, and errors", failures(done)]
    parts += ["## Times beside cuDNN", " ".join(BARS.split())]
    ceilings = ceilings_of(rows)
    measured = [entry for entry in done if "training" in entry["row"]]
    parts += [times(measured, kind, ceilings) for kind in reversed(KINDS)]
    parts += ["## The article's model, one training step", of_article(measured)]
    parts += ["## Not run", unmeasured(entries)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


# ---------------------------------------------------------------- what it ran on


def header(found: Any, rows: list[Any]) -> str:
    lines = [f"{found['date']}, commit {found['commit']}, seed {found['seed']}, "
             f"{found['seconds']:.0f} of {found['budget']:.0f} s"]  # fmt: skip
    for commit, count in Counter(row["commit"] for row in rows if "commit" in row).items():
        lines.append(f"of commit {commit}: {count} cases")
    for row in rows:
        lines += [f"{name}: {number(value)}" for name, value in row.get("facts", {}).items()]
    for name, ceiling in ceilings_of(rows).items():
        unit, value = next((u, v) for u, v in ceiling.items() if u != "name")
        lines.append(f"measured, {name}: {scaled(value, unit)}")
    return "\n".join(f"- {line}" for line in lines)


def scaled(value: float, unit: str) -> str:
    if unit == "seconds":
        return f"{value * 1e6:.2f} µs"
    return f"{value * 1e-12:.2f} T{unit}"


# ---------------------------------------------------------------- what held


def outcome(entries: list[Any]) -> str:
    """How many cases of each job passed."""
    names = ("passed", "measured", "failed", "error", "not applicable", "not run")
    counts: dict[str, dict[str, int]] = {}
    for entry in entries:
        status = entry["row"]["status"] if entry["row"] else "not run"
        of = counts.setdefault(entry["job"], dict.fromkeys(names, 0))
        of[status] += 1
    lines = [[job, *(of[name] or "" for name in names)] for job, of in counts.items()]
    return table(["job", *names], lines)


def checks(row: Any) -> Iterable[Any]:
    """Whatever was compared in a row: {error, bar, where}."""
    return (value for value in row.values() if isinstance(value, dict) and "bar" in value)


def kernels(done: list[Any]) -> str:
    """For each kernel its cases, and the worst of them: error, bar and their ratio."""
    found: dict[str, list[Any]] = {}
    for entry in done:
        for name in entry["row"].get("kernels", ()):
            found.setdefault(name, []).append(entry)
    if not found:
        return "None: no kernel was validated on a GPU."
    lines = []
    for name, entries in sorted(found.items()):
        passed = sum(entry["row"]["status"] == "passed" for entry in entries)
        worst = max((check for entry in entries for check in checks(entry["row"])), key=closeness)
        lines.append([name, len(entries), passed, f"{worst['error']:.2g}", f"{worst['bar']:.2g}",
                      worst["where"]])  # fmt: skip
    text = (
        "The worst error is that nearest to its bar, of all cases that a kernel took part in.\n\n"
    )
    return text + table(["kernel", "cases", "passed", "worst error", "its bar", "of"], lines)


def closeness(check: Any) -> float:
    ratio = check["error"] / check["bar"]
    return float("inf") if np.isnan(ratio) else ratio


def failures(done: list[Any]) -> str:
    lines = []
    for entry in done:
        row = entry["row"]
        if row["status"] in ("failed", "error"):
            lines.append(f"- {entry['job']}: {label(entry['case'])}: {row['status']}: {why(row)}")
    return "\n".join(lines) or "None."


def why(row: Any) -> str:
    if "reason" in row:
        return str(row["reason"])
    found = [f"{check['where']} {check['error']:.2g} > {check['bar']:.2g}"
             for check in checks(row) if not check["error"] <= check["bar"]]  # fmt: skip
    found += ["other bits when run again"] * (row.get("same_bits") is False)
    found += ["new arrays were not filled with NaN"] * (row.get("poisoned") is False)
    differ = [f"{name} {d:.2g} from torch's > {row['bar']:.2g}"
              for name, d in row.get("differences", {}).items() if not d <= row["bar"]]  # fmt: skip
    broken = [f"{name}: {reason}" for name, reason in row.get("errors", {}).items()]
    return "; ".join(found + differ + broken)


# ---------------------------------------------------------------- times


def ratios(of: Any, ours: str, theirs: str) -> Any:
    """(10th, 50th, 90th percentile) of their time over ours, round by round."""
    if ours not in of["seconds"] or theirs not in of["seconds"]:
        return None
    mine, other = (np.array(of["seconds"][name]) for name in (ours, theirs))
    return np.percentile(other / mine, (10, 50, 90))


def best(of: Any) -> str | None:
    """Our faster path."""
    ran = [name for name in (GRAPHS, PERSISTENT) if name in of["seconds"]]
    return min(ran, key=lambda name: median(of, name), default=None)


def median(of: Any, name: str) -> float:
    return float(np.median(of["seconds"][name])) if name in of["seconds"] else float("nan")


def spread(found: Any) -> str:
    return "" if found is None else f"{found[1]:.2f} [{found[0]:.2f}-{found[2]:.2f}]"


def verdict(found: Any, bar: float | None) -> str:
    if bar is None or found is None:
        return "" if bar is None else f"{bar}: not met (no time of ours)"
    return f"{bar}: {'met' if found[1] >= bar else 'not met'}"


PEERS = (peers.EAGER, peers.CAPTURED)


def times(measured: list[Any], kind: str, ceilings: Any) -> str:
    """The table of one kind: each path, cuDNN as called and captured, floor, ratios, bar."""
    head = ["T, B, I, H", "products", *(f"{name} µs" for name in (GRAPHS, PERSISTENT, *PEERS)),
            "floor µs", "bound by", "ratio to nn.LSTM", "to that in a graph", "bar"]  # fmt: skip
    lines = [line(entry, kind, ceilings) for entry in measured if "shape" in entry["case"]]
    title = f"### {KINDS[kind].capitalize()}\n\n"
    return title + (table(head, lines) if lines else "Nothing measured.")


def line(entry: Any, kind: str, ceilings: Any) -> list[str]:
    shape, precision = Shape(*entry["case"]["shape"]), entry["case"]["precision"]
    of, least = entry["row"][kind], floor(kind, shape, precision, ceilings)
    mine = best(of)
    found = [ratios(of, mine, peer) if mine else None for peer in PEERS]
    cells = [", ".join(map(str, shape)), precision]
    cells += [microseconds(median(of, name)) for name in (GRAPHS, PERSISTENT, *PEERS)]
    cells += [number(least["seconds"] * 1e6), least["bound"]] if least else ["", ""]
    bar = verdict(found[0], bar_of(shape, precision)) if kind == "training" else ""
    return [*cells, *map(spread, found), bar]


def microseconds(value: float) -> str:
    return "" if np.isnan(value) else number(value * 1e6)


def of_article(measured: list[Any]) -> str:
    head = ["products", "lstmfast µs", "torch µs", "ratio", "bar", "losses apart"]
    lines = []
    for entry in measured:
        if "shape" not in entry["case"]:
            of, apart = entry["row"]["training"], entry["row"]["differences"]
            found = ratios(of, article.OURS, peers.EAGER)
            lines.append([entry["case"]["precision"], microseconds(median(of, article.OURS)),
                          microseconds(median(of, peers.EAGER)), spread(found),
                          verdict(found, ARTICLE_BAR), f"{apart[article.OURS]:.2g}"])  # fmt: skip
    return table(head, lines) if lines else "Not measured."


def unmeasured(entries: list[Any]) -> str:
    missing = [entry for entry in entries if entry["row"] is None]
    if not missing:
        return "Everything was run."
    jobs = list(dict.fromkeys(entry["job"] for entry in missing))
    lines = []
    for job in jobs:
        of = [label(entry["case"]) for entry in missing if entry["job"] == job]
        lines.append(f"- {job}: {len(of)} cases: {'; '.join(of[:6])}{'; ...' * (len(of) > 6)}")
    return "\n".join(lines)
