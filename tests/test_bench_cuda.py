"""The benches of a GPU, as far as they can be held without one."""
# ruff: noqa: E402  (benches/ is not installed, so it is put on the path first)

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fresh_process import printed

pytest.importorskip("numba_cuda")
pytest.importorskip("ml_dtypes")

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benches.cuda import __main__ as command
from benches.cuda import bars, calls, child, measure, peers, pointwise, report, validate
from benches.cuda.conductor import Conductor
from benches.cuda.floors import floor
from benches.cuda.jobs import Job, all_jobs
from benches.shapes import Shape

GRAPHS, PERSISTENT = calls.GRAPHS, calls.PERSISTENT


# ---------------------------------------------------------------- the list


def test_every_job_has_a_name_of_its_own_and_cases_that_a_file_can_hold():
    jobs = all_jobs()
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names) > 20
    for job in jobs:
        assert json.loads(json.dumps(job.cases)) and job.section in {
            "machine", "validate", "stress", "measure"
        }  # fmt: skip


def test_quick_runs_a_part_of_the_whole():
    whole = {job.name: {json.dumps(case) for case in job.cases} for job in all_jobs()}
    for job in all_jobs(quick=True):
        if job.section != "stress":  # which runs for fewer steps
            assert {json.dumps(case) for case in job.cases} <= whole[job.name], job.name


def test_every_option_but_those_without_kernels_is_validated():
    options = {case["option"] for job in all_jobs() for case in job.cases if "option" in case}
    assert options - {"plain", validate.LAST_ALONE} == set(calls.of_tests("family").OPTIONS) - set(
        validate.BARRED
    )


def test_each_precision_has_many_shapes_measured_once():
    for precision in measure.PRECISIONS:
        shapes = [tuple(case["shape"]) for job in all_jobs(only="measure") for case in job.cases
                  if case["precision"] == precision and "shape" in case]  # fmt: skip
        assert len(set(shapes)) == len(shapes) == len(measure.SHAPES)


def test_the_list_tells_every_case_without_a_gpu():
    jobs = all_jobs(only="stress")
    text = command.listing(jobs)
    assert text.count("\n    ") == sum(len(job.cases) for job in jobs)
    assert "stress barrier (stress, 4 cases, nothing beside it)" in text


# ---------------------------------------------------------------- bars and floors


def test_the_floor_is_the_largest_of_its_terms():
    shape = Shape(T=11, B=2, I=3, H=4)
    ceilings = {
        "tf32": {"operations/s": 1e9},
        "copy": {"bytes/s": 1e9},
        "exchange": {"seconds": 1e-6},
    }
    found = floor("training", shape, "tf32", ceilings)
    assert found["operations"] == pytest.approx(3 * 8 * 2 * 4 * (11 * 3 + 10 * 4) / 1e9)
    weights, x, y = 16 * (3 + 4 + 1), 11 * 2 * 3, 11 * 2 * 4
    assert found["bytes"] == pytest.approx(4 * (2 * weights + 2 * x + y) / 1e9)
    assert found["exchange"] == pytest.approx(2 * 10 * 1e-6)
    assert found["seconds"] == found["exchange"] and found["bound"] == "exchange"
    short = floor("forward", shape, "bfloat16", {"copy": {"bytes/s": 1e9}})
    assert short["bytes"] == pytest.approx(2 * (weights + x + y) / 1e9)
    assert short["missing"] == ["operations", "exchange"]
    assert floor("forward", shape, "tf32", {}) is None


@pytest.mark.parametrize(
    "precision, H, B, bar",
    [("bfloat16", 256, 128, 2), ("tf32", 768, 1, 2), ("tf32", 768, 129, None),
     ("bfloat16", 1024, 8, None), ("float32", 129, 8, 1.3), ("float32", 128, 8, 0.8),
     ("float16", 512, 8, 0.8), ("bfloat16", 64, 8, 0.8)],
)  # fmt: skip
def test_bars_are_those_of_the_design(precision, H, B, bar):
    assert report.bar_of(Shape(10, B, 10, H), precision) == bar


def test_numbers_are_made_exact_in_what_is_multiplied():
    values = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    dtype = calls.dtype_of("bfloat16")
    assert np.array_equal(
        bars.exact_in("bfloat16", values), values.astype(dtype).astype(np.float32)
    )
    half = bars.exact_in("float16", values)
    assert np.array_equal(half, half.astype(np.float16).astype(np.float32))
    assert np.abs(half - values).max() > 0
    assert bars.exact_in("float32", values) is values


@pytest.mark.parametrize("precision", ("tf32", "float16", "bfloat16"))
def test_rounding_h_in_each_step_stays_a_third_below_the_bar(precision):
    """The emulation that `bars.FORWARD` comes from, without the error of tanh."""
    from agreement import lstm_case

    from lstmfast import ops

    inputs = lstm_case(30, 16, 64, 128, seed=3).inputs
    x, W_ih, W_hh, b, h0, c = (
        bars.exact_in(precision, a).astype(np.float64) for a in inputs.values()
    )
    wanted, _, _ = ops.lstm_forward(x, W_ih, W_hh, b, h0, c)
    h, got = h0, []
    for step in x[:, None]:
        rounded = bars.exact_in(precision, h)
        _, (h, c), _ = ops.lstm_forward(step, W_ih, W_hh, b, rounded, c)
        got.append(h)
    error = bars.error(np.array(got), wanted, False)
    assert 0.01 * bars.ROUNDING[precision] < error < bars.bars(precision)[0] / 3


def test_a_nan_is_worse_than_any_error():
    name, _, held = bars.worst({"a": 1.0, "b": float("nan")}, 2.0)
    assert name == "b" and not held
    assert bars.worst({"a": 1.0, "b": 0.5}, 1.0) == ("a", 1.0, True)


# ---------------------------------------------------------------- times


def test_contenders_take_turns():
    order = []

    def timer(work, count):
        order.append((work(), count))
        return 0.001 * work()

    found = measure.in_turns({"a": lambda: 1, "b": lambda: 5}, timer)
    assert found["calls"] == {"a": 4, "b": 1}
    rounds = [work for work, _ in order[4:]]
    assert rounds[:6] == [1, 5, 5, 1, 1, 5] and len(rounds) == 2 * measure.ROUNDS
    assert found["seconds"]["b"] == pytest.approx([0.005] * measure.ROUNDS)


def test_the_peer_calculates_what_we_do():
    torch = pytest.importorskip("torch")
    from benches import arrays
    from lstmfast import ops

    shape = Shape(5, 3, 4, 7)
    y, *gradients = peers.works(shape, "float32", device="cpu")["training"]()
    ours, _, cache = ops.lstm_forward(arrays.inputs(shape), *arrays.weights(shape), training=True)
    found = ops.lstm_backward(cache, arrays.upstream(shape))
    wanted = (ours, found.dx, found.dW_ih, found.dW_hh, found.db)
    got = [measure.to_host(a) for a in (y, *gradients)]
    assert measure.apart(got, [np.asarray(a, np.float64) for a in wanted]) < 1e-5
    assert torch.backends.cudnn.allow_tf32 is False


def test_pointwise_cases_hold_where_both_sides_are_the_cpu(monkeypatch):
    """The cases themselves: what the GPU gets in float32 is here what the CPU gets."""

    @contextlib.contextmanager
    def nothing():
        yield {}

    monkeypatch.setattr(calls, "put", lambda a: a.copy() if isinstance(a, np.ndarray) else a)
    monkeypatch.setattr(calls, "get", lambda a: a)
    monkeypatch.setattr(calls, "poisoned", nothing)
    monkeypatch.setattr(calls, "launches", nothing)
    (job,) = [job for job in pointwise.jobs(quick=True) if job.name == "validate pointwise"]
    for k, case in enumerate(job.cases):
        if case["of"] not in ((64, 256, 10000), (200, 10000, 128), pointwise.LONG):
            row = pointwise.run(case, k)
            result = row["result"]
            assert result["error"] <= result["bar"], (case, row)


# ---------------------------------------------------------------- the processes

CHILD = """
import json, sys, time
def say(**found): print(json.dumps(found), flush=True)
name, skip = sys.argv[1], {int(k) for k in sys.argv[3].split(",") if k}
def case(k):
    if name == "crash" and k == 1: sys.exit("planted crash")
    if name == "hang" and k == 0 or name == "alone" and k == 1: time.sleep(60)
    say(case=k, row={"status": "error" if name == "sticky" else "passed"})
    if name == "sticky": sys.exit(3)
print("a line that is no row", flush=True)
if "alone" in name:
    for k in range(3):
        if k not in skip: say(prepared=k)
    say(ready=True)
    for line in sys.stdin: case(int(line))
else:
    for k in range(3):
        if k not in skip: case(k)
"""


def conducted(tmp_path, *names, budget=30.0, patience=1.0):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    cases = tuple({"k": k} for k in range(3))
    jobs = [Job(name, "validate", "-", cases, patience, "alone" in name) for name in names]
    conductor = Conductor(jobs, budget, (sys.executable, str(script)), 2, lambda rows: None)
    conductor.run()
    return {name: {k: row["status"] for k, row in of.items()} for name, of in conductor.rows.items()
            }, conductor  # fmt: skip


def test_a_case_that_fails_takes_no_other_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("benches.cuda.conductor.START", 5)
    found, conductor = conducted(tmp_path, "crash", "sticky", "hang", "well", "alone too")
    assert found["well"] == found["alone too"] == dict.fromkeys(range(3), "passed")
    assert found["crash"] == {0: "passed", 1: "error", 2: "passed"}
    assert "planted crash" in conductor.rows["crash"][1]["reason"]
    assert found["sticky"] == dict.fromkeys(range(3), "error")
    assert found["hang"] == {0: "error", 1: "passed", 2: "passed"}
    assert "no answer" in conductor.rows["hang"][0]["reason"]


def test_one_that_hangs_alone_is_ended(tmp_path):
    found, _ = conducted(tmp_path, "alone", "alone too")
    assert found["alone"] == {0: "passed", 1: "error"}
    assert found["alone too"] == dict.fromkeys(range(3), "passed")


def test_what_the_budget_does_not_allow_is_left_out(tmp_path):
    begin = time.monotonic()
    found, conductor = conducted(tmp_path, "hang", "alone too", budget=3.0, patience=40)
    assert found["hang"] == {}
    assert time.monotonic() - begin < 10
    assert all(process.process.poll() is not None for process in conductor.running)


# ---------------------------------------------------------------- the report


def check(error, bar):
    return {"error": error, "bar": bar, "where": "y"}


def timed(ours, theirs):
    return {"seconds": {GRAPHS: [3.0 * ours] * 3, PERSISTENT: [ours] * 3, peers.EAGER: theirs},
            "calls": {}}  # fmt: skip


def made_up():
    shape = {"shape": (100, 64, 256, 256), "precision": "bfloat16"}
    jobs = [
        Job("facts", "machine", "machine", ({"what": "copy"}, {"what": "exchange"})),
        Job("held", "validate", "validate", ({"k": 0}, {"k": 1}, {"k": 2}, {"k": 3})),
        Job("times", "measure", "measure", (shape, {**shape, "precision": "tf32"}, {**shape})),
        Job("article", "measure", "article", ({"precision": "float32"},)),
    ]
    row = {"differences": {}, "bar": 1.0, "notes": {}, "status": "measured"}
    fast, slow = timed(1e-3, [1e-3, 3e-3, 4e-3]), timed(2e-3, [2e-3, 3e-3, 4e-3])
    step = {"seconds": {"lstmfast": [1.0] * 3, peers.EAGER: [1.1] * 3}, "calls": {}}
    rows = {
        "facts": {0: {"status": "measured", "ceiling": {"name": "copy", "bytes/s": 3e12}},
                  1: {"status": "measured", "ceiling": {"name": "exchange", "seconds": 1e-6}}},
        "held": {0: {"status": "passed", "kernels": ["cells", "copy"],
                     "forward": check(1e-7, 2e-6)},
                 1: {"status": "failed", "kernels": ["cells"], "forward": check(3e-3, 2e-6)},
                 2: {"status": "error", "reason": "CudaError: planted"}},
        "times": {0: {**row, "forward": fast, "training": fast},
                  1: {**row, "forward": slow, "training": slow}},
        "article": {0: {**row, "training": step, "differences": {"lstmfast": 1e-5}}},
    }  # fmt: skip
    about = {"date": "2026-01-02", "commit": "abc", "seed": 5, "seconds": 61.0, "budget": 460.0}
    return report.results(jobs, rows, about)


def lines_with(text, *words):
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_the_report_says_what_held_and_what_did_not(tmp_path):
    report.write(made_up(), tmp_path / "cuda.md")
    text = (tmp_path / "cuda.md").read_text()
    assert json.loads((tmp_path / "cuda.json").read_text())["jobs"][1]["cases"][3]["row"] is None
    assert "commit abc, seed 5, 61 of 460 s" in text and "measured, copy: 3.00 Tbytes/s" in text
    assert lines_with(text, "| cells | 2 | 1 | 0.003 | 2e-06 | y |")
    assert lines_with(text, "| copy | 1 | 1 | 1e-07 |")
    assert lines_with(text, "- held: k 1: failed: y 0.003 > 2e-06")
    assert lines_with(text, "- held: k 2: error: CudaError: planted")
    assert lines_with(text, "- held: 1 cases: k 3")
    assert lines_with(text, "- times: 1 cases", "100·64·256·256")


def test_the_report_compares_with_bars(tmp_path):
    text = report.markdown(made_up())
    (fast,) = lines_with(text.split("### Forward\n")[0], "| bfloat16 |")
    assert "| 3000 | 1000 | 3000 |" in fast and "| 198 | exchange |" in fast
    assert "3.00 [1.40-3.80]" in fast and "2.0: met" in fast
    (slow,) = lines_with(text.split("### Forward\n")[0], "| tf32 |")
    assert "1.50 [1.10-1.90]" in slow and "2.0: not met" in slow
    (step,) = lines_with(text, "| float32 |", "1.2")
    assert "1.10 [1.10-1.10]" in step and "1.2: not met" in step


def test_a_failed_comparison_with_torch_is_named():
    row = {"differences": {GRAPHS: float("nan")}, "bar": 0.1, "errors": {PERSISTENT: "planted"}}
    assert report.why(row) == "steps in graphs nan from torch's > 0.1; persistent: planted"


# ---------------------------------------------------------------- the same code, in the simulator

SIMULATED = """
import json, sys
sys.path.append({root!r})
from benches.cuda import calls, child, validate
on_device = calls.of_tests("on_device")
case = {{"array": "float32", "precision": "float32", "path": "steps", "option": "plain",
         "shape": (2, 1, 2, 2), "training": False}}
right = on_device.lstm_forward

def wrong(*arrays, **keywords):
    y, *others = right(*arrays, **keywords)
    y[1, 0, 1] += 1e-5
    return y, *others

def broken(*arrays, **keywords):
    raise RuntimeError("planted")

for by in (right, wrong, broken):
    on_device.lstm_forward = by
    row, failure = child.attempt(validate.run, case, 1)
    print(json.dumps(row or failure))
row, failure = child.attempt(validate.run, {{**case, "path": "persistent"}}, 1)
print(json.dumps(row or failure))
"""


def test_validation_passes_in_the_simulator_and_sees_a_planted_error(environment, tmp_path):
    pytest.importorskip("numba_cuda")
    simulating = environment | {"NUMBA_ENABLE_CUDASIM": "1"}
    told = printed(simulating, SIMULATED.format(root=str(ROOT)), cwd=tmp_path).splitlines()
    passed, planted, broken, persistent = map(json.loads, told[-4:])
    assert passed["status"] == "passed" and passed["poisoned"] and passed["same_bits"]
    assert passed["forward"]["error"] > 0
    assert any("cells forward" in name for name in passed["kernels"])
    assert planted["status"] == "failed" and planted["forward"]["where"] == "y"
    assert broken["status"] == "error" and "planted" in broken["reason"]
    assert persistent["status"] in ("not applicable", "error"), persistent


def test_a_case_that_does_not_apply_is_no_error():
    def nothing():
        raise calls.NotApplicable("no plan")

    assert child.attempt(nothing) == (None, {"status": "not applicable", "reason": "no plan"})
