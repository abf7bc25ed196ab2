"""Objects of kernels that are kept from build to build: native/objects.py.

What it promises: the folder is the user's own choice or that of caches, files are whole or not
there, builds may keep at a time, and a folder that cannot be used stops no build.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "native"))
import objects

STATES = [f"{i:032x}" for i in range(objects.NEWEST + 3)]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LSTMFAST_OBJECTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


def written(path, content=b"object"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "variables, folder",
    [
        ({"LSTMFAST_OBJECTS": "/a"}, "/a"),
        ({"LSTMFAST_OBJECTS": ""}, None),
        ({"LSTMFAST_OBJECTS": "", "XDG_CACHE_HOME": "/b"}, None),
        ({"XDG_CACHE_HOME": "/b"}, "/b/lstmfast/objects"),
        ({}, "/home/c/.cache/lstmfast/objects"),
        ({"XDG_CACHE_HOME": "relative"}, None),
    ],
)
def test_where_objects_are_kept(variables, folder, monkeypatch):
    for name in ("LSTMFAST_OBJECTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/c")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert objects.folder() == (folder if folder is None else Path(folder))


def test_what_is_kept_is_taken(kept, tmp_path):
    objects.keep(STATES[0], written(tmp_path / "a" / "kernels_v3.o"))
    target = tmp_path / "kernels_v3.o"
    assert not objects.take(STATES[1], target) and not target.exists()
    assert objects.take(STATES[0], target) and target.read_bytes() == b"object"
    assert not objects.take(STATES[0], tmp_path / "kernels_v4.o")


def test_nothing_is_kept_when_told_so(kept, tmp_path, monkeypatch):
    path = written(tmp_path / "kernels_v3.o")
    objects.keep(STATES[0], path)
    monkeypatch.setenv("LSTMFAST_OBJECTS", "")
    assert not objects.take(STATES[0], path)
    objects.keep(STATES[1], path)
    assert [state.name for state in kept.iterdir()] == [STATES[0]]


def test_builds_may_keep_at_a_time(kept, tmp_path):
    """They also take meanwhile: whole objects, or none."""
    content = os.urandom(1 << 20)
    paths = [written(tmp_path / str(i) / "kernels_v3.o", content) for i in range(8)]

    def kept_and_taken(path):
        objects.keep(STATES[0], path)
        target = written(path.parent / "taken" / path.name)
        return objects.take(STATES[0], target) and target.read_bytes() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(kept_and_taken, paths))
    assert [p.name for p in (kept / STATES[0]).iterdir()] == ["kernels_v3.o"]


def test_old_states_go_and_nothing_else(kept, tmp_path):
    path = written(tmp_path / "kernels_v3.o")
    others = [written(kept / "notes" / "a.txt"), written(kept / "0123.o")]
    for i, state in enumerate(STATES):
        objects.keep(state, path)
        os.utime(kept / state, (1000 + i, 1000 + i))
    assert objects.take(STATES[3], path)  # which makes it the newest
    objects.keep("f" * 32, path)
    left = {p.name for p in kept.iterdir() if len(p.name) == 32}
    assert left == {STATES[3], "f" * 32, *STATES[-objects.NEWEST + 2 :]}
    assert all(other.exists() for other in others)
    assert (kept / STATES[3]).stat().st_mtime > time.time() - 60


@pytest.mark.parametrize("blocked", ("", STATES[0]), ids=("the folder", "a state"))
def test_a_folder_that_cannot_be_used_stops_no_build(blocked, kept, tmp_path, capsys):
    """A file in its place: root may write where others may not."""
    written(kept / blocked if blocked else kept, b"a file")
    path = written(tmp_path / "kernels_v3.o", b"new")
    objects.keep(STATES[0], path)
    assert "kernels: not kept for the next build: " in capsys.readouterr().out
    assert not objects.take(STATES[0], path) and path.read_bytes() == b"new"
