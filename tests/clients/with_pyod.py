"""pyod: outliers of a time series by the errors of an LSTM that foretells it."""

from unittest import mock

import numpy as np
from pyod.models import ts_lstm
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

WHAT = "LSTMAD.fit, its own loop; decision_function"


def run(trial):
    class Model(ts_lstm._LSTMModel):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            trial.model(self._net)

    def note(module, inputs, loss):
        if isinstance(module, nn.MSELoss):
            trial.step(loss)

    noise = np.random.default_rng(0).normal(size=(2, 120, 2)) / 9
    train, test = noise + np.sin(np.arange(120) / 4)[:, None]
    test[60:64] += 2
    hook = register_module_forward_hook(note)
    try:
        with mock.patch.object(ts_lstm, "_LSTMModel", Model):
            detector = ts_lstm.LSTMAD(window_size=10, hidden_size=12, epochs=3).fit(train)
    finally:
        hook.remove()
    trial.output(detector.decision_function(test))
