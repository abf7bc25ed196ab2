"""Keras's own tests, as its wheel carries them, with lstmfast.keras.LSTM standing in for its LSTM.

    python tests/clients/keras_own.py [--backend torch] [--quick]

On each backend each file runs twice, with Keras's class and with ours: what passes with Keras's
passes with ours. The files are those that name LSTM, wrap or serialize layers of its kind.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BACKENDS = ("torch", "tensorflow", "jax")
QUICK = ("layers/rnn/lstm_test.py", "layers/rnn/bidirectional_test.py")
FILES = (
    *QUICK,
    "layers/rnn/rnn_test.py",
    "layers/rnn/stacked_rnn_cells_test.py",
    "layers/rnn/time_distributed_test.py",
    "layers/core/masking_test.py",
    "saving/saving_lib_test.py",
    "export/onnx_test.py",
    "export/litert_test.py",
)
LIMIT = 1800  # seconds, of one backend with one class
REASONS: dict[str, str] = {}  # of tests that need not pass with ours, by the end of their name
STANDS_IN = "LSTMFAST_STANDS_IN"


class Recorder:
    """A plugin of pytest: keeps what became of each test."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: object) -> None:
        name, outcome = report.nodeid, report.outcome  # type: ignore[attr-defined]
        if report.when == "call" or outcome != "passed":  # type: ignore[attr-defined]
            self.outcomes[name.split("keras/src/")[-1]] = outcome


def stand_in() -> None:
    """Put our class wherever Keras's tests find theirs."""
    import keras

    import lstmfast.keras

    for home in (keras.layers, keras.src.layers, keras.src.layers.rnn.lstm):
        home.LSTM = lstmfast.keras.LSTM  # type: ignore[misc]


def run_here(files: list[str], out: str) -> None:
    """Run files in this process, whose backend is chosen; write what became of the tests."""
    import keras
    import pytest

    if os.environ.get(STANDS_IN):
        stand_in()
    folder = Path(keras.__file__).parent / "src"
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        options = ["-qq", "-p", "no:cacheprovider", "-W", "ignore"]
        found = [str(folder / one) for one in files if (folder / one).exists()]
        pytest.main([*options, "--rootdir", empty, *found], plugins=[recorder])
        os.chdir(Path(empty).parent)
    Path(out).write_text(json.dumps(recorder.outcomes), encoding="utf-8")


def outcomes(backend: str, ours: bool, files: tuple[str, ...]) -> dict[str, str]:
    """Run files in a process of their own; return what became of each test."""
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "outcomes.json"
        environment = {
            **os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": home, STANDS_IN: "1" * ours,
            "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }  # fmt: skip
        command = [sys.executable, __file__, "--here", str(out), *files]
        log = subprocess.run(
            command, env=environment, timeout=LIMIT, capture_output=True, text=True, check=False
        )
        if not out.exists():
            raise RuntimeError(f"{backend}: {log.stdout[-2000:]}{log.stderr[-2000:]}")
        return dict(json.loads(out.read_text(encoding="utf-8")))


def compared(backend: str, files: tuple[str, ...]) -> list[str]:
    """Print how many tests passed with either class; return those that ours alone fails."""
    theirs, ours = (outcomes(backend, ours, files) for ours in (False, True))
    passed = [name for name, outcome in theirs.items() if outcome == "passed"]
    lost = [name for name in passed if ours.get(name) != "passed"]
    kept = len(passed) - len(lost)
    print(f"{backend}: {len(theirs)} tests, Keras's LSTM passes {len(passed)}, ours {kept} of them")
    unnamed = []
    for name in lost:
        reason = next((REASONS[end] for end in REASONS if name.endswith(end)), "")
        print(f"  {name}: {ours.get(name, 'did not run')}{reason and ', ' + reason}")
        unnamed += [] if reason else [name]
    if not passed:
        unnamed.append(f"{backend}: nothing ran")
    return unnamed


def main() -> None:
    parser = argparse.ArgumentParser(description="Keras's own tests with lstmfast.keras.LSTM")
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--quick", action="store_true", help="the layer and Bidirectional alone")
    parser.add_argument("--here", metavar="OUT", help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        run_here(given.files, given.here)
        return
    faults = []
    backends = [one for one in given.backend or BACKENDS if importlib.util.find_spec(one)]
    for backend in backends:
        faults += compared(backend, QUICK if given.quick else FILES)
    print(f"Keras's own tests | {', '.join(backends)} | faults: {len(faults)}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
