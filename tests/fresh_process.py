"""Python in a fresh process, in what the fixture `environment` returns (None: as this one's)."""

import subprocess
import sys
from pathlib import Path

TRUST = Path(__file__).parent / "trust"


def python(environment, *arguments, **options):
    """Run Python with these arguments to its end; return the process, with its output as text.

    `options` are those of `subprocess.run`.
    """
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True,
        check=False, **options,
    )  # fmt: skip


def printed(environment, script, *arguments, flags=(), **options):
    """Run the text of a script, which must not fail; return what it prints."""
    done = python(environment, *flags, "-c", script, *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def finds_no_faults(environment, script, *arguments, **options):
    """Hold that a script of tests/trust ends well, and says at its end that it found no faults."""
    done = python(environment, TRUST / script, *arguments, **options)
    told = done.stdout[-2000:] + done.stderr[-2000:]
    assert done.returncode == 0 and done.stdout.rstrip().endswith("| faults: 0"), told
