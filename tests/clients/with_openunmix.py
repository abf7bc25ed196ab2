"""openunmix: its separation model, three layers both ways."""

import torch
from openunmix.model import OpenUnmix

WHAT = "OpenUnmix, 3 layers both ways, (frames, batch, features); training and evaluation"


def run(trial):
    model = trial.model(OpenUnmix(65, nb_channels=2, hidden_size=48, nb_layers=3, max_bin=40))
    mixture = torch.rand(4, 2, 65, 20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(mixture), mixture * 0.3)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(mixture))
