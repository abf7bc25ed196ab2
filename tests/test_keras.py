"""lstmfast.keras on each of Keras's backends: `keras_lstm` in a process for each.

Keras chooses its backend once, at import. The processes run side by side.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BACKENDS = ("tensorflow", "jax", "torch")
LIMIT = 600  # seconds
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Start the tests of every backend that is installed; its process by the backend's name."""
    pytest.importorskip("keras")
    started = {}
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue
        home = tmp_path_factory.mktemp(backend)
        environment = {**os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": str(home)}
        environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # Most of the time on JAX goes into compiling Keras's loops.
        environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [
            "-W",
            "ignore::DeprecationWarning:keras",
            "keras_lstm.py",
            "keras_transforms.py",
        ]
        started[backend] = subprocess.Popen(
            command, cwd=HERE, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(processes, backend):
    if backend not in processes:
        pytest.skip(f"{backend} is not installed")
    text, _ = processes[backend].communicate(timeout=LIMIT)
    assert processes[backend].returncode == 0, text
    assert " passed" in text
