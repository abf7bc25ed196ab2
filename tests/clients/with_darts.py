"""darts: its two recurrent models."""

import numpy as np
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel
from lightning_notes import QUIET, notes_on
from pytorch_lightning import Callback

WHAT = "RNNModel (one layer) and BlockRNNModel (two): fit, predict"


def run(trial):
    wave = np.sin(np.arange(90) / 5) + np.random.default_rng(0).normal(size=90) / 5
    series = TimeSeries.from_values(wave.astype("float32"))
    for model, more in (
        (RNNModel, {"training_length": 14}),
        (BlockRNNModel, {"output_chunk_length": 4, "n_rnn_layers": 2}),
    ):
        quiet = QUIET | {"callbacks": [notes_on(Callback)(trial)]}
        quiet.pop("enable_checkpointing")
        made = model(
            input_chunk_length=10, model="LSTM", hidden_dim=12, batch_size=16, n_epochs=2,
            random_state=3, pl_trainer_kwargs=quiet, **more,
        )  # fmt: skip
        made.fit(series, verbose=False)
        trial.output(made.predict(6, verbose=False).values())
