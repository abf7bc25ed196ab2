"""torchrl: LSTMModule, step by step in a rollout and over trajectories that begin anew inside."""

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import nn
from torchrl.modules import LSTMModule, set_recurrent_mode

WHAT = "LSTMModule in recurrent mode over trajectories split by is_init, then step by step"
USUAL = "training: 64 → 128, 4 trajectories of 50 steps; its tutorial on recurrent DQN"


def batch(B, T, features, units, layers):
    start = torch.rand(B, T, 1) < 0.25
    start[:, 0] = True
    states = {f"rs_{k}": torch.zeros(B, T, layers, units) for k in "hc"}
    return TensorDict(
        {"observation": torch.randn(B, T, features), "is_init": start, **states}, [B, T]
    )


def run(trial):
    sizes = B, _, features, units, layers = trial.size((3, 9, 4, 14, 2), (4, 50, 64, 128, 1))
    lstm = LSTMModule(
        features, units, layers, in_keys=["observation", "rs_h", "rs_c"],
        out_keys=["features", ("next", "rs_h"), ("next", "rs_c")],
    )  # fmt: skip
    head = TensorDictModule(nn.Linear(units, 1), ["features"], ["value"])
    model = trial.model(TensorDictSequential(lstm, head))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = batch(*sizes)
    target = data["observation"].cumsum(1).sum(-1, keepdim=True).tanh()
    for _ in range(trial.size(12, 30)):
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
            start = torch.full((B, 1), t == 0)
            one = model(one.set("observation", data["observation"][:, t]).set("is_init", start))
            trial.output(one["value"], one["next", "rs_c"])
            one = one.select("observation").update(one["next"].select("rs_h", "rs_c"))
