"""speechbrain: its LSTM around torch.nn.LSTM with relative lengths, and a decoder of LSTMCells."""

import torch
from speechbrain.nnet.losses import nll_loss
from speechbrain.nnet.RNN import LSTM, AttentionalRNNDecoder

WHAT = "nnet.LSTM both ways with lengths, AttentionalRNNDecoder of LSTMCells, nll_loss"
B, T, L, UNITS = 5, 12, 6, 10


class Listener(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = LSTM(UNITS, input_size=7, num_layers=2, bidirectional=True)
        self.decoder = AttentionalRNNDecoder(
            "lstm", "location", hidden_size=16, attn_dim=8, num_layers=2, enc_dim=2 * UNITS,
            input_size=4, kernel_size=5, channels=3, scaling=1.0,
        )  # fmt: skip
        self.words, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(16, 9)

    def forward(self, x, lengths, words):
        heard, _ = self.encoder(x, lengths=lengths)
        said, _ = self.decoder(self.words(words), heard, lengths)
        return self.head(said).log_softmax(-1)


def run(trial):
    model = trial.model(Listener())
    x, words = torch.randn(B, T, 7), torch.randint(9, (B, L))
    lengths = torch.tensor([1.0, 0.5, 0.75, 1.0, 0.25])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(8):
        optimizer.zero_grad()
        loss = nll_loss(model(x, lengths, words), words, lengths)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(x, lengths, words))
