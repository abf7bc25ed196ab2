"""AddressSanitizer with UBSan, and ThreadSanitizer, over the C and Cython part.

    python tests/trust/sanitizers.py [--only address|thread] [--long]

Builds the extension in a temporary copy (kernels' objects are taken as they are: from the build
folder, LSTMFAST_OBJECTS, or compiled), then runs tests and a stress under each. Every report
counts; what is suppressed is CPython's own, each with its reason below. Needs gcc and its
sanitizers' libraries.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAGS = {
    "address": "-fsanitize=address,undefined -g -fno-omit-frame-pointer",
    "thread": "-fsanitize=thread -g",
}
LIBRARIES = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
OPTIONS = {
    # detect_leaks: CPython leaves its own memory to the system at exit, thousands of blocks.
    # allocator_may_return_null: tests ask for more memory than there is, as malloc may be asked.
    "address": {
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:halt_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    },
    # report_signal_unsafe: CPython's own handler, before any of Python's, calls write(2) and more.
    # die_after_fork: children of tests and of the stress compute.
    "thread": {"TSAN_OPTIONS": "report_signal_unsafe=0:die_after_fork=0:halt_on_error=0"},
}
# CPython, NumPy and the dynamic loader are not built with the sanitizer: of what they do among
# themselves, it sees the accesses that go through its interceptors (memcpy, free), but not the
# atomic operations that order them.
SUPPRESSIONS = "race:^_Py\nrace:^Py\nrace:_multiarray_umath\nrace:^_dl_\ncalled_from_lib:libgomp\n"
CORE = ("test_lstm.py", "test_capi.py", "test_capi_options.py", "test_capi_stack.py",
        "test_capi_status.py", "test_stream.py", "test_prepared.py", "test_simple_rnn.py",
        "test_lengths.py", "test_variants.py", "test_family.py", "test_threads.py",
        "test_pointwise_ops.py", "test_dense_embedding.py", "test_extremes.py",
        "test_interrupts.py", "walks/test_walk_capi.py")  # fmt: skip
# They preload a library of their own, or limit the memory that a sanitizer needs for itself.
LEFT_OUT = "not steps_do_not_allocate and not no_memory and not fewer_threads_granted"
SHORT = {
    "address": ("test_reserve.py", "walks/test_walk_capi.py"),
    "thread": ("test_threads.py", "-k", "callers or streams or number or forked"),
}
SECONDS = {"short": 5, "long": 300}  # of the stress


def copy_of_tree(folder):
    """What a build needs, and the tests; objects that are there come with their times."""
    tree = Path(folder) / "tree"
    ignored = shutil.ignore_patterns("*.so", "*.html", "__pycache__", ".git", ".venv*", "capi.c")
    for name in ("lstmfast", "native", "tests", "build"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy2(ROOT / name, tree / name)
    for old in (tree / "build").glob("temp.*/native"):
        shutil.rmtree(old)  # objects of the C files, without the sanitizer
    return tree


def built(sanitizer, folder):
    tree = copy_of_tree(folder)
    environment = os.environ | {"CFLAGS": FLAGS[sanitizer], "LDFLAGS": FLAGS[sanitizer]}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    result = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"the build failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}")
    return tree


def library(name):
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if found == name:
        sys.exit(f"gcc has no {name} here")
    return found


def environment_of(sanitizer, tree, log):
    made = os.environ | OPTIONS[sanitizer]
    made["LD_PRELOAD"] = " ".join(library(name) for name in LIBRARIES[sanitizer])
    made["PYTHONPATH"] = str(tree)
    made["OMP_NUM_THREADS"] = "2"
    (tree / "suppressions").write_text(SUPPRESSIONS)
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        if name in made:
            made[name] += f":log_path={log}:log_exe_name=0"
    if sanitizer == "thread":
        made["TSAN_OPTIONS"] += f":suppressions={tree / 'suppressions'}"
    return made


def jobs_of(sanitizer, long):
    """Command lines after `python`, in the copy's folder tests."""
    names = CORE if long else SHORT[sanitizer]
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    pytest += ["-k", LEFT_OUT]
    seconds = SECONDS["long" if long else "short"]
    stress = ["trust/stress.py", "--no-torch", "--seconds", str(seconds), "--timeout", "300"]
    # AddressSanitizer of gcc 12 does not free its own locks in a forked child.
    forks = ["--no-forks"] if sanitizer == "address" else []
    return [pytest + list(names), stress + forks]


def reports(log):
    """The text of every report; UBSan's are single lines."""
    text = "".join(p.read_text(errors="replace") for p in sorted(log.parent.glob(log.name + "*")))
    starts = ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer")
    return sum(text.count(start) for start in starts), text


def run(sanitizer, long):
    """Return (reports, failed jobs)."""
    with tempfile.TemporaryDirectory() as folder:
        tree = built(sanitizer, folder)
        log, failed = Path(folder) / "report", 0
        environment = environment_of(sanitizer, tree, log)
        # (ThreadSanitizer wants its addresses: without randomised ones.)
        prefix = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
        for job in jobs_of(sanitizer, long):
            result = subprocess.run(
                [*prefix, sys.executable, *job], cwd=tree / "tests", env=environment,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            last = (result.stdout.strip().splitlines() or ["no output"])[-1]
            print(f"{sanitizer}: {' '.join(job[:3])} ...: {last}")
            if result.returncode:
                failed += 1
                print(result.stdout[-3000:], result.stderr[-3000:], sep="\n")
        count, text = reports(log)
        if count:
            print(text[:20_000])
    return count, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(FLAGS), default=None)
    parser.add_argument("--long", action="store_true")
    given = parser.parse_args()
    faults, told = 0, []
    for sanitizer in [given.only] if given.only else FLAGS:
        count, failed = run(sanitizer, given.long)
        told.append(f"{sanitizer}: {count} reports, {failed} jobs failed")
        faults += count + failed
    form = "long" if given.long else "short"
    print(f"sanitizers | {form} form, {', '.join(told)} | faults: {faults}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
