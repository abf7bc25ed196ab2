"""Faults of a machine: what an autoencoder of LSTMs cannot rebuild from a short code."""

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import machine

STEPS = 4000
SENSORS = 5
FAULTS = 10
TIME_STEPS = 30
UNITS = 64
CODE = 32
BATCH_SIZE = 128


def create_sequences(values):
    return np.stack([values[i : i + TIME_STEPS] for i in range(len(values) - TIME_STEPS + 1)])


def load_data():
    good, bad = machine(STEPS, SENSORS, FAULTS)
    mean, std = good.mean(axis=0), good.std(axis=0)
    return create_sequences((good - mean) / std), create_sequences((bad - mean) / std)


def build(data):
    x_train, _ = data
    model = keras.Sequential(
        [
            layers.Input(shape=(x_train.shape[1], x_train.shape[2])),
            layers.LSTM(UNITS, return_sequences=True),
            layers.LSTM(CODE),
            layers.RepeatVector(x_train.shape[1]),
            layers.LSTM(UNITS, return_sequences=True),
            layers.TimeDistributed(layers.Dense(x_train.shape[2])),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mae")
    return model


def train(model, data, epochs=50, shuffle=True, verbose=0):
    x_train, _ = data
    return model.fit(
        x_train,
        x_train,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        validation_split=0.1,
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, mode="min")],
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    x_train, x_test = data
    train_mae_loss = np.mean(np.abs(model.predict(x_train, verbose=0) - x_train), axis=1)
    threshold = np.max(train_mae_loss, axis=0)
    test_mae_loss = np.mean(np.abs(model.predict(x_test, verbose=0) - x_test), axis=1)
    anomalies = np.any(test_mae_loss > threshold, axis=1)
    return {
        "threshold": threshold,
        "errors": test_mae_loss,
        "found": np.array([anomalies.sum()]),
    }


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["found"])


if __name__ == "__main__":
    main()
