"""Validate, stress and measure lstmfast on the GPU of this machine; benches/cuda/README.md.

python -m benches.cuda                      everything, within eight minutes
python -m benches.cuda --quick              the smallest cases, about a minute
python -m benches.cuda --only validate      one section: machine, validate, stress, measure
python -m benches.cuda --list               what would be run; needs no GPU
python -m benches.cuda --code               what every kernel is compiled to; needs no GPU
python -m benches.cuda --pack FILE          compile the kernels of a run; needs no GPU
python -m benches.cuda --packed FILE        run them on a machine that has no compiler of kernels
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benches.cuda import report
from benches.cuda.conductor import ROOT, Conductor
from benches.cuda.jobs import SECTIONS, Job, all_jobs, label
from benches.origin import commit

OUT = ROOT / "benches" / "results" / "cuda.md"
CODE = OUT.with_name("cuda_code.md")
BUDGET, QUICK_BUDGET = 460.0, 100.0  # seconds
AT_ONCE = (os.cpu_count() or 1) * 5 // 4  # processes: some wait for the GPU
EVERY = 5.0  # seconds between files that are written on the way


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, default=OUT, help="FILE.md; FILE.json beside it")
    parser.add_argument("--only", choices=SECTIONS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--budget", type=float, help="seconds of the whole run")
    parser.add_argument("--seed", type=int, help="of random numbers; by default the time")
    parser.add_argument("--commit", help="where the checkout has no .git")
    parser.add_argument("--processes", type=int, default=AT_ONCE, help="side by side")
    parser.add_argument("--resume", type=Path, help="FILE.json: only what is not right in it")
    parser.add_argument("--pack", type=Path, help="write the kernels of these jobs into this file")
    parser.add_argument("--packed", type=Path, help="take all kernels from this file")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--code", action="store_true")
    chosen = parser.parse_args()
    jobs = all_jobs(chosen.quick, chosen.only)
    if chosen.list:
        print(listing(jobs))
    elif chosen.code:
        from benches.cuda import evidence

        out = CODE if chosen.out == OUT else chosen.out
        out.write_text(evidence.markdown(chosen.commit or commit()), encoding="utf-8")
        print(f"wrote {out}")
    elif chosen.pack:
        from benches.cuda.pack import pack

        print(pack(chosen.pack, jobs))
    else:
        if chosen.packed:
            os.environ["LSTMFAST_CUDA_KERNELS"] = str(chosen.packed.resolve())
        require_gpu()
        run(jobs, chosen)


def listing(jobs: list[Job]) -> str:
    """Every case, job by job."""
    lines = [f"{sum(len(job.cases) for job in jobs)} cases in {len(jobs)} jobs"]
    for job in jobs:
        alone = ", nothing beside it" if job.alone else ""
        lines.append(f"{job.name} ({job.section}, {len(job.cases)} cases{alone})")
        lines += [f"    {label(case)}" for case in job.cases]
    return "\n".join(lines)


def require_gpu() -> None:
    """End here, and say why, where lstmfast finds no GPU: in another process, to leave it alone."""
    question = "from lstmfast.cuda.runtime import device; print(device.explain() or '')"
    asked = subprocess.run(
        [sys.executable, "-c", question], cwd=ROOT, capture_output=True, text=True
    )
    reason = asked.stdout.strip() if asked.returncode == 0 else asked.stderr.strip()
    if reason:
        sys.exit(f"nothing can be run: {reason}\nsee --list and --code")


def run(jobs: list[Job], chosen: Any) -> None:
    seed = int(time.time()) if chosen.seed is None else chosen.seed
    budget = chosen.budget or (QUICK_BUDGET if chosen.quick else BUDGET)
    begin, written = time.monotonic(), 0.0
    about = {"date": time.strftime("%F %H:%M UTC", time.gmtime()), "seed": seed,
             "commit": chosen.commit or commit(), "budget": budget}  # fmt: skip
    print(f"seed {seed}, budget {budget:.0f} s, {chosen.processes} processes", flush=True)

    def save(rows: Any, at_last: bool = False) -> None:
        nonlocal written
        now = time.monotonic()
        if at_last or now - written >= EVERY:
            about["seconds"], written = now - begin, now
            report.write(report.results(jobs, rows, about), chosen.out)

    child = (sys.executable, "-m", "benches.cuda.child", "--seed", str(seed))
    child += ("--quick",) * chosen.quick
    known = report.known(jobs, chosen.resume, about["commit"]) if chosen.resume else {}
    conductor = Conductor(jobs, budget, child, chosen.processes, save, known)
    conductor.run()
    save(conductor.rows, at_last=True)
    found = report.results(jobs, conductor.rows, about)
    entries = [{"job": job["name"], **entry} for job in found["jobs"] for entry in job["cases"]]
    print(report.outcome(entries))
    print(report.failures([entry for entry in entries if entry["row"]]))
    print(f"wrote {chosen.out} in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
