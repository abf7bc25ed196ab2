"""The temperature some hours ahead, from windows of several series of measurements."""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import weather

HOURS = 8000
SERIES = 7
PAST = 120
FUTURE = 12
STEP = 1
UNITS = 32
LEARNING_RATE = 0.001
BATCH_SIZE = 256
STRIDE = 1


def windows(values, target):
    """Windows of PAST hours and what is FUTURE hours behind the last."""
    x = np.lib.stride_tricks.sliding_window_view(values, PAST, axis=0).transpose(0, 2, 1)
    x = x[: len(values) - PAST - FUTURE + 1 : STRIDE, ::STEP]
    return x, target[PAST + FUTURE - 1 :: STRIDE][: len(x), None]


def load_data():
    values = weather(HOURS, SERIES)
    split = int(0.75 * HOURS)
    values = (values - values[:split].mean(axis=0)) / values[:split].std(axis=0)
    x_train, y_train = windows(values[:split], values[:split, 1])
    x_val, y_val = windows(values[split:], values[split:, 1])
    return x_train, y_train, x_val, y_val


def build(data):
    inputs = layers.Input(shape=data[0].shape[1:])
    lstm_out = layers.LSTM(UNITS)(inputs)
    outputs = layers.Dense(1)(lstm_out)
    model = keras.Model(inputs=inputs, outputs=outputs)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=LEARNING_RATE), loss="mse")
    return model


def train(model, data, epochs=10, shuffle=True, verbose=0):
    x_train, y_train, x_val, y_val = data
    with tempfile.TemporaryDirectory() as folder:
        path_checkpoint = str(Path(folder) / "model_checkpoint.weights.h5")
        es_callback = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=0, patience=5)
        checkpoint_callback = keras.callbacks.ModelCheckpoint(
            monitor="val_loss",
            filepath=path_checkpoint,
            verbose=0,
            save_weights_only=True,
            save_best_only=True,
        )
        history = model.fit(
            x_train,
            y_train,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            validation_data=(x_val, y_val),
            callbacks=[es_callback, checkpoint_callback],
            shuffle=shuffle,
            verbose=verbose,
        )
        model.load_weights(path_checkpoint)
    return history


def use(model, data):
    _, _, x_val, y_val = data
    return {
        "forecast": model.predict(x_val[:5], verbose=0)[:, 0],
        "loss": np.array(model.evaluate(x_val, y_val, verbose=0)),
    }


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    history = train(model, data, verbose=1)
    print(history.history["val_loss"], use(model, data))


if __name__ == "__main__":
    main()
