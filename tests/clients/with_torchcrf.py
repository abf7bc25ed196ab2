"""pytorch-crf: a tagger of packed sentences under a conditional random field."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torchcrf import CRF

WHAT = "a tagger: packed sentences, LSTM both ways, CRF; the best path"
USUAL = "training: 100 → 100 both ways, up to 50 words, B=32, 9 tags: sizes of Lample et al."


class Tagger(nn.Module):
    def __init__(self, words, tags, width, units):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * units, tags)
        self.crf = CRF(tags, batch_first=True)

    def scores(self, words, lengths):
        x = pack_padded_sequence(self.words(words), lengths, batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.lstm(x)[0], batch_first=True)[0])


def run(trial):
    count, kinds, width, units = trial.size((40, 5, 12, 16), (5000, 9, 100, 100))
    model = trial.model(Tagger(count, kinds, width, units))
    lengths = torch.tensor([4, 11, 1, 7, 7, 2, 9, 3])
    lengths = trial.size(lengths, 4 * lengths.repeat(4) + 6)
    words = torch.randint(count, (len(lengths), int(lengths.max())))
    tags, mask = words % kinds, torch.arange(words.shape[1]) < lengths[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(trial.size(15, 12)):
        optimizer.zero_grad()
        loss = -model.crf(model.scores(words, lengths), tags, mask=mask, reduction="mean")
        loss.backward()
        optimizer.step()
        trial.step(loss)
    model.eval()
    with torch.no_grad():
        scores = model.scores(words, lengths)
        trial.output(scores, *model.crf.decode(scores, mask))
