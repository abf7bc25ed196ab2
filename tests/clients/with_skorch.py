"""skorch: scikit-learn's fit and predict around a module."""

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

WHAT = "NeuralNetClassifier.fit, 2 layers both ways, batches of unlike size; predict_proba"
USUAL = "fit: 128 → 2 × 128 both ways, T=50, B=128; its notebook on sentiments"


class Reader(nn.Module):
    def __init__(self, features, units):
        super().__init__()
        self.lstm = nn.LSTM(features, units, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * units, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[1][0][-2:].transpose(0, 1).flatten(1)).softmax(-1)


class Notes(Callback):
    def __init__(self, trial):
        self.trial = trial

    def on_train_begin(self, net, **kwargs):
        self.trial.model(net.module_)

    def on_batch_end(self, net, training, loss, **kwargs):
        if training:
            self.trial.step(loss)


def run(trial):
    x = (
        np.random.default_rng(0)
        .normal(size=trial.size((70, 9, 3), (500, 50, 128)))
        .astype("float32")
    )
    y = (x[:, -3:].sum((1, 2)) > 0).astype("int64")
    epochs, batch, units = trial.size((4, 32, 10), (2, 128, 128))
    net = NeuralNetClassifier(
        Reader, module__features=x.shape[2], module__units=units, max_epochs=epochs,
        batch_size=batch, optimizer=torch.optim.Adam, lr=0.01, verbose=0,
        callbacks=[("notes", Notes(trial))],
    )  # fmt: skip
    net.fit(x, y)
    trial.output(net.predict_proba(x[:11]))
