"""Where the kernels' objects are kept from one build to the next: they take minutes to compile.

A folder for each state of sources and tools, in LSTMFAST_OBJECTS or the user's folder of caches;
LSTMFAST_OBJECTS="" keeps none. Files come by renaming, so builds may fill one folder at a time.
What cannot be read or written is compiled as if nothing were kept.
"""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

NEWEST = 8  # states that stay, by their last use


def folder() -> Path | None:
    """Return where states are kept, None if they shall not be."""
    told = os.environ.get("LSTMFAST_OBJECTS")
    if told is not None:
        return Path(told).resolve() if told else None
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches, "lstmfast", "objects") if os.path.isabs(caches) else None


def take(state: str, path: Path) -> bool:
    """Copy the object of an earlier build of this state to `path`, if there is one."""
    place = folder()
    if place is None:
        return False
    try:
        _copy(place / state / path.name, path)
    except OSError:
        return False
    with suppress(OSError):
        os.utime(place / state)
    return True


def keep(state: str, path: Path) -> None:
    """Keep an object for other builds of this state; say so if that cannot be done."""
    place = folder()
    if place is None:
        return
    try:
        (place / state).mkdir(parents=True, exist_ok=True)
        _copy(path, place / state / path.name)
        _prune(place)
    except OSError as error:
        print(f"kernels: not kept for the next build: {error}", flush=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file to where it is seen whole or not at all."""
    file, draft = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.")
    os.close(file)
    try:
        shutil.copyfile(source, draft)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


def _prune(place: Path) -> None:
    """Remove the states that were not used for longest, and nothing that is no state."""
    states = [p for p in place.iterdir() if re.fullmatch(r"[0-9a-f]{32}", p.name)]
    for old in sorted(states, key=_last_use, reverse=True)[NEWEST:]:
        shutil.rmtree(old, ignore_errors=True)


def _last_use(state: Path) -> float:
    """Return when a state was used; 0 if another build has removed it."""
    with suppress(OSError):
        return state.stat().st_mtime
    return 0.0
