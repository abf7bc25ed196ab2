"""The JSON files of a run, read: times, floors and ratios of one test as a Row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benches.peers import OURS
from benches.shapes import Shape

FEW_INPUTS = 512  # I + H beneath which gates are counted beside the products
TIMED = ("forward", "training", "step", "epoch_last", "epoch_every")


@dataclass
class Row:
    """One job at one number of threads. Lists hold one entry for each round."""

    kind: str
    threads: int
    shape: Shape
    peers: dict[str, dict[str, Any]]  # benches.turns.Entry, ours among them
    not_run: dict[str, str]
    floors: dict[str, Any] | None
    others_busy: float

    def seconds(self, peer: str = OURS) -> np.ndarray:
        return np.array(self.peers[peer]["seconds"])

    def microseconds(self, peer: str = OURS) -> float:
        return float(np.median(self.seconds(peer)) * 1e6)

    def ratios(self, peer: str) -> np.ndarray:
        """Their time over ours, round by round."""
        return self.seconds(peer) / self.seconds()

    def ratio(self, peer: str) -> float:
        return float(np.median(self.ratios(peer)))

    def best(self, among: tuple[str, ...] | None = None) -> str | None:
        """The fastest of the others (of those in `among`), if one ran."""
        ran = [name for name in self.peers if name != OURS and (not among or name in among)]
        return min(ran, key=self.ratio, default=None)

    def to_floor(self) -> float:
        """Our time over the floor."""
        return float(np.median(self.seconds() / self.floors["seconds"]))

    def share_of_fma(self) -> float:
        """Operations per second over the FMA rate of as many cores."""
        return self._share_of_fma(self.floors["operations"])

    def share_with_gates(self) -> float | None:
        """The same of the gates' instructions, too, where they are a good part of the work."""
        if self.shape.I + self.shape.H >= FEW_INPUTS or "gate_operations" not in self.floors:
            return None
        return self._share_of_fma(self.floors["operations"] + self.floors["gate_operations"])

    def _share_of_fma(self, operations: float) -> float:
        rate = np.array(self.floors["fma_rate"]) * self.threads
        return float(np.median(operations / self.seconds() / rate))

    def share_of_bandwidth(self) -> float:
        rate = np.array(self.floors["bandwidth"]) * self.threads
        return float(np.median(self.floors["bytes"] / self.seconds() / rate))


class Results:
    """A whole run: `rows` of timed jobs; `tables` of other kinds, lists of dicts of column.

    Several files are the parts of a run of one commit on one machine.
    """

    def __init__(self, *paths: Path):
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        self.date, self.commit = contents[0]["datetime"][:16], contents[0]["commit_info"]
        self.machine = contents[0]["machine_info"]
        for path, content in zip(paths, contents, strict=True):
            if content["commit_info"]["id"] != self.commit["id"]:
                raise ValueError(f"{path}: expected a part of the run of {self.commit['id']}, "
                                 f"found {content['commit_info']['id']}")  # fmt: skip
        self.rows: list[Row] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.not_run: dict[str, dict[str, str]] = {}  # of the tables
        for content in contents:
            for benchmark in content["benchmarks"]:
                self._add(dict(benchmark["extra_info"]))

    def _add(self, info: dict[str, Any]) -> None:
        kind = info.get("kind")
        if kind in TIMED:
            info["shape"] = Shape(**info["shape"])
            self.rows.append(Row(**{name: info[name] for name in Row.__dataclass_fields__}))
        elif "rows" in info:
            self.tables.setdefault(kind, []).extend(info["rows"])
            self.not_run.setdefault(kind, {}).update(info.get("not_run", {}))

    def of(self, *kinds: str, threads: int | None = None) -> list[Row]:
        return [r for r in self.rows if r.kind in kinds and threads in (None, r.threads)]

    def groups(self) -> list[tuple[str, int]]:
        """(kind, threads) of every group that was measured, in order."""
        found = {(TIMED.index(r.kind), r.threads) for r in self.rows}
        return [(TIMED[kind], threads) for kind, threads in sorted(found)]
