"""Build time: the Numba kernels of lstmfast/kernels/table.py become object files and a C header.

    python native/aot.py OUT_DIR header           -> OUT_DIR/kernel_table.h
    python native/aot.py OUT_DIR x86_64 v4        -> OUT_DIR/kernels_v4.o, .s

Each kernel is handed over by Numba as unoptimised LLVM IR, then optimised and compiled by llvmlite;
a process compiles for one instruction set. An object that needs any symbol beyond memset, memcpy
and memmove, or whose inner loops spill vectors, fails the build. Each stage is a line with its
seconds; one that takes long says so meanwhile.
"""

import gc
import re
import resource
import sys
import threading
import types
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parent.parent
package = types.ModuleType("lstmfast")  # the kernels, without the package that needs this build
package.__path__ = [str(ROOT / "lstmfast")]
sys.modules["lstmfast"] = package
sys.path.insert(0, str(ROOT / "native"))

import llvmlite.binding as llvm  # noqa: E402
import spills  # noqa: E402
from numba.core.codegen import JITCodeLibrary  # noqa: E402

from lstmfast.kernels import (  # noqa: E402
    activations,
    int8,
    matmul,
    one_step,
    options,
    philox,
    softmax,
    table,
)
from lstmfast.kernels import isa as isas  # noqa: E402

KEPT_APART = (  # compiled once each instead of into every caller
    "strip", "pack_panel", "rarer_activation", "rarer_slope", "varied_unit",
    "random_words", "row_cells_forward", "row_cells_backward",
)  # fmt: skip
YOUNG = 100_000  # objects that are made before Python looks for garbage
ALLOWED = {"memset", "memcpy", "memmove"}
LONG = 1  # seconds from which a stage says that it is over
SILENCE = 5  # seconds after which it says that it goes on


def say(text):
    print(text, flush=True)


@contextmanager
def stage(name):
    """Say how long something took, if that was long, and before that that it goes on."""
    start, done = monotonic(), threading.Event()

    def go_on():
        while not done.wait(SILENCE):
            say(f"{name}: {monotonic() - start:.0f} s so far")

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if monotonic() - start >= LONG:
        say(f"{name}: {monotonic() - start:.1f} s")


def symbol(name, real, isa_name):
    return f"lf_{name}_{real}_{isa_name}"


def kernel_module(name, real, isa):
    """The LLVM module of one kernel, its entry renamed to the exported symbol."""
    compiled, exported = table.compiled(name, real, isa), symbol(name, real, isa.name)
    entry = re.escape(compiled.native_name)
    text = re.sub(rf'(?<=@)"?{entry}"?(?=\()', exported, compiled.inspect_llvm())
    return llvm.parse_assembly(text)


def only_text():
    """Keep Numba from optimising each kernel alone, and from making machine code of it."""
    JITCodeLibrary._optimize_functions = lambda library, module: None
    JITCodeLibrary._optimize_final_module = lambda library: None
    JITCodeLibrary._finalize_specific = lambda library: None
    JITCodeLibrary.get_pointer_to_function = lambda library, name: library._ensure_finalized()


def link(isa, triple, machine):
    """One module with all kernels of an instruction set; only their entries stay visible."""
    main, exported = None, set()
    for name in table.TABLE:
        for real in table.kinds_of(name, isa):
            with stage(f"{isa.name}: {name} {real}"):
                module = kernel_module(name, real, isa)
            settle_memory()
            module.triple, module.data_layout = triple, str(machine.target_data)
            exported.add(symbol(name, real, isa.name))
            if main is None:
                main = module
            else:
                main.link_in(module)
    for value in [*main.functions, *main.global_variables]:
        if not value.is_declaration and value.name not in exported:
            value.linkage = "internal"
    for function in main.functions:
        if any(mark in function.name for mark in KEPT_APART):
            function.add_function_attribute("noinline")
    main.verify()
    return main


def settle_memory():
    """Take what Numba keeps out of the search for garbage: that would be a fifth of the time."""
    gc.collect()
    gc.freeze()


def optimise(module, machine):
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def unresolved(path):
    """The symbols that an ELF object asks others for, read from the object itself."""
    from elftools.elf.elffile import ELFFile

    with open(path, "rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        return {s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s.name}


def build(out, machine_name, isa):
    """Write kernels_<isa>.o and .s; SystemExit if the object is not self-contained or spills."""
    triple = isas.TRIPLES[machine_name]
    target = llvm.Target.from_triple(triple)
    machine = target.create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, reloc="pic", codemodel="default"
    )
    say(f"{isa.name}: kernels for {machine_name}, begun")
    module = link(isa, triple, machine)
    with stage(f"{isa.name}: optimisation"):
        optimise(module, machine)
    path = out / f"kernels_{isa.name}.o"
    draft = path.with_suffix(".draft")  # no object, until it has passed
    with stage(f"{isa.name}: machine code"):
        draft.write_bytes(machine.emit_object(module))
    with stage(f"{isa.name}: assembly"):
        assembly = machine.emit_assembly(module)
    path.with_suffix(".s").write_text(assembly)
    missing = unresolved(draft) - ALLOWED
    if missing:
        raise SystemExit(f"{path.name}: expected a self-contained object, found {sorted(missing)}")
    found = spills.vector_spills(assembly, cells=isa.name == "v4")
    if found:
        raise SystemExit(f"{path.name}: vector spills in inner loops:\n" + "\n".join(found))
    draft.replace(path)
    say(f"{path.name}: {path.stat().st_size} bytes, self-contained, no spill; {cost()}")


def cost():
    """What this process has taken of the machine: seconds of a processor, memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return f"{used.ru_utime + used.ru_stime:.0f} s of CPU, {used.ru_maxrss >> 10} MB"


def header():
    """kernel_table.h: the structs, the table of function pointers, and one table for each Isa."""
    structs = dict.fromkeys(row.struct for row in table.TABLE.values())
    text = [
        "/* Written by native/aot.py from lstmfast/kernels/table.py. */",
        "#pragma once",
        "#include <stdint.h>",
    ]
    text += [f"#define LF_BLOCK {matmul.BLOCK}", f"#define LF_GROUP {matmul.GROUP}"]
    text += [f"#define LF_CHUNK {softmax.CHUNK}", f"#define LF_OUTER_PANELS {matmul.OUTER_PANELS}"]
    text += [f"#define LF_LARGEST_STEP {one_step.LARGEST}"]
    text += [f"#define LF_HEAD {int8.HEAD}", f"#define LF_LARGEST_SUM {int8.LARGEST}"]
    text += [f"#define LF_LEAST {int8.LEAST}"]
    text += [f"enum {{ {', '.join(f'LF_{kind.upper()}' for kind in table.REALS)}, LF_KINDS }};"]
    text += [f"enum {{ {', '.join(f'LF_{purpose}' for purpose in philox.PURPOSES)} }};"]
    kinds = ", ".join(f"LF_KIND_{kind.upper()}" for kind in activations.KINDS)
    text += [f"enum {{ {kinds}, LF_ACTIVATIONS }};"]
    text += [f'#define LF_ACTIVATION_NAMES "{" ".join(activations.KINDS)}"']
    text += [macro("LF_KEYS", options.KEYS), macro("LF_CELL", options.CELL)]
    text += [struct.declaration() for struct in structs]
    text += ["typedef struct lf_table {", "    int64_t register_bytes;"]
    text += [f"    {prototype('(*' + name + ')', row)};" for name, row in table.TABLE.items()]
    text += ["} lf_table;", f"#define LF_KERNEL_NAMES {names()}"]
    for machine, kinds in isas.BY_MACHINE.items():
        text += [f"#if defined(LF_AOT) && defined(__{machine}__)"]
        text += [line for isa in kinds for line in declarations(isa)]
        text += ["#endif"]
    return "\n".join(text) + "\n"


def macro(name, keys):
    """A macro that gives KEY(name, values, default) for each key of the options' table."""
    rows = [f"KEY({key.name}, {key.values}, {c_default(key)})" for key in keys]
    return " \\\n    ".join([f"#define {name}(KEY)", *rows])


def c_default(key):
    if key.values == "KIND":
        return f"LF_KIND_{key.default.upper()}"
    return "INFINITY" if key.values == "LIMIT" else f"{key.default:g}"


def names():
    return ", ".join(f'"{name}"' for name in table.TABLE)


def prototype(name, row):
    arguments = "".join(f", int64_t {argument}" for argument in row.arguments)
    return f"int32_t {name}(void *a{arguments})"


def declarations(isa):
    """C text: the kernels of one instruction set and its tables, one for each kind of numbers."""
    for name, row in table.TABLE.items():
        for real in table.kinds_of(name, isa):
            yield f"{prototype(symbol(name, real, isa.name), row)};"
    yield f"static const lf_table lf_tables_{isa.name}[LF_KINDS] = {{"
    for real in table.REALS:
        entries = ", ".join(entry(name, real, isa) for name in table.TABLE)
        yield f"    {{{isa.bytes}, {entries}}},"
    yield "};"


def entry(name, real, isa):
    """C text: whose kernel stands in a table."""
    owner = table.owner_of(name, real, isa)
    return symbol(name, *owner) if owner else "0"


def main(out, what, isa_name=None):
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if what == "header":
        (out / "kernel_table.h").write_text(header())
        return
    gc.set_threshold(YOUNG)
    only_text()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    build(out, what, isas.BY_NAME[isa_name])


if __name__ == "__main__":
    main(*sys.argv[1:])
