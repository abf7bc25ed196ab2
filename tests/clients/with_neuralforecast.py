"""neuralforecast: its LSTM, DeepAR, TFT and DilatedRNN on Lightning."""

import numpy as np
import pandas as pd
from lightning_notes import QUIET, notes_on
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MAE
from neuralforecast.models import LSTM, TFT, DilatedRNN
from pytorch_lightning import Callback

WHAT = "LSTM, DilatedRNN and TFT: fit, predict"


def run(trial):
    noise = np.random.default_rng(0).normal(size=100)
    frame = pd.DataFrame(
        {
            "unique_id": "a",
            "ds": pd.date_range("2024-01-01", periods=100, freq="D"),
            "y": np.sin(np.arange(100) / 4) + noise / 8,
        }
    )
    common = QUIET | {
        "h": 5, "input_size": 15, "max_steps": 6, "loss": MAE(), "random_seed": 1,
        "callbacks": [notes_on(Callback)(trial)], "batch_size": 4, "windows_batch_size": 16,
    }  # fmt: skip
    models = [
        LSTM(encoder_n_layers=2, encoder_hidden_size=16, decoder_hidden_size=16, **common),
        DilatedRNN(cell_type="LSTM", encoder_hidden_size=12, dilations=[[1, 2]], **common),
        TFT(hidden_size=12, dropout=0.0, **common),
    ]
    made = NeuralForecast(models=models, freq="D")
    made.fit(frame, verbose=False)
    trial.output(made.predict(verbose=False)[["LSTM", "DilatedRNN", "TFT"]].to_numpy())
