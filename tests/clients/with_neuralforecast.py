"""neuralforecast: its LSTM, DeepAR, TFT and DilatedRNN on Lightning."""

import numpy as np
import pandas as pd
from lightning_notes import QUIET, notes_on
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MAE
from neuralforecast.models import LSTM, TFT, DilatedRNN
from pytorch_lightning import Callback

WHAT = "LSTM, DilatedRNN and TFT: fit, predict"
USUAL = "all three: 128 units, 24 months past and 12 ahead, 128 windows; its defaults, its README"


def run(trial):
    count = trial.size(100, 144)
    noise = np.random.default_rng(0).normal(size=count)
    frame = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("2024-01-01", periods=count, freq="D"),
            "y": np.sin(np.arange(count) / 4) + noise / 8,
        }
    )
    h, past, steps = trial.size((5, 15, 6), (12, 24, 4))
    common = QUIET | {
        "h": h, "input_size": past, "max_steps": steps, "loss": MAE(), "random_seed": 1,
        "callbacks": [notes_on(Callback)(trial)],
    } | trial.size({"batch_size": 4, "windows_batch_size": 16}, {})  # fmt: skip
    small = (
        {"encoder_n_layers": 2, "encoder_hidden_size": 16, "decoder_hidden_size": 16},
        {"cell_type": "LSTM", "encoder_hidden_size": 12, "dilations": [[1, 2]]},
        {"hidden_size": 12, "dropout": 0.0},
    )
    models = [
        kind(**sizes, **common)
        for kind, sizes in zip(
            (LSTM, DilatedRNN, TFT),
            trial.size(small, ({}, {}, {"windows_batch_size": 128})),
            strict=True,
        )
    ]
    made = NeuralForecast(models=models, freq="D")
    made.fit(frame, verbose=False)
    trial.output(made.predict(verbose=False)[["LSTM", "DilatedRNN", "TFT"]].to_numpy())
