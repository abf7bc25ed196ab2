"""gluonts: DeepAR, its own Lightning module, data loaders and sampling."""

import lightning
import pandas as pd
import torch
from gluonts.dataset.pandas import PandasDataset
from gluonts.torch.model.deepar import DeepAREstimator
from lightning_notes import QUIET, Notes

WHAT = "DeepAREstimator.train, 2 layers; samples of its predictor"
USUAL = "DeepAR's training: 2 × 40 units, B=32, 12 months ahead; its defaults, its README"


def run(trial):
    lightning.seed_everything(1)
    count, each, freq = trial.size((120, "D", "D"), (144, "MS", "M"))
    days = pd.date_range("2004-01-01" if freq == "M" else "2024-01-01", periods=count, freq=each)
    values = torch.randn(3, count).cumsum(1).numpy() + 20
    data = PandasDataset({str(k): pd.DataFrame({"target": v}, days) for k, v in enumerate(values)})
    quiet = {name: value for name, value in QUIET.items() if name != "enable_checkpointing"}
    small = {
        "context_length": 12, "num_layers": 2, "hidden_size": 20, "dropout_rate": 0.0,
        "batch_size": 16, "num_parallel_samples": 10,
    }  # fmt: skip
    epochs, batches = trial.size((2, 8), (1, 25))
    estimator = DeepAREstimator(
        freq=freq, prediction_length=trial.size(6, 12), num_batches_per_epoch=batches,
        trainer_kwargs=quiet | {"max_epochs": epochs, "callbacks": [Notes(trial)]},
        **trial.size(small, {}),
    )  # fmt: skip
    predictor = estimator.train(data)
    trial.swap(predictor.prediction_net)  # which is made anew from a checkpoint
    torch.manual_seed(2)
    trial.output(*(forecast.samples for forecast in predictor.predict(data)))
