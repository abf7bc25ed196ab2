"""Is a review good? Two bidirectional LSTMs over its words.

Reviews of unlike lengths are filled up with zeros in front; the zeros are masked. There are fewer
good ones, so that they count more.
"""

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import reviews

SAMPLES = 400
MAX_FEATURES = 20000
MAXLEN = 120
SHORTEST = 20
EMBEDDING = 128
UNITS = 64
BATCH_SIZE = 32


def load_data():
    x, y = reviews(SAMPLES, MAX_FEATURES, SHORTEST, 2 * MAXLEN)
    split = SAMPLES * 4 // 5
    x_train = keras.utils.pad_sequences(x[:split], maxlen=MAXLEN)
    x_val = keras.utils.pad_sequences(x[split:], maxlen=MAXLEN)
    return x_train, y[:split], x_val, y[split:]


def build(data):
    inputs = keras.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(MAX_FEATURES, EMBEDDING, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(UNITS))(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def train(model, data, epochs=2, shuffle=True, verbose=0):
    x_train, y_train, x_val, y_val = data
    return model.fit(
        x_train,
        y_train,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_data=(x_val, y_val),
        class_weight={0: 0.75, 1: 1.5},
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    _, _, x_val, y_val = data
    loss, accuracy = model.evaluate(x_val, y_val, verbose=0)
    return {"scores": model.predict(x_val, verbose=0), "evaluated": np.array([loss, accuracy])}


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["evaluated"])


if __name__ == "__main__":
    main()
