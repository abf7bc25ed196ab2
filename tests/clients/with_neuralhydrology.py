"""neuralhydrology: CudaLSTM from its configuration, with its own loss."""

import torch
from neuralhydrology.modelzoo.cudalstm import CudaLSTM
from neuralhydrology.training.loss import MaskedMSELoss
from neuralhydrology.utils.config import Config

WHAT = "CudaLSTM, forget bias set through .data, MaskedMSELoss over the last days"
USUAL = "training: 15 → 20, T=365, B=256, of which the last day counts; its first example"
CONFIG = {
    "hidden_size": 20, "head": "regression", "target_variables": ["runoff"], "model": "cudalstm",
    "loss": "MSE", "initial_forget_bias": 3, "use_frequencies": [], "no_loss_frequencies": [],
    "target_loss_weights": None, "output_activation": "linear",
}  # fmt: skip


def run(trial):
    days, rows, inputs = trial.size((30, 12, 3), (365, 256, 15))
    names = [f"input {k}" for k in range(inputs)]
    sizes = trial.size(
        {"output_dropout": 0.0, "predict_last_n": 4}, {"output_dropout": 0.4, "predict_last_n": 1}
    )
    config = Config(CONFIG | sizes | {"dynamic_inputs": names}, dev_mode=True)
    model = trial.model(CudaLSTM(config))
    measure = MaskedMSELoss(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    rain = torch.rand(rows, days, inputs)
    runoff = rain.cumsum(1)[..., :1] / 10
    runoff[0, -2] = torch.nan
    data = {"x_d": {name: rain[..., k : k + 1] for k, name in enumerate(names)}, "y": runoff}
    for _ in range(trial.size(12, 4)):
        optimizer.zero_grad()
        loss, _ = measure(model(data), data)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(data)["y_hat"])
