"""Files of every format that was ever written can be read: these files are never made anew.

data/format1.safetensors holds Embedding(7, 3), LSTM(4, sequences), LSTM(5), Dense(7, softmax),
trained for three epochs by version 0.1.0, with Adam's state. The figures are what it printed.
data/format2.safetensors is what `quantize` made of it.
"""

from pathlib import Path

import numpy as np

import lstmfast

FORMAT_1 = Path(__file__).parent / "data" / "format1.safetensors"
FORMAT_2 = Path(__file__).parent / "data" / "format2.safetensors"
PREDICTIONS = [
    [0.12690547, 0.1044616, 0.15006085, 0.14406636, 0.123385906, 0.1352657, 0.21585405],
    [0.1265431, 0.10268967, 0.15003982, 0.14246963, 0.123011544, 0.13539024, 0.219856],
]
QUANTIZED = [
    [0.12668641, 0.104415104, 0.15001972, 0.14402598, 0.12365374, 0.13528666, 0.21591239],
    [0.12645204, 0.10252187, 0.15004878, 0.14237306, 0.123073906, 0.1353778, 0.22015254],
]
NEXT_LOSS = 1.7475304901599884  # of one more step of training, before the update
TOLERANCE = 1e-6  # another instruction set rounds differently


def test_format_1_predicts_as_it_did():
    model = lstmfast.load(FORMAT_1)
    found = model.predict(np.array([[0, 1, 2, 3, 4, 5], [6, 5, 4, 3, 2, 1]]))
    assert np.abs(found - PREDICTIONS).max() <= TOLERANCE


def test_format_1_goes_on_training():
    model = lstmfast.load(FORMAT_1)
    assert model.optimizer.iterations == 9
    ids = np.random.default_rng(4).integers(0, 7, (24, 6))[:8]
    loss, accuracy = model.train_on_batch(ids, ids[:, -1])
    assert abs(loss - NEXT_LOSS) <= TOLERANCE
    assert accuracy == 0.5


def test_format_2_predicts_as_it_did():
    small = lstmfast.load(FORMAT_2)
    ids = np.array([[0, 1, 2, 3, 4, 5], [6, 5, 4, 3, 2, 1]])
    assert np.abs(small.predict(ids) - QUANTIZED).max() <= 2e-4  # a number may be rounded elsewhere
    assert small.precision == "int8"
