"""darts: its two recurrent models."""

import numpy as np
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel
from lightning_notes import QUIET, notes_on
from pytorch_lightning import Callback

WHAT = "RNNModel (one layer) and BlockRNNModel (two): fit, predict"
USUAL = "both models' training: 25 units, T=24 and 12, B=32; its defaults, 144 months"


def run(trial):
    months = trial.size(90, 144)
    wave = np.sin(np.arange(months) / 5) + np.random.default_rng(0).normal(size=months) / 5
    series = TimeSeries.from_values(wave.astype("float32"))
    for model, more in (
        (RNNModel, trial.size({"training_length": 14}, {})),
        (BlockRNNModel, {"output_chunk_length": trial.size(4, 6), "n_rnn_layers": 2}),
    ):
        quiet = QUIET | {"callbacks": [notes_on(Callback)(trial)]}
        quiet.pop("enable_checkpointing")
        made = model(
            input_chunk_length=trial.size(10, 12), model="LSTM", n_epochs=trial.size(2, 5),
            random_state=3, pl_trainer_kwargs=quiet, **more,
            **trial.size({"hidden_dim": 12, "batch_size": 16}, {}),
        )  # fmt: skip
        made.fit(series, verbose=False)
        trial.output(made.predict(trial.size(6, 36), verbose=False).values())
