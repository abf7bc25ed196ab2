"""gluonts: DeepAR, its own Lightning module, data loaders and sampling."""

import lightning
import pandas as pd
import torch
from gluonts.dataset.pandas import PandasDataset
from gluonts.torch.model.deepar import DeepAREstimator
from lightning_notes import QUIET, Notes

WHAT = "DeepAREstimator.train, 2 layers; samples of its predictor"


def run(trial):
    lightning.seed_everything(1)
    days = pd.date_range("2024-01-01", periods=120, freq="D")
    values = torch.randn(3, 120).cumsum(1).numpy() + 20
    data = PandasDataset({str(k): pd.DataFrame({"target": v}, days) for k, v in enumerate(values)})
    quiet = {name: value for name, value in QUIET.items() if name != "enable_checkpointing"}
    estimator = DeepAREstimator(
        freq="D", prediction_length=6, context_length=12, num_layers=2, hidden_size=20,
        dropout_rate=0.0, batch_size=16, num_batches_per_epoch=8, num_parallel_samples=10,
        trainer_kwargs=quiet | {"max_epochs": 2, "callbacks": [Notes(trial)]},
    )  # fmt: skip
    predictor = estimator.train(data)
    trial.swap(predictor.prediction_net)  # which is made anew from a checkpoint
    torch.manual_seed(2)
    trial.output(*(forecast.samples for forecast in predictor.predict(data)))
