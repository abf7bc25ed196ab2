"""sb3-contrib: RecurrentPPO, rollouts one step at a time and training on padded episodes."""

import gymnasium
import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.logger import KVWriter, Logger

WHAT = "RecurrentPPO.learn on CartPole, actor's and critic's LSTMs; predict with states"
USUAL = "RecurrentPPO.learn: 256 units, 128 steps of a world, then 10 epochs in batches of 128"


class Losses(KVWriter):
    def __init__(self, trial):
        self.trial = trial

    def write(self, values, excluded, step=0):
        if "train/loss" in values:
            self.trial.step(values["train/loss"])
            self.trial.output(values["train/value_loss"], values["train/entropy_loss"])

    def close(self):
        pass


def run(trial):
    policy = {"lstm_hidden_size": 24, "n_lstm_layers": 2}
    small = {"n_steps": 48, "batch_size": 24, "n_epochs": 2, "policy_kwargs": policy}
    model = RecurrentPPO(
        "MlpLstmPolicy", gymnasium.make("CartPole-v1"), seed=3, device="cpu",
        **trial.size(small, {}),
    )  # fmt: skip
    trial.model(model.policy)
    model.set_logger(Logger(None, [Losses(trial)]))
    model.learn(trial.size(48 * 7, 128 * 4))
    state, start, seen = None, np.ones(1, bool), np.linspace(-0.1, 0.1, 4)[None].astype("float32")
    for _ in range(5):
        action, state = model.predict(seen, state, start, deterministic=True)
        start = np.zeros(1, bool)
        trial.output(action, *state)
