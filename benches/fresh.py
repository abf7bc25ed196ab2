"""A module run in a new process, which prints what it measured as JSON in its last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds


class Failed(Exception):
    """The process ended without a result; the text is the last line that it wrote."""


def run(module: str, *arguments: object) -> Any:
    """What `python -m module arguments` printed last."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise Failed((done.stderr.strip() or f"ended with code {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])
