"""torchrl: LSTMModule, step by step in a rollout and over trajectories that begin anew inside."""

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import LSTMModule, set_recurrent_mode

WHAT = "LSTMModule in recurrent mode over trajectories split by is_init, then step by step"
B, T, UNITS, LAYERS = 3, 9, 14, 2


def batch():
    start = torch.rand(B, T, 1) < 0.25
    start[:, 0] = True
    states = {f"rs_{k}": torch.zeros(B, T, LAYERS, UNITS) for k in "hc"}
    return TensorDict({"observation": torch.randn(B, T, 4), "is_init": start, **states}, [B, T])


def run(trial):
    lstm = LSTMModule(
        4, UNITS, LAYERS, in_keys=["observation", "rs_h", "rs_c"],
        out_keys=["features", ("next", "rs_h"), ("next", "rs_c")],
    )  # fmt: skip
    head = TensorDictModule(nn.Linear(UNITS, 1), ["features"], ["value"])
    model = trial.model(TensorDictSequential(lstm, head))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = batch()
    target = data["observation"].cumsum(1).sum(-1, keepdim=True).tanh()
    for _ in range(12):
        with set_recurrent_mode(True):
            loss = (model(data.clone())["value"] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    one = data[:, 0].clone()
    with torch.no_grad():
        for t in range(4):
            one = model(one.set("observation", data["observation"][:, t]).set("is_init", start(t)))
            trial.output(one["value"], one["next", "rs_c"])
            one = one.select("observation").update(one["next"].select("rs_h", "rs_c"))


def start(t):
    return torch.full((B, 1), t == 0)
