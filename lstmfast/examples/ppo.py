"""Proximal policy optimisation with a memory: an LSTM that begins anew inside its sequences.

A batch of experience is a fixed number of steps of some environments; episodes end in the midst of
it. `resets` tells the LSTM where, so that a batch goes through it as it is, forward and backward,
without being cut into episodes and padded.

Sources: Schulman et al. 2017 (arXiv:1707.06347), with advantages as Schulman et al. 2015
(arXiv:1506.02438) estimate them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ..initializers import Orthogonal
from ..layers import LSTM, Dense
from ..optimizers import Adam

__all__ = ["Agent", "Environments", "Rollout", "Settings", "train"]

Array = np.ndarray[Any, np.dtype[Any]]


class Environments(Protocol):
    """Some environments that go on side by side, as gymnasium's vector environments do.

    The step after an episode's last one begins the next: its action counts for nothing.
    """

    num_envs: int
    observation_size: int
    actions: int

    def reset(self, seed: int) -> Array:
        """Return the first observations (N, O)."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array]:
        """Return observations (N, O), rewards (N,), and who has terminated or was cut off (N,)."""


@dataclass
class Settings:
    """How it is trained; a rate or a clip falls to zero in a straight line."""

    steps: int = 64  # of each environment in a batch of experience
    epochs: int = 6  # in which the batch is learnt from
    parts: int = 2  # steps of the optimizer in each: some of the environments
    discount: float = 0.99
    smoothing: float = 0.95  # λ of the advantages
    rate: float = 1e-3
    clip: float = 0.2
    entropy: float = 0.0
    value: float = 0.5


def dense(units: int, activation: str, gain: float, seed: int) -> Dense:
    """Return a layer with orthogonal weights."""
    return Dense(units, activation, kernel_initializer=Orthogonal(gain), seed=seed)


class Agent:
    """A policy and a value of what was seen so far, or with `memory=False` of what is seen now."""

    def __init__(self, observation_size: int, actions: int, units: int, memory: bool, seed: int):
        self.memory = memory
        self.encoder = dense(units, "tanh", 2**0.5, seed)
        self.core: Any = dense(units, "tanh", 2**0.5, seed + 1)
        if memory:
            self.core = LSTM(units, return_sequences=True, return_state=True, seed=seed + 1)
        self.actor = dense(actions, "linear", 0.01, seed + 2)
        self.critic = dense(1, "linear", 1.0, seed + 3)
        self.encoder.build((None, None, observation_size))
        for layer in (self.core, self.actor, self.critic):
            layer.build((None, None, units))
        self.units = units
        self.layers = [self.encoder, self.core, self.actor, self.critic]

    def start(self, rows: int) -> tuple[Array, Array]:
        """Return h and c before the first step."""
        return np.zeros((rows, self.units), np.float32), np.zeros((rows, self.units), np.float32)

    def __call__(self, x: Array, state: Any, resets: Array, training: bool = False) -> Any:
        """Return the logits (N, T, A), values (N, T) and the state after observations (N, T, O).

        Parameters
        ----------
        state : (h, c)
            Before the first step.
        resets : bool (N, T)
            Where an episode begins.
        """
        x = self.encoder.forward(x, training)
        if self.memory:
            x, *state = self.core.forward(x, training, tuple(state), resets=resets)
        else:
            x = self.core.forward(x, training)
        return self.actor.forward(x, training), self.critic.forward(x, training)[..., 0], state

    def backward(self, d_logits: Array, d_values: Array) -> list[Array]:
        """Return the gradient of each weight, in the order of `weights`."""
        dx: Any = self.actor.backward(d_logits)
        dx += self.critic.backward(d_values[..., None])
        self.encoder.backward(self.core.backward(dx), need_dx=False)
        return [layer.grads[name] for layer in self.layers for name in layer.params]

    def weights(self) -> list[Array]:
        """Return all weights."""
        return [weight for layer in self.layers for weight in layer.params.values()]


@dataclass
class Rollout:
    """A batch of experience: each (N, T), but for x (N, T, O) and the state before it (N, H)."""

    x: Array
    actions: Array
    logs: Array  # of the probability that the action had
    values: Array
    rewards: Array
    terminated: Array
    ended: Array  # terminated, or cut off
    resets: Array
    state: Any
    idle: Array  # (N,): does the first step only begin an episode?

    @property
    def counts(self) -> Array:
        """Which steps were taken: not those that only begin the next episode."""
        before = np.zeros_like(self.ended)
        before[:, 1:] = self.ended[:, :-1]
        before[:, 0] = self.idle
        return ~before


class Player:
    """Environments that an agent plays on and on, and what it has reached there."""

    def __init__(self, environments: Environments, agent: Agent, seed: int):
        self.environments, self.agent = environments, agent
        self.rng = np.random.default_rng(seed)
        rows = environments.num_envs
        self.x = environments.reset(seed)
        self.state = agent.start(rows)
        self.begins, self.idle = np.ones(rows, bool), np.zeros(rows, bool)
        self.returns: list[float] = []
        self._sums = np.zeros(rows)

    def play(self, steps: int) -> tuple[Rollout, Array]:
        """Return so many steps, and the values (N,) of what is seen after them."""
        first, idle, rows = self.state, self.idle, []
        for _ in range(steps):
            rows.append(self._step())
        columns = [np.stack(parts, axis=1) for parts in zip(*rows, strict=True)]
        _, values, _ = self._look()
        played: Any = (*columns, first, idle)
        return Rollout(*played), values[:, 0]

    def _look(self) -> Any:
        return self.agent(self.x[:, None], self.state, self.begins[:, None])

    def _step(self) -> tuple[Array, ...]:
        x, begins, idle = self.x, self.begins, self.idle
        logits, values, self.state = self._look()
        logs = log_softmax(logits[:, 0])
        noise = self.rng.gumbel(size=logs.shape)
        actions = (logs + noise).argmax(axis=1)
        self.x, rewards, terminated, cut = self.environments.step(actions)
        ended = (terminated | cut) & ~idle
        self._count(rewards, ended, idle)
        self.begins, self.idle = idle, ended
        chosen = np.take_along_axis(logs, actions[:, None], axis=1)[:, 0]
        return x, actions, chosen, values[:, 0], rewards, terminated & ~idle, ended, begins

    def _count(self, rewards: Array, ended: Array, idle: Array) -> None:
        self._sums += np.where(idle, 0.0, rewards)
        self.returns += self._sums[ended].tolist()
        self._sums[ended] = 0.0


def log_softmax(logits: Array) -> Array:
    """Return the logarithms of probabilities."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]


def advantages(rollout: Rollout, after: Array, discount: float, smoothing: float) -> Array:
    """Return how much better than expected each step (N, T) was: the generalized estimate.

    Parameters
    ----------
    after : ndarray (N,)
        The values of what is seen after the last step. A value is a mean of later rewards, of
        which the weights fall by `discount`: of rewards up to 1 it is up to 1.
    """
    found, later = np.zeros_like(rollout.values), np.zeros_like(after)
    rewards = (1.0 - discount) * rollout.rewards
    for t in range(found.shape[1])[::-1]:
        following = rollout.values[:, t + 1] if t + 1 < found.shape[1] else after
        goes_on = np.where(rollout.terminated[:, t], 0.0, discount)
        surprise = rewards[:, t] + goes_on * following - rollout.values[:, t]
        later = surprise + np.where(rollout.ended[:, t], 0.0, discount * smoothing) * later
        found[:, t] = later
    return found


def gradients(
    logits: Array, values: Array, part: Rollout, gains: Array, targets: Array, clip: float,
    settings: Settings,
) -> tuple[Array, Array]:  # fmt: skip
    """Return the gradients of the loss to logits (N, T, A) and values (N, T).

    The loss is -min(ratio · gain, clipped ratio · gain) - entropy · H + value · (v - target)² / 2,
    the mean over the steps that were taken.
    """
    share = part.counts / max(part.counts.sum(), 1)
    logs = log_softmax(logits)
    p = np.exp(logs)
    chosen = np.eye(logits.shape[-1], dtype=logits.dtype)[part.actions]
    ratio = np.exp((logs * chosen).sum(axis=-1) - part.logs)
    beyond = np.where(gains > 0, ratio > 1 + clip, ratio < 1 - clip)
    d_log = np.where(beyond, 0.0, -ratio * gains) * share
    entropy = -(p * logs).sum(axis=-1, keepdims=True)
    d_logits = d_log[..., None] * (chosen - p)
    d_logits += settings.entropy * share[..., None] * p * (logs + entropy)
    d_values = settings.value * (values - targets) * share
    return d_logits.astype(logits.dtype), d_values.astype(values.dtype)


def rows_of(rollout: Rollout, rows: Array) -> Rollout:
    """Return the experience of some of the environments."""
    parts: dict[str, Any] = {n: part[rows] for n, part in vars(rollout).items() if n != "state"}
    parts["state"] = tuple(part[rows] for part in rollout.state)
    return replace(rollout, **parts)


def learn(
    agent: Agent, optimizer: Adam, rollout: Rollout, after: Array, clip: float, settings: Settings,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Improve the agent by a batch of experience."""
    gains = advantages(rollout, after, settings.discount, settings.smoothing)
    targets = gains + rollout.values
    taken = gains[rollout.counts]
    gains = (gains - taken.mean()) / (taken.std() + 1e-8)
    for _ in range(settings.epochs):
        for rows in np.array_split(rng.permutation(len(gains)), settings.parts):
            part = rows_of(rollout, rows)
            logits, values, _ = agent(part.x, part.state, part.resets, training=True)
            wanted = gradients(logits, values, part, gains[rows], targets[rows], clip, settings)
            optimizer.apply(agent.weights(), agent.backward(*wanted))


def train(
    environments: Environments, agent: Agent, steps: int, settings: Settings, seed: int
) -> Iterator[tuple[int, float]]:
    """Train, and yield after each batch the steps so far and the mean return of late episodes.

    Parameters
    ----------
    steps : int
        Of all environments together.
    """
    player, rng = Player(environments, agent, seed), np.random.default_rng(seed + 1)
    optimizer = Adam(settings.rate, global_clipnorm=0.5)
    each = settings.steps * environments.num_envs
    for done in range(0, steps, each):
        left = 1.0 - done / steps
        optimizer.learning_rate = settings.rate * left
        rollout, after = player.play(settings.steps)
        learn(agent, optimizer, rollout, after, settings.clip * left, settings, rng)
        yield done + each, float(np.mean(player.returns[-100:] or [0.0]))
