"""Compiled kernels on disk: what finds the file again, what does not, what becomes of bad ones."""

import os
import sys
import threading
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
from fresh_process import printed

pytest.importorskip("numba_cuda")

from numba import cuda, njit, types

from lstmfast.cuda.kernels.copying import make_copy
from lstmfast.cuda.runtime import cache, kernel, shipped
from lstmfast.cuda.runtime.compiler import pointer
from lstmfast.cuda.runtime.kernel import Kernel
from lstmfast.cuda.runtime.shipped import Code
from lstmfast.kernels.cell import make_cell

CODE = Code(b"\x7fELF\n\n machine code", "kernel", 40, 0, 128)
CC = (9, 0)
FACTOR = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LSTMFAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Compiler:
    """Counts how often it was asked."""

    def __init__(self, code=CODE):
        self.code, self.runs = code, 0

    def __call__(self):
        self.runs += 1
        return self.code


def scaled(factor):
    def scale(x):
        x[0] = x[0] * factor

    return scale


def of(function, kind=types.float32, threads=32, **options):
    return Kernel("test", function, (pointer(kind),), threads, **options)


def test_a_file_is_found_again(folder):
    compiled = Compiler()
    for _ in range(3):
        assert cache.code(of(scaled(2)), CC, compiled) == CODE
    assert compiled.runs == 1
    assert [path.suffix for path in folder.iterdir()] == [".cubin"]


def test_kernels_ask_for_their_file_first(folder, monkeypatch):
    linked = []
    monkeypatch.setattr(Kernel, "ptx", lambda self, cc: "ptx")
    monkeypatch.setattr(kernel, "link", lambda ptx, cc: linked.append((ptx, cc)) or CODE)
    for _ in range(3):
        assert of(scaled(2)).code(CC) == CODE
    assert linked == [("ptx", CC)]


def plus(x):
    return x + 1


def minus(x):
    return x - 1


def calls(function):
    def call(x):
        x[0] = function(x[0])

    return call


def in_namespace(value):
    v = SimpleNamespace(clip=value, kinds=(1, {"gate": value}))
    return lambda x: v.clip + v.kinds[0]


def by_global(x):
    x[0] = x[0] * FACTOR


def by_global_within(x):
    inner = lambda y: y * FACTOR  # noqa: E731
    x[0] = inner(x[0])


@lru_cache(None)
def remembered(x):
    return x


DIFFERENT = {
    "closure": [of(scaled(2)), of(scaled(3)), of(scaled(2.0)), of(scaled(np.float32(2)))],
    "arguments": [of(scaled(2)), of(scaled(2), types.float64)],
    "threads": [of(scaled(2)), of(scaled(2), threads=64)],
    "approximate": [of(scaled(2)), of(scaled(2), approximate=True)],
    "code": [of(lambda x: x + 1), of(lambda x: x - 1), of(lambda x: x + 2)],
    "callee": [of(calls(plus)), of(calls(minus)), of(calls(remembered))],
    "device function": [of(calls(cuda.jit(f, device=True))) for f in (plus, minus)],
    "function of the CPU": [of(calls(njit(f))) for f in (plus, minus)]
    + [of(calls(njit(plus, error_model="numpy")))],
    "namespace": [of(in_namespace(1)), of(in_namespace(2))],
    "array": [of(scaled(np.arange(n))) for n in (2, 3)],
    "cell": [of(calls(make_cell(varied).forward)) for varied in (False, True)],
    "copy": [make_copy(*names) for names in (
        ("float32", "float64"), ("float32", "bfloat16"), ("bfloat16", "float32"),
    )],
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_machine_code_depends_on(name):
    keys = [cache.key(kernel, CC) for kernel in DIFFERENT[name]]
    assert None not in keys and len(set(keys)) == len(keys)
    assert cache.key(DIFFERENT[name][0], (8, 0)) != keys[0]
    assert [cache.key(kernel, CC) for kernel in DIFFERENT[name]] == keys


@pytest.mark.parametrize("function", (by_global, by_global_within))
def test_globals_count(function, monkeypatch):
    before = cache.key(of(function), CC)
    assert cache.key(of(function), CC) == before
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 4)
    assert cache.key(of(function), CC) != before


def test_sources_and_compilers_count(tmp_path, monkeypatch):
    before = cache.key(of(scaled(2)), CC)
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "cell.py").write_text("")
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    shipped.sources.cache_clear()
    between = cache.key(of(scaled(2)), CC)
    (tmp_path / "kernels" / "cell.py").write_text("# edited")
    shipped.sources.cache_clear()
    after = cache.key(of(scaled(2)), CC)
    monkeypatch.setattr(cache, "_compilers", lambda: ("another",))
    assert len({before, between, after, cache.key(of(scaled(2)), CC)}) == 4
    shipped.sources.cache_clear()


def test_toolkits_that_pip_does_not_know(monkeypatch):
    from cuda.bindings import nvjitlink, nvvm

    def version(name):
        if name.startswith("nvidia"):
            raise cache.metadata.PackageNotFoundError
        return "1.0"

    monkeypatch.setattr(cache.metadata, "version", version)
    monkeypatch.setattr(nvjitlink, "version", lambda: (13, 1))
    monkeypatch.setattr(nvvm, "version", lambda: (2, 0))
    cache._compilers.cache_clear()
    assert cache._compilers()[-2:] == ((13, 1), (2, 0))
    cache._compilers.cache_clear()


KEYS = """
from lstmfast.cuda.runtime import cache
from lstmfast.cuda.kernels.copying import make_copy
print(cache.key(make_copy("float16", "bfloat16"), (9, 0)))
"""


def test_every_process_finds_the_same_file(environment):
    keys = {printed(environment | {"PYTHONHASHSEED": n}, KEYS).strip() for n in ("1", "2")}
    assert keys == {cache.key(make_copy("float16", "bfloat16"), CC)}


def test_what_cannot_be_described_has_no_file(folder):
    compiled = Compiler()
    for _ in range(2):
        assert cache.code(of(scaled(object())), CC, compiled) == CODE
    assert compiled.runs == 2 and not folder.exists()


def corrupted(whole):
    head, cubin = whole.split(b"\n", 1)
    return {
        "empty": b"",
        "cut": whole[:-1],
        "changed": whole[:-1] + b"!",
        "no head": cubin,
        "another head": b"[]\n" + cubin,
        "part of the head": head.replace(b"registers", b"registrars") + b"\n" + cubin,
        "zeros": bytes(len(whole)),
    }


@pytest.mark.parametrize("how", corrupted(b"\n"))
def test_a_bad_file_is_made_anew(folder, how):
    compiled = Compiler()
    cache.code(of(scaled(2)), CC, compiled)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(corrupted(whole)[how])
    assert cache.code(of(scaled(2)), CC, compiled) == CODE
    assert compiled.runs == 2 and path.read_bytes() == whole


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LSTMFAST_CACHE", str(tmp_path / "file" / "cache"))
    assert cache.code(of(scaled(2)), CC, Compiler()) == CODE


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    def denied(*given, **options):
        raise PermissionError

    monkeypatch.setattr(cache.tempfile, "mkstemp", denied)
    assert cache.code(of(scaled(2)), CC, Compiler()) == CODE
    assert not list(folder.iterdir())


def test_a_disk_that_is_full_leaves_nothing_behind(folder, monkeypatch):
    def full(*given):
        raise OSError("no space left")

    monkeypatch.setattr(cache.os, "replace", full)
    assert cache.code(of(scaled(2)), CC, Compiler()) == CODE
    assert not list(folder.iterdir())


def test_many_writers(folder):
    """Whoever reads meanwhile finds a whole file or none."""
    codes = [CODE._replace(cubin=bytes([n]) * 300_000) for n in range(4)]
    wrong, stop = [], threading.Event()
    path = folder / "one.cubin"

    def write(code):
        while not stop.is_set():
            cache._write(path, code)

    def read():
        while not stop.is_set():
            if path.exists() and cache._read(path) not in codes:
                wrong.append(path)

    threads = [threading.Thread(target=write, args=(code,)) for code in codes]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and [file.name for file in folder.iterdir()] == ["one.cubin"]


def test_where_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LSTMFAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache.folder() == tmp_path / ".cache" / "lstmfast"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "lstmfast"
    monkeypatch.setenv("LSTMFAST_CACHE", str(tmp_path / "mine"))
    assert cache.folder() == tmp_path / "mine"
    monkeypatch.setenv("LSTMFAST_CACHE", "")
    assert cache.folder() is None


def test_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv("LSTMFAST_CACHE", "")
    monkeypatch.chdir(tmp_path)
    compiled = Compiler()
    for _ in range(2):
        cache.code(of(scaled(2)), CC, compiled)
    assert compiled.runs == 2 and not os.listdir(tmp_path)
