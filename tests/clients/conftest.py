"""Clients that need next to nothing are tests, where their projects are; run.py runs them all."""

import importlib.util

NEEDS = {
    "test_harness.py": ("torch",),
    "test_timed.py": ("torch",),
    "test_quick.py": ("torch", "skorch", "torchcrf"),
}
collect_ignore = [
    test for test, names in NEEDS.items() if not all(map(importlib.util.find_spec, names))
]
