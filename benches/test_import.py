"""Import, first call and installed size of every library, each in fresh processes.

Files lie in the page cache: each library is started once before it is timed. benches/first_call.py
says what is timed. With --benchmark-disable each runs once, and its first result is checked.
"""

import pytest

from benches import fresh
from benches.peers import OURS, THEIRS

TIMES = 5  # processes for each library, in turns
TOLERANCE = 1e-5  # of the norm of the first result, relative; measured 1e-7


def test_import(benchmark, request):
    wanted = request.config.getoption("--peers")
    names = THEIRS if wanted is None else tuple(filter(None, wanted.split(",")))
    found, not_run = {}, {}
    for peer in (OURS, *names):  # the file cache is warm after this
        try:
            found[peer] = [fresh.run("benches.first_call", peer)]
        except fresh.Failed as reason:
            not_run[peer] = str(reason)
    expected = pytest.approx(found[OURS][0]["norm"], rel=TOLERANCE)
    assert all(first["norm"] == expected for (first,) in found.values())

    def others():
        for peer in found:
            if peer != OURS:
                found[peer].append(fresh.run("benches.first_call", peer))

    rounds = 1 if benchmark.disabled else TIMES
    benchmark.pedantic(
        lambda: found[OURS].append(fresh.run("benches.first_call", OURS)),
        setup=None if benchmark.disabled else others,
        rounds=rounds,
        iterations=1,
    )
    rows = [{"peer": peer, **medians(runs[1:])} for peer, runs in found.items() if runs[1:]]
    benchmark.extra_info.update(kind="import", rows=rows, not_run=not_run)


def medians(runs):
    names = (name for name in runs[0] if name != "norm")
    return {name: sorted(run[name] for run in runs)[len(runs) // 2] for name in names}
