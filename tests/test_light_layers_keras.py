"""The layers without weights against Keras 3: `keras_light_layers` in a process on TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 600  # seconds


def test_as_keras(tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "KERAS_HOME": str(tmp_path)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, "keras_light_layers.py"], cwd=Path(__file__).parent, env=environment,
        text=True, capture_output=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
