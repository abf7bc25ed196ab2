"""Do two questions ask for the same, and of which kind is the first?

Both go through the same Embedding and the same LSTM; each looks at the other by attention. Two
outputs, each with a loss, metrics and sample weights of its own.
"""

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import questions

SAMPLES = 1600
VOCABULARY = 8000
MAXLEN = 30
KINDS = 6
EMBEDDING = 64
UNITS = 64
BATCH_SIZE = 64


def load_data():
    first, second, same, kind = questions(SAMPLES, VOCABULARY, MAXLEN, KINDS)
    first = keras.utils.pad_sequences(first, maxlen=MAXLEN, padding="post", truncating="post")
    second = keras.utils.pad_sequences(second, maxlen=MAXLEN, padding="post", truncating="post")
    x = {"first": first, "second": second}
    y = {"same": same, "kind": keras.utils.to_categorical(kind, num_classes=KINDS)}
    weights = {"same": np.where(same == 1, 2.0, 1.0), "kind": np.linspace(0.5, 1.5, SAMPLES)}
    return x, y, weights


def build(data):
    first = keras.Input(shape=(MAXLEN,), dtype="int32", name="first")
    second = keras.Input(shape=(MAXLEN,), dtype="int32", name="second")
    embed = layers.Embedding(VOCABULARY, EMBEDDING)
    encode = layers.LSTM(UNITS, return_sequences=True)
    one, other = encode(embed(first)), encode(embed(second))

    one_seen = layers.Attention()([one, other])
    other_seen = layers.Attention()([other, one])
    pooled = layers.Concatenate()(
        [
            layers.GlobalAveragePooling1D()(one),
            layers.GlobalAveragePooling1D()(one_seen),
            layers.GlobalAveragePooling1D()(other_seen),
        ]
    )
    hidden = layers.Dense(64, activation="relu")(pooled)
    same = layers.Dense(1, activation="sigmoid", name="same")(hidden)
    kind = layers.Dense(KINDS, activation="softmax", name="kind")(hidden)
    model = keras.Model(inputs=[first, second], outputs={"same": same, "kind": kind})
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss={
            "same": keras.losses.BinaryCrossentropy(),
            "kind": keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        },
        loss_weights={"same": 1.0, "kind": 0.5},
        metrics={"same": ["accuracy", keras.metrics.AUC(name="auc")], "kind": ["accuracy"]},
    )
    return model


def train(model, data, epochs=3, shuffle=True, verbose=0):
    x, y, weights = data
    return model.fit(
        x,
        y,
        sample_weight=weights,
        batch_size=BATCH_SIZE,
        epochs=epochs,
        shuffle=shuffle,
        verbose=verbose,
    )


def use(model, data):
    x, y, _ = data
    found = model.predict(x, verbose=0)
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    return {
        "same": found["same"],
        "kind": found["kind"],
        "loss": np.array(results["loss"]),
        "auc": np.array(results["same_auc"]),
    }


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["auc"])


if __name__ == "__main__":
    main()
