"""Whose threads do the work, those of an OpenMP runtime that is loaded or our own, and how many.

Each test is a script in a fresh process: what is loaded, and forked, stays. `load(name)` loads a
runtime: GNU's of the system, Intel's (which is LLVM's), scikit-learn's copy of GNU's, PyTorch's.
"""

import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import pytest
from fresh_process import printed, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="found on Linux only")

INTEL = Path(sys.prefix, "lib", "libiomp5.so")
THERE = {
    "gnu": find_library("gomp") is not None,
    "intel": INTEL.exists(),
    "sklearn": find_spec("sklearn") is not None,
    "torch": find_spec("torch") is not None,
}
RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no runtime of {name}"))
    for name, there in THERE.items()
]
GNU = pytest.mark.skipif(not THERE["gnu"], reason="no libgomp")
TORCH = pytest.mark.skipif(not THERE["torch"], reason="PyTorch is not installed")

START = f"""
import ctypes, os, signal, sys
from concurrent.futures import ThreadPoolExecutor
sys.path.insert(0, {str(Path(__file__).parent)!r})
from agreement import all_arrays, all_same_bits, lstm_case

def load(name):
    if name == "sklearn":
        import sklearn.utils._openmp_helpers
    elif name == "torch":
        import torch
    else:
        files = {{"gnu": "libgomp.so.1", "intel": {str(INTEL)!r}}}
        return ctypes.CDLL(files[name], ctypes.RTLD_GLOBAL)

def end_of(child):
    return os.waitpid(child, 0)[1]

def in_child(act):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends one that hangs
        os._exit(0 if act() else 1)
    return end_of(child)
"""
OURS = """
import lstmfast
from lstmfast import ops

pool = lambda: lstmfast.show_config()["thread_pool"]
SHAPES = ((5, 7, 33, 16), (5, 33, 17, 100), (3, 3, 200, 520), (2, 7, 260, 390), (40, 3, 400, 33))
cases = [lstm_case(*shape) for shape in SHAPES]  # alone, by rows, by panels, twice, ahead

def results(threads):
    ops.set_num_threads(threads)
    return [all_arrays(case) for case in cases]

wanted = results(1)
right = lambda threads=2: all(map(all_same_bits, results(threads), wanted))
"""
QUIET = {"OPENBLAS_NUM_THREADS": "1"}


def answers(environment, script, **added):
    """What a script prints, as words, after START and OURS."""
    return printed(environment | QUIET | added, START + OURS + script, timeout=300).split()


# ---------------------------------------------------------------- whose threads


@pytest.mark.parametrize("name", RUNTIMES)
def test_bits_do_not_depend_on_the_runtime(name, environment):
    script = f"""
load("{name}")
print(pool(), *(right(n) for n in (2, 3, 1, 2)))
"""
    kind, path, *same = answers(environment, script)
    assert kind == "openmp:" and "omp" in Path(path).name
    assert same == ["True"] * 4


TASKS = """
ops.set_num_threads(3)
all_arrays(cases[2])
print(pool().split()[0], len(os.listdir("/proc/self/task")))
"""


@GNU
def test_no_thread_of_ours_beside_the_runtimes(environment):
    assert answers(environment, 'load("gnu")' + TASKS) == ["openmp:", "3"]


@GNU
def test_the_environment_decides(environment):
    load = 'load("gnu")' + TASKS
    assert answers(environment, load, LSTMFAST_THREAD_POOL="own") == ["own", "3"]
    assert answers(environment, load, LSTMFAST_THREAD_POOL="openmp") == ["openmp:", "3"]


def test_openmp_or_none(environment):
    """Where none is loaded, LSTMFAST_THREAD_POOL=openmp leaves calls to their caller."""
    assert answers(environment, TASKS, LSTMFAST_THREAD_POOL="openmp") == ["openmp:", "1"]


def test_no_such_pool(environment):
    done = python(environment | {"LSTMFAST_THREAD_POOL": "tbb"}, "-c", "import lstmfast")
    assert "LSTMFAST_THREAD_POOL: expected own or openmp, found 'tbb'" in done.stderr


@TORCH
@pytest.mark.parametrize("first", [r for r in RUNTIMES if r.values[0] in ("intel", "sklearn")])
def test_pytorchs_comes_before_others(first, environment):
    script = f"""
load("{first}")
before = pool(), right()
load("torch")
print(*before, pool(), right())
"""
    _, other, right, _, path, still = answers(environment, script)
    assert "torch" not in other and "torch" in path
    assert right == still == "True"


@GNU
def test_inside_a_region_of_the_callers(environment):
    """Each of its threads has a call of its own, as threads of Python have."""
    script = """
gomp, found = load("gnu"), []

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def inside(nothing):
    found.append(all(all_same_bits(all_arrays(case), of) for case, of in zip(cases, wanted)))

ops.set_num_threads(2)
for _ in range(5):
    gomp.GOMP_parallel(inside, None, 3, 0)
print(len(found), all(found), right())
"""
    assert answers(environment, script) == ["15", "True", "True"]


@pytest.mark.parametrize("name", RUNTIMES)
def test_callers_in_several_threads(name, environment):
    script = f"""
load("{name}")
ops.set_num_threads(2)

def work(seed):
    return all(all_same_bits(all_arrays(cases[k]), wanted[k]) for k in (seed, 1, 4, 3, 0) * 4)

with ThreadPoolExecutor(4) as threads:
    print(*threads.map(work, range(4)))
"""
    assert answers(environment, script) == ["True"] * 4


OWN = """
import keras, lstmfast, lstmfast.keras
from pathlib import Path

def helpers():  # threads that leave signals to others
    found = [Path(one, "status").read_text() for one in Path("/proc/self/task").iterdir()]
    masks = [int(text.split("SigBlk:")[1].split()[0], 16) for text in found]
    return sum(mask >> (signal.SIGINT - 1) & mask >> (signal.SIGTERM - 1) & 1 for mask in masks)

lstmfast.set_num_threads(2)
layer, x = lstmfast.keras.LSTM(128), keras.ops.ones((64, 20, 128))
before = helpers()
keras.Sequential([layer]).predict(x, verbose=0)
print(pool()[:6], helpers() - before)
all_arrays(cases[2])
print(helpers() - before)
"""


@GNU
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_frameworks_that_call_from_threads_of_theirs_by_turns(backend, environment, tmp_path):
    """A runtime would start a team for each thread that calls: they get our own helpers."""
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    told = {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)}
    assert answers(environment, 'load("gnu")\n' + OWN, **told) == ["openmp", "1", "1"]
    only = {"LSTMFAST_THREAD_POOL": "openmp"}
    assert answers(environment, 'load("gnu")\n' + OWN, **told, **only) == ["openmp", "0", "0"]


# ---------------------------------------------------------------- how many


@GNU
def test_the_runtimes_number_is_followed(environment):
    """Until one is asked for, and again after a limit has ended."""
    script = """
import threadpoolctl
gomp = load("gnu")
found = []
def note(): found.append(ops.get_num_threads())
gomp.omp_set_num_threads(3); note()
with threadpoolctl.threadpool_limits(1, user_api="lstmfast"):
    note()
    with threadpoolctl.threadpool_limits(2, user_api="lstmfast"): note()
    note()
gomp.omp_set_num_threads(4); note()
ops.set_num_threads(2); note()
gomp.omp_set_num_threads(1); note()
with threadpoolctl.threadpool_limits(1): note()
note()
print(*found)
"""
    pytest.importorskip("threadpoolctl")
    found = printed(environment, START + "import lstmfast; from lstmfast import ops" + script)
    assert found.split() == ["3", "1", "2", "1", "4", "2", "2", "1", "2"]


@GNU
def test_a_limit_of_all_libraries(environment):
    """Whichever is limited first: what we follow is limited, too."""
    script = """
import threadpoolctl, lstmfast
gomp, found = load("gnu"), []
gomp.omp_set_num_threads(3)
controller = threadpoolctl.ThreadpoolController()
for order in (1, -1):
    controller.lib_controllers.sort(key=lambda one: order * (one.user_api == "lstmfast"))
    with controller.limit(limits=1):
        found.append(lstmfast.get_num_threads())
    with threadpoolctl.threadpool_limits(1, user_api="lstmfast"):
        found.append(lstmfast.get_num_threads())
    gomp.omp_set_num_threads(2)
    found.append(lstmfast.get_num_threads())
    gomp.omp_set_num_threads(3)
print(*found)
"""
    pytest.importorskip("threadpoolctl")
    assert printed(environment, START + script).split() == ["1", "1", "2", "1", "1", "2"]


@TORCH
def test_pytorchs_number_is_followed(environment):
    script = """
import torch, lstmfast.torch

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, k):
        y, _ = layer(torch.ones(20, 32, 64))
        return lstmfast.get_num_threads(), float((y - wanted).abs().max())

layer = lstmfast.torch.LSTM(64, 64).eval().requires_grad_(False)
wanted, _ = layer(torch.ones(20, 32, 64))
found = []
for n in (1, 3, 2):
    torch.set_num_threads(n)
    found.append(lstmfast.get_num_threads())
threads, apart = zip(*torch.utils.data.DataLoader(Numbers(), batch_size=None, num_workers=2))
print(*found, *threads, *apart)
"""
    found = printed(environment, START + script, timeout=300).split()
    assert found == ["1", "3", "2"] + ["1"] * 4 + ["0.0"] * 4


KERAS = """
import keras, lstmfast, lstmfast.keras
lstmfast.keras.LSTM(4)(keras.ops.ones((1, 2, 3)))
print(lstmfast.get_num_threads())
"""
TELL = "import tensorflow as tf; tf.config.threading.set_intra_op_parallelism_threads(3)\n"


@pytest.mark.parametrize(
    ("backend", "before", "told"),
    [
        ("tensorflow", TELL, {}),
        ("jax", "", {"NPROC": "3"}),
        ("jax", "", {"NPROC": "1", "PJRT_NPROC": "3"}),
        ("torch", "import torch; torch.set_num_threads(3)\n", {}),
    ],
)
def test_the_number_of_a_backend_of_keras_is_followed(backend, before, told, environment, tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip(backend)
    told = told | {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)}
    assert printed(environment | told, before + KERAS) == "3\n"


def test_a_number_that_was_asked_for_stays(environment, tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("jax")
    told = {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path), "NPROC": "3"}
    asked = "import lstmfast; lstmfast.set_num_threads(2)\n"
    assert printed(environment | told, asked + KERAS) == "2\n"


def test_xla_on_one_thread(environment, tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("jax")
    told = {"KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path), "OMP_NUM_THREADS": "2"}
    told["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    assert printed(environment | told, KERAS) == "1\n"


# ---------------------------------------------------------------- forks, interpreters


@pytest.mark.parametrize("name", RUNTIMES)
def test_forks(name, environment):
    """A child has threads of our own; one that loads a runtime itself has that one's."""
    script = f"""
print(in_child(lambda: (load("{name}"), pool()[:6] == "openmp" and right())[1]))
load("{name}")
print(in_child(lambda: pool() == "own" and right()))
print(right())
child = lambda: pool() == "own" and right()
print(in_child(lambda: child() and in_child(child) == 0), right(), pool()[:6])
"""
    assert answers(environment, script) == ["0", "0", "True", "0", "True", "openmp"]


@GNU
def test_first_imported_in_a_forked_child(environment):
    """What had been loaded is its parent's, which may have used it."""
    script = """
gomp, calls = load("gnu"), []
count = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(calls.append)
gomp.GOMP_parallel(count, None, 3, 0)

def child():
    space = dict(globals())
    exec(OURS, space)
    return space["pool"]() == "own" and space["right"]()

print(len(calls), in_child(child))
"""
    script = START + f"OURS = {OURS!r}\n" + script
    assert printed(environment, script, timeout=300).split() == ["3", "0"]


@pytest.mark.parametrize("name", [r for r in RUNTIMES if r.values[0] in ("gnu", "intel")])
def test_a_handler_that_forks(name, environment):
    """In the middle of a region: the child leaves it without the runtime's other threads."""
    script = f"""
import test_interrupts
load("{name}")
ops.set_num_threads(2)
found = []
for kind in test_interrupts.FORKS:
    call, children, ended = test_interrupts.FORKS[kind](), [], []
    first = call()[1]
    signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
    while len(children) < 3:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            call()
        except RuntimeError:
            pass
        if children and children[-1] == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            os._exit(0 if all_same_bits(call()[1], first) else 1)
        ended += [end_of(child) for child in children[len(ended):]]
    found += ended
print(pool()[:6], *found)
"""
    assert answers(environment, script) == ["openmp", *["0"] * 9]


def test_another_interpreter_is_refused(environment):
    script = """
try:
    import _interpreters as interpreters
    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
import lstmfast
try:
    found = run(interpreters.create(), "import lstmfast.capi")
    print(found)
except Exception as error:
    print(error)
"""
    told = printed(environment, script)
    assert "one interpreter per process" in told or "does not support loading in subinterp" in told
