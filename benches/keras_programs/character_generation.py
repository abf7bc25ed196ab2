"""Write on from a seed, letter by letter; after each epoch, a line of what it has learned."""

import random

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import novel

LENGTH = 12000
MAXLEN = 40
STEP = 3
UNITS = 128
BATCH_SIZE = 128
GENERATED = 10


def load_data():
    text = novel(LENGTH)
    chars = sorted(set(text))
    char_indices = {c: i for i, c in enumerate(chars)}
    sentences = [text[i : i + MAXLEN] for i in range(0, len(text) - MAXLEN, STEP)]
    next_chars = [text[i + MAXLEN] for i in range(0, len(text) - MAXLEN, STEP)]
    x = np.zeros((len(sentences), MAXLEN, len(chars)), dtype="bool")
    y = np.zeros((len(sentences), len(chars)), dtype="bool")
    for i, sentence in enumerate(sentences):
        for t, char in enumerate(sentence):
            x[i, t, char_indices[char]] = 1
        y[i, char_indices[next_chars[i]]] = 1
    return {"x": x, "y": y, "text": text, "chars": chars}


def build(data):
    model = keras.Sequential(
        [
            keras.Input(shape=(MAXLEN, len(data["chars"]))),
            layers.LSTM(UNITS),
            layers.Dense(len(data["chars"]), activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.RMSprop(learning_rate=0.01)
    model.compile(loss="categorical_crossentropy", optimizer=optimizer)
    return model


def sample(preds, temperature=1.0):
    preds = np.asarray(preds).astype("float64")
    preds = np.log(np.maximum(preds, 1e-30)) / temperature
    exp_preds = np.exp(preds)
    preds = exp_preds / np.sum(exp_preds)
    return np.argmax(np.random.multinomial(1, preds, 1))


def generate(model, data, diversity):
    text, chars = data["text"], data["chars"]
    start = random.randint(0, len(text) - MAXLEN - 1)
    sentence, generated = text[start : start + MAXLEN], ""
    for _ in range(GENERATED):
        x_pred = np.zeros((1, MAXLEN, len(chars)))
        for t, char in enumerate(sentence):
            x_pred[0, t, chars.index(char)] = 1.0
        preds = model.predict(x_pred, verbose=0)[0]
        next_char = chars[sample(preds, diversity)]
        sentence = sentence[1:] + next_char
        generated += next_char
    return generated


def train(model, data, epochs=40, shuffle=True, verbose=0):
    def on_epoch_end(epoch, logs):
        for diversity in [0.5, 1.0]:
            generated = generate(model, data, diversity)
            if verbose:
                print(f"epoch {epoch}, diversity {diversity}: {generated!r}")

    return model.fit(
        data["x"],
        data["y"],
        batch_size=BATCH_SIZE,
        epochs=epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)],
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    return {"probabilities": model.predict(data["x"][:10], verbose=0)}


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)


if __name__ == "__main__":
    main()
