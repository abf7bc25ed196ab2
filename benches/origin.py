"""What the first line of a result says: when, of which commit, on which machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

__all__ = ["commit", "origin", "processor"]

ROOT = Path(__file__).parent.parent


def origin() -> str:
    """Date, commit and processor."""
    return f"{time.strftime('%F', time.gmtime())}, commit {commit()}, {processor()}"


def commit() -> str:
    """The commit of this checkout, marked where files that git knows have been changed since."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """What Linux calls it, and how many there are."""
    told = Path("/proc/cpuinfo")
    names = re.findall("model name.*: (.+)", told.read_text()) if told.exists() else []
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} processors ({name})"
