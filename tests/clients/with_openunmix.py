"""openunmix: its separation model, three layers both ways."""

import torch
from openunmix.model import OpenUnmix

WHAT = "OpenUnmix, 3 layers both ways, (frames, batch, features); training and evaluation"
USUAL = "training of umxhq: 3 × 256 units both ways, 6 s in 255 frames, B=4 of its 16; its defaults"


def run(trial):
    bins, most, hidden, B, frames = trial.size((65, 40, 48, 4, 20), (2049, 1487, 512, 4, 255))
    model = trial.model(OpenUnmix(bins, 2, hidden, nb_layers=3, max_bin=most))
    mixture = torch.rand(B, 2, bins, frames)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(trial.size(12, 3)):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(mixture), mixture * 0.3)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(mixture[: trial.size(4, 1)]))
