"""Reinforcement learning where what is seen does not tell enough: with a memory, and without one.

    pip install gymnasium
    python -m lstmfast.examples.reinforce
    python -m lstmfast.examples.reinforce --task recall

`cartpole` is gymnasium's CartPole without the velocities: the pole's angle and the cart's place
alone do not say where they are going. `recall` shows a sign, then nothing for some steps, then asks
which it was. Both are learnt by PPO (see `ppo`), once with an LSTM and once with a dense layer in
its place, which cannot do it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast

from .picture import drawn
from .ppo import Agent, Environments, Settings, train

__all__ = ["CartPole", "Recall", "evaluate", "main"]

Array = np.ndarray[Any, np.dtype[Any]]

SIGNS, DELAY = 4, 20
UNITS = 64
BOUNDS = np.array([2.4, 0.2095])  # of the cart's place and the pole's angle


class CartPole:
    """CartPole-v1 of gymnasium, of which the velocities are not seen: 500 is the best return."""

    observation_size, actions = 2, 2

    def __init__(self, rows: int):
        import gymnasium

        self.num_envs = rows
        self.made = gymnasium.make_vec(
            "CartPole-v1", num_envs=rows, vectorization_mode="vector_entry_point"
        )

    def reset(self, seed: int) -> Array:
        return self._seen(self.made.reset(seed=seed)[0])

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        x, rewards, terminated, cut, _ = self.made.step(actions)
        return self._seen(x), rewards, terminated, cut

    def _seen(self, x: Array) -> Array:
        return np.ascontiguousarray(x[:, [0, 2]] / BOUNDS, np.float32)


class Recall:
    """One of four signs is shown, then nothing; asked at the end, 1 for the right one, else 0."""

    observation_size, actions = SIGNS + 1, SIGNS

    def __init__(self, rows: int, delay: int = DELAY):
        self.num_envs, self.delay = rows, delay

    def reset(self, seed: int) -> Array:
        self.rng = np.random.default_rng(seed)
        self.time = np.zeros(self.num_envs, int)
        self.sign = self.rng.integers(SIGNS, size=self.num_envs)
        return self._seen()

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        asked, over = self.time == self.delay, self.time > self.delay
        rewards = (asked & (actions == self.sign)).astype(float)
        self.time = np.where(over, 0, self.time + 1)
        self.sign = np.where(over, self.rng.integers(SIGNS, size=self.num_envs), self.sign)
        return self._seen(), rewards, asked, np.zeros_like(asked)

    def _seen(self) -> Array:
        x = np.zeros((self.num_envs, SIGNS + 1), np.float32)
        rows = np.arange(self.num_envs)
        x[rows, self.sign] = self.time == 0
        x[:, SIGNS] = self.time == self.delay
        return x


TASKS: dict[str, tuple[Callable[[int], Environments], int, Settings]] = {
    "cartpole": (CartPole, 200_000, Settings()),
    "recall": (Recall, 60_000, Settings(steps=44, entropy=0.01)),
}
ROWS = 16


def evaluate(make: Callable[[int], Environments], agent: Agent, episodes: int, seed: int) -> float:
    """Return the mean return of episodes in which the agent does what it thinks best."""
    environments = make(episodes)
    x, state = environments.reset(seed), agent.start(episodes)
    begins, goes_on = np.ones(episodes, bool), np.ones(episodes, bool)
    sums = np.zeros(episodes)
    while goes_on.any():
        logits, _, state = agent(x[:, None], state, begins[:, None])
        x, rewards, terminated, cut = environments.step(logits[:, 0].argmax(axis=1))
        sums += np.where(goes_on, rewards, 0.0)
        goes_on &= ~(terminated | cut)
        begins = np.zeros(episodes, bool)
    return float(sums.mean())


def run(task: str, memory: bool, arguments: argparse.Namespace) -> list[tuple[int, float]]:
    """Train one agent, print how it fares, and return its learning curve."""
    make, steps, settings = TASKS[task]
    steps = arguments.steps or steps
    environments = make(ROWS)
    agent = Agent(
        environments.observation_size, environments.actions, UNITS, memory, arguments.seed
    )
    begin, curve = time.perf_counter(), []
    for done, mean in train(environments, agent, steps, settings, arguments.seed):
        curve.append((done, mean))
        if arguments.verbose:
            print(f"{done} steps: {mean:.1f}", flush=True)
    taken = time.perf_counter() - begin
    found = evaluate(make, agent, 100, arguments.seed + 1)
    name = "an LSTM" if memory else "no memory"
    print(f"{task}, {name}: mean return {found:.2f} after {done} steps, {taken:.0f} s", flush=True)
    return curve


def paint(curves: dict[str, list[tuple[int, float]]]) -> Callable[..., None]:
    """Return what draws the learning curves."""

    def painted(axes: Any) -> None:
        for label, curve in curves.items():
            axes.plot(*np.array(curve).T, label=label)
        axes.set(xlabel="steps", ylabel="mean return of the last 100 episodes")
        axes.legend()

    return painted


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m lstmfast.examples.reinforce",
        description="Learn by PPO with an LSTM and without one.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    option = made.add_argument
    option("--task", choices=tuple(TASKS), default="cartpole")
    option("--steps", type=int, default=0, help="of all environments together; 0: the task's own")
    option("--quick", action="store_true", help="a twentieth of the steps, which is too few")
    option("--seed", type=int, default=0, help="of weights, environments and actions")
    option("--verbose", action="store_true", help="print the mean return of every batch")
    option("--threads", type=int, default=0, help="0: as many as cores")
    option("--out", type=Path, default=Path("reinforce"), help="folder for the picture")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    made = parser()
    arguments = made.parse_args(argv)
    if arguments.threads:
        lstmfast.set_num_threads(arguments.threads)
    if arguments.quick:
        arguments.steps = TASKS[arguments.task][1] // 20
    try:
        curves = {
            "LSTM": run(arguments.task, True, arguments),
            "no memory": run(arguments.task, False, arguments),
        }
    except ImportError as error:
        made.error(f"{error} (pip install gymnasium)")
    print(drawn(arguments.out / f"{arguments.task}.png", paint(curves)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
