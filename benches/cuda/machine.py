"""The GPU and what it can do: facts, then ceilings that floors are taken from."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from benches.cuda import calls
from benches.cuda.jobs import Case, Job

COPY = 1 << 30  # bytes, some twenty times L2
SIZE = {"float32": 4096, "tf32": 8192, "bfloat16": 8192, "float16": 8192}  # of square matrices
LAUNCHES, REPLAYED, EXCHANGES = 2000, 1000, 20_000
ROUNDS = 7


def jobs(quick: bool) -> list[Job]:
    ceilings = [{"what": "copy"}, *({"what": "product", "precision": p} for p in SIZE),
                {"what": "launch"}, {"what": "graph"}, {"what": "exchange"}]  # fmt: skip
    return [Job("machine facts", "machine", "machine", ({"what": "facts"},)),
            Job("machine ceilings", "machine", "machine", tuple(ceilings), alone=True)]  # fmt: skip


def run(case: Case, seed: int) -> dict[str, Any]:
    from cuda.core import Device

    gpu = Device()
    gpu.set_current()
    known = gpu.properties
    facts = {
        "name": gpu.name,
        "capability": ".".join(map(str, gpu.compute_capability)),
        "multiprocessors": known.multiprocessor_count,
        "shared memory of a block, at most": known.max_shared_memory_per_block_optin,
        "L2": known.l2_cache_size,
        "memory": memory(),
        "clock, kHz at most": known.clock_rate,
        "python": platform.python_version(),
    }
    return {"facts": facts | driver() | versions(), "status": "measured"}


def memory() -> int:
    from cuda.bindings import driver

    _, _, total = driver.cuMemGetInfo()
    return int(total)


def driver() -> dict[str, str]:
    from cuda.bindings import driver

    _, version = driver.cuDriverGetVersion()
    return {"driver, CUDA": f"{version // 1000}.{version % 1000 // 10}"}


def versions() -> dict[str, str]:
    """Versions of what takes part, as installed; cuDNN as torch has it."""
    from importlib import metadata

    names = ("lstmfast", "numpy", "numba", "numba-cuda", "cuda-core", "cuda-bindings",
             "nvidia-nvjitlink", "nvidia-nvvm", "nvidia-cublas", "torch")  # fmt: skip
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    try:
        import torch

        found["torch"], found["cuDNN"] = torch.__version__, str(torch.backends.cudnn.version())
    except ImportError:
        pass
    return found


# ---------------------------------------------------------------- ceilings


def prepare(case: Case, seed: int) -> Any:
    """Compile, allocate and run once what a ceiling takes."""
    work, finish = CEILINGS[case["what"]](case, seed)
    work()

    def measure() -> dict[str, Any]:
        return {"ceiling": finish(float(np.median([seconds(work) for _ in range(ROUNDS)])))}

    return measure


def rehearse(case: Case, seed: int) -> None:
    """Launch what a case launches."""
    if case["what"] in ("launch", "graph", "exchange"):
        prepare(case, seed)


def seconds(work: Any) -> float:
    start, end = calls.event(), calls.event()
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(end.seconds_since(start))


def copying(case: Case, seed: int) -> Any:
    """Bytes per second of a copy within the GPU's memory: each is read and written."""
    from cuda.bindings import driver

    from lstmfast.cuda.runtime.array import empty, zeros

    source, target = zeros(COPY, np.uint8), empty(COPY, np.uint8)

    def work() -> None:
        driver.cuMemcpyDtoDAsync(target.address, source.address, COPY, 1)  # the default stream

    return work, lambda taken: {"name": "copy", "bytes/s": 2 * COPY / taken}


def products(case: Case, seed: int) -> Any:
    """Operations per second of a large product, on random numbers."""
    from lstmfast.cuda.runtime.array import empty
    from lstmfast.cuda.runtime.products import product

    precision, n = case["precision"], SIZE[case["precision"]]
    kind = calls.dtype_of("float32" if precision == "tf32" else precision)
    rng = np.random.default_rng(seed)
    a, b = (calls.put(rng.standard_normal((n, n), np.float32).astype(kind)) for _ in range(2))
    out = empty((n, n), np.float32)

    def work() -> None:
        product(out, a, b, precision=precision)

    return work, lambda taken: {"name": precision, "operations/s": 2 * n**3 / taken}


def launching(case: Case, seed: int) -> Any:
    """Seconds of the host for one launch of an empty kernel."""
    from benches.cuda.idle import make_empty

    kernel = make_empty()

    def work() -> None:
        for _ in range(LAUNCHES):
            kernel.launch(None, 1)

    return work, lambda taken: {"name": "launch", "seconds": taken / LAUNCHES}


def replaying(case: Case, seed: int) -> Any:
    """Seconds of one empty kernel in a graph of many, one after the other."""
    from benches.cuda.idle import make_empty
    from lstmfast.cuda.runtime import graphs

    kernel = make_empty()

    def launch_all(stream: Any) -> None:
        for _ in range(REPLAYED):
            kernel.launch(stream, 1)

    def work() -> None:
        graphs.replay(("benches.cuda", REPLAYED), launch_all)

    work()  # the second time captures
    return work, lambda taken: {"name": "graph", "seconds": taken / REPLAYED}


def exchanging(case: Case, seed: int) -> Any:
    """Seconds of one exchange: every block tells all others, and waits until all have told."""
    from benches.cuda.idle import make_exchanges
    from lstmfast.cuda.runtime import device
    from lstmfast.cuda.runtime.array import clear, empty

    blocks, kernel = device.sm_count(), make_exchanges()
    flags, slots, errors = (empty(n, np.uint32) for n in (64, 2 * blocks, blocks))

    def work() -> None:
        for array in (flags, errors, slots):
            clear(array)
        kernel.launch(None, blocks, flags, slots, errors, EXCHANGES)

    def finish(taken: float) -> dict[str, Any]:
        wrong = int(errors.copy_to_host().sum())
        if wrong:
            raise AssertionError(f"exchange: expected every block's word, {wrong} were missed")
        return {"name": "exchange", "seconds": taken / EXCHANGES, "blocks": blocks}

    return work, finish


CEILINGS = {"copy": copying, "product": products, "launch": launching, "graph": replaying,
            "exchange": exchanging}  # fmt: skip
