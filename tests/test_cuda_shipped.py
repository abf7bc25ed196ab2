"""Kernels from a file: found by how they are made, on a machine that has no compiler for them."""

import os
from pathlib import Path

import pytest
from fresh_process import printed, python

pytest.importorskip("numba_cuda")

from lstmfast.cuda.kernels.cell_kind import CellKind
from lstmfast.cuda.kernels.cells import make_cells
from lstmfast.cuda.kernels.copying import make_copy
from lstmfast.cuda.runtime import cache, shipped
from lstmfast.cuda.runtime.shipped import Code

CC = (9, 0)
ROOT = Path(__file__).resolve().parents[1]
CODE = Code(b"\x7fELF machine code", "kernel", 40, 0, 128)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file with the kernel that copies float32, in use."""
    path = tmp_path / "kernels.zip"
    shipped.write(path, [(make_copy("float32", "float32").recipe, CC, CODE)])
    monkeypatch.setenv("LSTMFAST_CUDA_KERNELS", str(path))
    shipped._opened.cache_clear()
    yield path
    shipped._opened.cache_clear()


def test_a_kernel_of_the_file_is_not_compiled(file, monkeypatch):
    monkeypatch.setattr(cache, "code", lambda *given: pytest.fail("it was compiled"))
    assert make_copy("float32", "float32").code(CC) == CODE


def test_others_are_compiled(file, monkeypatch):
    monkeypatch.setattr(cache, "code", lambda *given: "compiled")
    assert make_copy("float64", "float64").code(CC) == "compiled"
    assert make_copy("float32", "float32").code((8, 0)) == "compiled"


def test_a_file_of_other_sources_is_refused(file, monkeypatch):
    monkeypatch.setattr(shipped, "sources", lambda: "edited")
    with pytest.raises(ValueError, match=r"^LSTMFAST_CUDA_KERNELS: expected kernels of these sou"):
        make_copy("float32", "float32").code(CC)


def test_a_recipe_tells_all_that_a_kernel_is_made_of():
    assert make_copy("float32", "float32").recipe == (
        "lstmfast.cuda.kernels.copying.make_copy('float32', 'float32', False, False)"
    )
    plain = CellKind("float32", "float32")
    changes = ({}, {"bias": False}, {"keep": False}, {"truncate": 3}, {"repeat": True})
    recipes = {make_cells(plain._replace(**change)).recipe for change in changes}
    assert len(recipes) == 5


WITHOUT_NUMBA = """
import sys
from benches.cuda import standins
standins.install()
from benches.cuda import pack, stress
from lstmfast.cuda.runtime import shipped
kernels = pack.rehearsed(stress.jobs(quick=True))
assert sys.modules["numba"].__class__ is standins.Module
assert not any(name.startswith("numba_cuda") for name in sys.modules)
print(len(kernels), sum(shipped.code(recipe, (9, 0)) is not None for recipe in kernels))
"""


def test_what_is_packed_here_is_found_where_there_is_no_numba(tmp_path, environment):
    path = tmp_path / "kernels.zip"
    places = os.pathsep.join([environment["PYTHONPATH"], str(ROOT)])
    environment = environment | {"PYTHONPATH": places}
    packing = ["-m", "benches.cuda", "--quick", "--only", "stress", "--pack", path]
    packed = python(environment, *packing, cwd=tmp_path, timeout=300)
    assert packed.returncode == 0, packed.stderr
    environment["LSTMFAST_CUDA_KERNELS"] = str(path)
    told = printed(environment, WITHOUT_NUMBA, cwd=tmp_path, timeout=300)
    wanted, there = map(int, told.split())
    assert wanted == there > 5
