"""The short forms of scripts in tests/trust/."""

import sys

import pytest
from fresh_process import finds_no_faults

from lstmfast import capi


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
def test_guard_pages(environment):
    isas = [] if capi.isa() == "jit" else ["--isa", capi.isa()]
    finds_no_faults(environment, "guards.py", "--count", 25, *isas)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_everything_at_once(environment):
    finds_no_faults(environment, "stress.py", "--seconds", 3, "--no-torch")
