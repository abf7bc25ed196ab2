"""Programs written for Keras, run by Keras and by lstmfast: the same from the same.

Each of benches/keras_programs at a small size: from Keras's weights, on the same batches, the logs
of two epochs and what the program makes of its model. `test_keras_programs` runs this in a process
of its own, on PyTorch, where Keras has nothing to compile.
"""
# ruff: noqa: E402  (benches/ is not installed, so it is put on the path first)

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from benches.keras_programs import loading

torch.set_num_threads(1)  # with two, such small products wait for each other

TINY = {
    "addition_seq2seq": {"SAMPLES": 22, "DIGITS": 1, "HIDDEN": 8, "BATCH_SIZE": 12},
    "imdb_bidirectional": {
        "SAMPLES": 20, "MAX_FEATURES": 50, "MAXLEN": 5, "SHORTEST": 2, "EMBEDDING": 6, "UNITS": 5,
        "BATCH_SIZE": 10,
    },
    "seq2seq_characters": {"SAMPLES": 20, "WORDS": 1, "BATCH_SIZE": 10, "LATENT_DIM": 8,
                           "DECODED": 1},
    "weather_windows": {"HOURS": 80, "SERIES": 3, "PAST": 6, "FUTURE": 2, "UNITS": 6,
                        "BATCH_SIZE": 32},
    "anomaly_autoencoder": {"STEPS": 40, "SENSORS": 3, "FAULTS": 2, "TIME_STEPS": 4, "UNITS": 8,
                            "CODE": 4, "BATCH_SIZE": 20},
    "tagging": {
        "SAMPLES": 20, "VOCABULARY": 30, "TAGS": 5, "MAXLEN": 6, "EMBEDDING": 6, "UNITS": 5,
        "DROPOUT": 0.0, "BATCH_SIZE": 10,
    },
    "character_generation": {"LENGTH": 150, "MAXLEN": 6, "UNITS": 8, "BATCH_SIZE": 32,
                             "GENERATED": 1},
    "two_inputs_attention": {
        "SAMPLES": 24, "VOCABULARY": 30, "MAXLEN": 5, "KINDS": 3, "EMBEDDING": 6, "UNITS": 5,
        "BATCH_SIZE": 14,
    },
}  # fmt: skip
CLOSE = 1e-5  # of logs and of outputs, relative to 1 at least; measured: 1.4e-6


def test_every_program_is_here():
    assert set(TINY) == set(loading.PROGRAMS)


@pytest.mark.parametrize("name", loading.PROGRAMS)
def test_a_program_gives_what_it_gives_with_keras(name):
    theirs, ours = (loading.load(name, library, **TINY[name]) for library in ("keras", "lstmfast"))
    data = theirs.load_data()
    check_same(ours.load_data(), data)
    reference, model = theirs.build(data), ours.build(data)
    model.set_weights(reference.get_weights())
    wanted, found = (
        program.train(one, data, epochs=2, shuffle=False).history
        for program, one in ((theirs, reference), (ours, model))
    )
    assert found.keys() == wanted.keys()
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], CLOSE, CLOSE, err_msg=key)
    assert wanted["loss"][1] != wanted["loss"][0]
    check_same(ours.use(model, data), theirs.use(reference, data))


def check_same(found, wanted):
    """Assert that lists and dicts of arrays are the same, but for CLOSE."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            check_same(one, other)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(found, wanted, CLOSE, CLOSE)
    else:
        assert found == wanted
