"""Tests in a process of their own, where Keras stands on one backend.

TensorFlow is the one whose float64 is one.
"""

import importlib.util
import os
from pathlib import Path

import pytest
from fresh_process import python

LIMIT = 900  # seconds; many go into the import of TensorFlow


def on_tensorflow(folder, *files):
    """Run files of tests there; skip where Keras or TensorFlow is not installed."""
    on_backend("tensorflow", folder, *files)


def on_backend(backend, folder, *files):
    """Run files of tests there; skip where Keras or the backend is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("keras", backend)):
        pytest.skip(f"Keras or {backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": str(folder)}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = python(
        environment, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-W", "ignore::DeprecationWarning", *files, cwd=Path(__file__).parent, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout.splitlines()[-1]
