"""A process that does the cases of one job: a line of JSON on stdout for each.

    python -m benches.cuda.child JOB --seed 1 [--quick] [--skip 0,3]

Rows go out as soon as they are known. Where the job runs alone, every case is prepared first, and
is then done when its number comes in on stdin.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from benches.cuda import calls, standins
from benches.cuda.jobs import Job, all_jobs, module_of

POISONED = 3  # exit status: CUDA in this process is of no more use

_out = sys.stdout


def say(**found: Any) -> None:
    print(json.dumps(found), file=_out, flush=True)


def attempt(work: Callable[..., Any], *arguments: Any) -> tuple[Any, dict[str, Any] | None]:
    """Return (result, None), or (None, a row that tells the error)."""
    try:
        return work(*arguments), None
    except calls.NotApplicable as reason:
        return None, {"status": "not applicable", "reason": str(reason)}
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        return None, {"status": "error", "reason": f"{type(error).__name__}: {error} ({where})"}


def do(job: Job, skip: set[int], seed: int) -> None:
    """Do a job's cases one after the other."""
    run = module_of(job).run
    for k, case in enumerate(job.cases):
        if k not in skip:
            start = time.perf_counter()
            row, failure = attempt(run, case, seed + k)
            report(k, failure or row, start)


def do_alone(job: Job, skip: set[int], seed: int) -> None:
    """Prepare all cases, then do those whose numbers are asked for."""
    prepare, works, start = module_of(job).prepare, {}, time.perf_counter()
    for k, case in enumerate(job.cases):
        if k in skip:
            continue
        works[k], failure = attempt(prepare, case, seed + k)
        if failure:
            del works[k]
            report(k, failure, start)
        else:
            say(prepared=k)
    say(ready=True)
    for line in sys.stdin:
        k, start = int(line), time.perf_counter()
        row, failure = attempt(works[k])
        report(k, failure or row, start)


def report(k: int, row: dict[str, Any], start: float) -> None:
    """Tell a row; end the process if the GPU no longer answers it."""
    seconds = round(time.perf_counter() - start, 2)
    say(case=k, row={"status": "measured", **row, "took": seconds})
    if row.get("status") == "error" and not calls.healthy():
        sys.exit(POISONED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--skip", default="", help="numbers of cases, joined by commas")
    parser.add_argument("--seed", type=int, required=True)
    found = parser.parse_args()
    job = {job.name: job for job in all_jobs(found.quick)}[found.job]
    skip = {int(k) for k in found.skip.split(",") if k}
    (do_alone if job.alone else do)(job, skip, found.seed)


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what libraries print must not stand between the rows
    if os.environ.get("LSTMFAST_CUDA_KERNELS"):
        standins.install()  # nothing can be compiled here, and nothing needs to be
    main()
