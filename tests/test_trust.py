"""The short forms of scripts in tests/trust/."""

import subprocess
import sys
from pathlib import Path

import pytest

from lstmfast import capi

TRUST = Path(__file__).parent / "trust"


def last_line(environment, script, *options):
    """Run a script; hold that it found nothing, and return what it says at the end."""
    command = [sys.executable, str(TRUST / script), *map(str, options)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout.splitlines()[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
def test_guard_pages(environment):
    isas = [] if capi.isa() == "jit" else ["--isa", capi.isa()]
    assert last_line(environment, "guards.py", "--count", 25, *isas).endswith("faults: 0")


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_everything_at_once(environment):
    told = last_line(environment, "stress.py", "--seconds", 3, "--no-torch")
    assert told.endswith("faults: 0")
