"""tianshou: its Recurrent network, fitted to returns as a value network is."""

import torch
from tianshou.utils.net.common import Recurrent

WHAT = "Recurrent, states in a Batch: training on sequences, then step by step"
USUAL = "training: 2 × 128 units, 4 steps, B=128; the sizes of its recurrent DQN on CartPole"


def run(trial):
    net = trial.model(
        Recurrent(
            layer_num=2, state_shape=4, action_shape=3, **trial.size({"hidden_layer_size": 20}, {})
        )
    )
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.003)
    seen, state = torch.randn(*trial.size((10, 8), (128, 4)), 4), None
    target = seen.mean(1)[:, :3]
    for _ in range(trial.size(12, 60)):
        made, state = net(seen.numpy(), state)
        loss = (made - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.step(loss)
    net.eval()
    state = None
    with torch.no_grad():
        for t in range(trial.size(5, 4)):
            made, state = net(seen[:, t], state)
            trial.output(made, state["cell"])
