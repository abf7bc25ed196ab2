"""pyod: outliers of a time series by the errors of an LSTM that foretells it."""

from unittest import mock

import numpy as np
from pyod.models import ts_lstm
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

WHAT = "LSTMAD.fit, its own loop; decision_function"
USUAL = "training: 2 × 64 units, T=50, B=32, 500 points; its defaults"


def run(trial):
    class Model(ts_lstm._LSTMModel):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            trial.model(self._net)

    def note(module, inputs, loss):
        if isinstance(module, nn.MSELoss):
            trial.step(loss)

    points, features = trial.size((120, 2), (500, 1))
    noise = np.random.default_rng(0).normal(size=(2, points, features)) / 9
    train, test = noise + np.sin(np.arange(points) / 4)[:, None]
    test[60:64] += 2
    hook = register_module_forward_hook(note)
    try:
        with mock.patch.object(ts_lstm, "_LSTMModel", Model):
            sizes = trial.size({"window_size": 10, "hidden_size": 12}, {})
            detector = ts_lstm.LSTMAD(epochs=trial.size(3, 2), **sizes).fit(train)
    finally:
        hook.remove()
    trial.output(detector.decision_function(test))
