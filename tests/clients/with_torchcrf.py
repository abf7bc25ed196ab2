"""pytorch-crf: a tagger of packed sentences under a conditional random field."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torchcrf import CRF

WHAT = "a tagger: packed sentences, LSTM both ways, CRF; the best path"
TAGS, WORDS = 5, 40


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, TAGS)
        self.crf = CRF(TAGS, batch_first=True)

    def scores(self, words, lengths):
        x = pack_padded_sequence(self.words(words), lengths, batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.lstm(x)[0], batch_first=True)[0])


def run(trial):
    model = trial.model(Tagger())
    words, lengths = torch.randint(WORDS, (8, 11)), torch.tensor([4, 11, 1, 7, 7, 2, 9, 3])
    tags, mask = words % TAGS, torch.arange(11) < lengths[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(15):
        optimizer.zero_grad()
        loss = -model.crf(model.scores(words, lengths), tags, mask=mask, reduction="mean")
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        scores = model.scores(words, lengths)
        trial.output(scores, *model.crf.decode(scores, mask))
