"""Layers with weights beside Keras 3's: `keras_weighted_layers` in a process with TensorFlow."""

import os
from pathlib import Path

import pytest
from fresh_process import python

LIMIT = 600  # seconds; most go into the import of TensorFlow


def test_layers_are_those_of_keras(tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "KERAS_HOME": str(tmp_path)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = python(
        environment, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-W", "ignore::DeprecationWarning", "keras_weighted_layers.py",
        cwd=Path(__file__).parent, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
