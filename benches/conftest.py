"""Options and fixtures of the benches."""

import os
import platform

import pytest

import lstmfast
from benches.measure import Team
from benches.peers import OURS, THEIRS

THREADS = tuple(n for n in (1, 2) if n <= len(os.sched_getaffinity(0)))


def pytest_addoption(parser):
    text = "libraries beside lstmfast, joined by commas, each of which must start; by default all"
    parser.addoption("--peers", help=f"{text} that are installed of {', '.join(THEIRS)}")


@pytest.fixture(scope="session", params=THREADS, ids=lambda n: f"{n}thread")
def team(request):
    """All libraries at this number of threads."""
    wanted = request.config.getoption("--peers")
    names = THEIRS if wanted is None else tuple(filter(None, wanted.split(",")))
    assert set(names) <= set(THEIRS), f"--peers: expected names of {THEIRS}, got {names}"
    team = Team((OURS, *names), request.param)
    started = {worker.peer for worker in team.workers()}
    missing = {name: str(team.members[name]) for name in team.members if name not in started}
    if OURS in missing or (wanted and missing):
        team.close()
        pytest.fail(f"not started: {missing}")
    yield team
    team.close()


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["processors"] = len(os.sched_getaffinity(0))
    machine_info["libc"] = " ".join(platform.libc_ver())
    machine_info["lstmfast"] = lstmfast.show_config()
