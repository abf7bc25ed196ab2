"""The n-gram baselines: hand-computed values, probabilities that sum to one, honest tuning."""

import math

import numpy as np
import pytest

from lstmfast.examples import ngram

V = 5
EXACT = 1e-12


def next_probabilities(train, context, order, scales):
    """Return P(s | context) for every symbol s, by the given order."""
    tables = ngram.count(train, order, V)
    ids = np.array([[*context, symbol] for symbol in range(V)])
    found = [ngram.interpolate(tables, row, len(context), V, scales)[-1] for row in ids]
    return np.concatenate(found)


def test_by_hand():
    """After 0 1 0 1 0: order 1 gives 0 (3 + 2/2) / (5 + 2), order 2 after a 1 gives 0 6/7."""
    train = np.array([0, 1, 0, 1, 0])
    tables = ngram.count(train, 2, 2)
    text = np.array([1, 0, 1, 1])
    first, second = ngram.interpolate(tables, text, 1, 2, [1.0, 1.0])
    assert first == pytest.approx([4 / 7, 3 / 7, 3 / 7], rel=EXACT)
    assert second == pytest.approx([(2 + 4 / 7) / 3, (2 + 3 / 7) / 3, (3 / 7) / 3], rel=EXACT)


def test_scale_by_hand():
    tables = ngram.count(np.array([0, 1, 0, 1, 0]), 1, 2)
    (found,) = ngram.interpolate(tables, np.array([0]), 0, 2, [3.0])
    assert found == pytest.approx([(3 + 3 * 2 / 2) / (5 + 3 * 2)], rel=EXACT)


@pytest.mark.parametrize("order", (1, 2, 3, 5))
def test_probabilities_sum_to_one(order):
    """In contexts that training met often, once, and never, and at the start of a text."""
    rng = np.random.default_rng(order)
    train = np.minimum(rng.geometric(0.5, 300) - 1, V - 2)  # the symbol V - 1 never occurs
    scales = [0.5, 1.0, 2.0, 3.0, 4.0][:order]
    contexts = [train[:k] for k in range(6)] + [[V - 1] * 4, [0, V - 1, 0, 0]]
    contexts += list(rng.integers(0, V, (20, 4)))
    for context in contexts:
        p = next_probabilities(train, context, order, scales)
        assert p.sum() == pytest.approx(1, rel=EXACT)
        assert p.min() > 0


def test_against_counting_by_loops():
    rng = np.random.default_rng(0)
    train, text = rng.integers(0, V, 200), rng.integers(0, V, 30)
    scales = [0.5, 2.0, 3.0]

    def slow(symbol, context, order):
        if order == 0:
            return 1 / V
        lower = slow(symbol, context, order - 1)
        seen = [
            train[t]
            for t in range(order - 1, len(train))
            if order - 1 <= len(context)
            and list(train[t - order + 1 : t]) == list(context[len(context) - order + 1 :])
        ]
        weight = scales[order - 1] * len(set(seen))
        return (seen.count(symbol) + weight * lower) / (len(seen) + weight) if seen else lower

    found = ngram.interpolate(ngram.count(train, 3, V), text, 0, V, scales)
    for order in (1, 2, 3):
        expected = [slow(symbol, text[:t], order) for t, symbol in enumerate(text)]
        assert found[order - 1] == pytest.approx(expected, rel=EXACT), order


def test_a_text_of_period_three_is_learnt_by_order_two():
    ids = np.tile([0, 1, 2], 200)
    bits = ngram.baselines(ids, 500, 3)
    assert bits.keys() == {1, 2, 3, 4, 5}
    assert bits[1] == pytest.approx(math.log2(3), abs=0.01)
    assert bits[2] < 0.02


def test_tuning_never_looks_at_the_held_out_part():
    rng = np.random.default_rng(1)
    train = rng.integers(0, 3, 400)
    scales = ngram.tune(train, 3, V)
    ones, twos = np.append(train, [1] * 50), np.append(train, [2] * 50)
    assert set(scales) <= set(ngram.SCALES)
    assert ngram.tune(ones[:400], 3, V) == ngram.tune(twos[:400], 3, V) == scales


def test_tuning_does_not_lose_to_the_textbook_on_its_own_slice():
    rng = np.random.default_rng(2)
    train = np.repeat(rng.integers(0, V, 300), 2)
    split = int(len(train) * (1 - ngram.TUNING_SHARE))
    tables, scales = ngram.count(train[:split], 3, V), ngram.tune(train, 3, V)
    tuned = ngram.interpolate(tables, train, split, V, scales)[0]
    textbook = ngram.interpolate(tables, train, split, V, [1.0] * 3)[0]
    assert ngram.mean_bits(tuned) <= ngram.mean_bits(textbook)


def test_large_vocabularies_do_not_overflow():
    """Five symbols of a vocabulary of 10^5 make 10^25 contexts."""
    ids = np.random.default_rng(3).integers(0, 100_000, 2000).astype(np.int32)
    text = np.concatenate([ids, ids[:50]])
    bits = ngram.baselines(text, 2000, 100_000)
    assert bits[5] < bits[1] <= math.log2(100_000) + 1


def test_a_text_shorter_than_the_order():
    with pytest.raises(ValueError, match=r"^ids: expected 5 symbols or more, got 3"):
        ngram.count(np.zeros(3, np.int64), 5, V)
