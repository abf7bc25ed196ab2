"""Programs for Keras, run by Keras and, with other import lines, by lstmfast.

    python -m benches.keras_programs [--only PATTERN] [--rounds 3] [-o FILE]

Keras has a process for each of its backends, TensorFlow and JAX, compiled as by default, and
lstmfast has one. All three start from the same weights and see the same batches, in order. The
loss of the first epoch is compared with that of the nearer backend (without dropout, whose draws
differ; where a batch holds an id twice, Keras's Adam on TensorFlow adds the squares of its
gradients, on JAX it squares their sum). That epoch compiles, and counts for no time. Then the three
train for one epoch each by turns, the order turned round each time. An epoch is what a user waits
for: `fit` with its validation and callbacks. Medians; ratios are those of turns, to the backend
that is faster. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from pathlib import Path
from statistics import median
from typing import Any

from benches.keras_programs.desk import BACKENDS, Desk, Epoch
from benches.keras_programs.loading import PROGRAMS, load
from benches.measure import Load
from benches.origin import origin
from benches.peers import OURS
from benches.worker import Member, PeerError

CLOSE = 1e-4  # largest relative difference of the losses of the first epoch
MEAN, LEAST = 1.5, 1.0  # bars: geometric mean of the ratios, and each of them
ROUNDS, PAUSE = 3, 0.3  # seconds, until the threads of the one before are at rest
TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", OURS: OURS}
HEAD = (
    "program", "loss, Keras", f"loss, {OURS}", "apart", "backends apart",
    *(f"{TITLES[name]}, s" for name in BACKENDS), f"{OURS}, s", "times faster",
)  # fmt: skip


class Result:
    """What one program gave: epochs by library, in turns; of the first one the losses."""

    def __init__(self, name: str):
        self.name = name
        self.firsts: dict[str, Epoch] = {}  # without dropout
        self.epochs: dict[str, list[Epoch]] = {}
        self.not_run: dict[str, str] = {}

    def apart(self, name: str, other: str) -> float:
        """The relative difference of two losses; NaN where one is not there."""
        if not {name, other} <= self.firsts.keys():
            return math.nan
        one, two = self.firsts[name].loss, self.firsts[other].loss
        return abs(one - two) / abs(two)

    def nearer(self) -> str | None:
        """The backend whose loss is nearer to ours; the one that is there; None without any."""
        there = [name for name in BACKENDS if name in self.firsts]
        return min(there, key=lambda name: self.apart(OURS, name), default=None)

    def seconds(self, name: str) -> float:
        return median(epoch.seconds for epoch in self.epochs[name])

    def ratio(self) -> float:
        """How many times faster than the faster backend; NaN without both sides."""
        others = [name for name in self.epochs if name != OURS]
        if OURS not in self.epochs or not others:
            return math.nan
        best = min(others, key=self.seconds)
        pairs = zip(self.epochs[best], self.epochs[OURS], strict=True)
        return median(theirs.seconds / ours.seconds for theirs, ours in pairs)


class Group:
    """The three processes."""

    def __init__(self) -> None:
        self.members = {name: Member(Desk, name) for name in (*BACKENDS, OURS)}

    def workers(self) -> list[Member]:
        return list(self.members.values())

    def revive(self) -> None:
        """Start processes again that have ended."""
        for name, member in self.members.items():
            if not member.process.is_alive():
                self.members[name] = Member(Desk, name)

    def close(self) -> None:
        for member in self.workers():
            member.close()


def run(group: Group, name: str, rounds: int) -> Result:
    """Run one program in all processes; a library that fails is left out, and told."""
    group.revive()
    result = Result(name)
    without = {"DROPOUT": 0.0} if hasattr(load(name, OURS), "DROPOUT") else {}
    for changes in (without, {}) if without else ({},):
        weights: Any = None
        for peer in [one for one in group.members if one not in result.not_run]:
            try:
                begun = group.members[peer].ask("begin", name, weights, changes)
                weights = weights or begun.weights
                first = group.members[peer].ask("epoch")
            except PeerError as reason:
                result.not_run[peer] = str(reason)
            else:
                result.firsts.setdefault(peer, first)
    ready = [one for one in group.members if one not in result.not_run]
    result.epochs = turns(group, ready, rounds)
    return result


def turns(group: Group, names: list[str], rounds: int) -> dict[str, list[Epoch]]:
    """Return the epochs of each, of all in turns."""
    found: dict[str, list[Epoch]] = {name: [] for name in names}
    order = list(names)
    for _ in range(rounds):
        for name in order:
            time.sleep(PAUSE)
            found[name].append(group.members[name].ask("epoch"))
        order.reverse()
    return found


# ---------------------------------------------------------------- the table


def row(result: Result) -> str:
    """A row of the table."""
    keras = result.nearer() or ""
    cells = [result.name]
    cells += [f"{result.firsts[one].loss:.6f}" if one in result.firsts else "not run"
              for one in (keras, OURS)]  # fmt: skip
    cells += [figure(result.apart(OURS, keras), ".1e"), figure(result.apart(*BACKENDS), ".1e")]
    cells += [figure(result.seconds(one), ".2f") if one in result.epochs else "not run"
              for one in (*BACKENDS, OURS)]  # fmt: skip
    return f"| {' | '.join([*cells, figure(result.ratio(), '.2f')])} |"


def figure(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def verdict(results: list[Result]) -> list[str]:
    """What holds of the bars, and what does not."""
    ratios = {one.name: one.ratio() for one in results if not math.isnan(one.ratio())}
    apart = {one.name: one.apart(OURS, one.nearer() or "") for one in results}
    lines = []
    if ratios:
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        lines.append(f"Geometric mean of the {len(ratios)} ratios {mean:.2f} (bar {MEAN}), "
                     f"the least {min(ratios.values()):.2f} (bar {LEAST}).")  # fmt: skip
    far = [name for name, one in apart.items() if one > CLOSE]
    slow = [name for name, one in ratios.items() if one < LEAST]
    lines += [f"Losses further apart than {CLOSE:g}: {', '.join(far)}."] * bool(far)
    lines += [f"Slower than Keras: {', '.join(slow)}."] * bool(slow)
    lines += [f"{one.name}, {TITLES[peer]} not run: {reason}."
              for one in results for peer, reason in one.not_run.items()]  # fmt: skip
    return lines


def programs(only: str, rounds: int) -> list[str]:
    """Run those whose names match; return the lines of the page."""
    group = Group()
    load_of_others = Load(group)  # type: ignore[arg-type]
    results: list[Result] = []
    try:
        versions = "; ".join(member.version for member in group.workers())
        head = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        print("\n".join(head), flush=True)
        for name in PROGRAMS:
            if re.search(only, name):
                results.append(run(group, name, rounds))
                print(row(results[-1]), flush=True)
        busy = load_of_others.of_others()
    finally:
        group.close()
    about = f"{origin()}; {versions}. Processors that other programs kept busy: {busy:.2f}."
    text = (__doc__ or "").split("\n\n")[2].strip()
    lines = ["# Programs for Keras, with other import lines", "", about, "", text, ""]
    end = verdict(results)
    print("\n".join(["", *end]), flush=True)
    return [*lines, *head, *map(row, results), "", *end]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=".", help="a pattern of names of programs")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="epochs that are timed")
    parser.add_argument("-o", "--out", type=Path, help="a file for the page")
    given = parser.parse_args()
    lines = programs(given.only, given.rounds)
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
