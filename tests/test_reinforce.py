"""The example `reinforce`: PPO's arithmetic, the tasks, and that a memory is what solves them."""

import numpy as np
import pytest

from lstmfast.examples import ppo, reinforce
from lstmfast.examples.ppo import Agent, Player, Rollout, Settings
from lstmfast.examples.reinforce import Recall


def played(steps=30, rows=6, memory=True, seed=0):
    environments = Recall(rows, delay=3)
    agent = Agent(environments.observation_size, environments.actions, 8, memory, seed)
    player = Player(environments, agent, seed)
    player.play(7)  # so that episodes do not begin with the batch
    return agent, *player.play(steps)


def test_what_was_played_is_found_again_in_one_pass():
    agent, rollout, _ = played()
    logits, values, _ = agent(rollout.x, rollout.state, rollout.resets, training=True)
    logs = np.take_along_axis(ppo.log_softmax(logits), rollout.actions[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(logs, rollout.logs, atol=1e-6)
    np.testing.assert_allclose(values, rollout.values, atol=1e-6)
    assert rollout.resets.any() and not rollout.resets.all()


def test_each_episode_has_one_step_that_counts_for_nothing_and_then_begins():
    _, rollout, _ = played()
    assert rollout.ended.any()
    np.testing.assert_array_equal(~rollout.counts[:, 1:], rollout.ended[:, :-1])
    np.testing.assert_array_equal(rollout.resets[:, 2:], rollout.ended[:, :-2])
    assert rollout.rewards[~rollout.counts].sum() == 0


def test_an_advantage_is_the_sum_of_later_surprises_until_the_episode_ends():
    _, rollout, after = played()
    discount, smoothing = 0.9, 0.8
    found = ppo.advantages(rollout, after, discount, smoothing)
    values = np.concatenate((rollout.values, after[:, None]), axis=1).astype("f8")
    rows, steps = found.shape
    for n in range(rows):
        for t in range(steps):
            total, weight = 0.0, 1.0
            for later in range(t, steps):
                following = 0.0 if rollout.terminated[n, later] else discount * values[n, later + 1]
                reward = (1 - discount) * rollout.rewards[n, later]
                total += weight * (reward + following - values[n, later])
                if rollout.ended[n, later]:
                    break
                weight *= discount * smoothing
            assert found[n, t] == pytest.approx(total, abs=1e-6)


def loss(logits, values, part, gains, targets, clip, settings):
    """What `gradients` differentiates, as the paper writes it."""
    logs = ppo.log_softmax(logits)
    ratio = np.exp(np.take_along_axis(logs, part.actions[..., None], axis=2)[..., 0] - part.logs)
    reached = np.minimum(ratio * gains, np.clip(ratio, 1 - clip, 1 + clip) * gains)
    entropy = -(np.exp(logs) * logs).sum(axis=-1)
    each = -reached - settings.entropy * entropy + settings.value * (values - targets) ** 2 / 2
    return each[part.counts].mean()


def test_gradients_of_the_loss_are_those_of_central_differences():
    _, rollout, _ = played()
    rng, settings = np.random.default_rng(3), Settings(entropy=0.3, value=0.7)
    logits = rng.normal(size=(*rollout.actions.shape, 4))
    values, gains, targets = rng.normal(size=(3, *rollout.actions.shape))
    rollout.logs = rollout.logs.astype("f8") + rng.normal(size=rollout.logs.shape) * 0.3
    given = rollout, gains, targets, 0.2, settings
    found = ppo.gradients(logits, values, *given)
    for array, gradient in zip((logits, values), found, strict=True):
        direction = rng.normal(size=array.shape)

        def along(size, array=array, direction=direction):
            moved = array + size * direction
            pair = (moved, values) if array is logits else (logits, moved)
            return loss(*pair, *given)

        slope = (along(1e-6) - along(-1e-6)) / 2e-6
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6)


def test_the_sign_is_shown_once_and_asked_for_once():
    environments = Recall(5, delay=2)
    x = environments.reset(0)
    sign = environments.sign.copy()
    np.testing.assert_array_equal(x[:, :4].argmax(axis=1), sign)
    assert x.sum() == 5
    for step in range(3):
        x, rewards, over, cut = environments.step(sign)
        assert x[:, :4].sum() == 0 and not cut.any()
        assert (x[:, 4] == (step == 1)).all() and (over == (step == 2)).all()
    np.testing.assert_array_equal(rewards, np.ones(5))
    x, rewards, over, _ = environments.step(sign)
    assert x[:, :4].sum() == 5 and not rewards.any() and not over.any()


def taught(memory):
    def make(rows):
        return Recall(rows, delay=4)

    environments = make(16)
    agent = Agent(environments.observation_size, environments.actions, 32, memory, 0)
    settings = Settings(steps=28, entropy=0.01, rate=3e-3)
    for _ in ppo.train(environments, agent, 18_000, settings, 0):
        pass
    return reinforce.evaluate(make, agent, 100, 1)


def test_a_memory_solves_what_cannot_be_solved_without_one():
    assert taught(memory=True) > 0.95
    assert taught(memory=False) < 0.5


def test_the_program_runs_and_draws(tmp_path, capsys):
    pytest.importorskip("gymnasium")
    for task in ("cartpole", "recall"):
        arguments = ["--task", task, "--steps", "2100", "--out", str(tmp_path), "--threads", "1"]
        assert reinforce.main(arguments) == 0
        printed = capsys.readouterr().out
        assert f"{task}, an LSTM: mean return" in printed
        assert f"{task}, no memory: mean return" in printed
        assert (tmp_path / f"{task}.png").exists()


def test_rows_of_experience_are_those_of_these_environments():
    _, rollout, _ = played()
    part = ppo.rows_of(rollout, np.array([4, 1]))
    assert isinstance(part, Rollout)
    for name, value in vars(part).items():
        if name != "state":
            np.testing.assert_array_equal(value, getattr(rollout, name)[[4, 1]])
    np.testing.assert_array_equal(part.state[1], rollout.state[1][[4, 1]])
