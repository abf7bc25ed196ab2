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
USUAL = "training of both: TFT 2 × 64, DeepAR 2 × 10, T=24 and 6, B=128; defaults, its tutorial"


def of_groups(past, ahead, count):
    noise = np.random.default_rng(0).normal(size=(2, count)).cumsum(1)
    frame = pd.DataFrame(
        {
            "value": noise.reshape(-1).astype("float32"),
            "group": np.repeat(["a", "b"], count),
            "time": np.tile(np.arange(count), 2),
        }
    )
    return TimeSeriesDataSet(
        frame, time_idx="time", target="value", group_ids=["group"], max_encoder_length=past,
        max_prediction_length=ahead, time_varying_unknown_reals=["value"],
    )  # fmt: skip


def windows(past, ahead, batch):
    """Dictionaries of the encoder's and the decoder's numbers, and what is to come."""
    shape = 3 * batch, past + ahead, 3
    walk = np.random.default_rng(1).normal(size=shape).cumsum(1).astype("float32")
    pairs = [({"encoder_cont": w[:past], "decoder_cont": w[past:, 1:]}, w[past:, 0]) for w in walk]
    return DataLoader(pairs, batch_size=batch)


def fit(trial, model, loader):
    trainer = lightning.pytorch.Trainer(
        **QUIET, max_epochs=3, limit_train_batches=4, callbacks=[Notes(trial)]
    )
    trainer.fit(model, loader)
    return model.eval()


def run(trial):
    sizes = {"encoder_cont": 3, "encoder_cat": 0, "decoder_cont": 2, "decoder_cat": 0}
    past, ahead, batch, count = trial.size((12, 4, 16, 40), (24, 6, 128, 300))
    sizes |= {"max_encoder_length": past, "max_prediction_length": ahead}
    small = {"hidden_size": 16, "dropout": 0.0}
    model = TFT(
        MAE(), optimizer="adam", optimizer_params={"lr": 0.02}, metadata=sizes,
        **trial.size(small, {}),
    )  # fmt: skip
    fit(trial, model, windows(past, ahead, batch))
    with torch.no_grad():
        trial.output(model(next(iter(windows(past, ahead, batch)))[0])["prediction"])
    groups = of_groups(past, ahead, count)
    small["rnn_layers"] = 1
    model = DeepAR.from_dataset(groups, log_interval=-1, **trial.size(small, {}))
    fit(trial, model, groups.to_dataloader(train=True, batch_size=batch, num_workers=0))
    torch.manual_seed(5)
    x, _ = next(iter(groups.to_dataloader(train=False, batch_size=8, num_workers=0)))
    with torch.no_grad():
        trial.output(model(x)["prediction"])
