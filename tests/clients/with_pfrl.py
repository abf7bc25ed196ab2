"""pfrl: a recurrent DQN, episodes packed by its replay buffer."""

import gymnasium
import numpy as np
import pfrl
import torch
from torch import nn

WHAT = "DQN(recurrent=True), episodic replay of packed sequences; acting step by step"
USUAL = "acting and learning: 512 → 512, 10 steps of 32 episodes; its example on Atari games"


def network(features, units, layers):
    return pfrl.nn.RecurrentSequential(
        nn.Linear(4, features), nn.ReLU(), nn.LSTM(features, units, layers), nn.Linear(units, 2),
        pfrl.q_functions.DiscreteActionValueHead(),
    )  # fmt: skip


def run(trial):
    model = trial.model(network(*trial.size((16, 20, 2), (512, 512, 1))))
    agent = pfrl.agents.DQN(
        model, torch.optim.Adam(model.parameters(), 0.003),
        pfrl.replay_buffers.EpisodicReplayBuffer(1000), gamma=0.95,
        explorer=pfrl.explorers.ConstantEpsilonGreedy(0.3, lambda: np.random.randint(2)),
        replay_start_size=trial.size(20, 32), target_update_interval=trial.size(30, 32),
        minibatch_size=trial.size(4, 32),
        recurrent=True, episodic_update_len=trial.size(8, 10),
        update_interval=trial.size(3, 4), phi=lambda x: x.astype("float32"),
    )  # fmt: skip
    world, noted = gymnasium.make("CartPole-v1"), 0
    for episode in range(trial.size(8, 34)):
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
