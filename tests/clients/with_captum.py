"""captum: gradients with respect to inputs and to what an LSTM hands on."""

import torch
from captum.attr import IntegratedGradients, LayerGradientXActivation, Saliency
from torch import nn

WHAT = "a classifier trained, then IntegratedGradients, Saliency, LayerGradientXActivation"


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0].mean(1))


def run(trial):
    model = trial.model(Reader())
    x, y = torch.randn(16, 8, 4), torch.randint(3, (16,))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    trial.output(IntegratedGradients(model).attribute(x[:5], target=1, n_steps=20))
    trial.output(Saliency(model).attribute(x[:5].requires_grad_(), target=y[:5]))
    trial.output(LayerGradientXActivation(model, model.head).attribute(x[:5], target=2))
