"""The text generation example: a tiny run from end to end, its parts, and bad files."""

import builtins
import math

import naive
import numpy as np
import pytest

import lstmfast
from lstmfast.examples import corpus, text_generation
from lstmfast.examples.corpus import UNKNOWN, Vocabulary

PROSE = "".join(f"The cat number {n} sat on the mat, and the mat was {n % 7} feet long.\n"
                for n in range(40))  # fmt: skip
TINY = ("--epochs", "2", "--batch-size", "4", "--steps", "16", "--hidden", "12", "--embedding",
        "6", "--length", "30")  # fmt: skip


@pytest.fixture
def book(tmp_path):
    """Return the path of a small text."""
    path = tmp_path / "book.txt"
    path.write_text(PROSE, encoding="utf-8")
    return path


def run(book, tmp_path, *more):
    """Run the program in a folder."""
    assert (
        text_generation.main(["--text", str(book), "--out", str(tmp_path / "out"), *TINY, *more])
        == 0
    )


def tiny_model(seed=0, V=7):
    """Return a small model of the program's kind, with weights large enough to have opinions."""
    arguments = text_generation.parser().parse_args([*TINY, "--seed", str(seed)])
    model = text_generation.make_model(V, arguments)
    model.set_weights([4 * weight for weight in model.get_weights()])
    return model


# ---------------------------------------------------------------- the whole program


@pytest.mark.parametrize("level", ("char", "word"))
def test_a_tiny_run(level, book, tmp_path, capsys):
    run(book, tmp_path, "--level", level)
    out = capsys.readouterr().out
    assert "epoch 2: held out" in out
    assert "best n-gram (order " in out
    assert "order 1" in out and "order 5" in out
    assert "the model writes the same text" in out
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 1000
    assert ("unknown words not spelt out" in out) == (level == "word")


def test_the_same_seed_gives_the_same_run(book, tmp_path, capsys):
    def lines():
        run(book, tmp_path, "--threads", "2")
        return [line for line in capsys.readouterr().out.splitlines() if "trained in" not in line]

    first = lines()
    assert lines() == first


def test_training_helps(book, tmp_path, capsys):
    run(book, tmp_path, "--epochs", "8", "--learning-rate", "0.02")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    bits = [float(line.split("held out ")[1].split()[0]) for line in lines]
    assert len(bits) == 8
    assert bits[-1] < 0.8 * bits[0]


def test_the_learning_curve(book, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run(book, tmp_path)
    assert (tmp_path / "out" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(book, tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    run(book, tmp_path)
    assert "not drawn without matplotlib" in capsys.readouterr().out
    assert not (tmp_path / "out" / "learning_curve.png").exists()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    ((b"", "expected some text"), (b" \n\n", "expected some text"),
     (b"caf\xe9 " * 1000, "expected UTF-8, got byte 0xe9 at 3"),
     (b"too short", "expected 65 symbols or more to train on")))  # fmt: skip
def test_bad_files(content, message, tmp_path, capsys):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        run(path, tmp_path)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ("missing.txt", "."))
def test_no_file(path, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path / path, tmp_path)
    assert "expected a readable file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ("--epochs", "--batch-size", "--steps", "--hidden", "--length",
                                    "--embedding", "--threads", "--learning-rate", "--temperature",
                                    "--vocab"))  # fmt: skip
@pytest.mark.parametrize("value", ("-1", "many", "nan"))
def test_bad_options(option, value, book, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(book, tmp_path, option, value)
    assert f"{option}: expected a finite" in capsys.readouterr().err


def test_too_little_to_hold_out(tmp_path, capsys):
    path = tmp_path / "short.txt"
    path.write_text("abcd" * 8)
    with pytest.raises(SystemExit):
        run(path, tmp_path, "--batch-size", "1", "--steps", "4")
    assert "expected 50 symbols or more, got 32" in capsys.readouterr().err


# ---------------------------------------------------------------- its parts


def test_windows_go_on_row_by_row():
    x, y = text_generation.windows(np.arange(26), batch_size=2, steps=3)
    assert x.tolist() == [
        [[0, 1, 2], [12, 13, 14]], [[3, 4, 5], [15, 16, 17]],
        [[6, 7, 8], [18, 19, 20]], [[9, 10, 11], [21, 22, 23]]]  # fmt: skip
    assert np.array_equal(y, x + 1)


@pytest.mark.parametrize("N", (2, 3, 501, 502, 1003))
def test_held_out_bits_are_those_of_one_long_run(N):
    """Cut into windows or not, the state goes on; the float64 oracle agrees."""
    model, ids = tiny_model(), np.random.default_rng(N).integers(0, 7, N).astype(np.int32)
    table, W_ih, W_hh, b, kernel, bias = model.params
    y, _ = naive.lstm_forward(table[ids[:-1]][:, None], W_ih, W_hh, b)
    losses, *_ = naive.softmax_crossentropy(naive.dense_forward(y[:, 0], kernel, bias), ids[1:])
    got = text_generation.held_out_bits(model, ids, split=1)
    assert got == pytest.approx(losses.mean() / math.log(2), rel=1e-5)


def test_temperature():
    p = np.array([0.5, 0.25, 0.25], np.float32)
    assert text_generation.temper(p, 1.0) == pytest.approx(p)
    assert text_generation.temper(p, 0.5) == pytest.approx([4 / 6, 1 / 6, 1 / 6])
    assert text_generation.temper(p, 0).tolist() == [1, 0, 0]
    assert text_generation.temper(p, 1e6) == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert text_generation.temper(np.float32([1, 0]), 0.01).tolist() == [1, 0]


def test_samples_depend_on_seed_prompt_and_temperature():
    model, vocabulary = tiny_model(), Vocabulary([UNKNOWN, *"abcdef"])
    how = {"prompt": "ab", "length": 50, "temperature": 1.0, "seed": 3}
    text = text_generation.sample(model, vocabulary, **how)
    assert len(text) == 50 and UNKNOWN not in text
    assert text_generation.sample(model, vocabulary, **how) == text
    for other in ({"seed": 4}, {"temperature": 3.0}, {"prompt": ""}):
        assert text_generation.sample(model, vocabulary, **{**how, **other}) != text


def test_sampling_follows_the_layers():
    """At temperature 0 each symbol is the likeliest after the whole text before it."""
    model, vocabulary = tiny_model(seed=5), Vocabulary([UNKNOWN, *"abcdef"])
    prompt = "fade"
    text = text_generation.sample(
        model, vocabulary, prompt=prompt, length=12, temperature=0, seed=0
    )
    for end in range(len(prompt), len(prompt) + len(text)):
        model.reset_state()
        p = model.predict(vocabulary.encode((prompt + text)[:end])[None], batch_size=1)[0, -1]
        assert text[end - len(prompt)] == vocabulary.symbols[1 + int(p[1:].argmax())]


def test_save_and_load(tmp_path):
    model, vocabulary = tiny_model(), Vocabulary([UNKNOWN, *"ab\n\u00e9\u4e2d "], "word")
    text_generation.save(model, vocabulary, tmp_path)
    loaded, words = text_generation.load(tmp_path)
    assert words.symbols == vocabulary.symbols and words.level == "word"
    assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
    assert isinstance(loaded, lstmfast.Model)


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize("level", corpus.LEVELS)
@pytest.mark.parametrize("text", (PROSE, "  two  spaces,\n\n\ttabs (and) na\u00efve \u4e2d!", ""))
def test_symbols_join_to_the_text_again(text, level):
    vocabulary = Vocabulary.of(2 * list(corpus.cut(text, level)), level, 10_000)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_words_take_the_space_before_them_along():
    found = corpus.cut('The cat, (a) "b"\n    c ===== d.\n\ne', "word")
    assert "|".join(found) == 'The| cat|,| (|a|)| "|b|"|\n   | c| =====| d|.|\n|\n|e'


def test_the_vocabulary_keeps_the_most_frequent():
    vocabulary = Vocabulary.of("ccbbaaad", "char", limit=3)
    assert vocabulary.symbols == [UNKNOWN, "a", "b"]
    assert vocabulary.encode("abcd").tolist() == [1, 2, 0, 0]
    assert vocabulary.decode([1, 2, 0]) == "ab" + UNKNOWN


def test_symbols_met_once_teach_the_unknown():
    assert Vocabulary.of("aab", "char", limit=10).symbols == [UNKNOWN, "a"]


def test_the_vocabulary_comes_from_the_training_part():
    text = corpus.make_corpus("a" * 90 + "z" * 10, "char", 100)
    assert text.split == 90 and text.vocabulary.symbols == [UNKNOWN, "a"]
    assert not text.ids[90:].any()


def test_characters_per_symbol():
    text = corpus.make_corpus("ab cd " * 50, "word", 100)
    assert text.characters == pytest.approx((3, 3), rel=0.1)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9")
    assert corpus.read(tmp_path / "bom.txt") == "caf\u00e9"


def test_the_reference_prose_says_nothing_twice():
    paragraphs = [" ".join(p.split()) for p in corpus.reference_prose().split("\n\n")]
    assert len(paragraphs) > 1000
    assert len(set(paragraphs)) == len(paragraphs)
