"""An encoder and a decoder with attention between them: one sequence of symbols into another.

The encoder reads the source in both directions. The decoder writes the target symbol by symbol; it
begins from the encoder's last states, and at each step looks back at what the encoder has read.

Sources: Sutskever, Vinyals and Le 2014; Bahdanau, Cho and Bengio 2015; the attention of Luong, Pham
and Manning 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast

from .. import LSTM, Dense, Embedding, Input, Model
from ..layers import Attention, Bidirectional, Concatenate

__all__ = ["END", "PADDING", "START", "Symbols", "Translator"]

Array = np.ndarray[Any, np.dtype[Any]]

PADDING, START, END, UNKNOWN = range(4)


class Symbols:
    """Symbols and their numbers; 0 to 3 are padding, the start, the end, and all others."""

    def __init__(self, symbols: Iterable[str]):
        self.symbols = ["", "<s>", "</s>", "\N{REPLACEMENT CHARACTER}", *symbols]
        self.numbers = {symbol: number for number, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, texts: Sequence[Sequence[str]]) -> Array:
        """Return the numbers (N, T) of texts, each with its end, padded on the right."""
        rows = [[self.numbers.get(s, UNKNOWN) for s in text] + [END] for text in texts]
        found = np.full((len(rows), max(map(len, rows))), PADDING, np.int32)
        for row, numbers in zip(found, rows, strict=True):
            row[: len(numbers)] = numbers
        return found

    def decode(self, numbers: Array) -> list[str]:
        """Return the symbols up to the end."""
        row = numbers.tolist()
        row = row[: row.index(END)] if END in row else row
        return [self.symbols[number] for number in row]


def shifted(targets: Array) -> Array:
    """Return what the decoder has seen when it writes each symbol of the targets (N, T)."""
    before = np.full_like(targets, START)
    before[:, 1:] = targets[:, :-1]
    before[targets == PADDING] = PADDING
    return before


class Translator:
    """Such a model, and how it writes.

    Parameters
    ----------
    sources, targets : int
        Symbols there are.
    embedding, units : int
        Sizes; the encoder has half the units in each direction.
    seed : int
    """

    def __init__(self, sources: int, targets: int, embedding: int, units: int, seed: int):
        read, written = Input((None,), "int32", "source"), Input((None,), "int32", "before")
        encoder = Bidirectional(LSTM(units // 2, return_sequences=True, return_state=True))
        memory, *states = encoder(Embedding(sources, embedding, mask_zero=True)(read))
        state = [Concatenate()(states[0::2]), Concatenate()(states[1::2])]
        decoder = LSTM(units, return_sequences=True)
        h = decoder(Embedding(targets, embedding, mask_zero=True)(written), initial_state=state)
        seen, scores = Attention()([h, memory], return_attention_scores=True)
        joined = Dense(units, "tanh")(Concatenate()([h, seen]))
        output = Dense(targets, "softmax", name="symbol")(joined)
        self.model = Model([read, written], output, seed=seed)
        self.looks = Model([read, written], scores)

    def fit(self, sources: Array, targets: Array, **arguments: Any) -> Any:
        """Train on numbers (N, S) and (N, T), as `Model.fit`; padding counts nothing."""
        self.model.compile(arguments.pop("optimizer"), "sparse_categorical_crossentropy")
        return self.model.fit([sources, shifted(targets)], targets, **arguments)

    def greedy(self, sources: Array, most: int) -> Array:
        """Return targets (N, T) of `most` symbols at most, each symbol the likeliest."""
        written = np.full((len(sources), 1), START, np.int32)
        for _ in range(most):
            p = self._after(sources, written)
            p[:, PADDING] = 0.0
            done = (written == END).any(axis=1)
            chosen = np.where(done, END, p.argmax(axis=1)).astype(np.int32)
            written = np.concatenate((written, chosen[:, None]), axis=1)
            if (written == END).any(axis=1).all():
                break
        return written[:, 1:]

    def beam(self, source: Array, most: int, width: int) -> Array:
        """Return the likeliest target (T,) of one source (S,) that a beam of `width` finds.

        Likelihoods are means over the symbols, so that long targets are not left out.
        """
        kept, logs, ended = np.full((1, 1), START, np.int32), np.zeros(1), []
        for length in range(1, most + 1):
            p = self._after(np.repeat(source[None], len(kept), axis=0), kept)
            p[:, PADDING] = 0.0
            total = logs[:, None] + np.log(np.maximum(p, 1e-30))
            best = np.argsort(-total, axis=None)[:width]
            rows, symbols = np.unravel_index(best, total.shape)
            kept = np.concatenate((kept[rows], symbols[:, None].astype(np.int32)), axis=1)
            logs = total[rows, symbols]
            over = symbols == END
            ended += [(logs[n] / length, kept[n, 1:]) for n in np.flatnonzero(over)]
            kept, logs = kept[~over], logs[~over]
            if not len(kept) or len(ended) >= width:
                break
        ended = ended or [(log, row[1:]) for log, row in zip(logs, kept, strict=True)]
        return max(ended, key=lambda pair: pair[0])[1]

    def _after(self, sources: Array, written: Array) -> Array:
        """Return the probabilities (N, symbols) of what follows."""
        return np.array(self.model.predict([sources, written], batch_size=256)[:, -1])

    def attention(self, source: Array, target: Array) -> Array:
        """Return how much each symbol of the target looked at each of the source (T, S)."""
        found = self.looks.predict([source[None], shifted(target[None])])
        return np.asarray(found)[0]

    def save(self, path: Path) -> None:
        """Write the model; `Translator.load` reads it."""
        self.model.save(path)

    @classmethod
    def load(cls, path: Path) -> Translator:
        """Return what `save` wrote."""
        made = cls.__new__(cls)
        made.model = lstmfast.load(path)
        scores = made.model.get_layer("attention").output[1]
        made.looks = Model(made.model.inputs, scores)
        return made
