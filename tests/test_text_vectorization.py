"""Texts to ids: by hand, beside Keras, configurations, and what is refused."""

import json

import numpy as np
import pytest

from lstmfast import Input, Sequential, layers, registry
from lstmfast.layers import TextVectorization

TEXTS = ["The cat sat. The CAT!", "a dog sat", "", "don't; stop --  now"]


def test_ids_by_hand():
    vectorize = TextVectorization()
    vectorize.adapt(["b b b a a c", "c d"])
    assert vectorize.get_vocabulary() == ["", "[UNK]", "b", "c", "a", "d"]
    assert vectorize.vocabulary_size() == 6 and vectorize.get_vocabulary(False)[0] == "b"
    assert vectorize(["A, b!", "x"]).tolist() == [[4, 2], [1, 0]]
    assert vectorize("b x b").tolist() == [2, 1, 2] and vectorize([]).shape == (0, 0)
    assert vectorize(np.array(["a", "b c"])).dtype == np.int64
    longer = TextVectorization(4, output_sequence_length=3, vocabulary=["u", "v"])
    assert longer(["u v u v", "v"]).tolist() == [[2, 3, 2], [3, 0, 0]]


def test_ways_to_standardize_and_split():
    for told, tokens in (
        ({}, ["ab", "c"]),
        ({"standardize": "lower"}, ["a-b", "c"]),
        ({"standardize": "strip_punctuation"}, ["AB", "c"]),
        ({"standardize": None}, ["A-B", "c"]),
        ({"standardize": str.upper, "split": None}, ["A-B\tC"]),
        ({"split": "character"}, ["a", "b", "\t", "c"]),
        ({"split": lambda text: text.split("b")}, ["a", "\tc"]),
    ):
        vectorize = TextVectorization(**told)
        vectorize.adapt(["A-B\tc"])
        assert vectorize.get_vocabulary(False) == sorted(tokens, reverse=True)


def test_adapt_takes_batches_and_begins_anew():
    one, other = TextVectorization(5), TextVectorization(5)
    one.adapt(TEXTS)
    other.adapt("other words")
    other.adapt([TEXTS[:2], np.array(TEXTS[2:])])
    assert one.get_vocabulary() == other.get_vocabulary() and one.vocabulary_size() == 5
    with pytest.raises(ValueError, match=r"^texts: expected a text or a list of them"):
        other.adapt([[1, 2]])
    assert one.get_vocabulary() == other.get_vocabulary()


@pytest.mark.parametrize("told", [
    {}, {"max_tokens": 5}, {"standardize": "lower"}, {"standardize": None}, {"split": "character"},
    {"output_sequence_length": 3}, {"output_sequence_length": 9}, {"split": None},
])  # fmt: skip
def test_as_keras(keras, told):
    pytest.importorskip("tensorflow")
    theirs, ours = keras.layers.TextVectorization(**told), TextVectorization(**told)
    theirs.adapt(TEXTS), ours.adapt(TEXTS)
    assert ours.get_vocabulary() == [str(word) for word in theirs.get_vocabulary()]
    new = ["the cat and the dog", "stop!", "sat Sat"]
    np.testing.assert_array_equal(ours(new), keras.ops.convert_to_numpy(theirs(new)))
    np.testing.assert_array_equal(ours(new[0]), keras.ops.convert_to_numpy(theirs(new[0])))


def squeezed(text):
    return text.replace(" ", "")


def test_configs_hold_the_vocabulary():
    vectorize = TextVectorization(9, "lower", "character", output_sequence_length=4, name="words")
    vectorize.adapt(TEXTS)
    twin = TextVectorization.from_config(json.loads(json.dumps(vectorize.get_config())))
    assert twin.get_config() == vectorize.get_config()
    np.testing.assert_array_equal(twin(TEXTS), vectorize(TEXTS))
    own = TextVectorization(standardize=squeezed)
    with pytest.raises(ValueError, match=r"^standardize: expected a function that register_serial"):
        own.get_config()
    registry.register_serializable("mine")(squeezed)
    try:
        assert TextVectorization.from_config(own.get_config()).standardize is squeezed
    finally:
        registry.unregister(squeezed)


def test_ids_are_what_an_embedding_takes():
    vectorize = TextVectorization(output_sequence_length=5)
    vectorize.adapt(TEXTS)
    size = vectorize.vocabulary_size()
    model = Sequential([layers.Embedding(size, 4, mask_zero=True), layers.LSTM(3)])
    assert model.predict(vectorize(TEXTS), verbose=0).shape == (4, 3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: TextVectorization(2), "max_tokens: expected an integer >= 3"),
        (lambda: TextVectorization(standardize="upper"), "standardize: expected one of"),
        (lambda: TextVectorization(split="words"), "split: expected one of"),
        (lambda: TextVectorization(output_mode="tf_idf"), "output_mode: expected one of 'int'"),
        (
            lambda: TextVectorization(split=None, output_sequence_length=3),
            "output_sequence_length: expected None",
        ),
        (lambda: TextVectorization(output_sequence_length=0), "output_sequence_length: expected"),
        (lambda: TextVectorization(vocabulary="text"), "vocabulary: expected a list of words"),
        (lambda: TextVectorization(vocabulary=["a", ""]), "vocabulary: expected a list of words"),
        (lambda: TextVectorization(vocabulary=["a", "a"]), "vocabulary: expected each word once"),
        (
            lambda: TextVectorization(3, vocabulary=["a", "b"]),
            "vocabulary: expected 1 words",
        ),
        (lambda: TextVectorization(name=3), "name: expected a str"),
        (lambda: TextVectorization()("a"), "text_vectorization: expected adapt or set_vocabulary"),
        (lambda: TextVectorization(vocabulary=["a"])([1]), "texts: expected a text or a list"),
        (lambda: TextVectorization(vocabulary=["a"])(3), "texts: expected a text or a list"),
        (
            lambda: TextVectorization(vocabulary=["a"])(Input((3,))),
            "text_vectorization: expected",
        ),
        (lambda: Sequential([TextVectorization()]), "layers: expected a list"),
    ],
)
def test_what_is_refused(call, text):
    with pytest.raises(ValueError, match=f"^{text}"):
        call()
