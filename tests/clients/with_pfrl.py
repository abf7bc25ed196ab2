"""pfrl: a recurrent DQN, episodes packed by its replay buffer."""

import gymnasium
import numpy as np
import pfrl
import torch
from torch import nn

WHAT = "DQN(recurrent=True), episodic replay of packed sequences; acting step by step"


def network():
    return pfrl.nn.RecurrentSequential(
        nn.Linear(4, 16), nn.ReLU(), nn.LSTM(16, 20, 2), nn.Linear(20, 2),
        pfrl.q_functions.DiscreteActionValueHead(),
    )  # fmt: skip


def run(trial):
    model = trial.model(network())
    agent = pfrl.agents.DQN(
        model, torch.optim.Adam(model.parameters(), 0.003),
        pfrl.replay_buffers.EpisodicReplayBuffer(1000), gamma=0.95,
        explorer=pfrl.explorers.ConstantEpsilonGreedy(0.3, lambda: np.random.randint(2)),
        replay_start_size=20, target_update_interval=30, minibatch_size=4, recurrent=True,
        episodic_update_len=8, update_interval=3, phi=lambda x: x.astype("float32"),
    )  # fmt: skip
    world, noted = gymnasium.make("CartPole-v1"), 0
    for episode in range(8):
        seen, ended = world.reset(seed=episode)[0], False
        while not ended:
            seen, reward, done, cut, _ = world.step(agent.act(seen))
            ended = done or cut
            agent.observe(seen, reward, done, ended)
            if agent.loss_record and len(agent.loss_record) > noted:
                noted = len(agent.loss_record)
                trial.step(agent.loss_record[-1])
    with agent.eval_mode():
        for _ in range(4):
            trial.output(agent.act(seen))
    trial.output(*model.parameters())
