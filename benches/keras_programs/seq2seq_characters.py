"""Translate letter by letter: an encoder's states are where the decoder begins.

While it learns, the decoder sees the right letters before each; afterwards, in models of their own
made of the trained layers, those that it wrote itself.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from benches.keras_programs.data import translations

SAMPLES = 1280
WORDS = 3
BATCH_SIZE = 64
LATENT_DIM = 256
DECODED = 3


def load_data():
    sources, targets = translations(SAMPLES, WORDS)
    targets = [f"\t{text}\n" for text in targets]
    letters = [sorted(set("".join(texts)) | {" "}) for texts in (sources, targets)]
    tokens = [{letter: i for i, letter in enumerate(one)} for one in letters]
    lengths = [max(len(text) for text in texts) for texts in (sources, targets)]
    encoder_x = np.zeros((SAMPLES, lengths[0], len(letters[0])), dtype="float32")
    decoder_x = np.zeros((SAMPLES, lengths[1], len(letters[1])), dtype="float32")
    decoder_y = np.zeros_like(decoder_x)
    for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
        for t, letter in enumerate(source.ljust(lengths[0])):
            encoder_x[i, t, tokens[0][letter]] = 1.0
        for t, letter in enumerate(target.ljust(lengths[1])):
            decoder_x[i, t, tokens[1][letter]] = 1.0
            if t > 0:
                decoder_y[i, t - 1, tokens[1][letter]] = 1.0
        decoder_y[i, lengths[1] - 1, tokens[1][" "]] = 1.0
    return {
        "encoder_x": encoder_x,
        "decoder_x": decoder_x,
        "decoder_y": decoder_y,
        "tokens": tokens[1],
    }


def build(data):
    encoder_inputs = keras.Input(shape=(None, data["encoder_x"].shape[-1]))
    encoder = layers.LSTM(LATENT_DIM, return_state=True, name="encoder")
    _, state_h, state_c = encoder(encoder_inputs)
    encoder_states = [state_h, state_c]

    decoder_inputs = keras.Input(shape=(None, data["decoder_x"].shape[-1]))
    decoder_lstm = layers.LSTM(LATENT_DIM, return_sequences=True, return_state=True, name="decoder")
    decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
    decoder_dense = layers.Dense(data["decoder_y"].shape[-1], activation="softmax", name="letters")
    decoder_outputs = decoder_dense(decoder_outputs)

    model = keras.Model([encoder_inputs, decoder_inputs], decoder_outputs)
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model, data, epochs=100, shuffle=True, verbose=0):
    return model.fit(
        [data["encoder_x"], data["decoder_x"]],
        data["decoder_y"],
        batch_size=BATCH_SIZE,
        epochs=epochs,
        validation_split=0.2,
        shuffle=shuffle,
        verbose=verbose,
    )


def inference_models(model):
    encoder_inputs = model.input[0]
    _, state_h_enc, state_c_enc = model.get_layer("encoder").output
    encoder_model = keras.Model(encoder_inputs, [state_h_enc, state_c_enc])

    decoder_inputs = model.input[1]
    decoder_state_input_h = keras.Input(shape=(LATENT_DIM,))
    decoder_state_input_c = keras.Input(shape=(LATENT_DIM,))
    decoder_states_inputs = [decoder_state_input_h, decoder_state_input_c]
    decoder_lstm = model.get_layer("decoder")
    decoder_outputs, state_h, state_c = decoder_lstm(
        decoder_inputs, initial_state=decoder_states_inputs
    )
    decoder_outputs = model.get_layer("letters")(decoder_outputs)
    decoder_model = keras.Model(
        [decoder_inputs, *decoder_states_inputs], [decoder_outputs, state_h, state_c]
    )
    return encoder_model, decoder_model


def decode_sequence(encoder_model, decoder_model, source, tokens, longest):
    letters = {i: letter for letter, i in tokens.items()}
    states = encoder_model.predict(source, verbose=0)
    target = np.zeros((1, 1, len(tokens)), dtype="float32")
    target[0, 0, tokens["\t"]] = 1.0
    decoded, scores = "", []
    while len(decoded) < longest and not decoded.endswith("\n"):
        output, h, c = decoder_model.predict([target, *states], verbose=0)
        scores.append(output[0, -1])
        token = int(np.argmax(output[0, -1]))
        decoded += letters[token]
        target[:] = 0.0
        target[0, 0, token] = 1.0
        states = [h, c]
    return decoded, np.stack(scores)


def use(model, data):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s2s_model.keras")
        model.save(path)
        model = keras.models.load_model(path)
    encoder_model, decoder_model = inference_models(model)
    longest = data["decoder_x"].shape[1]
    found = {}
    for i in range(DECODED):
        source = data["encoder_x"][i : i + 1]
        _, found[f"scores_{i}"] = decode_sequence(
            encoder_model, decoder_model, source, data["tokens"], longest
        )
    return found


def main():
    keras.utils.set_random_seed(1)
    data = load_data()
    model = build(data)
    model.summary()
    train(model, data, verbose=1)
    print(use(model, data)["scores_0"].argmax(axis=-1))


if __name__ == "__main__":
    main()
