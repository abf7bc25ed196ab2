"""lstmfast.keras.LSTM in random sequences of calls: `keras_walk` in a process for each backend."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import conftest
import pytest

BACKENDS = ("torch", "tensorflow", "jax")
LIMIT = 300 + 60 * conftest.WALKS  # seconds


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend, tmp_path):
    pytest.importorskip("keras")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "LSTMFAST_STRICT": "0"}
    environment["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [*command, "keras_walk.py"], cwd=Path(__file__).parent, env=environment, timeout=LIMIT,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if "walks on" in line]
    print(*told)
    assert told
