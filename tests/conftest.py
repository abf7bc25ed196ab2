"""Fixtures shared by the tests."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from signs import Signs

import lstmfast
from lstmfast import ops

# In a process of its own, see tests/cuda/conftest.py.
collect_ignore = [] if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "0" else ["cuda"]
# These are about PyTorch from the first import on.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_torch_*.py"]


def pytest_configure(config):
    if os.isatty(1):  # the terminal itself: what is written to 1 in a test is captured
        config.pluginmanager.register(Signs(os.dup(1)))


@pytest.fixture
def threads():
    """Return `ops.set_num_threads`; the number of threads is put back after the test."""
    before = ops.get_num_threads()
    yield ops.set_num_threads
    ops.set_num_threads(before)


@pytest.fixture(scope="session")
def keras(tmp_path_factory):
    """Return Keras on PyTorch, configured by no file of the user's, or skip the test."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        module = pytest.importorskip("keras")
    assert module.backend.backend() == "torch"
    return module


@pytest.fixture(scope="session")
def environment():
    """Return the environment of a fresh process that shall import this lstmfast.

    It uses the linked kernels, where there are any: to compile them again takes minutes.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "LSTMFAST_JIT"}
    return inherited | {"PYTHONPATH": lstmfast.get_include()}


@pytest.fixture(scope="session")
def consumer_folder(tmp_path_factory, environment):
    """Build tests/consumer against this lstmfast; return the folder with the two extensions."""
    folder = tmp_path_factory.mktemp("consumer")
    source = Path(__file__).parent / "consumer"
    for name in ("setup.py", "consumer.pyx", "probe.pyx"):
        shutil.copy(source / name, folder)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", ".", "-t", "o", "-j2"]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def load_extension(folder, name):
    """Import an extension from a folder that is not on the path."""
    path = folder / (name + sysconfig.get_config_var("EXT_SUFFIX"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def consumer(consumer_folder):
    """Return what tests/consumer/consumer.pyx became."""
    return load_extension(consumer_folder, "consumer")


@pytest.fixture(scope="session")
def probe(consumer_folder):
    """Return what tests/consumer/probe.pyx became."""
    return load_extension(consumer_folder, "probe")
