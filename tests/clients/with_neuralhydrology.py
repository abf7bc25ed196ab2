"""neuralhydrology: CudaLSTM from its configuration, with its own loss."""

import torch
from neuralhydrology.modelzoo.cudalstm import CudaLSTM
from neuralhydrology.training.loss import MaskedMSELoss
from neuralhydrology.utils.config import Config

WHAT = "CudaLSTM, forget bias set through .data, MaskedMSELoss over the last days"
CONFIG = {
    "dynamic_inputs": ["rain", "heat", "wind"], "hidden_size": 20, "head": "regression",
    "target_variables": ["runoff"], "model": "cudalstm", "loss": "MSE", "output_dropout": 0.0,
    "initial_forget_bias": 3, "predict_last_n": 4, "use_frequencies": [], "no_loss_frequencies": [],
    "target_loss_weights": None, "output_activation": "linear",
}  # fmt: skip


def run(trial):
    config = Config(CONFIG, dev_mode=True)
    model = trial.model(CudaLSTM(config))
    measure = MaskedMSELoss(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    rain = torch.rand(12, 30, 3)
    runoff = rain.cumsum(1)[..., :1] / 10
    runoff[0, -2] = torch.nan
    names = CONFIG["dynamic_inputs"]
    data = {"x_d": {name: rain[..., k : k + 1] for k, name in enumerate(names)}, "y": runoff}
    for _ in range(12):
        optimizer.zero_grad()
        loss, _ = measure(model(data), data)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(data)["y_hat"])
