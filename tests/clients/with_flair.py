"""flair: a SequenceTagger of its own embeddings, LSTM and CRF."""

import flair
import torch
from flair.data import Corpus, Dictionary, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import CharacterEmbeddings, StackedEmbeddings
from flair.models import SequenceTagger

WHAT = "SequenceTagger on CharacterEmbeddings (LSTM both), CRF: forward_loss, predict"
TEXTS = ["the cat sat on the mat", "a dog", "George Washington went to Washington", "so it goes on"]


def sentences():
    made = [Sentence(text) for text in TEXTS]
    for sentence in made:
        for token in sentence:
            token.add_label("kind", "name" if token.text[0].isupper() else "word")
    return made


def run(trial):
    flair.device = torch.device("cpu")
    corpus = Corpus(FlairDatapointDataset(sentences()), sample_missing_splits=False)
    letters = Dictionary()  # flair's own is a download
    for letter in sorted({*"".join(TEXTS)}):
        letters.add_item(letter)
    tagger = SequenceTagger(
        StackedEmbeddings([CharacterEmbeddings(letters, char_embedding_dim=8, hidden_size_char=8)]),
        corpus.make_label_dictionary("kind", add_unk=False), "kind", hidden_size=16, rnn_layers=2,
        dropout=0.0, word_dropout=0.0, locked_dropout=0.0,
    )  # fmt: skip
    trial.model(tagger)
    optimizer = torch.optim.SGD(tagger.parameters(), lr=0.3)
    tagger.train()
    for _ in range(8):
        optimizer.zero_grad()
        loss, count = tagger.forward_loss(sentences())
        (loss / count).backward()
        optimizer.step()
        trial.step(loss)
    tagger.eval()
    found = [Sentence(text) for text in TEXTS]
    tagger.predict(found, label_name="found", force_token_predictions=True)
    trial.output([label.score for one in found for label in one.get_labels("found")])
