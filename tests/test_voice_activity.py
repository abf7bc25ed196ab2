"""The example `voice_activity`: its arithmetic in float64, its files, and the published model."""

import shutil
import wave

import numpy as np
import pytest

from lstmfast.examples import silero, silero_beside, voice_activity
from lstmfast.examples.silero import CHUNK, RATE, VoiceActivity, probabilities

SHAPES = {
    "stft_conv.weight": (258, 1, 256),
    "conv1.weight": (128, 129, 3), "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3), "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3), "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3), "conv4.bias": (128,),
    "lstm_cell.weight_ih": (512, 128), "lstm_cell.weight_hh": (512, 128),
    "lstm_cell.bias_ih": (512,), "lstm_cell.bias_hh": (512,),
    "final_conv.weight": (1, 128, 1), "final_conv.bias": (1,),
}  # fmt: skip


def made_weights(seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) * np.prod(shape[1:] or (4,)) ** -0.5).astype("f4")
        for name, shape in SHAPES.items()
    }


def sound(seed, chunks=5):
    return np.random.default_rng(seed).normal(size=(chunks, CHUNK)).astype("f4")


def convolved(x, kernel, stride, edge):
    """The definition: y[f, n] = Σ kernel[f, c, k] x[c, n stride + k], with zeros around x."""
    x = np.pad(x, ((0, 0), (edge, edge)))
    size = kernel.shape[2]
    starts = range(0, x.shape[1] - size + 1, stride)
    return np.stack([np.einsum("fck,ck->f", kernel, x[:, n : n + size]) for n in starts], axis=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def expected(weights, chunks):
    """The whole model by its definition, in float64."""
    w = {name: value.astype("f8") for name, value in weights.items()}
    h, c, context, found = np.zeros(128), np.zeros(128), np.zeros(64), []
    for chunk in chunks.astype("f8"):
        x = np.pad(np.concatenate((context, chunk)), (0, 64), mode="reflect")
        context = chunk[-64:]
        x = convolved(x[None], w["stft_conv.weight"], 128, 0)
        x = np.hypot(x[:129], x[129:])
        for n, stride in enumerate((1, 2, 2, 1), 1):
            x = convolved(x, w[f"conv{n}.weight"], stride, 1) + w[f"conv{n}.bias"][:, None]
            x = np.maximum(x, 0)
        z = w["lstm_cell.weight_ih"] @ x[:, 0] + w["lstm_cell.bias_ih"]
        z += w["lstm_cell.weight_hh"] @ h + w["lstm_cell.bias_hh"]
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        y = w["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + w["final_conv.bias"][0]
        found.append(sigmoid(y))
    return np.array(found)


def test_the_model_is_that_of_its_definition():
    weights = made_weights()
    for seed in range(3):
        model, chunks = VoiceActivity(weights), sound(seed)
        found = probabilities(model.step, chunks)
        assert np.ptp(found) > 1e-3
        np.testing.assert_allclose(found, expected(weights, chunks), rtol=0, atol=1e-5)


def test_recordings_side_by_side_do_not_touch_each_other_and_begin_anew():
    weights, several = made_weights(1), [sound(seed) for seed in range(4)]
    model = VoiceActivity(weights, batch_size=4)
    for _ in range(2):
        found = np.stack([model.step(chunk) for chunk in np.stack(several, axis=1)])
        for row, chunks in enumerate(several):
            alone = probabilities(VoiceActivity(weights).step, chunks)
            np.testing.assert_allclose(found[:, row], alone, rtol=0, atol=1e-6)
        model.reset()


def write(path, samples, rate=RATE, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def test_wav_files_are_read_whatever_their_rate_and_channels(tmp_path):
    wanted = 0.5 * np.sin(np.arange(RATE) * 2 * np.pi * 100 / RATE)
    write(tmp_path / "plain.wav", (wanted * 2**15).astype("<i2"))
    np.testing.assert_allclose(voice_activity.read(tmp_path / "plain.wav"), wanted, atol=1e-4)

    fine = 0.5 * np.sin(np.arange(44_100) * 2 * np.pi * 100 / 44_100)
    both = np.stack((fine * 2**16 * 0.75, fine * 2**16 * 0.25), axis=1)
    write(tmp_path / "stereo.wav", both.astype("<i2"), 44_100, 2)
    found = voice_activity.read(tmp_path / "stereo.wav")
    assert len(found) == RATE
    np.testing.assert_allclose(found, wanted, atol=1e-3)

    chunks = voice_activity.chunks_of(wanted)
    assert chunks.shape == (32, CHUNK) and not chunks[31, RATE % CHUNK :].any()
    np.testing.assert_allclose(chunks.reshape(-1)[:RATE], wanted, atol=1e-7)


def test_what_is_no_wav_file_is_refused(tmp_path):
    for name, content in (("none.wav", None), ("text.wav", b"RIFF, or so"), ("empty.wav", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"^wav: expected a WAV file"):
            voice_activity.read(tmp_path / name)
    write(tmp_path / "bytes.wav", np.zeros(100, "u1"), width=1)
    with pytest.raises(ValueError, match=r"^wav: expected samples of 16 bits"):
        voice_activity.read(tmp_path / "bytes.wav")


def test_speech_is_where_the_probability_is_above_the_threshold():
    chunk = CHUNK / RATE
    found = np.array([0.9, 0.1, 0.6, 0.7, 0.5, 0.8])
    assert voice_activity.speech(found, 0.5) == [
        (0.0, chunk), (2 * chunk, 4 * chunk), (5 * chunk, 6 * chunk)
    ]  # fmt: skip
    assert voice_activity.speech(found, 0.95) == []


def test_without_the_package_the_program_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        voice_activity.main([])
    assert "pip install --no-deps silero-vad" in capsys.readouterr().err


def test_the_lstm_of_the_other_runtimes_is_the_same():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    weights = made_weights(2)
    ours = silero.VoiceActivity(weights).lstm
    others = silero_beside.beside(silero_beside.cells(weights))
    assert list(others) == ["ONNX Runtime", "PyTorch"]
    for x in np.random.default_rng(0).normal(size=(4, 1, 128)).astype("f4"):
        wanted = ours.step(x)
        for step in others.values():
            np.testing.assert_allclose(step(x), wanted, rtol=0, atol=1e-5)


def test_the_published_model_gives_the_probabilities_of_its_own_runtimes(tmp_path, capsys):
    pytest.importorskip("silero_vad")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    if shutil.which("espeak-ng"):
        chunks = voice_activity.chunks_of(voice_activity.spoken())
    else:
        chunks = sound(7, 40) * np.linspace(0, 0.5, 40, dtype="f4")[:, None]
    found = probabilities(VoiceActivity(silero.read_weights("onnx")).step, chunks)
    for step in silero_beside.beside(silero_beside.runtimes("onnx")).values():
        np.testing.assert_allclose(probabilities(step, chunks), found, rtol=0, atol=1e-4)

    path = tmp_path / "sound.wav"
    write(path, (chunks.reshape(-1) * 2**14).astype("<i2"))
    for kind in ("onnx", "safetensors"):
        out = tmp_path / kind
        arguments = ["--wav", str(path), "--quick", "--weights", kind, "--streams", "3"]
        assert voice_activity.main([*arguments, "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "3 streams in 2 threads" in printed and "a chunk: lstmfast" in printed
    assert (out / "speech.png").exists()
