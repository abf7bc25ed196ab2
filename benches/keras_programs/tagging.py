"""A tag for each word of a sentence; the zeros behind short sentences are masked."""

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import sentences

SAMPLES = 2000
VOCABULARY = 5000
TAGS = 17
MAXLEN = 40
EMBEDDING = 64
UNITS = 64
DROPOUT = 0.3
BATCH_SIZE = 32


def load_data():
    words, tags = sentences(SAMPLES, VOCABULARY, TAGS, MAXLEN)
    x = keras.utils.pad_sequences(words, maxlen=MAXLEN, padding="post")
    y = keras.utils.pad_sequences(tags, maxlen=MAXLEN, padding="post")
    split = SAMPLES * 9 // 10
    return (x[:split], y[:split]), (x[split:], y[split:])


def build(data):
    model = keras.Sequential(
        [
            keras.Input(shape=(MAXLEN,), dtype="int32"),
            layers.Embedding(input_dim=VOCABULARY, output_dim=EMBEDDING, mask_zero=True),
            layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True)),
            layers.Dropout(DROPOUT),
            layers.TimeDistributed(layers.Dense(TAGS, activation="softmax")),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model, data, epochs=5, shuffle=True, verbose=0):
    (x_train, y_train), validation = data
    return model.fit(
        x_train,
        y_train,
        validation_data=validation,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    _, (x, y) = data
    loss, accuracy = model.evaluate(x, y, verbose=0)
    probabilities = model.predict(x, verbose=0) * (x > 0)[:, :, None]
    return {"probabilities": probabilities, "evaluated": np.array([loss, accuracy])}


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["evaluated"])


if __name__ == "__main__":
    main()
