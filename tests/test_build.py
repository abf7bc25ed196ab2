"""What the build promises: objects that stand alone, no spill, C declarations that match."""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import python

import lstmfast
from lstmfast import capi
from lstmfast.kernels import isa, struct, table

ROOT = Path(__file__).parent.parent
NATIVE = ROOT / "native"
MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(
    platform.machine().lower(), platform.machine().lower()
)
PACKAGE = Path(lstmfast.__file__).parent
SIZE_LIMIT = 20e6  # bytes of the installed package
IMPORT_LIMIT = 0.75  # times what importing numpy costs; measured: 0.44 to 0.57

sys.path.append(str(NATIVE))
import spills  # noqa: E402

# ---------------------------------------------------------------- spills.py

LOOPS = {
    "x86": "\tvfmadd231ps\t(%rsi,%rax), %zmm0, %zmm1\n{}\taddq\t$64, %rax\n\tjne\t{label}\n",
    "x86, v2": "\tmulps\t%xmm2, %xmm0\n{}\taddps\t%xmm0, %xmm1\n\tjb\t{label}\n",
    "arm": "\tfmla\tv1.4s, v2.4s, v0.s[0]\n{}\tsubs\tx8, x8, #1\n\tb.ne\t{label}\n",
    "arm, cbnz": "\tfmla\tv1.2d, v2.2d, v0.d[0]\n{}\tcbnz\tx8, {label}\n",
    "arm, tbnz": "\tfmla\tv1.2d, v2.2d, v0.d[0]\n{}\ttbnz\tw8, #3, {label}\n",
}
SPILLS = {
    "x86": (
        "\tvmovups\t%zmm3, 64(%rsp)\n",
        "\tvmovaps\t128(%rsp), %ymm3\n",
        "\tvfmadd231pd\t(%rsp), %zmm0, %zmm1\n",
        "\tvmovups\t%zmm30, -64(%rsp,%rax)  # 64-byte Spill\n",
    ),
    "x86, v2": ("\tmovaps\t%xmm9, 16(%rsp)\n", "\tmulps\t32(%rsp), %xmm0\n"),
    "arm": ("\tstr\tq3, [sp, #16]\n", "\tldp\tq0, q1, [sp, #32]\n"),
    "arm, cbnz": ("\tldr\tq0, [sp]\n",),
    "arm, tbnz": ("\tstp\tq0, q1, [sp, #-32]\n",),
}
HARMLESS = {
    "x86": "\tvbroadcastss\t4(%rsp), %zmm2\n\tmovq\t8(%rsp), %rdx\n\tvmovups\t%zmm1, (%rdi)\n",
    "x86, v2": "\tmovss\t4(%rsp), %xmm3\n\tmovq\t%rdx, 8(%rsp)\n\tmovups\t(%rdi), %xmm2\n",
    "arm": "\tldr\tx9, [sp, #8]\n\tldr\tq2, [x1, #16]\n\tstr\ts0, [sp, #12]\n",
    "arm, cbnz": "\tstr\tx9, [sp, #8]\n\tldp\tq2, q3, [x1]\n",
    "arm, tbnz": "\tstr\tx9, [sp, #8]\n\tldp\tq2, q3, [x1]\n",
}
DIVISION = {"x86": "\tvdivps\t%zmm1, %zmm2, %zmm1\n", "arm": "\tfdiv\tv1.4s, v2.4s, v1.4s\n"}


def loop(kind, body="", label=".LBB0_2"):
    """Return assembly of one loop of products."""
    return f"{label}:\n" + LOOPS[kind].format(body, label=label)


PLANTED = [(kind, spill) for kind, found in SPILLS.items() for spill in found]


@pytest.mark.parametrize("kind, spill", PLANTED, ids=[spill.strip() for _, spill in PLANTED])
def test_a_planted_spill_is_found(kind, spill):
    text = loop(kind, HARMLESS[kind]) + loop(kind, HARMLESS[kind] + spill, ".LBB0_4")
    assert spills.vector_spills(text) == [f".LBB0_4: {spill.strip()}"]


@pytest.mark.parametrize("kind", LOOPS)
def test_clean_text_is_accepted(kind):
    """Neither scalars on the stack nor vectors there outside the inner loop are spills."""
    outside = SPILLS[kind][0]
    outer = f".LBB0_1:\n{outside}{loop(kind, HARMLESS[kind])}{outside}\tjne\t.LBB0_1\n"
    assert spills.vector_spills(outside + outer + outside) == []


@pytest.mark.parametrize("kind", DIVISION)
def test_a_loop_that_divides_counts_only_when_asked_for(kind):
    spill = SPILLS[kind][0]
    text = loop(kind) + loop(kind, DIVISION[kind] + spill, ".LBB0_4")
    assert spills.vector_spills(text) == []
    assert spills.vector_spills(text, cells=True) == [f".LBB0_4: {spill.strip()}"]


def without_products(kind):
    """Return a loop that multiplies no vectors, with a spill in it."""
    return re.sub(r"\t(vfmadd231ps|mulps|fmla)\b", "\tnop", loop(kind, SPILLS[kind][0]))


@pytest.mark.parametrize("text", ["", "main:\n\tret\n", *map(without_products, LOOPS)])
def test_no_product_loop_is_an_error(text):
    """Else text that is not the kernels' own would pass as clean."""
    with pytest.raises(ValueError, match="expected inner loops with vector products, found none"):
        spills.vector_spills(text)


# ---------------------------------------------------------------- aot.py

WITH_SIN = """
declare double @sin(double)
declare ptr @memcpy(ptr, ptr, i64)
define double @f(double %x, ptr %a, ptr %b, i64 %n) {
    %p = call ptr @memcpy(ptr %a, ptr %b, i64 %n)
    %y = call double @sin(double %x)
    ret double %y
}
"""
WITH_MEMCPY = """
declare ptr @memcpy(ptr, ptr, i64)
define ptr @f(ptr %a, ptr %b, i64 %n) {
    %p = call ptr @memcpy(ptr %a, ptr %b, i64 %n)
    ret ptr %p
}
"""
BUILD = """
import aot
aot.llvm.initialize_all_targets()
aot.llvm.initialize_all_asmprinters()
aot.link = lambda isa, triple, machine: aot.llvm.parse_assembly({text!r})
aot.spills.vector_spills = lambda assembly, **options: {spilled!r}
aot.build(aot.Path({out!r}), {machine!r}, aot.isas.BY_MACHINE[{machine!r}][0])
"""


def run_with_aot(script):
    """Run a script that may import native/aot.py, which takes the place of the package lstmfast."""
    script = f"import sys; sys.path.insert(0, {str(NATIVE)!r})\n{script}"
    return python(None, "-c", script, cwd=ROOT)


def build_module(out, text, spilled=()):
    """Run aot.build on LLVM IR in place of the kernels'."""
    return run_with_aot(
        BUILD.format(text=text, spilled=list(spilled), out=str(out), machine=MACHINE)
    )


def test_foreign_symbols_of_an_object(tmp_path):
    source = "double sin(double); void *memset(void *, int, unsigned long);\n"
    source += "double f(double x) { return sin(x); } void g(void *p) { memset(p, 0, 999); }\n"
    (tmp_path / "a.c").write_text(source)
    command = ["gcc", "-O1", "-fno-builtin", "-fno-pic", "-c", "a.c", "-o", "a.o"]
    subprocess.check_call(command, cwd=tmp_path)
    result = run_with_aot(f"import aot; print(sorted(aot.unresolved({str(tmp_path / 'a.o')!r})))")
    assert result.stdout.strip() == "['memset', 'sin']", result.stderr


def test_an_object_with_a_foreign_symbol_fails_the_build(tmp_path):
    result = build_module(tmp_path, WITH_SIN)
    assert result.returncode == 1
    assert "expected a self-contained object, found ['sin']" in result.stderr


def test_a_spill_fails_the_build(tmp_path):
    result = build_module(tmp_path, WITH_MEMCPY, [".LBB0_4: vmovups %zmm3, 64(%rsp)"])
    assert result.returncode == 1
    assert "vector spills in inner loops:\n.LBB0_4: vmovups %zmm3, 64(%rsp)" in result.stderr


def test_memcpy_alone_is_no_foreign_symbol(tmp_path):
    result = build_module(tmp_path, WITH_MEMCPY)
    assert result.returncode == 0, result.stderr
    assert "self-contained, no spill" in result.stdout


# ---------------------------------------------------------------- declarations.pxi


# Of handles.h, ragged.h and, by their beginning, xla_ffi.h: the C compiler holds them to it.
OPAQUE = ("lf_config", "lf_part", "lf_lstm", "lf_order", "lf_sequences", "lf_watch")


def declared_structs():
    """Return name -> {field: C type} for each struct that declarations.pxi takes from C."""
    text, structs = (NATIVE / "declarations.pxi").read_text(), {}
    for name, body in re.findall(r"ctypedef struct (\w+):\n((?:        .*\n)+)", text):
        if name in OPAQUE or name.startswith("lf_xla_"):
            continue
        fields = re.findall(
            r"^\s+(void \*|int64_t \*|uint8_t \*|int64_t |double )(.+)$", body, re.M
        )
        assert len(fields) == len(body.splitlines()), name
        structs[name] = {f.strip(): kind.strip() for kind, row in fields for f in row.split(",")}
    return structs


def test_struct_fields_match_the_kernels():
    """Those that Cython code uses: all structs, not all of their fields."""
    declared = declared_structs()
    del declared["lf_table"]
    structs = {row.struct.name: row.struct for row in table.TABLE.values()}
    del structs["lf_multiply"]  # kernels alone fill it
    assert declared.keys() == structs.keys()
    for name, fields in declared.items():
        wanted = {f: struct.C_TYPES[kind].strip() for f, kind in structs[name].kinds.items()}
        assert fields.items() <= wanted.items(), name


def test_fields_are_declared_where_they_are_used():
    sources = [*NATIVE.glob("*.pxi"), NATIVE / "capi.pyx"]
    text = "".join(path.read_text() for path in sources if path.name != "declarations.pxi")
    used = set(re.findall(r"\.(\w+)", text))
    assert set().union(*declared_structs().values()) <= used


def test_every_kernel_is_reached_from_c():
    """By a pointer in declarations.pxi, or, called by the schedule alone, in its files."""
    pointers = {f for f, kind in declared_structs()["lf_table"].items() if kind == "void *"}
    schedule = "".join((NATIVE / name).read_text() for name in ("ranges.c", "schedule.c"))
    called = set(re.findall(r"\bk->(\w+)[(,]", schedule))
    assert pointers <= table.TABLE.keys()
    assert called <= table.TABLE.keys()
    assert pointers | called == table.TABLE.keys()


# ---------------------------------------------------------------- the package in a fresh process


def fresh(script, environment, *flags, **variables):
    """Run a script in a fresh process that imports this lstmfast."""
    return python(environment | variables, *flags, "-c", script)


@pytest.fixture
def linked(environment):
    """Return the environment without choices of kernels; skip where none are linked in."""
    clean = {k: v for k, v in environment.items() if not k.startswith("LSTMFAST_")}
    isa = fresh("import lstmfast; print(lstmfast.show_config()['isa'])", clean).stdout.strip()
    if isa == "jit":
        pytest.skip("no kernels are linked into this build")
    return clean


NOTHING_INSTALLED = ("-S", "-P")  # else an editable installation, or the folder that this runs
# in, would lend its compiled part


@pytest.fixture
def source_folder(tmp_path, environment):
    """Return a copy of the package without its compiled part, and the environment to import it."""
    shutil.copytree(PACKAGE, tmp_path / "lstmfast", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    return tmp_path / "lstmfast", environment | {"PYTHONPATH": str(tmp_path)}


def test_a_source_folder_says_what_to_do(source_folder):
    result = fresh("import lstmfast", source_folder[1], *NOTHING_INSTALLED)
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith(
        "ImportError: lstmfast.capi, the compiled part, is not in this folder"
    )
    assert "-P" in message and "pip install -e ." in message


@pytest.mark.parametrize(
    "capi, error",
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "raise ImportError('capi.so: undefined symbol: x')",
            "ImportError: capi.so: undefined symbol: x",
        ),
    ],
)
def test_what_a_compiled_part_cannot_import_is_said(capi, error, source_folder):
    """Else a broken extension would pass as none."""
    folder, variables = source_folder
    (folder / "capi.py").write_text(capi)
    result = fresh("import lstmfast", variables, *NOTHING_INSTALLED)
    assert result.stderr.splitlines()[-1] == error


def test_no_numba_at_run_time(linked):
    script = "import sys, lstmfast; print({'numba', 'llvmlite', 'torch'} & sys.modules.keys())"
    result = fresh(script, linked)
    assert result.stdout.strip() == "set()", result.stderr


def test_import_is_quick(linked):
    """CPU time, which other work on the machine does not stretch; the best of several."""
    script = (
        "from time import process_time as now; first = now(); import numpy; second = now(); "
        "import lstmfast; print((now() - second) / (second - first))"
    )
    cached = linked | {"PYTHONDONTWRITEBYTECODE": ""}
    assert min(float(fresh(script, cached).stdout) for _ in range(7)) <= IMPORT_LIMIT


def test_the_package_is_small():
    files = [p for p in PACKAGE.rglob("*") if p.is_file()]
    kept = [p for p in files if "__pycache__" not in p.parts]
    assert any(p.suffix == ".so" for p in kept)
    assert sum(p.stat().st_size for p in kept) <= SIZE_LIMIT


@pytest.mark.parametrize("name", ("v9", "V3", "avx2", "none", "v10", "v3 ", "-"))
def test_an_unknown_instruction_set(name, linked):
    result = fresh("import lstmfast", linked, LSTMFAST_ISA=name)
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith("ImportError: LSTMFAST_ISA: expected") and repr(name) in message


def test_a_lesser_instruction_set(linked):
    script = "import lstmfast; print(*map(lstmfast.show_config().get, ('isa', 'best_isa')))"
    best = fresh(script, linked, LSTMFAST_ISA="").stdout.split()
    assert best[0] == best[1]
    assert set(isa.up_to(best[1])) < set(isa.BY_NAME)
    for name in isa.BY_NAME:
        result = fresh(script, linked, LSTMFAST_ISA=name)
        if name in isa.up_to(best[1]):
            assert result.stdout.split() == [name, best[1]], result.stderr
        else:
            assert "ImportError: LSTMFAST_ISA: expected" in result.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the wheels of others name no glibc")
def test_older_systems_have_what_the_extension_asks_for():
    """The wheel is for glibc 2.28: newer names are bound to older ones in native/glibc.h."""
    from elftools.elf.elffile import ELFFile

    with open(capi.__file__, "rb") as file:
        needed = ELFFile(file).get_section_by_name(".gnu.version_r").iter_versions()
        names = [version.name for _, versions in needed for version in versions]
    found = [tuple(map(int, name[6:].split("."))) for name in names if name.startswith("GLIBC_")]
    assert found and max(found) <= (2, 28)
