"""The clients' clock: who takes turns, what is left out, what is refused."""

import harness
import pytest
import timed
import torch
from test_harness import Client
from torch import nn

import lstmfast.torch


class Clock:
    """A client's steps take what the client says."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(timed.time, "perf_counter", lambda: self.now)

    def passes(self, seconds):
        self.now += seconds


def test_tests_take_small_sizes_and_the_clock_the_usual_ones():
    assert harness.Trial("torch").size(1, 2) == 1
    assert timed.TimedTrial("torch").size(1, 2) == 2


def test_a_run_is_the_mean_of_its_models_medians_without_the_first_steps(monkeypatch):
    clock = Clock(monkeypatch)
    trial = timed.TimedTrial("lstmfast")
    for steps in ((50, 60, 1, 2, 3, 4), (90, 8, 10)):
        clock.passes(1000)
        trial.model(nn.LSTM(2, 3))
        for seconds in steps:
            clock.passes(seconds)
            trial.step(0.0)
        clock.passes(7)
        trial.output(0.0)
    assert trial.result() == timed.Run(step=(2.5 + 9) / 2, evaluation=14)


@pytest.mark.parametrize("kind", ["torch", "lstmfast"])
def test_only_one_side_is_accelerated_and_dropout_stays(kind):
    model = nn.LSTM(2, 3, 2, dropout=0.5)
    timed.TimedTrial(kind).model(model)
    assert type(model) is (lstmfast.torch.LSTM if kind == "lstmfast" else nn.LSTM)
    assert model.dropout == 0.5


def test_what_swaps_nothing_or_has_few_steps_is_refused():
    trial = timed.TimedTrial("lstmfast")
    trial.model(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="expected 3 steps"):
        trial.result()
    for _ in range(3):
        trial.step(0.0)
    with pytest.raises(ValueError, match="no module was swapped"):
        trial.result()


def test_turns_are_turned_round(monkeypatch):
    seen = []

    def run(client, kind):
        seen.append(kind)
        return timed.Run(*((4.0, 9.0) if kind == "torch" else (2.0, 3.0)))

    monkeypatch.setattr(timed, "timed", run)
    pairs = timed.by_turns(None, 0.0)
    assert len(pairs) == timed.LEAST_PAIRS
    assert seen[:4] == ["torch", "lstmfast", "lstmfast", "torch"]
    found = timed.figures(pairs)
    assert (found.steps, found.times, found.spread) == ((4e3, 2e3), 2, (2, 2))
    assert (found.evaluation, found.evaluation_times) == ((9e3, 3e3), 3)


def test_each_number_of_threads_has_its_figures(monkeypatch):
    client = Client()
    client.USUAL = "usual"
    monkeypatch.setattr(timed, "import_module", lambda name: client)
    before = torch.get_num_threads()
    try:
        row = timed.measure("test", [2, 1], 0.0)
    finally:
        torch.set_num_threads(before)
    assert [of.threads for of in row.figures] == [2, 1]
    assert row.faults == [] and row.usual == "usual"
    assert all(min(of.steps) > 0 for of in row.figures)
