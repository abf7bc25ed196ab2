"""The example `translation`: symbols, the two searches, files, and the dates it learns from."""

import numpy as np
import pytest

from lstmfast.examples import translation
from lstmfast.examples.seq2seq import END, PADDING, START, Symbols, Translator, shifted
from lstmfast.optimizers import Adam

SOURCE, TARGET = Symbols("abcd"), Symbols("xyzw")


def copies(count, seed):
    """Words to be written in other letters, backwards: the last letter first."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcd"), rng.integers(1, 5))) for _ in range(count)]
    turned = str.maketrans("abcd", "xyzw")
    return SOURCE.encode(words), TARGET.encode([word.translate(turned)[::-1] for word in words])


@pytest.fixture(scope="module")
def taught():
    made = Translator(len(SOURCE), len(TARGET), 16, 32, seed=0)
    x, y = copies(1500, 0)
    made.fit(x, y, optimizer=Adam(1e-2, global_clipnorm=1.0), batch_size=32, epochs=5, verbose=0)
    return made


def test_symbols_there_and_back():
    numbers = SOURCE.encode(["ab", "dcb", "q"])
    np.testing.assert_array_equal(numbers, [[4, 5, 2, 0], [7, 6, 5, 2], [3, 2, 0, 0]])
    assert ["".join(SOURCE.decode(row)) for row in numbers[:2]] == ["ab", "dcb"]
    np.testing.assert_array_equal(
        shifted(numbers), [[START, 4, 5, PADDING], [START, 7, 6, 5], [START, 3, PADDING, PADDING]]
    )


def test_it_learns_and_padding_changes_nothing(taught):
    x, y = copies(200, 1)
    found = taught.greedy(x, 6)
    right = [TARGET.decode(a) == TARGET.decode(b) for a, b in zip(found, y, strict=True)]
    assert np.mean(right) > 0.95
    wide = np.pad(x, ((0, 0), (0, 7)))
    np.testing.assert_array_equal(taught.greedy(wide, 6), found)


def test_a_beam_of_one_is_the_greedy_search(taught):
    x, _ = copies(20, 2)
    for row in x:
        greedy = taught.greedy(row[None], 6)[0]
        assert TARGET.decode(taught.beam(row, 6, 1)) == TARGET.decode(greedy)


def likelihood(made, source, target):
    """The mean logarithm of the probability of a target that ends."""
    before = shifted(target[None])
    p = np.asarray(made.model.predict([source[None], before]))[0]
    return np.log(p[np.arange(len(target)), target]).mean()


def test_a_wide_beam_finds_the_likeliest_of_all():
    made = Translator(len(SOURCE), len(TARGET), 8, 8, seed=3)  # untaught: nothing is sure
    source, most = SOURCE.encode(["abca"])[0], 3
    letters = range(3, len(TARGET))
    every = [[END]] + [[a, END] for a in letters] + [[a, b, END] for a in letters for b in letters]
    made.model.get_layer("symbol").params["bias"][[PADDING, START]] = -50.0
    best = max(every, key=lambda one: likelihood(made, source, np.array(one, np.int32)))
    assert made.beam(source, most, 100).tolist() == best


def test_attention_is_shared_among_the_symbols_that_are_there(taught):
    x, _ = copies(5, 4)
    looked = taught.attention(x[0], taught.greedy(x[:1], 6)[0])
    there = x[0] != PADDING
    np.testing.assert_allclose(looked.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(looked[:, ~there], 0.0, atol=1e-6)


def test_a_saved_translator_writes_the_same(taught, tmp_path):
    taught.save(tmp_path / "model.safetensors")
    loaded, (x, _) = Translator.load(tmp_path / "model.safetensors"), copies(10, 5)
    np.testing.assert_array_equal(loaded.greedy(x, 6), taught.greedy(x, 6))
    target = taught.greedy(x[:1], 6)[0]
    np.testing.assert_array_equal(loaded.attention(x[0], target), taught.attention(x[0], target))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("5 mars 2031", "2031-01-05"),  # a month in words is lost
        ("2031年3月5日", "2031-03-05"),
        ("05.03.2031", "2031-03-05"),
        ("05\u200f/03\u200f/٢٠٣١", "2031-03-05"),
    ],
)
def test_the_baseline_copies_numbers(text, date):
    assert translation.copied(text) == date


def test_dates_that_are_held_out_were_seen_in_no_language():
    pytest.importorskip("babel")
    train, held_out = translation.dates(3000, 1)
    assert len(train.texts) == 3000 and len(held_out.texts) == 300
    assert not set(train.targets) & set(held_out.targets)
    assert set(train.languages) == set(translation.LANGUAGES)
    again, _ = translation.dates(3000, 1)
    assert again == train
    assert {len(target) for target in train.targets} == {10}


def test_the_program_runs_and_translates_by_what_it_saved(tmp_path, capsys):
    pytest.importorskip("babel")
    out = ["--out", str(tmp_path)]
    sizes = ["--dates", "300", "--epochs", "1", "--units", "16", "--embedding", "8"]
    assert translation.main([*sizes, *out]) == 0
    printed = capsys.readouterr().out
    assert "30 dates held out" in printed and "by language: ar" in printed
    assert (tmp_path / "attention.png").exists()
    assert translation.main(["--text", "5 mars 2031", *out]) == 0
    assert capsys.readouterr().out.startswith("5 mars 2031: ")
