"""The clients' harness notices what it is there for."""

import harness
import numpy as np
import pytest
import torch
from torch import nn

import lstmfast.torch


class Client:
    """A client in an object: it fits a line, in a dtype of its own."""

    WHAT = "test"

    def __init__(self, dtype=torch.float32):
        self.dtype = dtype

    def run(self, trial):
        model = nn.LSTM(2, 3).to(self.dtype)
        trial.model(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(5, 4, 2, dtype=self.dtype)
        for _ in range(4):
            loss = (model(x)[0] - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trial.step(loss)
        trial.output(model.eval()(x)[0].float())


def compared(client, monkeypatch):
    monkeypatch.setattr(harness, "import_module", lambda name: client)
    return harness.compare("test")


def test_who_took_the_calls_is_counted(monkeypatch):
    row = compared(Client(), monkeypatch)
    assert (row.ours, row.fallen_back, row.reasons, row.faults) == (5, 0, {}, [])


def test_a_client_whose_calls_all_fall_back_is_a_fault(monkeypatch):
    row = compared(Client(torch.float16), monkeypatch)
    assert (row.ours, row.fallen_back) == (0, 5)
    assert row.reasons == {"a tensor of torch.float16": 5}
    assert "did nothing" in row.faults[0]


def test_other_numbers_are_a_fault(monkeypatch):
    forward = lstmfast.torch.LSTM.forward

    def a_little_off(self, input, hx=None):
        y, state = forward(self, input, hx)
        return y * (1 + 1e-4), state

    monkeypatch.setattr(lstmfast.torch.LSTM, "forward", a_little_off)
    row = compared(Client(), monkeypatch)
    assert row.losses_apart > harness.BAR
    assert any("further from float64's" in fault for fault in row.faults)


@pytest.mark.parametrize("kind", ["padded", "first", "packed", "alone", "stated"])
def test_the_reference_in_float64_is_torchs(kind):
    torch.manual_seed(0)
    plain, x = (
        nn.LSTM(3, 4, 2, bidirectional=True, batch_first=kind == "first"),
        torch.randn(6, 5, 3),
    )
    given = (x,)
    if kind == "packed":
        given = (nn.utils.rnn.pack_padded_sequence(x, [2, 6, 1, 3, 6], enforce_sorted=False),)
    elif kind == "alone":
        given = (x[:, 0],)
    elif kind == "stated":
        given = (x, (torch.randn(4, 5, 4), torch.randn(4, 5, 4)))
    y, state = plain(*given)
    plain.__class__ = harness.WideLSTM
    wide, wide_state = plain(*given)
    if kind == "packed":
        y, wide = y.data, wide.data
    for one, other in zip((y, *state), (wide, *wide_state), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-6)  # measured: 1e-7


def test_the_reference_cell_in_float64_is_torchs():
    torch.manual_seed(0)
    for given in (
        (torch.randn(3, 2),),
        (torch.randn(3, 2), (torch.randn(3, 4), torch.randn(3, 4))),
    ):
        cell = nn.LSTMCell(2, 4)
        states = cell(*given)
        cell.__class__ = harness.WideLSTMCell
        for one, other in zip(states, cell(*given), strict=True):
            np.testing.assert_allclose(one.detach(), other.detach(), atol=1e-6)
