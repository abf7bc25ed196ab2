"""captum: gradients with respect to inputs and to what an LSTM hands on."""

import torch
from captum.attr import IntegratedGradients, LayerGradientXActivation, Saliency
from torch import nn

WHAT = "a classifier trained, then IntegratedGradients, Saliency, LayerGradientXActivation"
USUAL = "training, 300 → 1024, T=23, B=16: the reader of questions in its VQA tutorial"


class Reader(nn.Module):
    def __init__(self, features, units):
        super().__init__()
        self.lstm = nn.LSTM(features, units, batch_first=True)
        self.head = nn.Linear(units, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


def run(trial):
    features, units = trial.size((4, 12), (300, 1024))
    model = trial.model(Reader(features, units))
    x, y = torch.randn(16, trial.size(8, 23), features), torch.randint(3, (16,))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(trial.size(10, 5)):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    few, n_steps = trial.size((5, 20), (1, 50))
    trial.output(IntegratedGradients(model).attribute(x[:few], target=1, n_steps=n_steps))
    trial.output(Saliency(model).attribute(x[:few].requires_grad_(), target=y[:few]))
    trial.output(LayerGradientXActivation(model, model.head).attribute(x[:few], target=2))
