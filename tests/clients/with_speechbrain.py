"""speechbrain: its LSTM around torch.nn.LSTM with relative lengths, and a decoder of LSTMCells."""

import torch
from speechbrain.nnet.losses import nll_loss
from speechbrain.nnet.RNN import LSTM, AttentionalRNNDecoder

WHAT = "nnet.LSTM both ways with lengths, AttentionalRNNDecoder of LSTMCells, nll_loss"
USUAL = "training: 4 × 512 units both ways, T=75, then a decoder of 256, 40 phones, B=4 of 8; TIMIT"


class Listener(torch.nn.Module):
    def __init__(self, inputs, encoder, decoder, words):
        super().__init__()
        self.encoder = LSTM(**encoder, input_size=inputs, bidirectional=True)
        self.decoder = AttentionalRNNDecoder(
            "lstm", "location", enc_dim=2 * encoder["hidden_size"], scaling=1.0, **decoder
        )
        self.words = torch.nn.Embedding(words, decoder["input_size"])
        self.head = torch.nn.Linear(decoder["hidden_size"], words)

    def forward(self, x, lengths, words):
        heard, _ = self.encoder(x, lengths=lengths)
        said, _ = self.decoder(self.words(words), heard, lengths)
        return self.head(said).log_softmax(-1)


SMALL = 7, {"hidden_size": 10, "num_layers": 2}, {
    "hidden_size": 16, "attn_dim": 8, "num_layers": 2, "input_size": 4, "kernel_size": 5,
    "channels": 3,
}, 9  # fmt: skip
TIMIT = 512, {"hidden_size": 512, "num_layers": 4}, {
    "hidden_size": 256, "attn_dim": 256, "num_layers": 1, "input_size": 128, "kernel_size": 100,
    "channels": 10,
}, 42  # fmt: skip


def run(trial):
    sizes = trial.size(SMALL, TIMIT)
    B, T, L = trial.size((5, 12, 6), (4, 75, 40))
    model = trial.model(Listener(*sizes))
    x, words = torch.randn(B, T, sizes[0]), torch.randint(sizes[-1], (B, L))
    lengths = torch.tensor([1.0, 0.5, 0.75, 1.0, 0.25, 0.9, 0.8, 0.7][:B])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(trial.size(8, 3)):
        optimizer.zero_grad()
        loss = nll_loss(model(x, lengths, words), words, lengths)
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        trial.output(model(x, lengths, words))
