"""Learn to add: the digits of "12+7" go in, those of "19" come out, letter by letter.

An LSTM reads the question; its last output, repeated, is what a second LSTM writes the answer from.
"""

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import additions

SAMPLES = 5500
DIGITS = 3
HIDDEN = 128
BATCH_SIZE = 32

CHARACTERS = "0123456789+ "


def encode(texts, length):
    """One-hot rows, filled up with blanks."""
    encoded = np.zeros((len(texts), length, len(CHARACTERS)), dtype="bool")
    for i, text in enumerate(texts):
        for t, character in enumerate(text.ljust(length)):
            encoded[i, t, CHARACTERS.index(character)] = True
    return encoded


def decode(encoded):
    return "".join(CHARACTERS[i] for i in encoded.argmax(axis=-1)).strip()


def load_data():
    questions, answers = additions(SAMPLES, DIGITS)
    x = encode([question[::-1] for question in questions], 2 * DIGITS + 1)
    y = encode(answers, DIGITS + 1)
    split = len(x) - len(x) // 10
    return (x[:split], y[:split]), (x[split:], y[split:])


def build(data):
    model = keras.Sequential()
    model.add(layers.Input((2 * DIGITS + 1, len(CHARACTERS))))
    model.add(layers.LSTM(HIDDEN))
    model.add(layers.RepeatVector(DIGITS + 1))
    model.add(layers.LSTM(HIDDEN, return_sequences=True))
    model.add(layers.Dense(len(CHARACTERS), activation="softmax"))
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def train(model, data, epochs=30, shuffle=True, verbose=0):
    (x_train, y_train), validation = data
    return model.fit(
        x_train,
        y_train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=validation,
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    _, (x, y) = data
    rows = np.random.default_rng(0).integers(len(x), size=10)
    predictions = np.argmax(model.predict(x[rows], verbose=0), axis=-1)
    guesses = ["".join(CHARACTERS[i] for i in row).strip() for row in predictions]
    right = np.array([guess == decode(y[row]) for guess, row in zip(guesses, rows, strict=True)])
    return {"probabilities": model.predict(x[rows], verbose=0), "right": right}


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["right"].mean())


if __name__ == "__main__":
    main()
