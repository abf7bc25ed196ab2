"""Not alone in the process or on the machine: settings are honoured, bits stay, nothing hangs.

Scripts run in fresh processes: pools, limits and import orders are a process's own. A time-out
makes a failure of a deadlock. How fast it stays is measured by benches/load.py.
"""

import ctypes
import faulthandler
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import fresh_process
import pytest
from agreement import all_arrays, all_same_bits, lstm_case

from lstmfast import capi, ops

# Seconds; each test takes one or two, but where children compile their kernels.
TIMEOUT = 600 if os.environ.get("LSTMFAST_JIT") else 60
ROWS, PANELS = (5, 64, 65, 130), (3, 3, 200, 520)  # shared by rows, by panels (see test_threads.py)
NEEDS_AFFINITY = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")


@pytest.fixture(autouse=True)
def a_deadlock_ends():
    """Threads that hang in C cannot be given up: end the whole run with a traceback."""
    faulthandler.dump_traceback_later(3 * TIMEOUT, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def printed(script, environment, **variables):
    """Run a script in a fresh process; return what it prints, as words."""
    clean = {k: v for k, v in environment.items() if k != "OMP_NUM_THREADS"}
    return fresh_process.printed(clean | variables, script, timeout=TIMEOUT).split()


# ---------------------------------------------------------------- OMP_NUM_THREADS

COUNT = "import lstmfast; print(lstmfast.get_num_threads())"


@pytest.mark.parametrize(
    "value, threads",
    [("1", 1), ("3", 3), (" 2 ", 2), ("4,2", 4), ("64", 64), ("1000", capi.MAX_THREADS),
     ("99999999999999999999", capi.MAX_THREADS)],
)  # fmt: skip
def test_omp_num_threads(value, threads, environment):
    """The outermost level of a list counts; more threads than processors are the user's choice."""
    assert printed(COUNT, environment, OMP_NUM_THREADS=value) == [str(threads)]


@pytest.mark.parametrize("value", ("", "0", "-3", "many", ",2"))
def test_a_malformed_omp_num_threads_counts_as_none(value, environment):
    processors = len(os.sched_getaffinity(0))
    assert printed(COUNT, environment, OMP_NUM_THREADS=value) == [str(processors)]


@NEEDS_AFFINITY
def test_by_default_the_processors_of_this_process(environment):
    script = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + COUNT
    assert printed(script, environment) == ["1"]


AFFINITY = """
import os, threading, time
import numpy as np
from lstmfast import ops

ops.set_num_threads(2)
rng = np.random.default_rng(0)
weights = [rng.uniform(-0.05, 0.05, s).astype("f4") for s in ((1024, 128), (1024, 256), (1024,))]
x = rng.standard_normal((50, 32, 128)).astype("f4")
everyone = os.sched_getaffinity(0)
first = {min(everyone)}

def call(pause):
    ops.lstm_forward(x, *weights)
    time.sleep(pause)

def settles(wanted):
    for _ in range(200):  # a helper may get a processor late where the machine is busy
        tasks = map(int, os.listdir("/proc/self/task"))
        if all(os.sched_getaffinity(task) == wanted for task in tasks):
            return True
        time.sleep(0.02)
    return False

for pause in (0.02, 0.02, 0.02):  # helpers fall asleep and are woken elsewhere
    call(pause)
print(settles(everyone))
os.sched_setaffinity(0, first)  # this thread: the helper is then kept off `first`, and so
ops.lstm_forward(x, *weights)  # awake on other processors when it is bound to `first`
for task in map(int, os.listdir("/proc/self/task")):
    os.sched_setaffinity(task, first)
time.sleep(0.02)
call(0.02)
print(settles(first))
"""


@NEEDS_AFFINITY
def test_processors_of_helpers_are_put_back(environment):
    """Helpers are kept off their waker's processor for a while, but not off what a user binds."""
    assert printed(AFFINITY, environment) == ["True", "True"]


BOUND = """
import os, threading, time
import numpy as np
from lstmfast import ops

rng = np.random.default_rng(0)
weights = [rng.uniform(-0.05, 0.05, s).astype("f4") for s in ((1024, 128), (1024, 256), (1024,))]
x = rng.standard_normal((50, 32, 128)).astype("f4")
everyone = os.sched_getaffinity(0)

def bound():
    os.sched_setaffinity(0, [min(everyone)])
    print(ops.get_num_threads() == len(everyone))
    ops.set_num_threads(2)
    ops.lstm_forward(x, *weights)

thread = threading.Thread(target=bound)
thread.start()
thread.join()
for _ in range(3):
    time.sleep(0.02)
    ops.lstm_forward(x, *weights)
time.sleep(0.02)
print(all(os.sched_getaffinity(int(task)) == everyone for task in os.listdir("/proc/self/task")))
"""


@NEEDS_AFFINITY
def test_a_first_call_in_a_bound_thread_binds_nobody_else(environment):
    assert printed(BOUND, environment) == ["True", "True"]


RECOUNTED = """
import os
import lstmfast

{before}
count = lstmfast.get_num_threads()
if os.fork() == 0:
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    print(lstmfast.get_num_threads() == {expected})
else:
    os.wait()
"""


@NEEDS_AFFINITY
@pytest.mark.parametrize(
    "before, expected", (("", "1"), ("lstmfast.set_num_threads(5)", "5")), ids=("counted", "set")
)
def test_a_forked_worker_that_is_bound_counts_anew(before, expected, environment):
    script = RECOUNTED.format(before=before, expected=expected)
    assert printed(script, environment) == ["True"]


def test_a_setting_outweighs_the_environment(environment):
    script = COUNT + "; lstmfast.set_num_threads(2); print(lstmfast.get_num_threads())"
    assert printed(script, environment, OMP_NUM_THREADS="3") == ["3", "2"]


MANY = """
import numpy as np
from lstmfast import ops

rng = np.random.default_rng(0)
weights = [rng.uniform(-0.05, 0.05, s).astype("f4") for s in ((2080, 200), (2080, 520), (2080,))]
x = rng.standard_normal((30, 3, 200)).astype("f4")
many, *_ = ops.lstm_forward(x, *weights)
ops.set_num_threads(1)
print(np.array_equal(many, ops.lstm_forward(x, *weights)[0]))
"""


def test_more_threads_than_processors_finish(environment):
    """Thirty waits among workers that cannot all run at once."""
    assert printed(MANY, environment, OMP_NUM_THREADS="17") == ["True"]


# ---------------------------------------------------------------- quotas of containers


@pytest.fixture(scope="module")
def quota(tmp_path_factory):
    """Return a function: the quota for the text of /proc/self/cgroup and the files of its mount."""
    folder = tmp_path_factory.mktemp("quota")
    source = Path(__file__).parent.parent / "native" / "processors.c"
    library = folder / "processors.so"
    subprocess.check_call(["gcc", "-O2", "-shared", "-fPIC", source, "-lm", "-o", library])
    function = ctypes.CDLL(str(library)).lf_quota
    function.restype = ctypes.c_int64

    def of(membership, files):
        root = folder / str(len(list(folder.iterdir())))
        for name, text in files.items():
            path = root / "mount" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "mount").mkdir(parents=True, exist_ok=True)
        (root / "cgroup").write_text(membership)
        return function(bytes(root / "cgroup"), bytes(root / "mount"))

    return of


V1 = "5:cpuset:/set\n4:cpu,cpuacct:/docker/9f\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    "membership, files, processors",
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 0),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # one and a half
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": ""}, 0),
        ("0::/\n", {}, 0),
        ("", {"cpu.max": "100000 100000\n"}, 0),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000", "a/cpu.max": "max 100000"}, 2),
        ("0::/host/name\n", {"cpu.max": "300000 100000"}, 3),  # seen from inside a container
        (V1, {"cpu/docker/9f/cpu.cfs_quota_us": "250000",
              "cpu/docker/9f/cpu.cfs_period_us": "50000"}, 5),
        (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0),
        (V1.replace("cpu,cpuacct", "cpuacct"), {"cpu/cpu.cfs_quota_us": "100000",
                                                "cpu/cpu.cfs_period_us": "100000"}, 0),
        ("not a line\n::\n7:cpu\n" + "0::/" + "x/" * 4000 + "\n", {"cpu.max": "100000 100000"}, 0),
    ],
)  # fmt: skip
def test_the_quota_of_a_container(membership, files, processors, quota):
    """Control groups of both versions; rounded up, the smallest of all that are around it."""
    assert quota(membership, files) == processors


# ---------------------------------------------------------------- threadpoolctl

LIMITS = """
import lstmfast, threadpoolctl
from threadpoolctl import threadpool_limits

def ours():
    found = threadpoolctl.threadpool_info()
    return [x["num_threads"] for x in found if x["user_api"] == "lstmfast"]

lstmfast.set_num_threads(5)
seen = [ours()]
with threadpool_limits(4):
    seen.append(ours())
    with threadpool_limits(1, user_api="blas"):
        seen.append(ours())
    with threadpool_limits(1, user_api="lstmfast"):
        seen.append(ours())
        with threadpool_limits({"lstmfast": 2}):
            seen.append(ours())
    seen.append([lstmfast.get_num_threads()])
seen.append([lstmfast.get_num_threads()])
print(*[count for counts in seen for count in counts])
"""
SEEN = ["5", "4", "4", "1", "2", "4", "5"]


@pytest.mark.parametrize("first", ("lstmfast", "threadpoolctl"))
def test_threadpoolctl_limits_us(first, environment):
    """Nested limits restore; one for BLAS leaves us alone; there is one entry, not two."""
    pytest.importorskip("threadpoolctl")
    assert printed(f"import {first}\n{LIMITS}", environment) == SEEN


def test_threadpoolctl_loaded_again(environment):
    """A finder that served once would miss a reload, and an import after `find_spec`."""
    pytest.importorskip("threadpoolctl")
    script = """
import importlib, importlib.util, lstmfast
assert importlib.util.find_spec("threadpoolctl").origin.endswith(".py")
import threadpoolctl
kind = type(threadpoolctl.__loader__).__name__
importlib.reload(threadpoolctl)
print(kind, sum(x["user_api"] == "lstmfast" for x in threadpoolctl.threadpool_info()))
"""
    assert printed(script, environment) == ["SourceFileLoader", "1"]


def test_threadpoolctl_as_a_command(environment):
    pytest.importorskip("threadpoolctl")
    command = ["-m", "threadpoolctl", "-i", "lstmfast"]
    result = fresh_process.python(environment, *command, timeout=TIMEOUT)
    assert result.returncode == 0, result.stderr
    assert '"user_api": "lstmfast"' in result.stdout


@pytest.mark.parametrize("text", ("import sys; sys.modules['threadpoolctl'] = None", "pass"))
def test_without_threadpoolctl(text, environment):
    """It is no dependency, and `import lstmfast` does not import it."""
    script = f"{text}\nimport sys, lstmfast\nprint(sys.modules.get('threadpoolctl'))"
    assert printed(script, environment) == ["None"]


def test_an_older_threadpoolctl_is_left_alone(environment, tmp_path):
    """Before 3.2 nothing can be registered."""
    (tmp_path / "threadpoolctl.py").write_text("__version__ = '3.1.0'\n")
    paths = os.pathsep.join((str(tmp_path), environment["PYTHONPATH"]))
    script = "import lstmfast, threadpoolctl; print(threadpoolctl.__version__)"
    assert printed(script, environment, PYTHONPATH=paths) == ["3.1.0"]


def test_other_libraries_named_capi_are_not_ours(environment, tmp_path):
    pytest.importorskip("threadpoolctl")
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    library = tmp_path / "capi.other.so"
    subprocess.check_call(["gcc", "-shared", "-fPIC", "other.c", "-o", library], cwd=tmp_path)
    script = f"import ctypes; ctypes.CDLL({str(library)!r})\n{LIMITS}"
    assert printed(script, environment) == SEEN


def test_what_threadpoolctl_calls_is_exported(threads):
    """Plain C, on the loaded library."""
    library = ctypes.CDLL(importlib.util.find_spec("lstmfast.capi").origin)
    threads(3)
    assert library.lf_get_num_threads() == 3
    library.lf_set_num_threads(ctypes.c_int64(2))
    assert ops.get_num_threads() == 2


def test_a_limit_holds_in_other_threads_and_in_forks(environment):
    pytest.importorskip("threadpoolctl")
    script = """
import os, threading, lstmfast
from threadpoolctl import threadpool_limits
lstmfast.set_num_threads(4)
with threadpool_limits(2):
    thread = threading.Thread(target=lambda: print(lstmfast.get_num_threads(), flush=True))
    thread.start()
    thread.join()
    if os.fork() == 0:
        print(lstmfast.get_num_threads(), flush=True)
        os._exit(0)
    os.wait()
print(lstmfast.get_num_threads())
"""
    assert printed(script, environment) == ["2", "2", "4"]


# ---------------------------------------------------------------- torch's pool

TORCH = """
import threading
import numpy as np, torch
from lstmfast import ops

torch.set_num_threads(2)
ops.set_num_threads(2)
rng = np.random.default_rng(0)
jobs = []
for T, B, I, H in ((5, 64, 65, 130), (3, 3, 200, 520)):
    x = rng.standard_normal((T, B, I)).astype("f4")
    shapes = ((4 * H, I), (4 * H, H), (4 * H,))
    jobs.append((x, *(rng.uniform(-0.05, 0.05, s).astype("f4") for s in shapes)))
ours = lambda: [ops.lstm_forward(*job)[0] for job in jobs]
a = torch.from_numpy(rng.standard_normal((300, 300)).astype("f4"))
theirs = lambda: (a @ a).numpy()
expected, product = ours(), theirs()

def right(results):
    return all(np.array_equal(y, e) for y, e in zip(results, expected))

good = []
for _ in range(20):  # by turns
    good += [np.array_equal(theirs(), product), right(ours())]
work = (lambda: np.array_equal(theirs(), product), lambda: right(ours()))
repeat = lambda f: good.extend(f() for _ in range(20))
threads = [threading.Thread(target=repeat, args=(f,)) for f in 2 * work]
[t.start() for t in threads]
[t.join() for t in threads]
print(len(good), all(good))
"""


def test_torch_in_the_same_process(environment):
    """By turns in one thread, then both at once from four."""
    pytest.importorskip("torch")
    assert printed(TORCH, environment) == ["120", "True"]


# ---------------------------------------------------------------- other processes, other threads


def check_in_child(case, alone):
    """Return whether this process computes the same bits with 2 threads."""
    ops.set_num_threads(2)
    return all_same_bits(all_arrays(case), alone)


@pytest.mark.parametrize("method", ("spawn", "forkserver"))
def test_children_of_other_start_methods(method, threads):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not here")
    threads(2)
    case = lstm_case(*PANELS)
    alone = all_arrays(case)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(check_in_child, case, alone).result(TIMEOUT)


def exit_in_child(case, alone):
    raise SystemExit(0 if check_in_child(case, alone) else 3)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("shape", (ROWS, PANELS), ids=str)
def test_forks_while_the_team_is_at_work(shape, threads):
    """A child may be born while its parent's region runs: its locks and counts start afresh."""
    threads(2)
    case = lstm_case(*shape)
    alone = all_arrays(case)
    ended = threading.Event()

    def work():
        good = True
        while not ended.is_set():
            good &= all_same_bits(all_arrays(case), alone)
        return good

    fork = multiprocessing.get_context("fork")
    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
        children = [fork.Process(target=exit_in_child, args=(case, alone)) for _ in range(8)]
        for child in children:
            child.start()
        for child in children:
            child.join(TIMEOUT)
        ended.set()
        hung = [child for child in children if child.is_alive()]
        for child in hung:
            child.kill()
        assert all(worker.result(TIMEOUT) for worker in workers), "the parent goes on"
    assert not hung
    assert [child.exitcode for child in children] == [0] * 8


def test_callers_with_and_without_waits_at_once(threads):
    """One caller has the team, the others work alone: by rows and by panels in turn."""
    threads(2)
    cases = [lstm_case(*shape) for shape in (ROWS, PANELS)]
    alone = [all_arrays(case) for case in cases]

    def work(k):
        order = [(k + n) % 2 for n in range(12)]
        return all(all_same_bits(all_arrays(cases[m]), alone[m]) for m in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(future.result(TIMEOUT) for future in [pool.submit(work, k) for k in range(4)])
