"""flair: a SequenceTagger of its own embeddings, LSTM and CRF."""

import flair
import torch
from flair.data import Corpus, Dictionary, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import CharacterEmbeddings, StackedEmbeddings
from flair.models import SequenceTagger

WHAT = "SequenceTagger on CharacterEmbeddings (LSTM both), CRF: forward_loss, predict"
USUAL = "training on letters: 25 → 25 both ways, then 256 both ways, CRF, B=32; its defaults"
TEXTS = ["the cat sat on the mat", "a dog", "George Washington went to Washington", "so it goes on"]


def texts(trial):
    """Four in tests, else a batch: some 20 words each."""
    many = [" ".join(TEXTS[k % 4 :] * (1 + k % 3)) for k in range(32)]
    return trial.size(TEXTS, many)


def sentences(trial):
    made = [Sentence(text) for text in texts(trial)]
    for sentence in made:
        for token in sentence:
            token.add_label("kind", "name" if token.text[0].isupper() else "word")
    return made


def run(trial):
    flair.device = torch.device("cpu")
    corpus = Corpus(FlairDatapointDataset(sentences(trial)), sample_missing_splits=False)
    letters = Dictionary()  # flair's own is a download
    for letter in sorted({*"".join(TEXTS)}):
        letters.add_item(letter)
    sizes = trial.size({"char_embedding_dim": 8, "hidden_size_char": 8}, {})
    small = {"hidden_size": 16, "rnn_layers": 2, "word_dropout": 0.0, "locked_dropout": 0.0}
    tagger = SequenceTagger(
        StackedEmbeddings([CharacterEmbeddings(letters, **sizes)]),
        corpus.make_label_dictionary("kind", add_unk=False), "kind", **trial.size(small, {}),
    )  # fmt: skip
    batches = [sentences(trial) for _ in range(trial.size(8, 4))]
    trial.model(tagger)
    optimizer = torch.optim.SGD(tagger.parameters(), lr=0.3)
    tagger.train()
    for batch in batches:
        optimizer.zero_grad()
        loss, count = tagger.forward_loss(batch)
        (loss / count).backward()
        optimizer.step()
        trial.step(loss)
    tagger.eval()
    found = [Sentence(text) for text in texts(trial)]
    tagger.predict(found, label_name="found", force_token_predictions=True)
    trial.output([label.score for one in found for label in one.get_labels("found")])
