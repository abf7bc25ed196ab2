"""pytorch-forecasting: DeepAR, whose LSTM is a class above torch.nn.LSTM, and TFT of version 2."""

import lightning.pytorch
import numpy as np
import pandas as pd
import torch
from lightning_notes import QUIET, Notes
from pytorch_forecasting import DeepAR, TimeSeriesDataSet
from pytorch_forecasting.metrics import MAE
from pytorch_forecasting.models.temporal_fusion_transformer._tft_v2 import TFT
from torch.utils.data import DataLoader

WHAT = "TFT (v2) and DeepAR (its LSTM is a subclass, left to PyTorch): fit, evaluation"
PAST, AHEAD = 12, 4


def of_groups():
    noise = np.random.default_rng(0).normal(size=(2, 40)).cumsum(1)
    frame = pd.DataFrame(
        {
            "value": noise.reshape(-1).astype("float32"),
            "group": np.repeat(["a", "b"], 40),
            "time": np.tile(np.arange(40), 2),
        }
    )
    return TimeSeriesDataSet(
        frame, time_idx="time", target="value", group_ids=["group"], max_encoder_length=PAST,
        max_prediction_length=AHEAD, time_varying_unknown_reals=["value"],
    )  # fmt: skip


def windows():
    """Dictionaries of the encoder's and the decoder's numbers, and what is to come."""
    walk = np.random.default_rng(1).normal(size=(48, PAST + AHEAD, 3)).cumsum(1).astype("float32")
    pairs = [({"encoder_cont": w[:PAST], "decoder_cont": w[PAST:, 1:]}, w[PAST:, 0]) for w in walk]
    return DataLoader(pairs, batch_size=16)


def fit(trial, model, loader):
    trainer = lightning.pytorch.Trainer(
        **QUIET, max_epochs=3, limit_train_batches=4, callbacks=[Notes(trial)]
    )
    trainer.fit(model, loader)
    return model.eval()


def run(trial):
    sizes = {"encoder_cont": 3, "encoder_cat": 0, "decoder_cont": 2, "decoder_cat": 0}
    sizes |= {"max_encoder_length": PAST, "max_prediction_length": AHEAD}
    model = TFT(
        MAE(), hidden_size=16, num_layers=2, dropout=0.0, optimizer="adam",
        optimizer_params={"lr": 0.02}, metadata=sizes,
    )  # fmt: skip
    fit(trial, model, windows())
    with torch.no_grad():
        trial.output(model(next(iter(windows()))[0])["prediction"])
    groups = of_groups()
    model = DeepAR.from_dataset(groups, hidden_size=16, dropout=0.0, rnn_layers=1, log_interval=-1)
    fit(trial, model, groups.to_dataloader(train=True, batch_size=16, num_workers=0))
    torch.manual_seed(5)
    x, _ = next(iter(groups.to_dataloader(train=False, batch_size=8, num_workers=0)))
    with torch.no_grad():
        trial.output(model(x)["prediction"])
